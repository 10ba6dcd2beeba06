"""Noise that nobody knows: a key of each run's own, which only its folder has."""

from __future__ import annotations

import json
import os
import re
import stat
from dataclasses import replace

import numpy as np
import pytest

from flspec.comparison.certification import certify
from flspec.comparison.experiments import difference
from flspec.comparison.results import compare
from flspec.errors import InputError, RunError
from flspec.execution.noise_key import NOISE_KEY
from flspec.execution.rounds import initial_state
from flspec.execution.server_step import finish_round
from flspec.privacy.statement import privacy_record
from flspec.protocol.plan import Plan
from flspec.runs.runner import run
from flspec_local import LocalBackend
from flspec_torch.training import Trainer

UNIFORM = {"kind": "fedavg", "weighting": "uniform"}
POISSON = {"kind": "poisson", "size": 3}
KINDS = {
    "central": {"kind": "central", "clip": {"kind": "fixed", "norm": 0.5}},
    "local": {"kind": "local", "clip": {"norm": 0.5}},
    "example": {"kind": "example", "clip": {"norm": 0.5}},
}


@pytest.fixture(params=list(KINDS))
def make(request, make_plan):
    def plan(seed="secret", noise_multiplier=1.0, **sections):
        privacy = KINDS[request.param] | {"noise_multiplier": noise_multiplier, "delta": 0.01, "seed": seed}
        return make_plan(**{"aggregator": UNIFORM, "cohort": POISSON, "rounds": 4, "privacy": privacy} | sections)

    return plan


def weights(result):
    return result.weights.sha256


def test_two_runs_of_one_plan_have_noise_of_their_own(make, tmp_path):
    plan = make()
    first, second = (run(plan, out=tmp_path / name) for name in ("a", "b"))
    assert first.plan_digest == second.plan_digest == make().digest
    assert weights(first) != weights(second)
    planned = make("planned")
    assert weights(run(planned, out=tmp_path / "c")) == weights(run(planned, out=tmp_path / "d"))
    silent = make(noise_multiplier=0.0)
    assert weights(run(silent, out=tmp_path / "e")) == weights(run(silent, out=tmp_path / "f"))


def test_the_key_is_its_owners_alone_and_nowhere_else_in_the_folder(make, tmp_path):
    before = os.umask(0)
    try:
        run(make(), out=tmp_path / "a")
    finally:
        os.umask(before)
    key = tmp_path / "a" / NOISE_KEY
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    text = key.read_bytes()
    assert re.fullmatch(rb"[0-9a-f]{64}", text)
    forms = text, bytes.fromhex(text.decode())
    others = [path for path in (tmp_path / "a").rglob("*") if path.is_file() and path != key]
    assert len(others) >= 6
    assert not [path for path in others if any(form in path.read_bytes() for form in forms)]


def test_a_plan_with_a_key_neither_shows_nor_stores_it(make, tmp_path):
    plan = replace(make(), noise_key=b"k" * 32)
    assert "kkkk" not in repr(plan)
    plan.save(tmp_path / "plan")
    assert Plan.load(tmp_path / "plan").noise_key == b""
    assert plan.digest == make().digest == Plan.load(tmp_path / "plan").digest


def test_a_run_that_goes_on_draws_the_same_noise(make, tmp_path):
    """What was interrupted after a round ends with the weights that the whole run has by the same key."""

    def stop_after_two(record):
        if record.round == 2:
            raise KeyboardInterrupt

    plan = make()
    whole = run(plan, out=tmp_path / "whole")
    (tmp_path / "cut").mkdir()
    with pytest.raises(KeyboardInterrupt):
        run(plan, out=tmp_path / "cut", watch=stop_after_two)
    key = (tmp_path / "cut" / NOISE_KEY).read_bytes()
    resumed = run(plan, out=tmp_path / "cut", resume=True)
    assert (tmp_path / "cut" / NOISE_KEY).read_bytes() == key
    assert weights(resumed) != weights(whole)
    again = tmp_path / "again"
    with pytest.raises(KeyboardInterrupt):
        run(plan, out=again, watch=stop_after_two)
    (again / NOISE_KEY).write_bytes(key)
    for file in (again / "checkpoints").iterdir():
        file.unlink()  # so it begins at round 1, with the other run's key
    assert weights(run(plan, out=again, resume=True)) == weights(resumed)


@pytest.mark.parametrize("damage", ["gone", "short", "text"])
def test_a_run_whose_key_is_lost_does_not_go_on(make, tmp_path, damage):
    def stop(record):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(make(), out=tmp_path / "a", watch=stop)
    key = tmp_path / "a" / NOISE_KEY
    if damage == "gone":
        key.unlink()
    else:
        key.write_text("00" * 31 if damage == "short" else "not a key")
    with pytest.raises(RunError, match=r"noise\.key is (gone|damaged)") as caught:
        run(make(), out=tmp_path / "a", resume=True)
    assert "begin a new one" in str(caught.value)
    assert key.exists() is (damage != "gone")


def test_nothing_is_released_with_noise_that_is_known(make):
    """A backend that lost the key must not go on with what the plan alone leads to."""
    plan = make()
    number = next(n for n in range(1, 5) if plan.cohort(n))
    state = replace(initial_state(plan), round=number - 1)
    with pytest.raises(RunError, match=r"privacy\.seed: secret, but this backend draws noise without the run's key"):
        finish_round(plan, state, [Trainer(plan).train_from(state, task) for task in plan.cohort(number)])


def test_a_backend_that_does_not_know_of_secret_noise_refuses_it(make):
    class Older(LocalBackend):
        reads = LocalBackend.reads - {"secret_noise"}

    assert [text for text in Older().refusals(make()) if text.startswith("privacy.seed: ")]
    assert not [text for text in Older().refusals(make("planned")) if text.startswith("privacy.seed")]


def test_such_a_plan_is_not_certified_and_nothing_is_written(make, tmp_path):
    with pytest.raises(InputError, match=r"privacy\.seed: secret has each run draw noise of its own"):
        certify(make(), ["local", "flower:inprocess"], out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_comparison_says_why_two_such_runs_differ(make, tmp_path):
    for seed in ("secret", "planned"):
        for name in ("a", "b"):
            run(make(seed), out=tmp_path / seed / name)
        folders = [tmp_path / seed / name for name in ("a", "b")]
        says = "drew private noise of its own" in str(compare(folders).warnings)
        runs = difference(*folders).runs
        assert runs
        assert says is (seed == "secret") is bool(runs.note)


def test_the_record_says_what_a_known_seed_tells(make):
    known, unknown = ("; ".join(privacy_record(make(seed), 4).not_covered) for seed in ("planned", "secret"))
    assert "can take the noise off" in known
    assert "can take the noise off" not in unknown
    drawn = make().settings.privacy.mechanism != "local"  # epsilon counts on who is drawn, which the seed tells
    assert ("against whoever knows the seed, drawing hides nobody" in unknown) is drawn
    assert privacy_record(make(), 4).secret_noise
    assert json.loads(privacy_record(make(), 4).model_dump_json())["secret_noise"] is True


def test_secret_noise_follows_from_the_key_and_the_planned_seed(make):
    plan = make()
    seeds = {replace(plan, noise_key=key * 32).noise_seed(planned) for key in (b"a", b"b") for planned in (1, 2)}
    assert len(seeds) == 4
    assert min(seeds) > 2**128, "a seed with fewer bits could be found by trying all"
    assert np.all([replace(plan, noise_key=b"a" * 32).noise_seed(1) != 1])
