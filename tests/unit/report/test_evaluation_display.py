"""What models are worth, as terminals and pages show it: by set, group and client, of the last model and the best."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from rich.table import Table

from flspec.cli.consoles import EscapingConsole
from flspec.cli.evaluation_tables import compared_evaluations, evaluation_tables
from flspec.cli.tables import comparison_table, run_table
from flspec.report import write_comparison_report
from flspec.runs.result import Result
from tests.unit.report.report_cases import NUM_ROUNDS, Parsed, a_result, a_round, compare_results

FAIR = {
    "test": {"accuracy": 0.75, "loss": 0.5, "recall": 0.875},
    "test/Male=0": {"accuracy": 0.5, "recall": 0.625},
    "test/age=[30,50)": {"accuracy": 0.25},
    "test/Male gap": {"accuracy": 0.125, "recall": 0.0625},
    "holdout": {"accuracy": 0.6875},
    "clients/num_clients": {"accuracy": 12.0},
    "clients/worst": {"accuracy": 0.3125},
}
UNDEFINED = {"clients": {"recall": "3 of 12 clients have no value; client 0: no example is of class 1"}}
BEST: dict[str, Any] = {
    "round": 2,
    "metric": "recall",
    "on": "test/age=[30,50)",
    "value": 0.96875,
    "evaluation": {"test": {"accuracy": 0.84375}, "test/Male gap": {"recall": 0.03125}},
    "confusion": {"test": {"labels": [[1, 2, 3, 4], [5, 6, 7, 8]]}},
    "weights": {"path": "best.safetensors", "sha256": "ab" * 32},
    "note": "chosen by the test examples",
}


def a_fair_result(**fields: Any) -> Result:
    rounds = [a_round(n, evaluation=FAIR, undefined=UNDEFINED) for n in range(1, NUM_ROUNDS + 1)]
    final = {"evaluation": FAIR, "confusion": {"test": {"matrix": [[41, 9], [17, 33]]}}}
    return a_result("local", rounds, final=final, **fields)


def text_of(*tables: Table | None, width: int = 80) -> str:
    console = EscapingConsole(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    for table in tables:
        if table:
            console.print(table)
    return console.export_text()


def lines_of(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def page_of(folder: Path, *results: Result) -> Parsed:
    path = write_comparison_report(compare_results(*results), folder / "page.html")
    return Parsed(path.read_text(encoding="utf-8"))


# ------------------------------------------------------------------------------------------------------------ terminals


def test_a_row_is_a_set_and_says_why_a_metric_is_not_there():
    text = text_of(*evaluation_tables(a_fair_result()))
    assert ["test/Male", "gap", "0.1250", "0.0625"] in lines_of(text)
    assert ["clients/num_clients", "12"] in lines_of(text)
    assert ["test/age=[30,50)", "0.2500"] in lines_of(text)  # and not taken for markup
    assert "clients has no recall: 3 of 12 clients have no value" in " ".join(text.split())


def test_a_run_of_test_loss_and_accuracy_alone_needs_no_more_than_its_rounds():
    brief = {"evaluation": {"test": {"loss": 1.0, "accuracy": 0.5}}}
    assert evaluation_tables(a_result("local", final=brief)) == []
    assert evaluation_tables(a_result("local")) == []


def test_many_metrics_are_in_several_tables_that_a_terminal_has_room_for():
    names = [f"metric_{number}" for number in range(14)]
    wide = {"test": dict.fromkeys(names, 0.5), "test/Male gap": dict.fromkeys(names, 0.25)}
    tables = evaluation_tables(a_result("local", [a_round(1, evaluation=wide)], final={"evaluation": wide}))
    assert [len(table.columns) for table in tables] == [7, 7, 3]
    text = text_of(*tables)
    assert text.count("0.2500") == 14
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text


def test_the_best_model_is_told_beside_the_last_unless_it_is_the_last():
    result = a_fair_result(best=BEST)
    assert "best is round 2, by test/age=[30,50) recall: 0.9688" in " ".join(text_of(run_table(result)).split())
    titles = [str(table.title) for table in evaluation_tables(result)]
    assert titles[0] == "the last model"
    assert "the best model, of round 2" in titles[-1]
    assert ["test", "0.8438"] in lines_of(text_of(*evaluation_tables(result)))
    last = a_fair_result(best=BEST | {"round": NUM_ROUNDS})
    assert next(str(t.title).partition(",")[2] for t in evaluation_tables(last)).startswith(" and the best, by")


@pytest.mark.parametrize(
    ("metrics", "shown"),
    [
        (["roc_auc", "recall", "loss"], ["test loss", "test roc_auc"]),
        (["roc_auc", "recall"], ["test roc_auc", "test recall"]),
        (["accuracy", "loss"], ["test loss", "test acc"]),
    ],
)
def test_a_round_shows_loss_and_accuracy_or_what_the_spec_names_first(metrics, shown):
    measured = {"test": dict.fromkeys(sorted(metrics), 0.5)}
    result = a_result("local", [a_round(1, evaluation=measured)], spec={"evaluation": {"metrics": metrics}})
    assert [str(column.header) for column in run_table(result).columns][5:-1] == shown


def test_a_spec_from_elsewhere_is_no_more_than_a_hint():
    for spec in ({}, {"evaluation": 5}, {"evaluation": {"metrics": [{}, 7]}}):
        headings = [str(column.header) for column in run_table(a_result("local", spec=spec)).columns]
        assert headings[5:-1] == ["test loss", "test acc"]


def test_runs_are_compared_set_by_set():
    comparison = compare_results(a_fair_result(best=BEST), a_fair_result())
    assert "0.7500" in text_of(comparison_table(comparison), width=120)
    lines = lines_of(text_of(compared_evaluations(comparison), width=120))
    assert ["test/Male", "gap", "accuracy", "0.1250", "0.1250"] in lines
    assert ["best", "round", "2"] in lines
    assert compared_evaluations(compare_results(a_result("local"), a_result("flower"))) is None


def test_a_comparison_says_what_it_leaves_out():
    many = {f"test/place={number}": {"accuracy": 0.5} for number in range(70)}
    table = compared_evaluations(compare_results(a_result("local", final={"evaluation": many})))
    assert table is not None
    assert table.row_count == 60
    assert str(table.caption) == "10 more rows are shown with --json or --out"


def test_a_value_over_some_of_the_clients_is_not_said_to_be_missing() -> None:
    some = {"test": {"recall": "1 of 4 clients have no value; client 2: no example is of class 1"}}
    rounds = [a_round(1, evaluation=FAIR, undefined=some)]
    text = " ".join(text_of(*evaluation_tables(a_result("local", rounds, final={"evaluation": FAIR}))).split())
    assert "test recall: 1 of 4 clients have no value; client 2" in text
    assert "has no recall" not in text


def test_metrics_that_have_no_value_for_one_reason_are_told_together() -> None:
    why = dict.fromkeys(["f1", "recall"], "no example is of class 1") | {"roc_auc": "all 3 examples are of class 0"}
    rounds = [a_round(1, evaluation=FAIR, undefined={"holdout": why})]
    text = " ".join(text_of(*evaluation_tables(a_result("local", rounds, final={"evaluation": FAIR}))).split())
    assert "holdout has no f1, recall: no example is of class 1; holdout has no roc_auc: all 3" in text


NO_VALUE: dict[str, Any] = {
    "evaluation": {"test": {"loss": 1.0}},
    "undefined": {"test": {"recall": "no example is of class 1"}},
}


@pytest.mark.parametrize("on", [{}, {"on": None}, {"on": "test"}])
def test_a_run_says_that_no_round_is_the_best(on: dict[str, Any]) -> None:
    spec = {"evaluation": {"best": {"metric": "recall", **on}}}
    result = a_result("local", [a_round(n, **NO_VALUE) for n in (1, 2)], spec=spec)
    told = " ".join(str(run_table(result).caption).split())
    assert told.endswith("no round is the best: none has a value of test recall (no example is of class 1)")


def test_a_round_is_chosen_on_the_validation_examples_where_there_are_some() -> None:
    there: dict[str, Any] = {"evaluation": {"test": {"recall": 0.5}, "validation": {}}}
    result = a_result("local", [a_round(1, **there)], spec={"evaluation": {"best": {"metric": "recall"}}})
    assert str(run_table(result).caption).endswith("no round is the best: none has a value of validation recall")


@pytest.mark.parametrize(
    ("spec", "rounds", "best"),
    [
        ({"evaluation": {"best": {"metric": "recall"}}}, [a_round(1, **NO_VALUE)], BEST),
        ({"evaluation": {"best": None}}, [a_round(1, **NO_VALUE)], None),
        ({"evaluation": {"best": {"metric": "recall"}}}, [a_round(1, evaluation=None)], None),  # stopped before it
        ({"evaluation": {"best": 7}}, [a_round(1, **NO_VALUE)], None),
        ({"evaluation": {"best": {"metric": []}}}, [a_round(1, **NO_VALUE)], None),
    ],
)
def test_a_run_that_has_a_best_or_asked_for_none_does_not(spec: Any, rounds: Any, best: Any) -> None:
    assert "no round is the best" not in str(run_table(a_result("local", rounds, spec=spec, best=best)).caption)


# ---------------------------------------------------------------------------------------------------------------- pages


def test_a_page_shows_groups_gaps_clients_the_best_and_what_is_confused(tmp_path: Path) -> None:
    page = page_of(tmp_path, a_fair_result(best=BEST))
    assert page.row("test/Male gap") == ["test/Male gap", "local", "0.1250", "0.06250"]
    assert page.row("clients/num_clients")[2] == "12"
    assert page.row("clients/worst")[2] == "0.3125"
    assert ["local", "2", "test/age=[30,50) recall", "0.9688", "best.safetensors"] in page.cells
    assert ["1", "17", "33"] in page.cells  # the last model: class 1 taken for 0 and for 1
    assert ["1", "5", "6", "7", "8"] in page.cells  # the best: label 1's outcomes
    assert any("chosen by the test examples" in text for text in page.texts["p"])


@pytest.mark.parametrize(("names", "shown"), [(["benign", "melanoma"], "melanoma"), (["of", "another", "run"], "1")])
def test_what_is_confused_is_called_by_its_name(tmp_path: Path, names: list[str], shown: str) -> None:
    final = {"evaluation": FAIR, "confusion": {"test": {"matrix": [[41, 9], [17, 33]], "names": names}}}
    page = page_of(tmp_path, a_result("local", final=final))
    assert [shown, "17", "33"] in page.cells
    assert shown in page.texts["span"]  # a column's heading


def notes_of(page: Parsed) -> list[str]:
    return [text for text in page.texts["p"] if text.startswith("Note: ")]


def test_a_page_says_why_a_value_is_not_there_once(tmp_path: Path) -> None:
    """Two runs of one reason, and one of a reason of its own."""
    own = {"test/Male=0": {"loss": "the model's scores are not finite"}}
    odd = [a_round(1, evaluation=FAIR, undefined=UNDEFINED | own)]
    page = page_of(tmp_path, a_fair_result(), a_result("flower", odd, final={"evaluation": FAIR}))
    assert notes_of(page) == [
        "Note: clients has no recall: 3 of 12 clients have no value; client 0: no example is of class 1.",
        "Note: flower: test/Male=0 has no loss: the model's scores are not finite.",
    ]


def test_a_page_says_why_the_best_model_has_no_value(tmp_path: Path) -> None:
    reasons = {"test": {"recall": "no example is of class 1"}}
    page = page_of(tmp_path, a_fair_result(best=BEST | {"note": None, "undefined": reasons}))
    assert notes_of(page)[-1] == "Note: test has no recall: no example is of class 1."


def test_a_page_says_how_many_reasons_it_leaves_out(tmp_path: Path) -> None:
    reasons = {f"test/place={number}": {"loss": "there are no examples"} for number in range(20)}
    result = a_result("local", [a_round(1, evaluation=FAIR, undefined=reasons)], final={"evaluation": FAIR})
    notes = notes_of(page_of(tmp_path, result))
    assert len(notes) == 7
    assert notes[-1] == "Note: 14 more such reasons are in result.json."


def test_a_page_does_not_tell_the_last_model_twice(tmp_path: Path) -> None:
    (tmp_path / "once").mkdir()
    once = page_of(tmp_path / "once", a_fair_result(best=BEST | {"round": NUM_ROUNDS}))
    twice = page_of(tmp_path, a_fair_result(best=BEST))
    assert sum(cells[0] == "test/Male gap" for cells in once.cells) == 1
    assert sum(cells[0] == "test/Male gap" for cells in twice.cells) == 2


def test_a_page_of_runs_without_more_than_curves_has_no_such_section(tmp_path: Path) -> None:
    assert "Evaluation" not in page_of(tmp_path, a_result("local")).texts["h2"]
    assert "Evaluation" in page_of(tmp_path, a_fair_result()).texts["h2"]
