"""Metrics of pictures on a terminal: kid comes first, with digits enough, and is told with its features."""

from __future__ import annotations

import pytest

from flspec.cli.consoles import EscapingConsole
from flspec.cli.evaluation_tables import evaluation_tables
from flspec.cli.progress import _metrics
from flspec.cli.tables import comparison_table, run_table
from flspec.comparison.experiments import _metrics as changes_of
from flspec.protocol.records import FeatureSpaceRecord
from flspec.runs.metric_words import digits_of, features_in_words, metrics_in_order
from tests.unit.report.report_cases import a_result, a_round, compare_results

EVALUATION = {
    "test": {"image_precision": 0.5, "image_recall": 0.25, "kid": 0.000125},
    "test/other real": {"image_precision": 0.75, "image_recall": 0.875, "kid": -0.00004},
}
ONE, OTHER = (
    FeatureSpaceRecord(title="random_conv", sha256="1" * 64),
    FeatureSpaceRecord(title="pixels", sha256="2" * 64),
)


def a_generator(features=ONE, kid=0.000125):
    evaluation = EVALUATION | {"test": EVALUATION["test"] | {"kid": kid}}
    train = {"discriminator": 1.25, "on_real": 0.5, "generator": 0.75}
    rounds = [a_round(number, evaluation=evaluation, train=train) for number in (1, 2)]
    return a_result("local", rounds, final={"evaluation": evaluation}, features=features.model_dump())


def text_of(*tables, width=80):
    console = EscapingConsole(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    for table in tables:
        console.print(table)
    return console.export_text()


def test_a_run_s_table_shows_kid_first_and_its_features():
    text = text_of(run_table(a_generator()))
    assert "0.000125" in text
    assert text.index("kid") < text.index("precision")
    assert "kid, image_precision, image_recall by random_conv" in text
    assert "1.2500" in text  # the objective's own training metrics
    assert "train loss" not in text
    assert max(map(len, text.splitlines())) <= 80


def test_other_real_pictures_have_a_row():
    [table] = evaluation_tables(a_generator())
    rows = {line.split("  ")[0].strip(): line.split() for line in text_of(table).splitlines()}
    assert rows["test/other real"][-1] == "-0.000040"


def test_progress_tells_kid():
    assert _metrics(a_generator().rounds[0]).startswith("test kid 0.000125")


def test_runs_of_other_features_are_not_subtracted_and_a_table_says_so():
    ours, theirs = a_generator(), a_generator(OTHER, kid=0.5)
    text = text_of(comparison_table(compare_results(ours, theirs)), width=120)
    assert "image_recall by random_conv; pixels" in text
    assert "values by different features do not compare" in text
    assert {change.difference for change in changes_of(ours, theirs)} == {None}
    [moved] = [change for change in changes_of(ours, a_generator(kid=0.5)) if change.path == "test.kid"]
    assert moved.difference == pytest.approx(0.499875)


def test_words_of_features_are_none_without_pictures():
    assert features_in_words([None], []) == []
    assert "by" not in text_of(run_table(a_result("local")))


def test_usual_metrics_come_first_then_those_asked_for_then_by_name():
    assert metrics_in_order(["zeta", "kid", "alpha", "loss", "beta"], ["beta"]) == [
        "loss",
        "kid",
        "beta",
        "alpha",
        "zeta",
    ]
    assert (digits_of("kid"), digits_of("accuracy")) == (6, 4)
