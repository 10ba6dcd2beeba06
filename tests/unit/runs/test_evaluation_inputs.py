"""What an evaluation shows a model: which examples, through which transforms, and only such as are what was stored."""

from __future__ import annotations

import os

import numpy as np
import pytest
from sklearn.datasets import load_digits

from flspec import metrics
from flspec.core.cache import cache_folder
from flspec.data import store
from flspec.errors import InputError
from flspec.execution.rounds import initial_state
from flspec.metrics import Metric, Scores, find_metric, measure
from flspec.protocol.state import ServerState
from flspec.runs.evaluation import Evaluator
from flspec.runs.runner import run

# scikit-learn's pictures, and the rule of `digits`: every fifth is for evaluation.
PICTURES, LABELS = load_digits(return_X_y=True)
PICTURES = PICTURES.reshape(-1, 8, 8)
IS_TEST = np.arange(len(LABELS)) % 5 == 4


@pytest.fixture
def plan(make_plan):
    """Of pictures whose middle alone is evaluated on, which training turns and cuts at random."""
    return make_plan(
        rounds=1,
        dataset={
            "kind": "digits",
            "normalise": "half",
            "train_transforms": [{"kind": "random_crop", "size": 6}, {"kind": "horizontal_flip", "probability": 1.0}],
            "test_transforms": [{"kind": "centre_crop", "size": 6}],
        },
        partition={"kind": "iid", "clients": 5, "holdout": 0.3},
        model={"kind": "softmax_regression"},
        evaluation={"metrics": ["accuracy", "loss"]},
    )


def weights_of(plan):
    rng = np.random.default_rng(0)
    return {name: rng.normal(size=value.shape).astype(np.float32) for name, value in plan.weights.items()}


def by_hand(weights, pictures, labels):
    """Accuracy and loss of softmax regression on the middle 6 by 6 pixels, from -1 to 1."""
    x = (pictures[:, 1:7, 1:7].reshape(len(pictures), -1) / 16 - 0.5) / 0.5
    z = x @ weights["output.weight"].T.astype(np.float64) + weights["output.bias"]
    costs = np.log(np.exp(z - z.max(axis=1, keepdims=True)).sum(axis=1)) + z.max(axis=1) - z[np.arange(len(z)), labels]
    return {"accuracy": (z.argmax(axis=1) == labels).mean(), "loss": costs.mean()}


def test_the_test_set_is_what_is_evaluated_through_its_own_transforms(plan):
    weights = weights_of(plan)
    expected = by_hand(weights, PICTURES[IS_TEST], LABELS[IS_TEST])
    assert Evaluator(plan)(ServerState(1, weights)).values["test"] == pytest.approx(expected, rel=1e-5)
    trained = by_hand(weights, PICTURES[~IS_TEST], LABELS[~IS_TEST])
    assert abs(trained["loss"] - expected["loss"]) > 1e-3


def test_a_holdout_is_seen_through_the_transforms_of_the_test_set(plan):
    weights, train = weights_of(plan), (PICTURES[~IS_TEST], LABELS[~IS_TEST])
    held = [plan.holdout_examples(client) for client in range(5)]
    measured = Evaluator(plan)(ServerState(1, weights)).values
    every = np.concatenate(held)
    assert measured["holdout"] == pytest.approx(by_hand(weights, train[0][every], train[1][every]), rel=1e-5)
    own = [by_hand(weights, train[0][rows], train[1][rows]) for rows in held]
    for metric in ("accuracy", "loss"):
        assert measured["clients/mean"][metric] == pytest.approx(np.mean([one[metric] for one in own]), rel=1e-5)
    assert measured["clients/worst"]["loss"] == pytest.approx(max(one["loss"] for one in own), rel=1e-5)


def test_a_clients_examples_and_its_holdout_share_none_and_make_up_what_it_was_given(plan):
    for client in range(5):
        own, held = plan.client_examples(client), plan.holdout_examples(client)
        assert not set(own.tolist()) & set(held.tolist())
        assert len(held) == round(0.3 * (len(own) + len(held)))


@pytest.mark.parametrize("name", ["test_features", "test_labels", "train_features", "train_labels"])
def test_stored_examples_that_have_changed_are_not_evaluated_on(make_plan, name):
    plan = make_plan(seed=11)
    Evaluator(plan)
    file = cache_folder() / "data" / plan.settings.data.digest / f"{name}.npy"
    sound = file.read_bytes()
    np.save(file, np.load(file)[::-1])  # the same values in another order
    try:
        with pytest.raises(InputError, match="have changed since they were stored"):
            Evaluator(plan)
    finally:
        file.write_bytes(sound)
    Evaluator(plan)


def test_a_run_is_measured_on_the_test_set_and_its_training_on_the_batches(plan, tmp_path):
    from flspec.protocol.state import load_weights

    result = run(plan, "local", tmp_path / "r")
    expected = by_hand(load_weights(tmp_path / "r" / "weights.safetensors"), PICTURES[IS_TEST], LABELS[IS_TEST])
    assert result.final
    assert result.final.evaluation["test"] == pytest.approx(expected, rel=1e-5)
    assert result.rounds[-1].train["loss"] != pytest.approx(expected["loss"], rel=1e-3)


@pytest.mark.parametrize("name", ["test_features", "train_labels"])
def test_large_data_are_not_evaluated_on_where_a_file_is_newer_than_it_should_be(make_plan, monkeypatch, name):
    """More than a gigabyte is not read again: size and time of each file are held against those when it was stored."""
    plan = make_plan(seed=len(name))  # each has data of its own
    monkeypatch.setattr(store, "_HASHED_BYTES", 0)
    Evaluator(plan)
    file = cache_folder() / "data" / plan.settings.data.digest / f"{name}.npy"
    os.utime(file, ns=(0, file.stat().st_mtime_ns + 1_000_000_000))
    with pytest.raises(InputError, match="have changed since they were stored"):
        Evaluator(plan)


def test_metrics_are_found_once_and_not_for_each_client(plan, monkeypatch):
    evaluate, found = Evaluator(plan), list[str]()

    def find(name: str) -> Metric:
        found.append(name)
        return find_metric(name)

    monkeypatch.setattr(metrics, "find_metric", find)
    evaluate(initial_state(plan))
    assert found == []
    assert measure(Scores(np.eye(2), np.arange(2)), ["accuracy"])[0] == {"accuracy": 1.0}
    assert found == ["accuracy"]  # by a name it is found each time
