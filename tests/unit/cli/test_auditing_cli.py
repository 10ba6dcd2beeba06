"""`flspec audit` as it is seen in a terminal: a claim that holds, one that does not, and specs without one."""

from __future__ import annotations

import json

import pytest
import yaml

from flspec.postprocessors.private_mean import PrivateMean
from tests.command_line import flspec

CENTRAL = {"kind": "central", "clip": {"kind": "fixed", "norm": 1.0}, "noise_multiplier": 1.0, "delta": 0.02}


@pytest.fixture
def folder(tmp_path, make_spec):
    def write(name, **sections):
        spec = make_spec(**sections).model_dump(mode="json", exclude_none=True)
        (tmp_path / name).write_text(yaml.safe_dump(spec))

    uniform = {"kind": "fedavg", "weighting": "uniform"}
    write("private.yaml", privacy=CENTRAL, cohort={"kind": "poisson", "size": 3}, aggregator=uniform)
    write("open.yaml")
    return tmp_path


def test_a_claim_that_holds_is_printed_beside_what_was_measured(folder):
    done = flspec(folder, "audit", "private.yaml", "--trials", "4000", COLUMNS="80")
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line.strip() for line in done.stdout.splitlines()]
    assert max(map(len, done.stdout.splitlines())) <= 80
    planned = json.loads(flspec(folder, "plan", "private.yaml", "--json").stdout)["privacy"]["epsilon"]
    assert f"claimed   epsilon {planned:.4g} at delta 0.02, by PLD accounting" in lines
    assert any(line.startswith("measured  epsilon at least ") and "with 0.95 confidence" in line for line in lines)
    assert "Nothing contradicts the claim. That is no proof of it" in done.stdout
    assert sorted(path.name for path in folder.iterdir()) == ["open.yaml", "private.yaml"]


def test_a_claim_that_does_not_hold_exits_with_1(folder, monkeypatch):
    monkeypatch.setattr(PrivateMean, "on_each", lambda self, delta, record, stream: delta)
    done = flspec(folder, "audit", "private.yaml", "--trials", "4000")
    assert done.returncode == 1
    assert "The claim is refuted" in done.stdout
    found = flspec(folder, "audit", "private.yaml", "--trials", "4000", "--json")
    assert found.returncode == 1
    document = json.loads(found.stdout)
    assert document["refuted"]
    assert document["measured"] > document["claimed"]


def test_so_few_trials_that_they_could_not_refute_it_say_so(folder):
    done = flspec(folder, "audit", "private.yaml", "--trials", "100")
    assert done.returncode == 0
    assert "so few trials could not: raise --trials" in " ".join(done.stdout.split())


PROMISES = {
    "local": ("one client, told by each report that it sends, 3 in all", "where it sends the opposite"),
    "example": ("one example of a client, told by each step of that client, 9 in all", "without it"),
}


@pytest.mark.parametrize("kind", PROMISES)
def test_each_promise_is_audited_by_a_canary_of_its_own(folder, kind):
    privacy = f"privacy={{kind: {kind}, clip: {{norm: 1.0}}, noise_multiplier: 3.0, delta: 0.02}}"
    settings = ("--set", privacy, "--set", "cohort={kind: all}", "--trials", "4000")
    done = flspec(folder, "audit", "private.yaml", *settings, COLUMNS="80")
    assert (done.returncode, done.stderr) == (0, "")
    assert max(map(len, done.stdout.splitlines())) <= 80
    canary, absent = PROMISES[kind]
    assert f"canary    {canary}" in done.stdout
    assert f"4,000 with the canary, 4,000 {absent}" in done.stdout
    document = json.loads(flspec(folder, "audit", "private.yaml", *settings, "--json").stdout)
    assert (document["mechanism"], document["refuted"], document["broken"]) == (kind, False, False)


LARGER = ("--set", "privacy.noise_cohort=30", "--set", "privacy.population=40", "--set", "cohort.size=5")


def test_a_claim_for_a_larger_run_is_held_against_what_ran(folder):
    done = flspec(folder, "audit", "private.yaml", *LARGER, "--trials", "4000", COLUMNS="80")
    assert done.returncode == 1
    assert max(map(len, done.stdout.splitlines())) <= 80
    lines = [line.strip() for line in done.stdout.splitlines()]
    document = json.loads(flspec(folder, "audit", "private.yaml", *LARGER, "--trials", "4000", "--json").stdout)
    ran = document["what_ran"]
    assert f"what ran  epsilon {ran['epsilon']:.4g}, by {ran['accountant']} accounting" in lines
    assert "5 clients; the claim is for 40" in lines
    assert "cohorts of 5; the claim is for the noise of 30" in lines
    assert any(line.startswith("measured") and line.endswith("ABOVE THE CLAIM") for line in lines)
    assert "This run does not keep the claim" in done.stdout
    assert "is refuted" not in done.stdout
    assert document["claimed"] < document["measured"] <= ran["epsilon"]
    assert (document["refuted"], document["broken"]) == (True, False)


def test_a_claim_for_a_larger_run_says_so_where_trials_do_not_contradict_it(folder):
    done = flspec(folder, "audit", "private.yaml", "--set", "privacy.population=6", "--trials", "500")
    assert done.returncode == 0
    assert "of this one only the epsilon of what ran is true" in " ".join(done.stdout.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["open.yaml"], "privacy: is absent, so nothing is promised; add privacy: {kind: central, ...}"),
        (["private.yaml", "--set", "privacy.noise_multiplier=0"], "privacy.noise_multiplier: is 0, so nothing is"),
        (["private.yaml", "--trials", "99"], "--trials: 99 is not between 100 and 1,000,000"),
        (["private.yaml", "--trials", "1000001"], "--trials: 1,000,001 is not between 100 and 1,000,000"),
        (["private.yaml", "--confidence", "nan"], "--confidence: nan is not between 0.5 and 0.9999"),
        (["private.yaml", "--confidence", "1"], "--confidence: 1 is not between 0.5 and 0.9999"),
    ],
)
def test_what_cannot_be_audited_is_one_line_and_exits_with_2(folder, arguments, message):
    done = flspec(folder, "audit", *arguments)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert message in done.stderr


def test_trials_that_tell_nothing_apart_say_so(folder):
    done = flspec(folder, "audit", "private.yaml", "--trials", "100", "--set", "privacy.noise_multiplier=1000")
    assert done.returncode == 0
    assert "measured  nothing: these trials are not told apart well enough" in done.stdout
