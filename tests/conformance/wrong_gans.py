"""Backends that train two networks wrong on purpose, each in a way that is easily come by."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from flspec.phases import Call, Phase, draws_of_step, parse_phases
from flspec.protocol.backend import Job
from flspec.protocol.events import Event
from flspec.protocol.plan import ClientTask, Plan
from flspec_local import LocalBackend
from flspec_torch import phases
from flspec_torch.phases import PhasesStep
from tests.conformance.wrong import Wrong, disguised


class _OtherPhases(LocalBackend):
    """Carries out other phases than the plan's."""

    def execute(self, plan: Plan, job: Job) -> Generator[Event, None, None]:
        changed = self.changed(*parse_phases(plan.settings.phases))
        documents = tuple(phase.model_dump(mode="json") for phase in changed)
        settings = replace(plan.settings, phases=documents, optimizers=self.players(dict(plan.settings.optimizers)))
        yield from super().execute(disguised(plan, settings=settings), job)

    def changed(self, discriminator: Phase, generator: Phase) -> Sequence[Phase]:
        return discriminator, generator

    def players(self, optimizers: dict[str, Any]) -> dict[str, Any]:
        return optimizers


class FakesNotDetached(_OtherPhases):
    """The discriminator's step reaches the generator through the fakes, and teaches it to be found out."""

    name = "fakes_not_detached"

    def changed(self, discriminator: Phase, generator: Phase) -> Sequence[Phase]:
        attached = tuple(call.model_copy(update={"detached": False}) for call in discriminator.calls)
        anew = _call_of(discriminator, "fake").model_copy(update={"value": "fake_again"})
        judged = generator.calls[0].model_copy(update={"inputs": {"image": "fake_again"}})
        # Torch would refuse to go on through what its step has changed.
        generator = generator.model_copy(update={"draws": discriminator.draws, "calls": (anew, judged)})
        return discriminator.model_copy(update={"calls": attached}), generator

    def players(self, optimizers: dict[str, Any]) -> dict[str, Any]:
        both = {**optimizers["discriminator"], "networks": ["discriminator", "generator"]}
        return {**optimizers, "discriminator": both}


class YesterdaysDiscriminator(_OtherPhases):
    """The generator is judged by the discriminator as it was before its step."""

    name = "yesterdays_discriminator"

    def changed(self, discriminator: Phase, generator: Phase) -> Sequence[Phase]:
        fake = _call_of(discriminator, "fake")
        others = tuple(call for call in discriminator.calls if call != fake)
        return (
            generator.model_copy(update={"draws": discriminator.draws, "calls": (fake, *generator.calls)}),
            discriminator.model_copy(update={"draws": {}, "calls": others}),
        )


class StatisticsOfTwoPasses(LocalBackend):
    """A network that is not trained in a phase keeps its running statistics there: two updates in a step, not three."""

    name = "statistics_of_two_passes"

    def execute(self, plan: Plan, job: Job) -> Generator[Event, None, None]:
        right = PhasesStep._call

        def call_apart(step: PhasesStep, phase: Phase, call: Call, values: Any, tensors: Any, stream: Any) -> Any:
            if (phase.optimizer, call.network) == ("generator", "discriminator"):
                tensors = {name: t.clone() if "running" in name else t for name, t in tensors.items()}
            return right(step, phase, call, values, tensors, stream)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(PhasesStep, "_call", call_apart)
            yield from super().execute(plan, job)


class SharedLatents(Wrong):
    """All clients make pictures of the same latents."""

    name = "shared_latents"

    def alter(self, number: int, cohort: tuple[ClientTask, ...]) -> Sequence[ClientTask]:
        return [replace(task, seed=cohort[0].seed) for task in cohort]


class LatentsOfOneStep(LocalBackend):
    """Every step of a task has the latents of its first."""

    name = "latents_of_one_step"

    def execute(self, plan: Plan, job: Job) -> Generator[Event, None, None]:
        first: dict[tuple[int, ...], Any] = {}

        def same(some: Sequence[Phase], number: int, rows: int, stream: Any) -> Any:
            return first.setdefault((stream.seed, rows), draws_of_step(some, number, rows, stream))

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(phases, "draws_of_step", same)
            yield from super().execute(plan, job)


def _call_of(phase: Phase, value: str) -> Call:
    (call,) = [call for call in phase.calls if call.value == value]
    return call


WRONG_WITH_TWO_NETWORKS = (
    FakesNotDetached,
    YesterdaysDiscriminator,
    StatisticsOfTwoPasses,
    SharedLatents,
    LatentsOfOneStep,
)
