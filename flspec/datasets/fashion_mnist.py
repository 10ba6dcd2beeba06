"""Fashion-MNIST, from its four published files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from flspec.datasets.idx import IdxImages


class FashionMnist(IdxImages):
    """Clothes, 28 by 28 pixels: 60,000 for training and 10,000 for evaluation, in file order.

    Xiao, Rasul, Vollgraf. Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms. 2017.
    https://arxiv.org/abs/1708.07747. The files have the same names as MNIST's, so keep them in a folder of their own.
    """

    title: ClassVar[str] = "Fashion-MNIST"
    label_names: ClassVar[tuple[str, ...]] = (
        "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
    )  # fmt: skip
    published: ClassVar[Mapping[str, Sequence[int]]] = {"train": (6000,) * 10, "test": (1000,) * 10}

    kind: Literal["fashion_mnist"] = "fashion_mnist"
