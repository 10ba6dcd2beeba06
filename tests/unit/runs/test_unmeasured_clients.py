"""A plan tells how many clients wait for a metric that they never have a value of."""

from __future__ import annotations

from flspec.analysis.description import describe_plan
from flspec.data.store import open_data

TWO_CLASSES = {"kind": "synthetic", "classes": 2, "features": 4, "train_examples": 60, "test_examples": 20}
BY_CLASS = {"kind": "by_label", "clients": 2, "holdout": 0.25}


def following(metric):
    schedule = {"kind": "plateau", "metric": metric}
    return {"epochs": 2, "batch_size": 5, "optimizer": {"kind": "sgd", "learning_rate": 0.1, "schedule": schedule}}


def test_clients_whose_rate_never_falls_are_counted(make_plan):
    """One class a client, so that no ranking of what it holds out has an area under its curve."""
    sections = {"dataset": TWO_CLASSES, "cohort": {"kind": "all"}}
    plan = make_plan(**sections, partition=BY_CLASS, client=following("roc_auc"))
    (held, _) = [plan.holdout_examples(client) for client in range(2)]
    assert describe_plan(plan).remarks == (
        f"2 of 2 have no value of roc_auc, so their learning rates never fall; client 0: all {len(held)} examples are "
        "of class 0",
    )
    for metric in ("loss", "accuracy", "f1"):
        assert describe_plan(make_plan(**sections, partition=BY_CLASS, client=following(metric))).remarks == ()
    mixed = {"kind": "iid", "clients": 2, "holdout": 0.25}
    assert describe_plan(make_plan(**sections, partition=mixed, client=following("roc_auc"))).remarks == ()


def test_some_of_the_clients_are_told_from_the_others(make_plan):
    """Of examples sorted by class, one of three clients holds the end of one class and the beginning of the other."""
    partition = {"kind": "shards", "clients": 3, "shards_per_client": 1, "holdout": 0.3}
    plan = make_plan(dataset=TWO_CLASSES, cohort={"kind": "all"}, partition=partition, client=following("roc_auc"))
    labels = open_data(plan.settings.data).train.labels
    single = [client for client in range(3) if len(set(labels[plan.holdout_examples(client)])) == 1]
    assert 0 < len(single) < 3
    (told,) = describe_plan(plan).remarks
    assert told.startswith(f"{len(single)} of 3 have no value of roc_auc")
    assert f"client {single[0]}: all" in told


def test_clients_that_never_take_part_are_not_counted(make_plan):
    sections = {"dataset": TWO_CLASSES, "cohort": {"kind": "uniform", "size": 1}, "rounds": 1}
    plan = make_plan(**sections, partition=BY_CLASS, client=following("roc_auc"))
    (client,) = plan.participants
    (told,) = describe_plan(plan).remarks
    assert told.startswith("1 of 1 have no value")
    assert f"client {client}: all" in told


def test_nothing_is_said_of_rates_where_the_data_are_not_there(make_plan, monkeypatch, tmp_path):
    sections = {"dataset": TWO_CLASSES, "cohort": {"kind": "all"}}
    plan = make_plan(**sections, partition=BY_CLASS, client=following("roc_auc"))
    monkeypatch.setenv("FLSPEC_CACHE", str(tmp_path))
    assert describe_plan(plan).remarks == ()
