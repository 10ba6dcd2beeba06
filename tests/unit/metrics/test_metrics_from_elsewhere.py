"""A metric is one decorated function: known to specs, schema and plans, also from a package of somebody else's."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flspec.errors import InputError
from flspec.metrics import METRICS, Metric, Scores, Undefined, find_metric, metric
from flspec.metrics.base import _by_name, check_offered
from flspec.runs.result import load_result
from flspec.spec.schema import spec_schema
from tests.unit.scratch_packages import digest_of, flspec, write_package

SOME = Scores(np.eye(3), np.arange(3))


def made(of, better="higher", description="something", name=None) -> Metric:
    return Metric(name or of.__name__, better, description, of)


# -------------------------------------------------------------------------------------------------------- the registry


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"name": "Größe"}, "metric 'Größe': use small letters, digits and _, starting with a letter"),
        ({"better": "up"}, "metric 'hits': better is 'up'; choose higher, lower or neither"),
        ({"description": ""}, "metric 'hits': its description is ''; give one line"),
        ({"description": "a\nb"}, r"metric 'hits': its description is 'a\\nb'; give one line"),
    ],
)
def test_what_is_wrong_with_a_metric_is_told_where_it_is_made(told, message):
    def hits(scores: Scores) -> float:
        return 1.0

    with pytest.raises(InputError, match=message):
        metric(**{"better": "higher", "description": "hits"} | told)(hits)
    assert "hits" not in METRICS


def test_two_metrics_of_one_name_are_refused_by_both():
    def accuracy(scores: Scores) -> float:
        return 1.0

    with pytest.raises(InputError, match=r"'accuracy' is defined by both flspec\.metrics\.decisions\.accuracy and .*<"):
        _by_name((METRICS["accuracy"], made(accuracy)))
    assert list(_by_name((METRICS["accuracy"], made(accuracy, name="hits")))) == ["accuracy", "hits"]


def test_an_entry_point_that_is_no_metric_is_refused():
    with pytest.raises(
        InputError, match=r"flspec.metrics: 'len' is <built-in function len>, which is no metric; decor"
    ):
        check_offered([("len", len)])
    check_offered([("accuracy", METRICS["accuracy"])])


@pytest.mark.parametrize(
    ("of", "message"),
    [
        (
            lambda scores: 1 / 0,
            r"hits \(from test_metrics_from_elsewhere\) raises ZeroDivisionError: division by zero "
            r"in \S+test_metrics_from_elsewhere.py:\d+; fix it",
        ),
        (lambda scores: None, "hits .* gives nothing; it should return one number"),
        (lambda scores: "0.5", "hits .* gives '0.5'; it should return one number"),
        (lambda scores: np.zeros((9, 9)), r"hits .* gives array\(\[\[0., .*…; it should return one number"),
        (lambda scores: sys.exit(), r"hits .* raises SystemExit: in \S+_from_elsewhere.py:\d+; fix it"),
        (lambda scores: float("nan"), r"hits .* gives nan; it should raise Undefined with the reason"),
    ],
)
def test_a_metric_that_fails_is_named(of, message):
    with pytest.raises(InputError, match=f"evaluation.metrics: {message}") as caught:
        made(of, name="hits")(SOME)
    assert "\n" not in str(caught.value)


def test_a_signal_that_arrives_in_a_metric_is_not_its_mistake():
    def interrupted(scores: Scores) -> float:
        exec("raise SystemExit(143)", {"__name__": "flspec.cli.main"})  # as the handler does
        return 1.0

    with pytest.raises(SystemExit, match="143"):
        made(interrupted)(SOME)


def test_a_metric_without_a_value_says_so():
    def hits(scores: Scores) -> float:
        raise Undefined("nobody hit")

    with pytest.raises(Undefined, match="nobody hit"):
        made(hits)(SOME)


def test_the_metric_of_a_plan_from_elsewhere_may_not_be_installed():
    with pytest.raises(InputError, match=r"unknown 'acuracy'; did you mean 'accuracy'.*or install the package"):
        find_metric("acuracy")


# ------------------------------------------------------------------------------------------------ installed packages

MISSES = """
from flspec.metrics import Scores, metric

@metric(better="lower", description="examples whose class is not predicted, in hundreds")
def misses(scores: Scores) -> float:
    return float((scores.predicted != scores.labels).sum()) / 100
