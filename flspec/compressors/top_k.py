"""The largest values alone: Stich et al., NeurIPS 2018, arXiv:1809.07599, Definition 2.2."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from flspec.compressors.base import Compressor, Payload
from flspec.core.randomness import Stream
from flspec.protocol.named_records import Weights
from flspec.protocol.updates import as_tensors, as_vector


class TopK(Compressor):
    """The k values of largest magnitude of all tensors together, with their places; the others arrive as 0.

    k is `share` of all values, rounded to the nearest, at least 1. Of equal magnitudes the first ones are taken, in the
    order of the plan's tensors and of their values. Each is sent as it is, in 8 bytes: an int32 place, a float32 value.
    """

    kind: Literal["top_k"] = "top_k"
    share: Annotated[float, Field(gt=0, le=1, description="share of the values that is sent", examples=[0.01])]
    error_feedback: Annotated[
        bool,
        Field(
            description="a client remembers what it has left out, and adds it to what it sends next; without it some "
            "weights may never move"
        ),
    ] = True

    def compress(self, delta: Weights, stream: Stream) -> Payload:
        every = as_vector(delta)
        places = _largest(every, max(1, round(self.share * every.size)))
        return {"places": places.astype(np.int32), "values": every[places]}

    def restore(self, payload: Payload, like: Weights) -> Weights:
        every = np.zeros(sum(weight.size for weight in like.values()), np.float32)
        every[payload["places"]] = payload["values"]
        return as_tensors(every, like)


def _largest(values: NDArray[np.float32], num: int) -> NDArray[np.intp]:
    """Return the places of the `num` largest magnitudes, ascending, the first ones of equals. NaN is the largest."""
    magnitudes = np.nan_to_num(np.abs(values), nan=np.inf, posinf=np.inf)
    least = np.partition(magnitudes, -num)[-num]
    larger = np.flatnonzero(magnitudes > least)
    equal = np.flatnonzero(magnitudes == least)[: num - len(larger)]
    return np.sort(np.concatenate([larger, equal]))
