"""Content of synthetic twins: small examples that can be learned, with very different numbers for each client.

A twin tests that files are read, not that an algorithm is good. All values are rounded, so that they do not depend on
the last bits of a platform's arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from flspec.core.components import Document
from flspec.core.randomness import Stream
from flspec.errors import InputError

__all__ = [
    "Holders",
    "TwinSize",
    "class_images",
    "class_points",
    "count_differences",
    "even_labels",
    "held_labels",
    "shares_of",
]

_COARSE = 5  # random values along each side of a pattern, interpolated between them

Holders = tuple[NDArray[np.int64], NDArray[np.int64]]  # the client and the label of each example


class TwinSize(Document):
    """Size of a synthetic twin."""

    clients: Annotated[
        int, Field(ge=1, le=10_000_000, description="natural clients, where the data set has them", examples=[20])
    ]
    examples: Annotated[int, Field(ge=1, le=100_000_000, description="over all splits", examples=[400])]


def shares_of(examples: int, parts: Sequence[int], least: int) -> list[int]:
    """Divide `examples` in proportion to `parts`. Raises InputError if any part gets fewer than `least`."""
    counts = [examples * part // sum(parts) for part in parts]
    counts[0] += examples - sum(counts)
    if min(counts) < least:
        needed = -(-least * sum(parts) // min(parts))
        raise InputError(f"examples: {examples:,} are too few for this kind; ask for {needed:,} or more")
    return counts


def even_labels(count: int, num_classes: int, stream: Stream) -> NDArray[np.int64]:
    """Draw `count` labels in random order. The numbers of each class differ by at most one."""
    return stream.child("labels").permutation(count) % num_classes


def held_labels(clients: int, examples: int, num_classes: int, stream: Stream) -> Holders:
    """Draw the client and the label of each example, client by client.

    Clients have very different numbers of examples, two at least, and each its own mix of labels. Every class occurs.
    Raises InputError if there are too few examples.
    """
    if examples < (needed := max(2 * clients, 2 * num_classes)):
        raise InputError(
            f"examples: {examples:,} are too few for {clients:,} clients and {num_classes} classes; ask for "
            f"{needed:,} or more"
        )
    weights = np.exp(stream.child("sizes").normal(clients))
    sizes = 2 + np.floor(weights / weights.sum() * (examples - 2 * clients)).astype(np.int64)
    sizes[np.argsort(-weights, kind="stable")[: examples - sizes.sum()]] += 1
    holders = np.repeat(np.arange(clients), sizes)
    mixes = [stream.child("mix", client).dirichlet(0.5, num_classes) for client in range(clients)]
    edges = np.cumsum(mixes, axis=1)[holders]  # [examples, num_classes]
    labels = (stream.child("labels").uniform(examples)[:, np.newaxis] > edges[:, :-1]).sum(axis=1)
    labels[stream.child("every").choice(examples, num_classes)] = np.arange(num_classes)
    return holders, labels


def class_images(
    labels: NDArray[np.int64], num_classes: int, shape: tuple[int, ...], stream: Stream, part: str
) -> NDArray[np.uint8]:
    """Draw images, uint8 [num_labels, *shape]: a smooth pattern for each class, with noise over it.

    The last two axes are height and width. Each `part` of a data set has the same patterns but its own noise.
    """
    *channels, height, width = shape
    count = num_classes * int(np.prod(channels, dtype=int))
    coarse = stream.child("patterns").normal(count * _COARSE**2).reshape(count, _COARSE, _COARSE)
    patterns = np.einsum("hr,crs,ws->chw", _blend(height), coarse, _blend(width)).reshape(num_classes, *shape)
    noise = stream.child("noise", part).normal(len(labels) * int(np.prod(shape))).reshape(-1, *shape)
    pixels: NDArray[np.float64] = np.rint(128.0 + 48.0 * patterns[labels] + 16.0 * noise)
    return np.clip(pixels, 0, 255).astype(np.uint8)


def class_points(labels: NDArray[np.int64], num_classes: int, features: int, stream: Stream) -> NDArray[np.float64]:
    """Draw points of Gaussian classes, float64 [num_labels, features]. Multiples of 2^-10, exact in float32."""
    centres = 2.0 * stream.child("centres").normal(num_classes * features).reshape(num_classes, features)
    noise = stream.child("noise").normal(len(labels) * features).reshape(-1, features)
    return np.asarray(np.rint((centres[labels] + noise) * 1024.0) / 1024.0)


def count_differences(split: str, labels: NDArray[np.integer[Any]], published: Sequence[int]) -> Iterator[str]:
    """Yield a line for each difference between the numbers of a split's labels and the published numbers."""
    if len(labels) != sum(published):
        yield f"{split}: {len(labels):,} examples, {sum(published):,} were published"
        return
    for label, (found, due) in enumerate(
        zip(np.bincount(labels, minlength=len(published)).tolist(), published, strict=True)
    ):
        if found != due:
            yield f"{split}: {found:,} examples of label {label}, {due:,} were published"


def _blend(size: int) -> NDArray[np.float64]:
    """Return the weights of linear interpolation from coarse to `size` fine values: float64 [size, _COARSE]."""
    at = np.linspace(0.0, _COARSE - 1.0, size)
    return np.clip(1.0 - np.abs(at[:, np.newaxis] - np.arange(_COARSE)), 0.0, 1.0)