"""
SPEC = """
flspec: 1
name: example
rounds: 3
dataset: {kind: synthetic, classes: 3, features: 4, train_examples: 60, test_examples: 20}
partition: {kind: iid, clients: 4}
model: {kind: softmax_regression}
client: {epochs: 1, batch_size: 5, optimizer: {kind: sgd, learning_rate: 0.1}}
evaluation: {metrics: [accuracy, misses], best: {metric: misses}}
"""


def install(folder: Path, source: str = MISSES, spec: str = SPEC) -> Path:
    write_package(folder, "my_metrics", source, "flspec.metrics", "misses")
    (folder / "spec.yaml").write_text(spec)
    return folder


def only_line(done: subprocess.CompletedProcess[str], code: int) -> str:
    assert done.returncode == code, done.stderr
    assert done.stderr.count("\n") == 1
    return done.stderr.strip()


def test_a_metric_from_a_package_is_measured_on_every_backend_and_chooses_the_best_round(tmp_path):
    install(tmp_path)
    values: dict[str, Any] = {}
    for backend in ("local", "flower:inprocess"):
        folder = tmp_path / backend.partition(":")[0]
        done = flspec(tmp_path, "run", "spec.yaml", "--backend", backend, "--out", str(folder))
        assert done.returncode == 0, done.stderr
        result = load_result(folder)
        values[backend] = [(each.evaluation or {})["test"] for each in result.rounds]
        for one in values[backend]:
            assert one["misses"] == pytest.approx((1 - one["accuracy"]) * 20 / 100)
        assert result.best
        assert result.best.value == min(one["misses"] for one in values[backend])
    assert values["local"] == values["flower:inprocess"]


def test_its_source_is_part_of_the_plan_and_that_of_flspecs_own_is_not(tmp_path):
    own = SPEC.replace("[accuracy, misses], best: {metric: misses}", "[accuracy]")
    first = digest_of(install(tmp_path))
    assert digest_of(install(tmp_path, MISSES + "# changed\n")) != first
    assert digest_of(install(tmp_path)) == first
    assert digest_of(install(tmp_path, spec=own)) == digest_of(install(tmp_path, MISSES + "# changed\n", own))


def test_without_the_package_its_name_is_unknown(tmp_path):
    (tmp_path / "spec.yaml").write_text(SPEC)
    done = flspec(tmp_path, "validate", "spec.yaml")
    assert done.returncode == 2
    assert "spec.yaml:9:34: evaluation.metrics.1: unknown 'misses'; choose one of accuracy, " in done.stderr


def test_the_schema_that_is_printed_knows_it_and_the_one_that_is_shipped_does_not(tmp_path):
    done = flspec(install(tmp_path), "schema")
    names = json.loads(done.stdout)["definitions"]["Evaluation"]["properties"]["metrics"]["anyOf"][0]["items"]["enum"]
    assert set(names) == {*METRICS, "misses"}
    shipped = spec_schema(installed=False)["definitions"]["Evaluation"]["properties"]["metrics"]["anyOf"][0]["items"]
    assert shipped["enum"] == list(METRICS)
    assert len(shipped["markdownEnumDescriptions"]) == len(METRICS)


def test_it_is_listed_with_its_package(tmp_path):
    shown = flspec(install(tmp_path), "list", "metrics", "misses").stdout
    assert shown.startswith("evaluation.metrics: misses (from my_metrics)\n\nexamples whose class is not predicted, in")
    assert "lower is better" in " ".join(shown.split())


def test_one_that_fails_in_a_run_ends_it_with_a_line(tmp_path):
    install(
        tmp_path, MISSES.replace("return float(", "return 1 / 0 + float("), SPEC.replace(", best: {metric: misses}", "")
    )
    line = only_line(flspec(tmp_path, "run", "spec.yaml", "--out", "run"), 1)
    assert line == (
        "flspec: evaluation.metrics: misses (from my_metrics) raises ZeroDivisionError: division by zero in "
        f"{tmp_path}/my_metrics.py:6; fix it, or remove it from the spec"
    )
    assert load_result(tmp_path / "run").status == "failed"


@pytest.mark.parametrize(
    ("source", "told"),
    [
        (MISSES + "accuracy = metric(better='lower', description='x', name='accuracy')(misses.of)", "defined by both"),
        ("def misses(scores): return 0.0", "which is no metric; decorate it with flspec.metrics.metric"),
        ("import nothing_of_this_name", "offered by my_metrics, cannot be imported"),
    ],
)
def test_a_package_that_cannot_be_used_is_refused_in_a_line(source, told, tmp_path):
    assert told in only_line(flspec(install(tmp_path, source), "validate", "spec.yaml"), 2)
