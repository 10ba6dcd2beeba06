"""Where a backend differs is found by asking for parts of the round, and why by what the reference makes of a cause.

The wrong backends are those of the conformance tests: each does one thing otherwise, by code of its own.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flspec.comparison.causes import CAUSES, with_cohort
from flspec.comparison.certification import certify
from flspec.comparison.diagnosis import Trials, diagnose
from flspec.comparison.verdicts import Diagnosis
from flspec.execution.rounds import initial_state
from flspec.protocol.backend import Backend, Job, kept_state
from flspec.protocol.events import Event, RoundFinished
from flspec.protocol.plan import ClientTask, Plan
from flspec.protocol.state import ServerState, load_state, save_state
from flspec_local import LocalBackend
from tests.conformance import wrong
from tests.conformance.plans import compile_named


class AfterRounds(LocalBackend):
    """Does something to the server's state after each round, beside what the plan asks for."""

    def after(self, plan: Plan, before: ServerState, state: ServerState) -> ServerState:
        raise NotImplementedError

    def execute(self, plan: Plan, job: Job) -> Generator[Event, None, None]:
        before = load_state(job.start, plan.digest) if job.start else initial_state(plan)
        for event in super().execute(plan, job):
            if isinstance(event, RoundFinished):
                path = kept_state(job.folder, event.round)
                at = before
                if job.follow and event.round > 1:
                    at = load_state(kept_state(job.follow, event.round - 1), plan.digest)
                before = self.after(plan, at, load_state(path))
                save_state(path, before, plan.digest)
            yield event


class SumOfUpdates(AfterRounds):
    def after(self, plan: Plan, before: ServerState, state: ServerState) -> ServerState:
        num = len(plan.cohort(state.round))
        return replace(
            state, weights={n: (w + (state.weights[n] - w) * num).astype(w.dtype) for n, w in before.weights.items()}
        )


class FrozenBias(AfterRounds):
    def after(self, plan: Plan, before: ServerState, state: ServerState) -> ServerState:
        return replace(state, weights={**state.weights, "output.bias": before.weights["output.bias"]})


class Shaken(AfterRounds):
    """Nothing that anybody would think of."""

    def after(self, plan: Plan, before: ServerState, state: ServerState) -> ServerState:
        rng = np.random.default_rng(3)
        shaken = {n: (w + rng.normal(scale=1e-3, size=w.shape)).astype(w.dtype) for n, w in state.weights.items()}
        return replace(state, weights=shaken)


class LastStatistics(AfterRounds):
    """Takes running statistics from the last client of the cohort, by a round of its own."""

    def after(self, plan: Plan, before: ServerState, state: ServerState) -> ServerState:
        alone = with_cohort(plan, state.round, plan.cohort(state.round)[-1:])
        theirs = self.weights_of(alone, before)
        return replace(state, weights={n: theirs[n] if n in plan.statistics else w for n, w in state.weights.items()})

    def weights_of(self, plan: Plan, before: ServerState) -> Mapping[str, Any]:
        with tempfile.TemporaryDirectory() as folder:
            return Trials(Path(folder), 1, 0.0).outcome(LocalBackend(), plan, before.round + 1, before)


class Changed(LocalBackend):
    """Carries out a plan with other settings."""

    changes: Mapping[str, Any]

    def execute(self, plan: Plan, job: Job) -> Generator[Event, None, None]:
        changed: dict[str, Any] = {
            name: {**getattr(plan.settings, name), **more} if isinstance(more, dict) else more
            for name, more in self.changes.items()
        }
        yield from super().execute(wrong.disguised(plan, settings=replace(plan.settings, **changed)), job)


class WithoutDecay(Changed):
    changes = {"client_optimizer": {"weight_decay": 0.0}}  # noqa: RUF012


class WithoutMomentum(Changed):
    changes = {"client_optimizer": {"momentum": 0.0}}  # noqa: RUF012


class Uncorrected(Changed):
    changes = {"aggregator": {"bias_correction": False}}  # noqa: RUF012


class WithoutServerOptimizer(LocalBackend):
    def execute(self, plan: Plan, job: Job) -> Generator[Event, None, None]:
        plain = replace(plan.settings, aggregator={"kind": "fedavg"})
        yield from super().execute(wrong.disguised(plan, settings=plain), job)


