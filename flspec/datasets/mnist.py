"""MNIST, from its four published files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from flspec.datasets.idx import IdxImages


class Mnist(IdxImages):
    """Handwritten digits, 28 by 28 pixels: 60,000 for training and 10,000 for evaluation, in file order.

    Reads `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte` and
    `t10k-labels-idx1-ubyte`, each with or without `.gz`.
    """

    title: ClassVar[str] = "MNIST"
    published: ClassVar[Mapping[str, Sequence[int]]] = {
        "train": (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949),
        "test": (980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009),
    }

    kind: Literal["mnist"] = "mnist"
