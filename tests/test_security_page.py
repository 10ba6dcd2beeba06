"""SECURITY.md: every promise stands in a table beside tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
LINES = (TESTS.parent / "SECURITY.md").read_text(encoding="utf-8").splitlines()
HEADER = ["| promise | tests |", "|---|---|"]
PROMISES = [line for line in LINES if line.startswith("|") and line not in HEADER]


@pytest.mark.parametrize("promise", PROMISES, ids=lambda line: line[2:40])
def test_a_promise_names_tests_that_exist(promise: str) -> None:
    _, _, tests, _ = promise.split("|")
    named = re.findall(r"`([^`]+)`", tests)
    assert named
    assert all((TESTS / name).exists() for name in named)


def test_each_table_is_whole() -> None:
    starts = [
        number for number, line in enumerate(LINES) if line.startswith("|") and not LINES[number - 1].startswith("|")
    ]
    assert all(LINES[number : number + 2] == HEADER for number in starts)
    assert len(PROMISES) > 15
