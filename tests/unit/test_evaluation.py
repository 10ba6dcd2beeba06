"""Evaluation: the test set, its groups, and what clients hold out, each measured on its own examples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics as reference

from flspec.compiler import compile
from flspec.errors import InputError
from flspec.evaluation import Evaluator
from flspec.loading import parse_spec
from flspec.plan import Plan
from flspec.runner import run
from flspec.state import ServerState
from flspec.store import open_data
from flspec_torch.scoring import TorchScorer

SPEC = """
flspec: 1
name: groups
rounds: 3
dataset: {kind: csv, features: [a, b], columns: [sex, place], test_share: 0.4}
partition: {kind: iid, clients: 4, held_out: 0.25}
model: {kind: softmax_regression}
client: {epochs: 2, batch_size: 8, optimizer: {kind: sgd, learning_rate: 0.2}}
evaluation: {every: 3, metrics: [accuracy, loss, roc_auc, recall], groups: [sex]}
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng, folder = np.random.default_rng(3), tmp_path_factory.mktemp("table")
    rows = ["a,b,label,sex,place"]
    for number in range(200):
        label, sex = int(rng.integers(0, 2)), "mf"[int(rng.integers(0, 2))]
        a, b = rng.normal(label * (1.5 if sex == "m" else 0.3)), rng.normal()
        rows.append(f"{a:.4f},{b:.4f},{label},{sex},p{number}")
    (folder / "train.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture(scope="module")
def plan(root: Path) -> Plan:
    return compile(parse_spec(SPEC), root)


@pytest.fixture(scope="module")
def result(plan: Plan, tmp_path_factory: pytest.TempPathFactory):
    return run(plan, "local", tmp_path_factory.mktemp("run") / "r")


def logits_of(plan: Plan, split, folder: Path) -> np.ndarray:
    from flspec.state import load_weights

    return TorchScorer(plan).logits(load_weights(folder / "weights.safetensors"), split)


def test_groups_are_measured_on_their_own_examples(plan, result, tmp_path):
    run(plan, "local", tmp_path / "again")
    test = open_data(plan.settings["data"]).test
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
    held_out = [plan.held_out_examples(client) for client in range(4)]
    assert not trained & {int(i) for held in held_out for i in held}
    run(plan, "local", tmp_path / "again")
    data = open_data(plan.settings["data"])
    logits = logits_of(plan, data.train, tmp_path / "again")
    right = logits.argmax(axis=1) == data.train.labels
    own = [right[held].mean() for held in held_out]
    measured = result.final.evaluation
    assert measured["held_out"]["accuracy"] == pytest.approx(right[np.concatenate(held_out)].mean())
    assert measured["clients/mean"]["accuracy"] == pytest.approx(np.mean(own))
    assert measured["clients/worst"]["accuracy"] == pytest.approx(min(own))
    assert measured["clients/median"]["accuracy"] == pytest.approx(np.median(own))
    assert measured["clients/worst"]["loss"] >= measured["clients/mean"]["loss"]


def test_a_metric_that_has_no_value_in_a_group_is_told_with_the_reason(root, tmp_path):
    text = (root / "train.csv").read_text().replace(",m,", ",f,", 10_000)
    lines = text.splitlines()
    lines += [f"0.{n},0,1,m,q{n}" for n in range(30)]  # of m there is now one class alone
    (tmp_path / "train.csv").write_text("\n".join(lines) + "\n")
    plan = compile(parse_spec(SPEC), tmp_path)
    weights = plan.weights
    measured = Evaluator(plan)(ServerState(1, weights))
    assert "roc_auc" not in measured.values["test/sex=m"]
    assert measured.undefined["test/sex=m"]["roc_auc"].endswith("are of class 1")
    assert "test/sex=f" not in measured.undefined


@pytest.mark.parametrize(
    ("group", "told"),
    [("sexx", "evaluation.groups: unknown 'sexx'; did you mean 'sex'?"), ("place", "place has 80 values, at most 32")],
)
def test_a_column_that_cannot_be_told_apart_is_refused(root, group, told):
    with pytest.raises(InputError) as refused:
        compile(parse_spec(SPEC.replace("[sex]}", f"[{group}]}}")), root)
    assert told in str(refused.value)


def test_groups_change_the_plan_and_their_order_does_not(root, plan):
    text = SPEC.replace("columns: [sex, place]", "columns: [sex, place]").replace(", groups: [sex]", "")
    assert compile(parse_spec(text), root).digest != plan.digest
