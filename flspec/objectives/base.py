"""The interface of an objective: what a client minimises in a step, as a loss or as phases of several networks."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from flspec.core.components import Component

if TYPE_CHECKING:
    from flspec.layers import Network
    from flspec.phases import Phase, Sample

__all__ = ["Objective"]


class Objective(Component, ABC):
    """What a client minimises in each step.

    For a model of one network it is a loss. Engines that train with torch have a translation of each such objective
    that comes with flspec; one from another package brings its own, `torch`. An engine without a translation refuses
    the plan by the objective's kind.

    For a model of several networks, an objective names them in `network_names` and writes `phases` and `sample`. They
    are data in the plan, so every engine that carries out phases trains and evaluates them.
    """

    network_names: ClassVar[tuple[str, ...]] = ("",)  # the model's networks; "" is the one of a model that has no other

    @property
    def is_generative(self) -> bool:
        """Whether the model makes pictures, to be compared with real ones; otherwise it gives scores of examples."""
        return type(self).sample is not Objective.sample

    @classmethod
    def lacks(cls) -> list[str]:
        has_step = cls.torch is not Objective.torch or cls.phases is not Objective.phases
        return [*super().lacks(), *([] if has_step else ["torch"])]

    @property
    def has_phases(self) -> bool:
        """Whether a step is of phases and not of one loss."""
        return type(self).phases is not Objective.phases

    @property
    def players(self) -> Mapping[str, tuple[str, ...]]:
        """The networks that each optimizer trains, by its name; by default each has its own, of the same name."""
        return {name: (name,) for name in self.network_names}

    def phases(self, networks: Mapping[str, Network]) -> Sequence[Phase]:
        """Return the phases of a step. `networks` are the model's, with the shapes of their inputs."""
        return ()

    def sample(self, networks: Mapping[str, Network]) -> Sample | None:
        """Return how a picture is made; None if the model makes none. A model of several networks must make some."""
        return None

    def torch(self, step: Any) -> tuple[Any, Mapping[str, float]]:
        """Return the loss of a step, a tensor of no dimensions, and sums over the batch's examples by name.

        `step` is a `flspec_torch.step.StepInputs`: `inputs`, `labels`, `stream`, and the functions `forward(inputs)`,
        `loss(outputs)` and `num_correct(outputs)`. The round's metrics are the sums over all steps, divided by the
        examples. Every step gives the same names.
        """
        raise NotImplementedError(f"{type(self).__name__} has no torch translation")
