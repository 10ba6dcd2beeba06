"""What a variable of the environment holds stays out of files, and sentences stay sentences."""

from __future__ import annotations

from pathlib import Path

import pytest

from flspec.core import locations
from flspec.core.locations import locate, redact


@pytest.fixture
def value(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """The value of a variable that has been read."""
    monkeypatch.setattr(locations, "_replaced", {})
    monkeypatch.setenv("HOUSE", request.param)
    locate("${env:HOUSE}/idx", Path("/root"), "dataset.folder")
    return str(request.param)


@pytest.mark.parametrize(
    ("value", "text", "stored"),
    [
        ("/home/alice", "/home/alice/idx is missing", "${env:HOUSE}/idx is missing"),
        ("/home/alice/", "no file at '/home/alice/idx'", "no file at '${env:HOUSE}/idx'"),
        ("/home/alice", "/home/alice2/idx and /home/alice.old", "/home/alice2/idx and /home/alice.old"),
        ("/home/alice", "read /home/alice.", "read ${env:HOUSE}."),
        ("alice-and-bob", "alice-and-bob is no folder", "${env:HOUSE} is no folder"),
        ("a", "a run of a model in a/idx", "a run of a model in ${env:HOUSE}/idx"),
        ("a", "/root/a/idx, data/a: a file", "/root/${env:HOUSE}/idx, data/${env:HOUSE}: a file"),
        ("data", "the data of data/mnist are no data", "the data of ${env:HOUSE}/mnist are no data"),
        ("e", "round 1: the weights are not finite", "round 1: the weights are not finite"),
        (".", "./idx is missing.", "./idx is missing."),
        ("/", "/idx and/or /root", "/idx and/or /root"),
        ("a+b(c", "in x/a+b(c/idx", "in x/${env:HOUSE}/idx"),
    ],
    indirect=["value"],
)
def test_a_value_is_replaced_where_it_stands_by_itself(value: str, text: str, stored: str) -> None:
    assert redact(text) == stored
