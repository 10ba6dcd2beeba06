"""Mean 0 and deviation 1."""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from flspec.encodings.base import Column, Encoding, Unencodable

_Numbers = Annotated[tuple[float, ...], Field(max_length=100_000)]


class Standardise(Encoding):
    """(x - mean) / deviation, both of the training examples that have a value; a constant column becomes 0."""

    kind: Literal["standardise"] = "standardise"
    mean: Annotated[float | _Numbers | None, Field(description="if absent, that of the training examples")] = None
    deviation: Annotated[
        Annotated[float, Field(gt=0)] | _Numbers | None,
        Field(description="if absent, that of the training examples, which is divided by their number"),
    ] = None

    def fitted(self, values: Column) -> Self:
        assert isinstance(values, np.ndarray)
        means, deviations = zip(*map(_moments, values.T), strict=True)
        known = {
            "mean": _one_or_all(means) if self.mean is None else self.mean,
            "deviation": _one_or_all(deviations) if self.deviation is None else self.deviation,
        }
        return self.model_copy(update=known)

    def encoded(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        scaled: NDArray[np.float64] = (values - np.array(self.mean)) / np.array(self.deviation)
        return scaled


def _moments(values: NDArray[np.float64]) -> tuple[float, float]:
    known = values[~np.isnan(values)]
    if not len(known):
        raise Unencodable("no training example has a value", "leave the column out of dataset.features")
    # Exact sums, because the order in which numpy adds differs between machines, and the digest would too.
    mean = math.fsum(known) / len(known)
    return mean, math.sqrt(math.fsum((known - mean) ** 2) / len(known)) or 1.0


def _one_or_all(numbers: _Numbers) -> float | _Numbers:
    return numbers[0] if len(numbers) == 1 else numbers
