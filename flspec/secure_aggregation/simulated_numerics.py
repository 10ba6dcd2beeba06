"""Fixed-point sums modulo 2^bits with pairwise masks, as in Bonawitz et al. (CCS 2017, sections 4 and 6).

The numbers of the protocol and nothing else: no keys are agreed on or shared, there are no masks of a client's own, and
all seeds are the plan's. Nothing is secret in it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from flspec.core.randomness import Stream
from flspec.errors import RunError
from flspec.protocol.updates import ClientUpdate, as_tensors, as_vector
from flspec.secure_aggregation.base import MaskedMean, SecureAggregation, Sender

Words = NDArray[np.uint64]  # [num_values]; uint64 wraps at 2^64, of which 2^bits is a divisor

_EXACT = 2**52  # whole numbers and their halves are exact in float64 below it


class SimulatedNumerics(SecureAggregation):
    """Sums of fixed-point values modulo 2^bits under pairwise masks, simulated: nothing is secret in it.

    With f = fraction_bits, client k encodes q_k = round(clamp(x, -clip, clip) * 2^f), ties to even, and sends
    w_k * q_k + masks mod 2^bits.

    w_k is its whole planned weight, which the server knows. Each pair of senders has one mask, uniform modulo 2^bits,
    that the first adds and the second subtracts. Of senders whose update does not arrive the server computes the masks
    again and removes them. It reads the sum as a signed number of `bits` bits and divides it by 2^f and by the weights
    that arrived. If nothing is clipped or wraps round, each value of the mean is off by 2^-(f+1) at most, however many
    clients there are and however they are weighed. The sum fits if clip * 2^f * sum of weights < 2^(bits-1).
    """

    kind: Literal["simulated_numerics"] = "simulated_numerics"
    bits: Annotated[int, Field(ge=8, le=64, description="sums are modulo 2^bits")] = 32
    fraction_bits: Annotated[
        int, Field(ge=0, le=52, description="of the fixed point: values are multiples of 2^-fraction_bits")
    ] = 16
    clip: Annotated[
        float, Field(gt=0, le=1e12, description="largest value of an update; what is larger is clipped and counted")
    ] = 4.0

    @model_validator(mode="after")
    def _encodes_one_update(self) -> Self:
        largest = self.clip * 2.0**self.fraction_bits
        if largest >= min(2 ** (self.bits - 1), _EXACT):
            most = min(self.bits - 1, 52)
            raise ValueError(
                f"clip * 2^fraction_bits is {largest:.3g}, and must be below 2^{most} for one update to fit; lower "
                "clip or fraction_bits, or raise bits"
            )
        return self

    def mean(self, updates: Iterable[ClientUpdate], senders: Sequence[Sender], stream: Stream) -> MaskedMean:
        arrived: dict[Sender, int] = {}
        server, exact, num_clipped, like = _ZERO, np.zeros(1), 0, dict[str, Any]()
        for update in updates:
            like, weight, sender = dict(update.delta), _whole(update), (update.client, update.repeat)
            numbers, beyond = self._encoded(as_vector(update.delta).astype(np.float64))
            sent = _words(numbers) * np.uint64(weight) + _masks(sender, senders, stream, len(numbers))
            server = server + self._reduced(sent)
            exact, num_clipped = exact + weight * numbers, num_clipped + beyond
            arrived[sender] = weight
        for sender in arrived:  # what the masks of pairs of which one update is missing have left in the sum
            missing = [other for other in senders if other not in arrived]
            server = server - _masks(sender, missing, stream, len(server))
        decoded = self._signed(server).astype(np.float64)
        num_wrapped = int((np.abs(exact - decoded) >= 2.0 ** (self.bits - 1)).sum())
        mean = as_tensors(decoded / 2.0**self.fraction_bits / sum(arrived.values()), like)
        return MaskedMean(mean, num_clipped, num_wrapped)

    def _encoded(self, values: NDArray[np.float64]) -> tuple[NDArray[np.float64], int]:
        """Return whole numbers, and how many values were clipped."""
        beyond = int((np.abs(values) > self.clip).sum())
        return np.rint(np.clip(values, -self.clip, self.clip) * 2.0**self.fraction_bits), beyond

    def _reduced(self, words: Words) -> Words:
        """Return the words modulo 2^bits."""
        return words & np.uint64(2**self.bits - 1)

    def _signed(self, words: Words) -> NDArray[np.int64]:
        """Return the numbers from -2^(bits-1) that words are modulo 2^bits."""
        unused = 64 - self.bits
        return (words << np.uint64(unused)).view(np.int64) >> np.int64(unused)

    @property
    def title(self) -> str:
        return (
            f"simulated, nothing is secret: sums modulo 2^{self.bits} of values to {self.clip:g} in steps of "
            f"2^-{self.fraction_bits} ({2.0**-self.fraction_bits:.2g}), times whole weights"
        )

    def num_bytes(self, num_values: int) -> int:
        return -(-num_values * self.bits // 8)

    def remarks(self, total_weight: int) -> Sequence[str]:
        largest = math.ceil(self.clip * 2.0**self.fraction_bits) * total_weight
        if largest < 2 ** (self.bits - 1):
            return ()
        needed = largest.bit_length() + 1
        way_out = f"raise bits to {needed}" if needed <= 64 else "lower clip or fraction_bits"
        return (
            f"sums may wrap round: weights of a round sum to {total_weight:,}, and clip * 2^fraction_bits * "
            f"{total_weight:,} does not fit into {self.bits} bits; {way_out}, or lower clip or fraction_bits",
        )


_ZERO: Words = np.zeros(1, np.uint64)


def _whole(update: ClientUpdate) -> int:
    if update.weight != int(update.weight) or update.weight < 0:
        raise RunError(
            f"secure_aggregation: client {update.client} has weight {update.weight:g}, and words are multiplied by "
            "whole numbers; use aggregator.weighting: examples or uniform"
        )
    return int(update.weight)


def _words(numbers: NDArray[np.float64]) -> Words:
    """Return whole numbers below 2^63 modulo 2^64."""
    return numbers.astype(np.int64).view(np.uint64)


def _masks(sender: Sender, others: Sequence[Sender], stream: Stream, size: int) -> Words:
    """[size]: a sender's masks with others, modulo 2^64: those with later ones less those with earlier ones."""
    total = np.zeros(size, np.uint64)
    for other in others:
        if other > sender:
            total += stream.child("mask", *sender, *other).words(size)
        elif other < sender:
            total -= stream.child("mask", *other, *sender).words(size)
    return total
