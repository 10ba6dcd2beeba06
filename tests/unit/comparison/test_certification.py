"""Certificates when something goes wrong, told apart: mistaken input, refusal, failure, difference."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest

from flspec.comparison.agreement import Agreement, Resolution, RoundAgreement, compare_states
from flspec.comparison.certification import BackendVerdict, certify, load_certificate
from flspec.core.files import locked_folder
from flspec.errors import InputError
from flspec.protocol.backend import STAGES, Backend, Job, kept_state
from flspec.protocol.events import Event, RoundFinished
from flspec.protocol.plan import Plan
from flspec.protocol.registry import find_backend
from flspec.protocol.state import OptimizerState, ServerState, load_state, save_state
from flspec.runs.runner import run
from flspec_local import LocalBackend

MakePlan = Callable[..., Plan]


class Raises(LocalBackend):
    """Fails in its second round, with an exception of its own or with one of ours."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def execute(self, plan: Plan, job: Job) -> Generator[Event, None, None]:
        for event in super().execute(plan, job):
            if isinstance(event, RoundFinished) and event.round == 2:
                raise self.error
            yield event


class Refuses(LocalBackend):
    def unsupported(self, plan: Plan) -> list[str]:
        return ["model: unknown here"]


class MeasuresWrongly(LocalBackend):
    """Trains rightly and reports a loss of its own."""

    def execute(self, plan: Plan, job: Job) -> Generator[Event, None, None]:
        for event in super().execute(plan, job):
            wrong = isinstance(event, RoundFinished)
            yield event.model_copy(update={"train": {"loss": 9.9, "accuracy": 0.5}}) if wrong else event


class RepeatsARound(LocalBackend):
    """Says round 1 twice, and never round 2."""

    def execute(self, plan: Plan, job: Job) -> Generator[Event, None, None]:
        for event in super().execute(plan, job):
            second = isinstance(event, RoundFinished) and event.round == 2
            yield event.model_copy(update={"round": 1}) if second else event


class KeepsNothing(LocalBackend):
    def execute(self, plan: Plan, job: Job) -> Generator[Event, None, None]:
        for event in super().execute(plan, job):
            yield event.model_copy(update={"state": None}) if isinstance(event, RoundFinished) else event


@pytest.mark.parametrize(
    ("backend", "verdict", "reason"),
    [
        (Raises(ValueError("too hot")), "failed", "too hot"),
        (Raises(InputError("data are gone")), "failed", "data are gone"),
        (Refuses(), "refused", "model: unknown here"),
        (MeasuresWrongly(), "different", "train loss"),
        (RepeatsARound(), "different", "reports round 1"),
        (KeepsNothing(), "failed", "did not store the state"),
        (LocalBackend(), "equivalent", None),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, LocalBackend) else "",
)
def test_each_way_to_go_wrong_has_its_verdict(
    make_plan: MakePlan, tmp_path: Path, backend: LocalBackend, verdict: str, reason: str | None
) -> None:
    engines = {"local": LocalBackend(), "other": backend, "third": LocalBackend()}
    certificate = certify(make_plan(), list(engines), tmp_path / "c", engines=engines)
    judged = certificate.backends["other"]
    assert judged.verdict == verdict
    assert reason is None or reason in str(judged.reason)
    assert certificate.backends["third"].bitwise  # one backend's trouble is not another's
    assert load_certificate(tmp_path / "c") == certificate
    assert certificate.is_equivalent == (verdict == "equivalent")


