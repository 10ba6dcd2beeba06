"""Examples on a device, where batches are gathered from them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from flspec.data.examples import Split
from flspec_torch.devices import TorchDevice

__all__ = ["StoredExamples", "store_examples"]


class StoredExamples:
    """A split's features as they are stored. They are scaled there, by the operations of `Split.scaled` in its order.

    Constants are tensors there, because a division by a number may be a product with its inverse.
    """

    def __init__(self, split: Split, device: TorchDevice) -> None:
        self._features = device.store(np.asarray(split.features))
        self._divisor = device.put(np.array(split.divisor, np.float32))
        shape = (-1, *(1,) * (split.features.ndim - 2))
        of_channels: Sequence[tuple[float, ...]] = (split.mean, split.std) if split.mean else ()
        self._normalisation = [device.put(np.array(one, np.float32).reshape(shape)) for one in of_channels]

    def inputs(self, rows: Tensor | slice) -> Tensor:
        """Return model inputs of these examples, float32 [num, *input shape]."""
        stored = self._features[rows] if isinstance(rows, slice) else self._features.index_select(0, rows)
        values = stored.to(torch.float32).div(self._divisor)
        if not self._normalisation:
            return values
        mean, std = self._normalisation
        return values.sub(mean).div(std)


def store_examples(split: Split, device: TorchDevice) -> StoredExamples | None:
    """Put a split's examples on a device for a whole run.

    None if they are read from the host: which shares its memory, applies transforms, or has no room for them.
    """
    if device.is_host or split.transforms or not device.has_room(split.features.nbytes):
        return None
    return StoredExamples(split, device)
