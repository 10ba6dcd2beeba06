"""The interface of a compressor: what a client sends in place of its update, and what the server makes of it.

It works on the change of the learned weights, after the client algorithm's `finish`. Error feedback is the same for
all of them (Seide et al., Interspeech 2014; Stich et al., NeurIPS 2018, arXiv:1809.07599; Karimireddy et al., ICML
2019, arXiv:1901.09847): with Delta the client's update and m its memory, at first 0, it sends C(Delta + m) and
remembers m' = (Delta + m) - C(Delta + m), in float32. What one round leaves out is therefore sent by a later one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from flspec.core.components import Component
from flspec.core.randomness import Stream
from flspec.protocol.named_records import Weights

__all__ = ["Compressor", "Payload"]

Payload = Mapping[str, NDArray[Any]]  # arrays by name, as they are sent: their bytes are what the update costs


class Compressor(Component, ABC):
    """A way to send an update in fewer bytes. How many does not depend on its values.

    A value that cannot be sent must arrive as one that is not finite, so that the server leaves the update out.
    """

    is_random: ClassVar[bool] = False  # whether it draws; the plan then holds a seed for each task

    error_feedback: Annotated[
        bool, Field(description="a client remembers what it has left out, and adds it to what it sends next")
    ] = False

    @abstractmethod
    def compress(self, delta: Weights, stream: Stream) -> Payload:
        """Return what is sent of `delta`, float32 by tensor name; `stream` belongs to that task alone."""

    @abstractmethod
    def restore(self, payload: Payload, like: Weights) -> Weights:
        """Return the update that the server takes from a payload: float32 tensors, named and shaped as those of `like`.

        `like` are the weights at the start of the run; only their names and shapes matter.
        """

    def num_bytes(self, like: Weights) -> int:
        """Return the bytes of every payload of tensors of these shapes."""
        zeros = {name: np.zeros(weight.shape, np.float32) for name, weight in like.items()}
        return sum(value.nbytes for value in self.compress(zeros, Stream(0)).values())
