"""The list of mutants is one that can be tried, and whoever tries it says which of them live."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.mutants import run
from tests.mutants.run import Mutant, read_mutants, run_mutants, why_invalid

LISTED = read_mutants(run.FOLDER)
KILLED = Mutant("killed", "", "flspec/sums.py", "a + b", "a - b", ("tests/test_sums.py::test_two_and_two",))


@pytest.fixture
def tree(tmp_path):
    """A project of one function and four tests, of which one holds nothing."""
    for folder in ("flspec", "tests"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "__init__.py").touch()
    (tmp_path / "pyproject.toml").write_text("[tool.pytest.ini_options]\n")
    (tmp_path / "flspec" / "sums.py").write_text("def total(a, b):\n    return a + b\n")
    (tmp_path / "tests" / "test_sums.py").write_text(
        "import pytest\n\n\n"
        "def test_two_and_two():\n    from flspec.sums import total\n    assert total(2, 2) == 4\n\n\n"
        "def test_nothing():\n    from flspec.sums import total\n    assert total(2, 0) == 2\n\n\n"
        "@pytest.mark.parametrize('number', [0, 2])\n"
        "def test_each(number):\n    from flspec.sums import total\n"
        "    assert total(number, number) == 2 * number\n\n\n"
        "def test_skipped():\n    pytest.skip('not here')\n"
    )
    return tmp_path


@pytest.mark.parametrize("mutant", LISTED, ids=lambda mutant: mutant.name)
def test_a_listed_mutant_can_be_tried(mutant):
    assert why_invalid(mutant, run.ROOT) == ""
    assert mutant.why


def test_there_are_many_and_all_change_something_else():
    assert len({(mutant.file, mutant.before, mutant.after) for mutant in LISTED}) == len(LISTED)
    assert all(mutant.before != mutant.after for mutant in LISTED)


TRIED: list[tuple[dict[str, Any], str]] = [
    ({}, ""),
    ({"killed_by": ("tests/test_sums.py::test_nothing",)}, "LIVES: test_nothing passes"),
    ({"killed_by": (*KILLED.killed_by, "tests/test_sums.py::test_nothing")}, "LIVES: test_nothing passes"),
    ({"killed_by": ("tests/test_sums.py::test_each",)}, ""),
    ({"killed_by": ("tests/test_sums.py::test_each[2]",)}, ""),
    ({"killed_by": ("tests/test_sums.py::test_each[0]",)}, "LIVES: test_each[0] passes"),
    ({"after": "a + c"}, "LIVES: test_two_and_two fails for another reason: NameError"),
    ({"before": "def total", "after": "def sum"}, "LIVES: test_two_and_two fails for another reason: ImportError"),
    ({"after": "a + "}, "NOT TRIED: flspec/sums.py is no Python with it"),
    ({"before": "a"}, "NOT TRIED: its text occurs 3 times in flspec/sums.py, not once"),
    ({"before": "a * b"}, "NOT TRIED: its text occurs 0 times"),
    ({"file": "flspec/sum.py"}, "NOT TRIED: its text occurs 0 times in flspec/sum.py"),
    ({"killed_by": ("tests/test_sums.py::test_three",)}, "NOT TRIED: there is no test tests/test_sums.py::test_three"),
    ({"killed_by": ()}, "NOT TRIED: it names no test"),
]


def test_a_mutant_is_killed_by_every_test_that_it_names_or_it_is_told_why_not(tree):
    outcomes = run_mutants([replace(KILLED, **changes) for changes, _ in TRIED], tree)
    for (_, trouble), outcome in zip(TRIED, outcomes, strict=True):
        assert outcome.trouble.startswith(trouble)
        assert bool(outcome.trouble) is bool(trouble)
    assert (tree / "flspec" / "sums.py").read_text() == "def total(a, b):\n    return a + b\n"


def test_a_test_that_is_skipped_or_fails_by_itself_kills_nothing(tree):
    with pytest.raises(ValueError, match=r"without a mutant, tests/test_sums.py::test_skipped is skipped"):
        list(run_mutants([replace(KILLED, killed_by=("tests/test_sums.py::test_skipped",))], tree))
    (tree / "flspec" / "sums.py").write_text("def total(a, b):\n    return b - a or a + b + 1\n")
    with pytest.raises(ValueError, match=r"without a mutant, tests/test_sums.py::test_two_and_two fails"):
        list(run_mutants([replace(KILLED, before="a + b + 1", after="a")], tree))


def test_the_command_fails_where_one_lives_and_names_it(tree, monkeypatch, capsys):
    lives = replace(KILLED, name="unseen", killed_by=("tests/test_sums.py::test_nothing",))
    monkeypatch.setattr(run, "ROOT", tree)
    monkeypatch.setattr(run, "SLOW", ())
    monkeypatch.setattr(run, "read_mutants", lambda folder: [KILLED, lives])
    assert run.main([]) == 1
    told = capsys.readouterr().out
    assert "unseen" in told
    assert "2 mutants: 1 killed, 1 not" in told
    assert run.main(["--only", "killed"]) == 0
    with pytest.raises(SystemExit, match="2"):
        run.main(["--only", "kiled"])
