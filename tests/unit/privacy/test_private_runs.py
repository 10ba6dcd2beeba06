"""Private runs: without noise they are runs with a clip. Killed and resumed they are the same run, at the same cost."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import pytest

import flspec_local
from flspec.errors import InputError, RunError
from flspec.execution import ledger
from flspec.execution import rounds as driver
from flspec.execution.ledger import LEDGER, note_release, num_releases
from flspec.privacy.accountant import spent
from flspec.runs.result import Result, load_result
from flspec.runs.runner import run

UNIFORM = {"kind": "fedavg", "weighting": "uniform"}
CENTRAL = {"kind": "central", "clip": {"kind": "fixed", "norm": 0.05}, "noise_multiplier": 1.0, "delta": 1e-3}
STEEP = {"epochs": 200, "batch_size": 5, "optimizer": {"kind": "sgd", "learning_rate": 1e6}}


class Killed(BaseException):
    """Ends a run as a signal would that nobody can catch: nothing is written on the way out."""


@pytest.fixture
def private(make_plan):
    """A private plan of seven rounds with some sections replaced."""

    def make(privacy=None, **sections):
        privacy = {"privacy": CENTRAL | (privacy or {})} if privacy is not False else {}
        return make_plan(**({"rounds": 7, "cohort": {"kind": "all"}, "aggregator": UNIFORM} | privacy | sections))

    return make


def digest_of(result: Result) -> str:
    assert result.weights
    return result.weights.sha256


def cost_of(result: Result) -> tuple[int, float | None]:
    """The releases of a run, and their epsilon."""
    assert result.privacy
    return result.privacy.rounds, result.privacy.epsilon


@pytest.mark.parametrize("backend", ["local", "flower:inprocess"])
def test_without_noise_a_run_is_one_with_a_clip_to_the_last_bit(private, tmp_path, backend):
    norm = 0.0625  # which float32 holds exactly, as the record of the clip does
    clip = [{"kind": "clip_update", "norm": norm}]
    bounded = {"noise_multiplier": 0.0, "clip": {"kind": "fixed", "norm": norm}}
    plans = [private(bounded), private(False, postprocessors=clip), private(False), private()]
    digests = [digest_of(run(plan, backend=backend, out=tmp_path / str(n))) for n, plan in enumerate(plans)]
    assert digests[0] == digests[1]
    assert len(set(digests[1:])) == 3  # the clip and the noise each change something


@pytest.mark.parametrize(
    "clip", [{"kind": "fixed", "norm": 0.05}, {"kind": "adaptive", "initial": 0.05, "noise_on_count": 2}]
)
def test_flower_gives_the_bits_of_local_with_noise_and_empty_cohorts(private, tmp_path, clip):
    plan = private({"clip": clip}, cohort={"kind": "poisson", "size": 1})
    assert any(not plan.cohort(number) for number in range(1, 8))
    results = [run(plan, backend=name, out=tmp_path / name[:5]) for name in ("local", "flower:inprocess")]
    assert digest_of(results[0]) == digest_of(results[1])
    assert cost_of(results[0]) == cost_of(results[1]) == (7, spent(plan.settings.privacy, 7).epsilon)


def killed_at(monkeypatch, where, name, number, after=False, by=Killed):
    """Have the `number`-th call of a function kill the process, before it does anything or after all."""
    sound, calls = getattr(where, name), []

    def kills(*arguments: Any, **named: Any) -> Any:
        calls.append(arguments)
        if len(calls) == number and not after:
            raise by
        given = sound(*arguments, **named)
        if len(calls) == number:
            raise by
        return given

    monkeypatch.setattr(where, name, kills)


POINTS = [  # where the fourth round is killed, and how many releases there may then have been
    (driver, "note_release", False, 3),
    (driver, "note_release", True, 4),
    (flspec_local, "finish_round_of", False, 4),
    (flspec_local, "finish_round_of", True, 4),
    (driver, "save_state", False, 4),
    (driver, "save_state", True, 4),
]


MECHANISMS = {
    "central": CENTRAL | {"clip": {"kind": "adaptive", "initial": 0.05, "noise_on_count": 2}},
    "local": {"kind": "local", "clip": {"norm": 0.05}, "noise_multiplier": 1.0, "delta": 1e-3},
    "example": {"kind": "example", "clip": {"norm": 0.5}, "noise_multiplier": 1.0, "delta": 1e-3},
}


@pytest.mark.parametrize("mechanism", MECHANISMS.values(), ids=list(MECHANISMS))
@pytest.mark.parametrize(("where", "name", "after", "releases"), POINTS)
def test_a_killed_run_goes_on_to_the_same_bits_and_its_ledger_never_falls(
    private, tmp_path, monkeypatch, where, name, after, releases, mechanism
):
    plan = private(mechanism, cohort={"kind": "poisson", "size": 3})
    whole = run(plan, out=tmp_path / "whole")
    with monkeypatch.context() as patched:
        killed_at(patched, where, name, 4, after)
        with pytest.raises(Killed):
            run(plan, out=tmp_path / "parts")
    assert num_releases(tmp_path / "parts") == releases
    parts = run(plan, out=tmp_path / "parts", resume=True)
    assert parts.weights == whole.weights
    assert parts.privacy == whole.privacy
    assert num_releases(tmp_path / "parts") == 7
    written = [json.loads(line)["round"] for line in (tmp_path / "parts" / LEDGER).read_bytes().split(b"\n") if line]
    assert written == sorted(written)
    assert written[:releases] == list(range(1, releases + 1))  # what was written stays


def test_what_an_interrupted_run_has_released_is_in_its_result(private, tmp_path, monkeypatch):
    plan = private()
    killed_at(monkeypatch, flspec_local, "finish_round_of", 3, by=KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        run(plan, out=tmp_path / "run")
    result = load_result(tmp_path / "run")
    assert (result.status, len(result.rounds)) == ("interrupted", 2)
    assert cost_of(result) == (3, spent(plan.settings.privacy, 3).epsilon)


@pytest.mark.parametrize("cut", range(12))
def test_a_line_that_a_crash_cut_short_spoils_no_other(tmp_path, cut):
    note_release(tmp_path, 1)
    note_release(tmp_path, 2)
    path = tmp_path / LEDGER
    path.write_bytes(path.read_bytes()[: len(path.read_bytes()) - cut])
    before = num_releases(tmp_path)
    assert before in (1, 2)
    note_release(tmp_path, 3)
    assert num_releases(tmp_path) == before + 1
    note_release(tmp_path, 3)  # the same round again is the same release
    assert num_releases(tmp_path) == before + 1


def test_a_release_is_on_the_disk_before_the_round_begins(tmp_path, monkeypatch):
    done = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: done.append(os.fstat(descriptor).st_mode & 0o170000))
    note_release(tmp_path, 1)
    assert done == [0o100000, 0o040000]  # the file, then the folder that lists it


def test_a_full_disk_ends_the_run_before_the_round(private, tmp_path, monkeypatch):
    def full(path, content):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(ledger, "append_durably", full)
    with pytest.raises(RunError, match=r"privacy\.jsonl cannot be written: No space left on device"):
        run(private(), out=tmp_path / "run")
    assert load_result(tmp_path / "run").rounds == ()


def test_a_private_run_goes_on_with_noise_where_no_update_is_finite(private, tmp_path):
    sections = {"client": STEEP, "model": {"kind": "mlp", "hidden": [6, 6, 6]}}
    with pytest.raises(RunError, match="no client's update is finite"):
        run(private(False, **sections), out=tmp_path / "open")
    result = run(private(**sections), out=tmp_path / "private")
    assert len(result.rounds) == cost_of(result)[0] == 7
    assert len(result.rounds[0].failures) == 5


def test_the_plan_of_a_private_run_is_rehearsed(private):
    from flspec.analysis.description import describe_plan

    description = describe_plan(private(), rehearse=True)
    assert description.estimates.time["local"]
    assert description.privacy
    assert description.privacy.rounds == 7


@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_without_the_accountant_a_private_run_is_refused_and_leaves_nothing(private, tmp_path, monkeypatch, noise):
    plan = private({"noise_multiplier": noise})
    monkeypatch.setitem(sys.modules, "dp_accounting", None)
    with pytest.raises(InputError, match=r"install it with pip install 'flspec\[privacy\]'"):
        run(plan, backend="local", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert run(private(False), backend="local", out=tmp_path / "plain").privacy is None