class NotNormalised(LocalBackend):
    def execute(self, plan: Plan, job: Job) -> Generator[Event, None, None]:
        raw = replace(plan.settings, data=replace(plan.settings.data, mean=(), std=()))
        yield from super().execute(wrong.disguised(plan, settings=raw), job)


class WithoutTheFirst(wrong.Wrong):
    def alter(self, number: int, cohort: tuple[ClientTask, ...]) -> Sequence[ClientTask]:
        return cohort[1:]


class KeepsMomentum(AfterRounds, Changed):
    """Keeps it as long as the rounds of one call go on, where no state shows it."""

    changes = {"client_optimizer": {"state": "kept"}}  # noqa: RUF012

    def execute(self, plan: Plan, job: Job) -> Generator[Event, None, None]:
        yield from super().execute(plan, replace(job, follow=None))

    def after(self, plan: Plan, before: ServerState, state: ServerState) -> ServerState:
        return replace(state, clients={})


LIKE_THESE = pytest.mark.release("causes that are found in the way of those that are injected each time")
INJECTED: list[tuple[str, type[Backend], str]] = [
    ("mlp-momentum-fedavg", wrong.UniformWeights, "uniform weights"),
    ("mlp-momentum-fedavg", wrong.SkippedBatch, "batch skipped"),
    ("mlp-momentum-fedavg", wrong.RepeatedBatch, "batch repeated"),
    ("mlp-momentum-fedavg", wrong.FinalPartialBatchDropped, "partial batch dropped"),
    ("mlp-momentum-fedavg", wrong.NextCohort, "cohort of another round"),
    ("mlp-momentum-fedavg", wrong.SlightlyOffLearningRate, "clients' learning rate"),
    ("mlp-momentum-fedavg", WithoutMomentum, "momentum left out"),
    ("mlp-momentum-fedavg", SumOfUpdates, "update scaled"),
    ("mlp-momentum-fedavg", FrozenBias, "tensors left as they were"),
    ("tanh-decay-fedavg", WithoutDecay, "weight decay left out"),
    ("tanh-sgd-fedadam", wrong.LateBiasCorrection, "late bias correction"),
    ("tanh-sgd-fedadam", Uncorrected, "bias correction"),
    ("tanh-keras_adam-keras_fedadam", wrong.ServersEpsilonElsewhere, "server's epsilon elsewhere"),
    ("tanh-keras_adam-keras_fedadam", wrong.ClientsEpsilonElsewhere, "clients' epsilon elsewhere"),
    ("tanh-stepped-fedavg_warm", wrong.Unscheduled, "schedule left out"),
    ("tanh-clipped-fedavg", wrong.Unclipped, "gradients not clipped"),
    ("tanh-weighted-fedavg", wrong.Unweighted, "label weights left out"),
    ("averaged-adam-fedadam_warm", LastStatistics, "statistics not averaged"),
    ("cnn-sgd-fedavg-transformed", wrong.OtherPixels, "other draws"),
    ("tanh-sgd-uniform-plain-noised", wrong.NoiseOfAnotherRound, "noise of another round"),
    ("tanh-sgd-uniform-plain-noised", wrong.WeighedByExamples, "weights by examples"),
    ("tanh-sgd-fedadam", WithoutServerOptimizer, "server optimizer left out"),
    ("cnn-sgd-fedavg-transformed", NotNormalised, "inputs not normalised"),
    ("tanh-decay-fedavg", WithoutTheFirst, "client left out"),
]
EACH_TIME = ("mlp-momentum-fedavg", "tanh-sgd-fedadam", "tanh-decay-fedavg")  # plans of small models


@pytest.fixture(scope="module")
def diagnosed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, type[Backend]], Diagnosis]:
    """The diagnosis of a wrong backend's first round."""
    plans = cache(lambda name: compile_named(name, 3))

    @cache
    def of(name: str, wrong_one: type[Backend]) -> Diagnosis:
        plan, other = plans(name), wrong_one()
        trials, before = Trials(tmp_path_factory.mktemp("d"), 1, time.monotonic() + 600), initial_state(plan)
        ours, theirs = (trials.outcome(engine, plan, 1, before) for engine in (LocalBackend(), other))
        return diagnose(plan, before, (ours, theirs), LocalBackend(), other, trials)

    return of


