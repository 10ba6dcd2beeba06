"""Simulators are timed round by round in a process of their own, and one that cannot be started is told as absent."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks.peers import __main__ as peers
from benchmarks.peers.base import Absent, Simulator, simulators


def test_a_simulator_is_timed_beside_the_floor():
    """A process of its own that imports torch: 3 s."""
    found = peers.measure(simulators()["flspec"], ["softmax"], pairs=2, small=True)
    assert (found.absent, found.rounds["softmax"].pairs) == ("", 2)
    assert 0 < found.rounds["softmax"].ours < found.start["softmax"]  # which imports torch


class Unknown(Simulator):
    """Known here, and not where it is started."""

    name = "unknown"
    title = "of nobody"

    def python(self) -> Path:
        return Path(sys.executable)

    def run(self, plan, rounds, after_round):
        raise NotImplementedError


class Missing(Unknown):
    def python(self) -> Path:
        raise Absent("not installed; somebody has it")


@pytest.mark.parametrize(
    ("simulator", "told"), [(Unknown(), "failed: KeyError: 'unknown'"), (Missing(), "not installed; somebody has it")]
)
def test_one_that_cannot_be_started_says_why(simulator, told):
    assert peers.measure(simulator, ["softmax"], pairs=2, small=True).absent == told


def test_what_ends_early_has_no_time_end_to_end():
    with pytest.raises(Absent, match="failed: KeyError: 'unknown'"):
        peers.end_to_end(Unknown(), rounds=2, small=True)


def test_times_end_to_end_are_told_as_times_of_flspec():
    found = {"flspec": peers.Found("ours", whole=2.0), "x": peers.Found("theirs", whole=50.0), "y": peers.Found("gone")}
    assert list(peers.in_words(found)) == [
        "20 rounds of the first MLP end to end, ours: 2.0 s",
        "20 rounds of the first MLP end to end, theirs: 50.0 s, 25 times flspec",
    ]


def test_the_table_says_what_was_measured_and_what_is_absent(monkeypatch, tmp_path):
    from benchmarks.history import Machine
    from benchmarks.measuring import Beside
    from benchmarks.page import peers_table

    there = peers.Found("there", {"mlp": 2.0}, {"mlp": Beside(1.5, 1.0, 1.5, 0.01, 5)}, 8.0)
    gone = peers.Found("gone", absent="not installed")
    file = tmp_path / "measured.json"
    file.write_text(json.dumps(peers.document({"there": there, "gone": gone}, Machine("a processor", 2))))
    text = "\n".join(peers_table(file))
    assert "| there | 2 s | 8 s | 1.5 |" in text
    assert "| gone | not installed |  |  |" in text
