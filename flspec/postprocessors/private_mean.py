"""The Gaussian mechanism on the sum of clipped updates: DP-FedAvg, McMahan et al., ICLR 2018, arXiv:1710.06963.

With an adaptive clip it is Algorithm 1 of Andrew et al., NeurIPS 2021, arXiv:1905.03871. What it gives is accounted for
by `flspec.privacy`; a spec that wants privacy names it there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from flspec.core.components import OmitDefaults, OneOf
from flspec.core.randomness import Stream
from flspec.core.round_streams import RoundStreams
from flspec.noise_matrices import NoiseMatrix
from flspec.noise_matrices.base import noise_of
from flspec.noise_matrices.independent import Independent
from flspec.postprocessors.base import Combined, Postprocessor
from flspec.protocol.named_records import Weights
from flspec.protocol.updates import Delta, norm_of
from flspec.update_clips import UpdateClip
from flspec.update_clips.base import first_norm, next_norm

_TOO_SMALL_TO_SQUARE = 1e-100


class PrivateMean(Postprocessor, OmitDefaults):
    """(sum_k d_k min(1, C / ||d_k||) + N(0, (z C)^2)) / clients, in float64, whoever took part.

    The norm is of all tensors together; the divisor is the expected cohort, not the number of updates, so that a client
    changes the result by its own clipped update alone. A round without an update gives noise, too. An update that is
    not finite was left out before; it counts as zero. With a noise matrix the noise is a row of C^-1 N(0, (z C)^2).

    With a clip that counts the clients within its bound, the noise is shared between the updates and the count so that
    the round as a whole is one Gaussian mechanism of multiplier z (Andrew et al., Theorem 1): the updates get
    (z^-2 - (2 s)^-2)^(-1/2), where s is the deviation on the count. The bound that clipped also scales the noise.
    """

    kind: Literal["private_mean"] = "private_mean"
    omitted: ClassVar[dict[str, Any]] = {"noise_cohort": None, "noise_matrix": {"kind": "independent"}}
    is_random = True
    acts_without_updates = True
    needs_mean = True

    clip: Annotated[
        OneOf[UpdateClip], Field(description="bound on each update", examples=[{"kind": "fixed", "norm": 1.0}])
    ]
    noise_multiplier: Annotated[
        float,
        Field(ge=0, le=1e6, description="deviation of the noise on the sum, in units of the clip", examples=[1.0]),
    ]
    clients: Annotated[float, Field(gt=0, description="expected clients a round: the divisor", examples=[10])]
    noise_cohort: Annotated[
        float | None,
        Field(gt=0, description="clients a round in the run that the noise is of, if that is a larger one"),
    ] = None
    noise_matrix: Annotated[
        OneOf[NoiseMatrix], Field(description="how the noise of a round follows from that of earlier ones")
    ] = Independent()

    @model_validator(mode="after")
    def _count_leaves_noise(self) -> Self:
        try:
            update_noise(self.noise_multiplier, self.clip.count_noise(self.noise_cohort or self.clients))
        except ValueError as error:
            raise ValueError(f"{error}; lower it, or raise clip.noise_on_count or clients") from None
        return self

    @property
    def num_remembered(self) -> int:
        return self.noise_matrix.num_remembered if self.noise_multiplier else 0

    def initial_record(self) -> Weights:
        return {"clip": np.array(first_norm(self.clip), np.float32)}

    def measure(self, delta: Delta, record: Weights) -> Mapping[str, float]:
        if self.clip.count_noise(self.clients) is None:
            return {}  # a norm of eleven million values takes its time
        return {"within": 0.5 if norm_of(delta) <= float(record["clip"]) else -0.5}

    def on_each(self, delta: Delta, record: Weights, stream: Stream) -> Delta:
        length, bound = norm_of(delta), float(record["clip"])
        return {name: value * (bound / length) for name, value in delta.items()} if length > bound else delta

    def on_combined(self, combined: Combined, stream: Stream) -> tuple[Delta, Weights]:
        share = combined.num_updates / self.clients
        shapes = {name: value.shape for name, value in combined.delta.items()}
        noise, noise_on_share = self.noise(combined.record, shapes, combined.streams)
        delta = {name: value * share + noise[name] for name, value in combined.delta.items()}
        within = 0.5 + combined.sums.get("within", 0.0) / self.clients + noise_on_share
        bound = float(combined.record["clip"])
        return delta, {"clip": np.array(next_norm(self.clip, bound, within), np.float32)}

    def noise(
        self, record: Weights, shapes: Mapping[str, tuple[int, ...]], rounds: RoundStreams
    ) -> tuple[dict[str, NDArray[np.float64]], float]:
        """Return what a round adds to the mean update, and to the share of the cohort that is within the bound.

        Engines that combine updates themselves are given these draws, so that a round's noise is the same everywhere.
        """
        if self.noise_multiplier == 0.0:
            return {name: np.zeros(shape) for name, shape in shapes.items()}, 0.0
        cohort = self.noise_cohort or self.clients
        on_count = self.clip.count_noise(cohort)
        deviation = update_noise(self.noise_multiplier, on_count) * float(record["clip"]) / cohort
        units = {name: noise_of(self.noise_matrix, rounds, ("update", name), shape) for name, shape in shapes.items()}
        on_update = {name: deviation * unit for name, unit in units.items()}
        if on_count is None:
            return on_update, 0.0
        return on_update, on_count / cohort * float(rounds.current.child("count").normal(1)[0])


def update_noise(multiplier: float, on_count: float | None) -> float:
    """Return the updates' noise multiplier where a count with noise of deviation `on_count` takes its part.

    Raises ValueError if the count alone takes it all: `multiplier` must be below twice `on_count`.
    """
    if on_count is None or multiplier == 0.0:
        return multiplier
    if multiplier >= 2 * on_count:
        raise ValueError(f"noise multiplier {multiplier:g} is not below {2 * on_count:g}, twice the noise on the count")
    if multiplier < _TOO_SMALL_TO_SQUARE:
        return multiplier  # the count takes nothing of it that float64 could hold
    return float((multiplier**-2 - (2 * on_count) ** -2) ** -0.5)
