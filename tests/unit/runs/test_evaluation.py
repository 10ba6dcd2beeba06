"""Evaluation: the test set, its groups, and what clients hold out, each measured on its own examples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics as reference

from flspec.compiler.compile import compile
from flspec.compiler.evaluation import check_evaluation
from flspec.data.examples import Data, Split
from flspec.data.store import open_data
from flspec.errors import InputError, SpecError
from flspec.protocol.plan import Plan
from flspec.protocol.settings import BestSettings
from flspec.protocol.state import ServerState, load_weights
from flspec.runs.evaluation import Evaluator, Measured
from flspec.runs.measured import distribution, over_clients
from flspec.runs.runner import run
from flspec.spec.loading import parse_spec
from flspec_torch.scoring import TorchScorer

SPEC = """
flspec: 1
name: groups
rounds: 3
dataset: {kind: csv, features: [a, b], columns: [sex, place, age], holdout: 0.4}
partition: {kind: iid, clients: 4, holdout: 0.25}
model: {kind: softmax_regression}
client: {epochs: 2, batch_size: 8, optimizer: {kind: sgd, learning_rate: 0.2}}
evaluation: {every: 3, metrics: [accuracy, loss, roc_auc, recall, positive_rate], groups: [sex]}
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng, folder = np.random.default_rng(3), tmp_path_factory.mktemp("table")
    rows = ["a,b,label,sex,place,age"]
    for number in range(200):
        label, sex = int(rng.integers(0, 2)), "mf"[int(rng.integers(0, 2))]
        a, b = rng.normal(label * (1.5 if sex == "m" else 0.3)), rng.normal()
        age = "" if number % 20 == 0 else str(20 + number % 50)
        rows.append(f"{a:.4f},{b:.4f},{label},{sex},p{number},{age}")
    (folder / "train.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture(scope="module")
def plan(root: Path) -> Plan:
    return compile(parse_spec(SPEC), root)


@pytest.fixture(scope="module")
def result(plan: Plan, tmp_path_factory: pytest.TempPathFactory):
    return run(plan, "local", tmp_path_factory.mktemp("run") / "r")


def logits_of(plan: Plan, split, folder: Path) -> np.ndarray:
    return TorchScorer(plan).logits(load_weights(folder / "weights.safetensors"), split)


def test_groups_are_measured_on_their_own_examples(plan, result, tmp_path):
    run(plan, "local", tmp_path / "again")
    test = open_data(plan.settings.data).test
    logits = logits_of(plan, test, tmp_path / "again")
    measured = result.final.evaluation
    assert {"test", "test/sex=f", "test/sex=m"} <= set(measured)
    for sex in "fm":
        mask = test.columns["sex"] == sex
        taken, scores = logits[mask].argmax(axis=1), logits[mask, 1] - logits[mask, 0]
        own = measured[f"test/sex={sex}"]
        assert own["accuracy"] == pytest.approx(reference.accuracy_score(test.labels[mask], taken))
        assert own["recall"] == pytest.approx(reference.recall_score(test.labels[mask], taken))
        assert own["roc_auc"] == pytest.approx(reference.roc_auc_score(test.labels[mask], scores), abs=1e-6)
    sizes = {sex: int((test.columns["sex"] == sex).sum()) for sex in "fm"}
    whole = sum(sizes[sex] * measured[f"test/sex={sex}"]["accuracy"] for sex in "fm") / len(test)
    assert measured["test"]["accuracy"] == pytest.approx(whole)


def test_the_group_that_is_told_apart_better_is_told_so(result):
    measured = result.final.evaluation
    assert measured["test/sex=m"]["roc_auc"] > measured["test/sex=f"]["roc_auc"] + 0.1


def test_what_clients_hold_out_is_not_trained_on_and_measured_client_by_client(plan, result, tmp_path):
    trained = {int(i) for r in range(1, 4) for task in plan.cohort(r) for batch in task.batches for i in batch}
    holdout = [plan.holdout_examples(client) for client in range(4)]
    assert not trained & {int(i) for held in holdout for i in held}
    run(plan, "local", tmp_path / "again")
    data = open_data(plan.settings.data)
    logits = logits_of(plan, data.train, tmp_path / "again")
    right = logits.argmax(axis=1) == data.train.labels
    own = [right[held].mean() for held in holdout]
    measured = result.final.evaluation
    assert measured["holdout"]["accuracy"] == pytest.approx(right[np.concatenate(holdout)].mean())
    assert measured["clients/mean"]["accuracy"] == pytest.approx(np.mean(own))
    assert measured["clients/worst"]["accuracy"] == pytest.approx(min(own))
    assert measured["clients/median"]["accuracy"] == pytest.approx(np.median(own))
    assert measured["clients/worst"]["loss"] >= measured["clients/mean"]["loss"]
    assert measured["clients/num_clients"]["accuracy"] == 4
    assert measured["clients/weighted_mean"]["accuracy"] == pytest.approx(measured["holdout"]["accuracy"])
    assert "positive_rate" not in measured["clients/worst"]  # neither high nor low is bad


def test_a_metric_that_has_no_value_in_a_group_is_told_with_the_reason(root, tmp_path):
    text = (root / "train.csv").read_text().replace(",m,", ",f,", 10_000)
    lines = text.splitlines()
    lines += [f"0.{n},0,1,m,q{n},30" for n in range(30)]  # of m there is now one class alone
    (tmp_path / "train.csv").write_text("\n".join(lines) + "\n")
    plan = compile(parse_spec(SPEC), tmp_path)
    weights = plan.weights
    measured = Evaluator(plan)(ServerState(1, weights))
    assert "roc_auc" not in measured.values["test/sex=m"]
    assert measured.undefined["test/sex=m"]["roc_auc"].endswith("are of class 1")
    assert "test/sex=f" not in measured.undefined


@pytest.mark.parametrize(
    ("group", "told"),
    [
        ("sexx", "evaluation.groups: unknown 'sexx'; did you mean 'sex'?"),
        ("place", "place has 80 values, but at most 32"),
    ],
)
def test_a_column_that_cannot_be_told_apart_is_refused(root, group, told):
    with pytest.raises(InputError) as refused:
        compile(parse_spec(SPEC.replace("[sex]}", f"[{group}]}}")), root)
    assert told in str(refused.value)


def test_groups_change_the_plan_and_their_order_does_not(root, plan):
    text = SPEC.replace(", groups: [sex]", "")
    assert compile(parse_spec(text), root).digest != plan.digest
    both = [
        compile(parse_spec(SPEC.replace("groups: [sex]", f"groups: {groups}")), root).digest
        for groups in ("[sex, {column: age, edges: [40]}]", "[{column: age, edges: [40]}, {column: sex}]")
    ]
    assert both[0] == both[1]
    assert compile(parse_spec(SPEC.replace("groups: [sex]", "groups: [{column: sex}]")), root).digest == plan.digest


# ------------------------------------------------------------------------------------------------------------- fairness


def test_a_gap_is_how_far_groups_are_apart(result):
    measured = result.final.evaluation
    for metric, gap in measured["test/sex gap"].items():
        f, m = (measured[f"test/sex={sex}"][metric] for sex in "fm")
        assert gap == pytest.approx(abs(f - m))
    assert set(measured["test/sex gap"]) == {"accuracy", "loss", "roc_auc", "recall", "positive_rate"}
    assert measured["test/sex gap"]["roc_auc"] > 0.1


def test_equal_opportunity_and_demographic_parity_are_gaps(plan, result, tmp_path):
    run(plan, "local", tmp_path / "again")
    test = open_data(plan.settings.data).test
    taken = logits_of(plan, test, tmp_path / "again").argmax(axis=1) == 1
    masks = [test.columns["sex"] == sex for sex in "fm"]
    gap = result.final.evaluation["test/sex gap"]
    rates = [taken[mask & (test.labels == 1)].mean() for mask in masks]
    assert gap["recall"] == pytest.approx(abs(rates[0] - rates[1]))
    rates = [taken[mask].mean() for mask in masks]
    assert gap["positive_rate"] == pytest.approx(abs(rates[0] - rates[1]))


def test_a_gap_needs_two_groups_with_a_value(root, tmp_path):
    lines = (root / "train.csv").read_text().splitlines()
    header, rows = lines[0], [line for line in lines[1:] if ",f," in line or line.split(",")[2] == "1"]
    (tmp_path / "train.csv").write_text("\n".join([header, *rows]) + "\n")
    plan = compile(parse_spec(SPEC), tmp_path)
    measured = Evaluator(plan)(ServerState(0, plan.weights))
    assert "roc_auc" not in measured.values["test/sex gap"]
    assert measured.undefined["test/sex gap"] == {"roc_auc": "fewer than two groups have a value"}
    assert "accuracy" in measured.values["test/sex gap"]


def test_numbers_are_put_in_bins_and_missing_ones_apart(root):
    plan = compile(parse_spec(SPEC.replace("groups: [sex]", "groups: [{column: age, edges: [30, 50]}]")), root)
    measured = Evaluator(plan)(ServerState(0, plan.weights))
    test = open_data(plan.settings.data).test
    cells, scores = test.columns["age"], TorchScorer(plan).logits(plan.weights, test)
    ages = np.where(cells == 2**63 - 1, np.nan, cells)  # so is a missing whole number stored
    masks = {
        "(-inf,30)": ages < 30,
        "[30,50)": (ages >= 30) & (ages < 50),
        "[50,inf)": ages >= 50,
    }
    right = scores.argmax(axis=1) == test.labels
    for name, mask in masks.items():
        assert measured.values[f"test/age={name}"]["accuracy"] == pytest.approx(right[mask].mean())
    assert measured.values["test/age missing"]["accuracy"] == pytest.approx(right[np.isnan(ages)].mean())
    values = [measured.values[f"test/age={name}"]["accuracy"] for name in masks]
    assert measured.values["test/age gap"]["accuracy"] == pytest.approx(max(values) - min(values))


class Knowing:
    """Tells every example right but those of whom nothing is known."""

    def logits(self, weights, split):
        taken = np.where(split.columns["age"] == 2**63 - 1, 1 - split.labels, split.labels)
        return np.eye(2, dtype=np.float32)[taken]


@pytest.mark.parametrize("group", ["sex", "age"])
def test_those_of_whom_nothing_is_known_are_measured_and_are_no_side_of_a_gap(root, tmp_path, group, monkeypatch):
    lines = (root / "train.csv").read_text().splitlines()
    rows = [line.replace(",m,", ",,").replace(",f,", ",,") if line.endswith(",") else line for line in lines]
    (tmp_path / "train.csv").write_text("\n".join(rows) + "\n")
    groups = {"sex": "[sex]", "age": "[{column: age, edges: [40]}]"}[group]
    evaluator = Evaluator(compile(parse_spec(SPEC.replace("[sex]}", f"{groups}}}")), tmp_path))
    monkeypatch.setattr(evaluator._judge, "_scorer", Knowing())
    monkeypatch.setattr(evaluator, "_measure_clients", lambda *_: None)
    measured = evaluator(ServerState(0, {}))
    own = {name: values["accuracy"] for name, values in measured.values.items() if "/" in name}
    names = {"sex": ["sex=f", "sex=m"], "age": ["age=(-inf,40)", "age=[40,inf)"]}[group]
    assert own == {**dict.fromkeys([f"test/{name}" for name in names], 1.0)} | {
        f"test/{group} missing": 0.0,
        f"test/{group} gap": 0.0,
    }


def test_a_gap_between_one_group_and_those_of_whom_nothing_is_known_is_none(root, tmp_path):
    text = (root / "train.csv").read_text().replace(",m,", ",,")
    (tmp_path / "train.csv").write_text(text)
    plan = compile(parse_spec(SPEC), tmp_path)
    measured = Evaluator(plan)(ServerState(0, plan.weights))
    assert measured.values["test/sex missing"]["accuracy"] >= 0
    assert measured.values["test/sex gap"] == {}
    assert measured.undefined["test/sex gap"]["accuracy"] == "fewer than two groups have a value"


# ------------------------------------------------------------------------------------------------------- over clients


def test_how_clients_are_distributed_is_as_numpy_has_it():
    own = [{"loss": 1.0, "f1": 0.5}, {"loss": 4.0}, {"loss": 2.0, "f1": 0.0}, {"loss": 3.0}]
    found = distribution("clients", own, [10, 20, 30, 40])
    losses = np.array([1.0, 4.0, 2.0, 3.0])
    pairs = np.abs(losses[:, None] - losses).sum() / (2 * 4**2 * losses.mean())
    assert {name.partition("/")[2]: values["loss"] for name, values in found.items()} == pytest.approx(
        {
            "num_clients": 4,
            "mean": 2.5,
            "weighted_mean": (1 * 10 + 4 * 20 + 2 * 30 + 3 * 40) / 100,
            "worst": 4.0,
            "p10": np.percentile(losses, 10),
            "median": 2.5,
            "p90": np.percentile(losses, 90),
            "gini": pairs,
        }
    )
    assert found["clients/num_clients"]["f1"] == 2
    assert found["clients/weighted_mean"]["f1"] == pytest.approx(0.5 * 10 / 40)  # of those that have it
    assert found["clients/worst"]["f1"] == 0.0


def test_values_that_are_all_zero_are_all_alike():
    assert distribution("clients", [{"f1": 0.0}, {"f1": 0.0}], [1, 2])["clients/gini"] == {"f1": 0.0}


def test_clients_without_a_value_are_counted_and_the_first_says_why(root):
    text = SPEC.replace("kind: iid, clients: 4", "kind: by_label, clients: 2")
    plan = compile(parse_spec(text), root)
    measured = Evaluator(plan)(ServerState(0, plan.weights))
    assert measured.values["clients/num_clients"].get("accuracy") == 2
    assert "roc_auc" not in measured.values["clients/mean"]
    told = measured.undefined["clients"]["roc_auc"]
    assert told.startswith("2 of 2 clients have no value; client 0: all ")
    assert told.endswith(("are of class 0", "are of class 1"))


def test_a_mean_over_some_of_the_clients_says_of_how_many_and_why():
    """Sets, groups and gaps alike; clients are called by their numbers."""
    why = {"recall": "no example is of class 1"}
    each = [
        Measured({"test": {"loss": 1.0, "recall": 0.5}, "test/sex=f": {"recall": 0.25}, "test/sex=m": {}}),
        Measured({"test": {"loss": 3.0}, "test/sex=f": {}, "test/sex=m": {}}, {"test": why, "test/sex=f": why}),
        Measured({"test": {"loss": 2.0}, "test/sex=f": {"recall": 0.75}, "test/sex=m": {}}, {"test": why}),
    ]
    for one in each:
        one.undefined["test/sex=m"] = why
    together = over_clients(["3", "south", "9"], each, [1, 1, 1])
    assert together.values["test"] == {"loss": 2.0, "recall": 0.5}
    assert together.values["test/sex=f"] == {"recall": 0.5}
    assert together.undefined == {
        "test": {"recall": "2 of 3 clients have no value; client south: no example is of class 1"},
        "test/sex=f": {"recall": "1 of 3 clients have no value; client south: no example is of class 1"},
        "test/sex=m": {"recall": "3 of 3 clients have no value; client 3: no example is of class 1"},
    }


def test_where_every_client_has_a_value_nothing_is_told():
    each = [Measured({"test": {"loss": value}}) for value in (1.0, 3.0)]
    assert over_clients(["0", "1"], each, [1, 1]).undefined == {}


# ---------------------------------------------------------------------------------------------- confusion, and the best


def test_confusion_is_of_the_last_model_on_whole_sets(plan, result, tmp_path):
    run(plan, "local", tmp_path / "again")
    test = open_data(plan.settings.data).test
    expected = reference.confusion_matrix(test.labels, logits_of(plan, test, tmp_path / "again").argmax(axis=1))
    assert set(result.final.confusion) == {"test"}
    assert np.array_equal(result.final.confusion["test"].matrix, expected)
    assert result.final.confusion["test"].names == ()  # the file has numbers


def test_what_is_confused_has_the_names_that_the_labels_have(root, tmp_path):
    rows = (root / "train.csv").read_text().splitlines()
    named = [row.replace(",0,", ",benign,").replace(",1,", ",melanoma,") for row in rows]
    (tmp_path / "train.csv").write_text("\n".join(named) + "\n")
    plan = compile(parse_spec(SPEC), tmp_path)
    assert Evaluator(plan)(ServerState(0, plan.weights)).confusion["test"].names == ("benign", "melanoma")


@pytest.mark.parametrize(
    ("best", "told"),
    [
        ("{metric: loss, on: valdation}", "evaluation.best.on: unknown 'valdation'"),
        ("{metric: loss, on: validation}", "evaluation.best.on: unknown 'validation'"),  # there is none
        ("{metric: f1}", "f1 is not among evaluation.metrics; add it there"),
        ("{metric: positive_rate}", "positive_rate is good neither high nor low; name another"),
    ],
)
def test_a_best_that_is_not_measured_is_refused(root, best, told):
    with pytest.raises(InputError) as refused:
        compile(parse_spec(SPEC.replace("groups: [sex]", f"groups: [sex], best: {best}")), root)
    assert told in str(refused.value)


@pytest.mark.parametrize(
    ("sections", "metric", "why"),
    [
        ({}, "precision", "it needs two classes, but there are 3"),
        ({}, "top_3_accuracy", "there are only 3 classes"),
        ({"client": {"loss": "mean_squared_error"}}, "brier", "outputs that learned by mean_squared_error are no"),
    ],
)
def test_a_best_by_what_never_has_a_value_is_refused(make_plan, sections, metric, why):
    client = {"epochs": 1, "batch_size": 5, "optimizer": {"kind": "sgd", "learning_rate": 0.1}}
    sections = {"client": client | sections.get("client", {})}
    evaluation = {"metrics": ["loss", "accuracy", metric]}
    make_plan(**sections, evaluation=evaluation)  # to measure it is no mistake: it is told as unknown
    with pytest.raises(SpecError) as refused:
        make_plan(**sections, evaluation=evaluation | {"best": {"metric": metric}})
    (problem,) = refused.value.problems
    assert problem.path == "evaluation.best.metric"
    assert problem.message.startswith(f"{metric} is always undefined here ({why}")
    assert problem.message.endswith("so no round would be the best; use another: loss")


def test_a_best_by_what_some_models_have_a_value_of_is_none_of_our_business(root):
    """Precision has one as soon as an example is predicted as class 1."""
    for metric in ("precision", "f1", "macro_roc_auc", "binned_macro_average_precision"):
        text = SPEC.replace("positive_rate]", f"{metric}]").replace("groups: [sex]", f"best: {{metric: {metric}}}")
        best = compile(parse_spec(text), root).settings.evaluation.best
    assert best
    assert best.metric == metric


@pytest.mark.parametrize(
    ("on", "is_there"),
    [
        ("test/sex=m", True),
        ("validation/sex=m", False),
        ("validation/sex missing", True),
        ("test/sex missing", False),
        ("validation/sex=f", True),
    ],
)
def test_the_best_is_chosen_on_groups_that_their_split_has(make_spec, on, is_there):
    test, validation = (
        Split(np.zeros((2, 4), np.float32), np.arange(2), columns={"sex": np.array(values)})
        for values in (["m", "f"], ["f", ""])
    )
    data = Data(test, test, num_classes=2, validation=validation)
    spec = make_spec(evaluation={"groups": ["sex"], "best": {"metric": "loss", "on": on}})
    if is_there:
        check_evaluation(spec, data)
        return
    with pytest.raises(InputError, match=f"evaluation.best.on: unknown '{on}'; did you mean"):
        check_evaluation(spec, data)


@pytest.mark.parametrize(
    ("best", "metric", "on"),
    [
        ("{metric: loss}", "loss", "test"),
        ("{metric: positive_rate, on: test/sex gap}", "positive_rate", "test/sex gap"),
        ("{metric: roc_auc, on: clients/worst}", "roc_auc", "clients/worst"),
    ],
)
def test_what_is_best_is_in_the_plan(root, plan, best, metric, on):
    asked = compile(parse_spec(SPEC.replace("groups: [sex]", f"groups: [sex], best: {best}")), root)
    assert asked.settings.evaluation.best == BestSettings(metric, on)
    assert asked.digest != plan.digest
