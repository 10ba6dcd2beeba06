"""Promises side by side: rounded up, the worst of a group, and never ranked across other terms."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.table import Table

from flspec.cli.consoles import EscapingConsole
from flspec.cli.sweeping import sweep_table
from flspec.cli.tables import comparison_table
from flspec.privacy.promises import epsilons_in_words, most_costly
from flspec.privacy.statement import round_up
from flspec.protocol.records import Promise
from flspec.runs.sweep import sweep
from flspec.runs.sweep_summary import CellRecord, Sweep, groups_of
from flspec.spec.study import parse_study
from tests.unit.report.report_cases import a_result, compare_results
from tests.unit.report.test_privacy_section import a_promise

TERMS = "by PLD at delta 0.001, of one client added or removed"
SPEC = """
flspec: 1
name: private
rounds: 2
dataset: {kind: synthetic, classes: 3, features: 4, train_examples: 60, test_examples: 20}
partition: {kind: iid, clients: 20}
model: {kind: softmax_regression}
client: {epochs: 1, batch_size: 5, optimizer: {kind: sgd, learning_rate: 0.1}}
cohort: {kind: poisson, size: 5}
aggregator: {kind: fedavg, weighting: uniform}
privacy: {kind: central, clip: {kind: fixed, norm: 1.0}, epsilon: 8, delta: 0.01}
matrix: {axes: {privacy: [null, {epsilon: 2}]}, seeds: [0, 1]}
"""


def promise(epsilon: float | None = 2.0, **fields: Any) -> Promise:
    whole = a_promise(epsilon=epsilon) | fields
    return Promise(**{name: whole[name] for name in Promise.model_fields})


def shown(table: Table) -> list[list[str]]:
    console = EscapingConsole(file=io.StringIO(), width=100)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return [line.split() for line in console.file.getvalue().splitlines()]


def words(rows: list[list[str]]) -> str:
    """The whole of a table, whatever its lines."""
    return " ".join(word for row in rows for word in row)


def test_epsilons_of_the_same_terms_name_them_once_and_are_rounded_up() -> None:
    cells, notes = epsilons_in_words([promise(2.0001), None, promise(None)])
    assert cells == ["2.01", "none", "none"]
    assert notes == [f"epsilon is {TERMS}"]


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"delta": 0.01}, TERMS.replace("0.001", "0.01")),
        ({"unit": "example"}, TERMS.replace("client", "example")),
        ({"adjacency": "replace"}, TERMS.replace("added or removed", "replaced")),
        ({"accountant": "RDP"}, TERMS.replace("PLD", "RDP")),
    ],
)
def test_epsilons_of_other_terms_are_marked(other: dict[str, Any], words: str) -> None:
    cells, notes = epsilons_in_words([promise(), promise(**other), None])
    assert cells == ["2 [a]", "2 [b]", "none"]
    assert notes == [f"epsilon [a] is {TERMS}", f"epsilon [b] is {words}"]


def test_without_private_runs_there_is_nothing_to_say() -> None:
    assert epsilons_in_words([None, None]) == (["", ""], [])


def test_a_group_promises_what_its_costliest_run_does() -> None:
    assert most_costly([promise(1.0), promise(3.0), promise(2.0)]) == promise(3.0)
    assert most_costly([promise(9.0), promise(None)]) == promise(None)
    assert most_costly([]) is None


def test_no_number_however_small_is_rounded_down() -> None:
    assert all(float(round_up(epsilon)) >= epsilon for epsilon in (5e-324, 1e-300, 1.0000001, 0.99951, 123456.0))


def test_a_comparison_has_a_column_of_epsilons_only_where_a_run_is_private() -> None:
    private, plain = a_result("local", privacy=a_promise()), a_result("tff")
    rows = shown(comparison_table(compare_results(private, plain)))
    assert "epsilon" in rows[3]
    assert [row[3] for row in rows if row[:1] in (["0"], ["1"])] == ["2.35", "none"]
    assert f"epsilon is {TERMS}" in words(rows)
    assert not any("epsilon" in row for row in shown(comparison_table(compare_results(plain))))
    assert [run["privacy"] for run in compare_results(private, plain).as_dict()["runs"]] == [
        private.privacy.model_dump(mode="json") if private.privacy else None,
        None,
    ]


def test_a_sweep_has_a_column_of_epsilons_beside_the_runs_without(tmp_path: Path) -> None:
    result = sweep(parse_study(SPEC), "local", tmp_path / "sweep", jobs=1)
    private = [cell.privacy for cell in result.cells if cell.values["privacy"]]
    assert all(one and 1.99 < (one.epsilon or 0) <= 2.0 and one.delta == 0.01 for one in private)
    rows = shown(sweep_table(result))
    assert [row[:3] for row in rows if row[:1] in (["null"], ["epsilon=2"])] == [
        ["null", "2", "none"],
        ["epsilon=2", "2", "2"],
    ]
    assert f"epsilon is {TERMS.replace('0.001', '0.01')}" in words(rows)


def test_a_cell_that_was_not_run_says_nothing_of_epsilon() -> None:
    done = CellRecord(label="a", values={"a": 1}, status="completed", privacy=promise())
    failed = CellRecord(label="b", values={"a": 2}, status="failed", error="no")
    cells = (done, failed)
    rows = shown(sweep_table(Sweep(name="s", backend="local", cells=cells, groups=groups_of(cells))))
    assert [row for row in rows if row[:1] in (["1"], ["2"])] == [["1", "1", "2"], ["2", "0", "1"]]