def test_a_backend_that_nobody_knows_is_a_mistake_and_leaves_nothing(make_plan: MakePlan, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown 'flowr'"):
        certify(make_plan(), ["local", "flowr"], tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_a_reference_that_refuses_leaves_nothing(make_plan: MakePlan, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="model: unknown here"):
        certify(make_plan(), ["a", "b"], tmp_path / "c", engines={"a": Refuses(), "b": LocalBackend()})
    assert not (tmp_path / "c").exists()


def test_a_certificate_keeps_last_weights_and_no_checkpoints(make_plan: MakePlan, tmp_path: Path) -> None:
    engines = {"local": LocalBackend(), "other": LocalBackend()}
    certify(make_plan(), list(engines), tmp_path / "c", engines=engines)
    assert not list((tmp_path / "c").rglob("checkpoints"))
    assert (tmp_path / "c" / "other" / "weights.safetensors").is_file()
    document = json.loads((tmp_path / "c" / "certificate.json").read_text())
    assert set(document) >= {"plan_digest", "reference", "tolerance", "backends"}
    assert set(document["backends"]["other"]) >= {
        "verdict",
        "lockstep",
        "free_running",
        "first_divergence",
        "reason",
    }


def kept(plan: Plan, folder: Path, change: Callable[[ServerState], ServerState]) -> Path:
    """The states of one round, after `change`."""
    list(LocalBackend().execute(plan, Job(folder / "right", keep="all")))
    state = load_state(kept_state(folder / "right", 1), plan.digest)
    path = kept_state(folder, 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_state(path, change(state), plan.digest)
    return folder


def one_value(state: ServerState) -> ServerState:
    weights = {name: weight.reshape(-1)[:1].reshape((1,) * weight.ndim) for name, weight in state.weights.items()}
    return ServerState(1, weights, state.optimizer)


@pytest.mark.parametrize(
    "change",
    [
        one_value,
        lambda s: ServerState(1, {n: w for n, w in s.weights.items() if n != "output.bias"}, s.optimizer),
        lambda s: ServerState(1, {**s.weights, "ghost": np.zeros(1, np.float32)}, s.optimizer),
        lambda s: ServerState(1, s.weights, OptimizerState(1, {"ghost": s.weights})),
    ],
    ids=["broadcastable shapes", "a tensor less", "a tensor more", "a slot more"],
)
def test_states_of_another_form_are_different_however_their_values_compare(
    make_plan: MakePlan, tmp_path: Path, change: Callable[[ServerState], ServerState]
) -> None:
    plan = make_plan(rounds=1)
    agreement = compare_states(plan, kept(plan, tmp_path / "a", lambda s: s), kept(plan, tmp_path / "b", change))
    assert agreement.first_divergence is not None
    assert not agreement.bitwise


def test_minus_zero_is_not_bitwise_zero(make_plan: MakePlan, tmp_path: Path) -> None:
    plan = make_plan(rounds=1)

    def zeros(sign: float) -> Callable[[ServerState], ServerState]:
        return lambda s: ServerState(1, {n: np.full_like(w, sign * 0.0) for n, w in s.weights.items()}, s.optimizer)

    agreement = compare_states(plan, kept(plan, tmp_path / "a", zeros(1)), kept(plan, tmp_path / "b", zeros(-1)))
    assert agreement.max_abs_diff == 0.0
    assert not agreement.bitwise


def test_two_runs_do_not_share_a_folder(make_plan: MakePlan, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with locked_folder(tmp_path / "run"), pytest.raises(InputError, match="another flspec is running"):
        run(make_plan(), out=tmp_path / "run")
    assert run(make_plan(), out=tmp_path / "run").status == "completed"


def test_a_run_is_resumed_on_the_backend_it_began_on(make_plan: MakePlan, tmp_path: Path) -> None:
    def stop(record: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(make_plan(), out=tmp_path / "run", watch=stop)
    with pytest.raises(InputError, match="is a run on local, not flower:inprocess"):
        run(make_plan(), "flower:inprocess", tmp_path / "run", resume=True)
    assert run(make_plan(), out=tmp_path / "run", resume=True).status == "completed"


def test_an_evaluation_that_was_not_written_down_is_made_again(make_plan: MakePlan, tmp_path: Path) -> None:
    whole = run(make_plan(), out=tmp_path / "whole")

    def stop(record: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(make_plan(), out=tmp_path / "run", watch=stop)
    log = tmp_path / "run" / "events.jsonl"
    lines = log.read_text().splitlines(keepends=True)
    assert "round_evaluated" in lines[-2]
    log.write_text("".join(lines[:-2]))
    resumed = run(make_plan(), out=tmp_path / "run", resume=True)
    assert [r.evaluation for r in resumed.rounds] == [r.evaluation for r in whole.rounds]
    assert resumed.final == whole.final


class OffByExamples(LocalBackend):
    """Trains as planned, and tells of so many more examples a round that they were right."""

    def __init__(self, num: int) -> None:
        super().__init__()
        self._num = num

    def execute(self, plan: Plan, job: Job) -> Generator[Event, None, None]:
        for event in super().execute(plan, job):
            if isinstance(event, RoundFinished):
                accuracy = event.train["accuracy"] + self._num / event.num_trained
                event = event.model_copy(update={"train": event.train | {"accuracy": accuracy}})  # noqa: PLW2901
            yield event


@pytest.mark.parametrize(("num", "verdict"), [(2, "equivalent"), (4, "different")])
def test_two_examples_that_fall_otherwise_are_counted_of_those_trained_on(
    make_plan: Callable[..., Plan], tmp_path: Path, num: int, verdict: str
) -> None:
    """Of fifteen here, though the cohort holds more than twice as many."""
    client = {"epochs": 1, "batch_size": 5, "max_examples": 5, "optimizer": {"kind": "sgd", "learning_rate": 0.1}}
    engines: dict[str, Backend] = {"local": LocalBackend(), "off": OffByExamples(num)}
    certificate = certify(make_plan(client=client), list(engines), tmp_path / "c", engines=engines)
    assert certificate.backends["off"].verdict == verdict


class TrainsByItself(LocalBackend):
    done_by = MappingProxyType({**LocalBackend.done_by, "client training": "another engine"})


class SaysNothing(LocalBackend):
    done_by = MappingProxyType[str, str]({})


@pytest.mark.parametrize(
    ("backend", "words"),
    [
        (
            TrainsByItself(),
            "agreement checks client training; transport (flspec_local) and server step (flspec) are the "
            "same code as local's",
        ),
        (SaysNothing(), "it does not declare whose code does its rounds, so what it shares with local is not known"),
        (
            find_backend("flower"),
            "agreement checks transport; client training (flspec_torch) and server step (flspec) ",
        ),
        (find_backend("tff"), "agreement checks client training, transport and server step, all by own code"),
        (LocalBackend(), "agreement checks no stage of a round; client training (flspec_torch), transport "),
    ],
)
def test_a_verdict_says_what_it_is_independent_of(
    make_plan: MakePlan, tmp_path: Path, backend: Backend, words: str
) -> None:
    class Declared(LocalBackend):
        done_by = MappingProxyType({**backend.done_by})

    engines: dict[str, Backend] = {"local": LocalBackend(), "other": Declared()}
    certificate = certify(make_plan(rounds=1), list(engines), tmp_path / "c", engines=engines)
    assert certificate.backends["other"].scope("local").startswith(words)
    assert load_certificate(tmp_path / "c") == certificate
    assert "same plan, data, transforms and schedules" in certificate.not_compared


def test_every_backend_of_ours_says_who_does_each_stage() -> None:
    for name in ("local", "flower", "tff"):
        assert set(find_backend(name).done_by) == set(STAGES)


def test_the_round_that_shows_least_is_told_beside_the_median() -> None:
    def verdict(*resolutions: float, difference: float = 1e-9) -> BackendVerdict:
        far = {"max_abs_diff": difference, "max_rel_diff": difference, "of_tolerance": 0.5}
        rounds = [RoundAgreement(round=n, resolution=value, **far) for n, value in enumerate(resolutions, start=1)]
        agreement = Agreement(
            max_abs_diff=difference,
            max_rel_diff=difference,
            by_round=tuple(rounds),
            resolution=Resolution.of(rounds),
            first_divergence=None,
            bitwise=difference == 0,
        )
        return BackendVerdict(verdict="equivalent", lockstep=agreement, free_running=agreement)

    coarse = "round 2 could hide a deviation of 10% of what it learns, half of the rounds less than 0.0001"
    assert verdict(1e-5, 0.10, 1e-4).caveat == coarse
    assert verdict(1e-5, 0.009, 1e-4).caveat is None
    assert verdict(1e-5, 0.10, 1e-4).resolves == (
        "half of the rounds resolve 0.0001 of what they learn, the worst, round 2, 0.1"
    )
    identical = verdict(1e-5, 0.10, 1e-4, difference=0.0)
    assert (identical.caveat, identical.resolves) == (None, None)  # identical bits hide nothing