@pytest.mark.parametrize(
    ("name", "wrong_one", "cause"),
    [pytest.param(*one, marks=[] if one[0] in EACH_TIME else [LIKE_THESE]) for one in INJECTED],
)
def test_an_injected_cause_is_named_first(
    diagnosed: Callable[[str, type[Backend]], Diagnosis], name: str, wrong_one: type[Backend], cause: str
) -> None:
    found = diagnosed(name, wrong_one)
    assert found.causes, found.in_words
    assert found.causes[0].cause == cause, found.in_words
    assert found.causes[0].left < 1e-2


def test_every_cause_is_injected() -> None:
    assert {cause.name for cause in CAUSES} == {"momentum kept", *(cause for *_, cause in INJECTED)}


def test_momentum_that_is_kept_shows_in_a_clients_second_task(make_plan: Callable[..., Plan], tmp_path: Path) -> None:
    optimizer = {"kind": "sgd", "learning_rate": 0.05, "momentum": 0.9}
    plan = make_plan(rounds=3, cohort={"kind": "all"}, client={"epochs": 1, "batch_size": 6, "optimizer": optimizer})
    engines: dict[str, Backend] = {"local": LocalBackend(), "wrong": KeepsMomentum()}
    verdict = certify(plan, list(engines), tmp_path / "c", engines=engines).backends["wrong"]
    assert verdict.diagnosis
    assert verdict.diagnosis.round == 2
    assert verdict.diagnosis.causes[0].cause == "momentum kept", verdict.diagnosis.in_words
    assert "it comes of what the backend keeps from the rounds before" in verdict.diagnosis.in_words


def test_none_of_them_is_unknown(diagnosed: Callable[[str, type[Backend]], Diagnosis]) -> None:
    found = diagnosed("mlp-momentum-fedavg", Shaken)
    assert found.causes == ()
    assert f"cause unknown: none of {len(CAUSES)} known ones gives its weights" in found.in_words


def test_the_client_and_the_step_are_found(diagnosed: Callable[[str, type[Backend]], Diagnosis]) -> None:
    plan = compile_named("mlp-momentum-fedavg", 3)
    full = max(len(batch) for task in plan.cohort(1) for batch in task.batches)
    found = diagnosed("mlp-momentum-fedavg", wrong.FinalPartialBatchDropped)
    task = next(task for task in plan.cohort(1) if task.client == found.client)
    assert found.step == 1 + next(place for place, batch in enumerate(task.batches) if len(batch) < full)
    assert found.others_too


def test_what_the_server_does_is_told_from_what_clients_do(
    diagnosed: Callable[[str, type[Backend]], Diagnosis],
) -> None:
    found = diagnosed("mlp-momentum-fedavg", wrong.UniformWeights)
    assert (found.client, found.step) == (None, None)
    assert found.note == "no client's training differs by itself: it is in what the server makes of updates"


class OneClientWrong(LocalBackend):
    """Trains client 3 at twice the rate."""

    def execute(self, plan: Plan, job: Job) -> Generator[Event, None, None]:
        class Doubled(wrong.Wrong):
            def alter(self, number: int, cohort: Any) -> Any:
                return [replace(task, rate=task.rate * 2) if task.client == 3 else task for task in cohort]

        yield from Doubled().execute(plan, job)


def test_the_one_client_that_differs_is_found_among_ten(make_plan: Callable[..., Plan], tmp_path: Path) -> None:
    plan = make_plan(rounds=1, cohort={"kind": "all"}, partition={"kind": "iid", "clients": 10})
    engines: dict[str, Backend] = {"local": LocalBackend(), "wrong": OneClientWrong()}
    found = certify(plan, list(engines), tmp_path / "c", engines=engines).backends["wrong"].diagnosis
    assert found
    assert (found.client, found.others_too, found.step) == (3, False, 1)
    assert "client 3 alone, from step 1 on" in found.in_words
    assert not [path for path in (tmp_path / "c").rglob("*") if path.name in ("diagnosis", "checkpoints")]
