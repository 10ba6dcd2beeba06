"""What TFF is asked for and cannot do is refused by name before anything starts, and nothing else is."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from flspec.layers import BatchNorm, Conv, Dense, Dropout, Flatten, Layer, chain
from flspec.protocol.plan import FEATURES, Plan
from flspec_tff import TffBackend, support

ADAM = {"kind": "adam", "learning_rate": 0.01}


def unsupported(plan: Plan) -> list[str]:
    return TffBackend().unsupported(plan)


def client(optimizer: dict[str, Any]) -> dict[str, Any]:
    return {"epochs": 1, "batch_size": 5, "optimizer": optimizer}


def altered(plan: Plan, **settings: Any) -> Plan:
    return replace(plan, settings=replace(plan.settings, **settings))


def layers(*graph: Layer) -> list[dict[str, Any]]:
    return [layer.model_dump(mode="json") for layer in chain(graph)]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"client": client(ADAM | {"schedule": {"kind": "cosine"}})},
        {"client": client({"kind": "adamw", "learning_rate": 0.01, "state": "reset"})},
        {"client": client(ADAM) | {"clip": {"norm": 1.0}, "label_weights": [1, 2, 3]}},
        {"client": client(ADAM) | {"loss": "mean_squared_error"}},
        {"aggregator": {"kind": "fedadam", "learning_rate": 0.1, "schedule": {"kind": "warmup", "rounds": 2}}},
        {"mode": "centralized", "client": client(ADAM)},
        {"mode": "local_only"},
        {"client": client(ADAM | {"state": "kept"})},
        {"aggregator": {"kind": "median"}},
    ],
)
def test_what_tff_can_do_is_not_refused(make_plan, changes):
    assert unsupported(make_plan(**changes)) == []


def test_a_plateau_is_refused(make_plan):
    spec = client(ADAM | {"schedule": {"kind": "plateau"}})
    plan = make_plan(client=spec, partition={"kind": "iid", "clients": 5, "holdout": 0.2})

    (problem,) = unsupported(plan)

    assert problem.startswith("client.optimizer.schedule: plateau follows what a client measures")


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"loss": "hinge"}, "client.loss: hinge has no TFF translation; known: binary_cross_entropy, cross_entropy"),
        ({"client_optimizer": {"kind": "lion"}}, "client.optimizer: lion has no TFF translation; known: sgd, adam"),
        ({"layers": [{"kind": "warp"}]}, "model: layer kind warp has no TFF translation; known: flatten"),
    ],
)
def test_a_setting_without_translation_is_refused_with_its_field_first(make_plan, monkeypatch, told, words):
    monkeypatch.setattr(support, "_too_large", lambda plan: [])  # which reads the layers

    (problem,) = unsupported(altered(make_plan(), **told))

    assert problem.startswith(words)


def test_batch_norm_whose_statistics_are_averaged_or_constant_is_no_problem(make_plan):
    frozen = [BatchNorm(name="a", statistics="frozen"), BatchNorm(name="b", statistics="averaged", frozen=True)]
    graph = layers(Conv(name="conv", channels=2, kernel_size=1), *frozen, Flatten(name="flatten"))

    plan = make_plan(dataset={"kind": "digits"}, model={"kind": "mlp", "hidden": [2]})

    assert unsupported(altered(plan, layers=graph)) == []
    assert unsupported(altered(plan, layers=graph, statistics=("c.running_mean", "c.running_var"))) == []


# --------------------------------------------------------------------------------------------------- several networks


def two_networks(make_plan: Callable[..., Plan], **client_changes: Any) -> Plan:
    return make_plan(
        dataset={"kind": "digits"},
        partition={"kind": "iid", "clients": 40},
        model={"kind": "dcgan", "latent": 6, "width": 2, "batch_norm": client_changes.pop("batch_norm", "averaged")},
        client={"steps": 2, "batch_size": 4, "objective": {"kind": "gan"}, "optimizer": ADAM} | client_changes,
        evaluation={"metrics": ["kid"], "generated": 10, "features": {"kind": "random_conv"}},
    )


def test_steps_of_several_networks_are_not_refused(make_plan):
    assert TffBackend().refusals(two_networks(make_plan)) == []


def test_draws_count_in_what_a_client_is_sent(make_plan):
    plan = two_networks(make_plan)
    discriminator, generator = plan.settings.phases
    many = {**discriminator, "draws": {"latent": {"kind": "normal", "shape": [2**22, 1, 1]}}}  # 16 MiB a row
    (problem,) = unsupported(altered(plan, phases=(many, generator)))
    assert problem.startswith("partition: a client is sent 8 examples for 2 steps, together 128 MiB, but TFF")


# ---------------------------------------------------------------------------------------------- what is done to updates

FIXED = {"kind": "private_mean", "clip": {"kind": "fixed", "norm": 1.0}, "noise_multiplier": 1.0, "clients": 3}
UNIFORM = {"kind": "fedavg", "weighting": "uniform"}


@pytest.mark.parametrize("clip", [FIXED["clip"], {"kind": "adaptive", "noise_on_count": 1.0}])
def test_a_private_mean_is_not_refused(make_plan, clip):
    assert TffBackend().refusals(make_plan(postprocessors=[FIXED | {"clip": clip}], aggregator=UNIFORM)) == []


@pytest.mark.parametrize(
    ("changes", "is_tffs"),
    [
        ({}, True),
        ({"aggregator": {"kind": "fedadam", "learning_rate": 0.1}}, True),
        ({"postprocessors": [FIXED], "aggregator": UNIFORM}, True),
        ({"postprocessors": [FIXED, FIXED], "aggregator": UNIFORM}, False),
        ({"postprocessors": [{"kind": "clip_update", "norm": 1.0}]}, False),
        ({"aggregator": {"kind": "median"}}, False),
        ({"client": client(ADAM | {"state": "kept"})}, False),
        ({"client": client(ADAM) | {"algorithm": {"kind": "fedprox", "mu": 1.0}}}, False),
        ({"mode": "local_only"}, False),
        ({"compression": {"kind": "float16"}}, False),
        ({"secure_aggregation": {"kind": "simulated_numerics"}}, False),
        ({"faults": [{"kind": "sign_flip"}]}, False),
        ({"faults": [{"kind": "label_flip"}]}, True),
        ({"min_clients": 2}, False),
    ],
)
def test_whose_step_the_servers_is_stands_in_what_it_declares(make_plan, changes, is_tffs):
    stages = TffBackend().stages(plan := make_plan(**changes))
    assert TffBackend().refusals(plan) == []
    assert stages == {**TffBackend.done_by, **({} if is_tffs else {"server step": "flspec"})}


def test_tff_does_not_aggregate_clients_that_do_not_count_alike_in_a_private_mean(make_plan):
    plan = make_plan(postprocessors=[FIXED], aggregator=UNIFORM)
    other = replace(plan, arrays={**plan.arrays, "task_weights": plan.arrays["task_weights"] * 2})
    assert [TffBackend().stages(one)["server step"] for one in (plan, other)] == ["TensorFlow Federated", "flspec"]


def test_private_steps_are_refused_with_the_reason_and_a_way_out(make_plan):
    privacy = {"kind": "example", "clip": {"norm": 1.0}, "noise_multiplier": 1.0, "delta": 0.01}
    (problem,) = TffBackend().refusals(make_plan(privacy=privacy, aggregator=UNIFORM))
    assert problem.startswith("privacy.kind: example has each client clip the gradient of every example")
    assert problem.endswith("; choose local or flower, or privacy.kind central")


def test_a_clip_from_elsewhere_is_refused(make_plan):
    plan = make_plan(postprocessors=[FIXED], aggregator=UNIFORM)
    (problem,) = unsupported(altered(plan, postprocessors=(FIXED | {"clip": {"kind": "halving"}},)))
    assert problem.startswith("postprocessors: the plan's Postprocessor")
    assert "cannot be read here" in problem


def test_a_feature_that_comes_later_is_refused(make_plan, monkeypatch):
    plan = make_plan()
    monkeypatch.setitem(FEATURES, "layers", "model.novelty")  # a key that every plan has
    (problem,) = TffBackend().refusals(plan)
    assert problem.startswith("model.novelty: tff does not read this")


def test_a_process_is_kept_for_a_plan_but_not_for_another_runs_secret_noise(make_plan, monkeypatch):
    built: list[bytes] = []
    monkeypatch.setitem(sys.modules, "flspec_tff.rounds", SimpleNamespace(FederatedAveraging=Built(built)))
    monkeypatch.setitem(sys.modules, "flspec_tff.separate_updates", SimpleNamespace(SeparateUpdates=None))
    backend, plan = TffBackend(), make_plan()
    for key in (b"one", b"one", b"other"):
        assert backend._built_for(replace(plan, noise_key=key))[0].plan.noise_key == key
    assert built == [b"one", b"other"]


class Built:
    """In place of what needs TensorFlow: takes note of each plan that a process is built for."""

    def __init__(self, built: list[bytes]) -> None:
        self._built = built

    def __call__(self, plan: Plan) -> SimpleNamespace:
        self._built.append(plan.noise_key)
        return SimpleNamespace(plan=plan)


# ---------------------------------------------------------------------------------------------- what a client is sent


@pytest.fixture
def limit(monkeypatch):
    """Sets how many bytes a client may be sent; returns what is then refused."""

    def refused(plan: Plan, most: int) -> list[str]:
        monkeypatch.setattr(support, "_MOST_BYTES", most)
        return unsupported(plan)

    return refused


def test_a_client_is_sent_its_examples_once_and_a_place_and_a_label_a_step(make_plan, limit):
    # 5 clients of 12 examples of 4 float32; two passes in batches of 5, 5 and 2 take 6 steps of 5 rows
    plan = make_plan(client=client({"kind": "sgd", "learning_rate": 0.1}) | {"epochs": 2})
    sent = 12 * 4 * 4 + 6 * 5 * (4 + 4)

    assert limit(plan, sent) == []
    (problem,) = limit(plan, sent - 1)
    assert problem.startswith("partition: a client is sent 12 examples for 6 steps, together 0 MiB, but TFF sends at")


def test_a_client_that_takes_few_of_its_examples_is_sent_no_more(make_plan, limit):
    work = {"steps": 1, "batch_size": 5, "optimizer": {"kind": "sgd", "learning_rate": 0.1}}
    sent = 5 * 4 * 4 + 5 * (4 + 4)

    assert limit(make_plan(client=work), sent) == []
    assert limit(make_plan(client=work), sent - 1)


def test_what_each_dropout_keeps_is_sent_with_each_step(make_plan, limit):
    graph = layers(
        Dense(name="dense", units=7),
        Dropout(name="values", rate=0.5),
        Dropout(name="examples", rate=0.5, drops="example"),
        Dense(name="output", units=3),
    )
    plan, rows = make_plan(), 3 * 5
    sent = 12 * 4 * 4 + rows * (4 + 4 + 7 + 1)

    assert limit(altered(plan, layers=graph), sent) == []
    assert limit(altered(plan, layers=graph), sent - 1)


def test_several_labels_are_sent_a_byte_each(make_plan, limit):
    plan = make_plan()
    data = replace(plan.settings.data, multi_label=True, num_classes=30)
    sent = 12 * 4 * 4 + 3 * 5 * (4 + 30)

    assert limit(altered(plan, data=data), sent) == []
    assert limit(altered(plan, data=data), sent - 1)


def test_transformed_examples_are_sent_as_often_as_they_are_trained_on(make_plan, limit):
    plan = make_plan(
        dataset={"kind": "digits", "train_transforms": [{"kind": "horizontal_flip"}]},
        partition={"kind": "iid", "clients": 100},
        model={"kind": "softmax_regression"},
        client={"epochs": 3, "batch_size": 15, "optimizer": {"kind": "sgd", "learning_rate": 0.1}},
    )
    most = max(len(plan.client_examples(task.client)) for n in (1, 2, 3) for task in plan.cohort(n))
    sent = 3 * most * (64 + 4 + 4)  # a client's examples are one batch

    assert most <= 15
    assert limit(plan, sent) == []
    assert limit(plan, sent - 1)


def test_examples_that_a_client_measures_are_sent_as_well(make_plan, limit):
    work = {"steps": 1, "batch_size": 5, "optimizer": {"kind": "sgd", "learning_rate": 0.1}}
    plan = make_plan(client=work | {"algorithm": {"kind": "scaffold", "option": "I"}}, aggregator=UNIFORM)
    sent = 12 * (4 * 4 + 4 + 4)

    assert limit(plan, sent) == []
    (problem,) = limit(plan, sent - 1)
    assert problem.startswith("client.algorithm: has a client measure its 12 examples, 0 MiB, but TFF sends at most")
