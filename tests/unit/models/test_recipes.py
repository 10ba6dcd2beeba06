"""What a client is told to do, done in runs: schedules, kept state, clipping and plateaus, on the smallest plans."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import torch

from flspec.data.store import open_data
from flspec.errors import InputError, SpecError
from flspec.execution.client_state import first_client_state
from flspec.execution.rounds import initial_state
from flspec.execution.server_step import finish_round
from flspec.protocol.backend import Job, kept_state
from flspec.protocol.events import RoundFinished
from flspec.protocol.named_records import flatten
from flspec.protocol.plan import FEATURES
from flspec.protocol.state import load_state
from flspec_local import LocalBackend
from flspec_torch.model import to_tensors
from flspec_torch.training import Trainer

SGD = {"kind": "sgd", "learning_rate": 0.25}
OPTIMIZERS = [
    SGD | {"momentum": 0.9},
    {"kind": "adam", "learning_rate": 0.02},
    {"kind": "adamw", "learning_rate": 0.02, "weight_decay": 0.1},
]


def work(optimizer, **more):
    return {"epochs": 1, "batch_size": 5, "optimizer": optimizer} | more


def states(plan, folder):
    """The server at the start and after each round of a run."""
    events = list(LocalBackend().execute(plan, Job(folder, keep="all")))
    assert sum(isinstance(event, RoundFinished) for event in events) == plan.num_rounds
    kept = [load_state(kept_state(folder, number), plan.digest) for number in range(1, plan.num_rounds + 1)]
    return [initial_state(plan), *kept]


def same(one, other):
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


def length(delta):
    return float(np.sqrt(sum((value.astype(np.float64) ** 2).sum() for value in delta.values())))


# ---------------------------------------------------------------------------------------------------------- schedules


def test_a_clients_learning_rate_is_the_one_planned_for_the_round(make_plan, tmp_path):
    schedule = {"kind": "step", "every": 1, "decay": 0.5}
    plan = make_plan(client=work(SGD | {"schedule": schedule}))
    assert [plan.cohort(number)[0].rate for number in (1, 2, 3)] == [1.0, 0.5, 0.25]
    assert "schedule" not in plan.settings.client_optimizer
    for number, (before, after) in enumerate(itertools.pairwise(states(plan, tmp_path)), 1):
        at = {
            rate: round_by_hand(make_plan(client=work(SGD | {"learning_rate": rate})), before, number)
            for rate in (0.25 * 0.5**exponent for exponent in range(4))
        }
        assert same(after.weights, at.pop(0.25 * 0.5 ** (number - 1)))
        assert not any(same(after.weights, other) for other in at.values())


def round_by_hand(plan, state, number):
    """The weights after a round of another plan, whose server starts from `state`."""
    trainer = Trainer(plan)
    return finish_round(plan, state, [trainer.train(task, state.weights) for task in plan.cohort(number)]).state.weights


def test_a_servers_warm_up_starts_from_nothing_and_takes_its_steps_in_the_planned_rounds(make_plan, tmp_path):
    schedule = {"kind": "warmup", "rounds": 2}
    plan = make_plan(aggregator={"kind": "fedavg", "schedule": schedule})
    start, first, second, third = states(plan, tmp_path)
    assert same(first.weights, start.weights)
    full = {number: round_by_hand(make_plan(), state, number) for number, state in ((2, first), (3, second))}
    assert same(third.weights, full[3])
    for name, before in first.weights.items():
        np.testing.assert_allclose(second.weights[name] - before, (full[2][name] - before) / 2, atol=1e-7)
    assert not same(second.weights, full[2])


def test_an_adaptive_server_learns_of_its_first_round_even_at_rate_nothing(make_plan, tmp_path):
    aggregator = {"kind": "fedadam", "learning_rate": 0.1, "schedule": {"kind": "warmup", "rounds": 2}}
    start, first, second, _ = states(make_plan(aggregator=aggregator), tmp_path)
    assert same(first.weights, start.weights)
    assert not same(second.weights, first.weights)
    assert any(value.any() for value in first.optimizer.slots["first_moment"].values())


# --------------------------------------------------------------------------------------------------------- kept state


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda optimizer: optimizer["kind"])
def test_kept_over_the_rounds_is_one_long_training_bit_for_bit_and_reset_is_not(make_plan, tmp_path, optimizer):
    kept, reset = (make_plan(mode="local_only", client=work(optimizer | state)) for state in ({}, {"state": "reset"}))
    assert kept.settings.client_optimizer["state"] == "kept"
    assert kept.digest != reset.digest
    ends = {plan.digest: states(plan, tmp_path / plan.digest)[-1].clients for plan in (kept, reset)}
    for client in range(5):
        long = Trainer(kept).train(all_rounds(kept, client), {}, first_client_state(kept)).client_state
        assert same(flatten(ends[kept.digest][client]), flatten(long))
        assert not same(ends[reset.digest][client]["weights"], long["weights"])


def all_rounds(plan, client):
    """The task of a client that takes all its rounds' steps without a break."""
    tasks = [plan.cohort(number)[client] for number in range(1, plan.num_rounds + 1)]
    assert {task.client for task in tasks} == {client}
    return dataclasses.replace(tasks[0], batches=tuple(batch for task in tasks for batch in task.batches))


@pytest.mark.parametrize(
    ("mode", "state", "is_kept"),
    [
        ("federated", None, False),
        ("federated", "kept", True),
        ("local_only", None, True),
        ("centralized", None, True),
        ("centralized", "reset", False),
    ],
)
def test_an_optimizer_is_reset_in_federations_and_kept_elsewhere_unless_told(make_plan, mode, state, is_kept):
    plan = make_plan(mode=mode, client=work(OPTIMIZERS[1] | {"state": state}))
    assert ("state" in plan.settings.client_optimizer) == is_kept


def test_a_client_that_sits_out_a_round_finds_its_optimizer_as_it_left_it(make_plan, tmp_path):
    plan = make_plan(rounds=6, cohort={"kind": "uniform", "size": 2}, client=work(OPTIMIZERS[1] | {"state": "kept"}))
    rounds, rested = states(plan, tmp_path), 0
    for number, (before, after) in enumerate(itertools.pairwise(rounds), 1):
        present = {task.client for task in plan.cohort(number)}
        for client, kept in before.clients.items():
            assert same(flatten(kept), flatten(after.clients[client])) == (client not in present)
            rested += client not in present
    assert rested
    steps = {client: float(kept["optimizer"]["step"]) for client, kept in rounds[-1].clients.items()}
    tasks = [task for number in range(1, 7) for task in plan.cohort(number)]
    assert steps == {c: sum(len(task.batches) for task in tasks if task.client == c) for c in steps}


# ------------------------------------------------------------------------------------------------------------ clipping


@pytest.mark.parametrize("by", ["global", "tensor"])
def test_a_clipped_step_is_no_longer_than_its_bound(make_plan, by):
    free, clipped, loose = (
        make_plan(client={"steps": 1, "batch_size": 5, "optimizer": SGD} | ({"clip": clip} if clip else {}))
        for clip in (None, {"norm": 0.01, "by": by}, {"norm": 1e6, "by": by})
    )
    deltas = [Trainer(plan).train(plan.cohort(1)[0], plan.weights).delta for plan in (free, clipped, loose)]
    assert same(deltas[0], deltas[2])
    assert length(deltas[0]) > 0.25 * 0.02
    if by == "global":
        assert length(deltas[1]) == pytest.approx(0.25 * 0.01, rel=1e-4)
        return
    free_lengths, lengths = ({name: length({name: delta[name]}) for name in delta} for delta in deltas[:2])
    for name, value in lengths.items():
        assert value == pytest.approx(min(free_lengths[name], 0.25 * 0.01), rel=1e-4)
    assert length(deltas[1]) > 0.25 * 0.011  # together they may be longer


def test_every_step_of_a_run_is_clipped_and_before_the_optimizer_sees_it(make_plan):
    """Momentum of clipped gradients: torch's own SGD over gradients that are clipped by hand."""
    plan = make_plan(client=work(SGD | {"momentum": 0.9}, epochs=2, clip={"norm": 0.3, "by": "global"}))
    task, trainer = plan.cohort(1)[0], Trainer(plan)
    expected = {clip: by_hand(trainer, task, clip) for clip in ("before", "after", "never")}
    delta = trainer.train(task, plan.weights).delta
    distance = {clip: apart(delta, other) for clip, other in expected.items()}
    assert distance["before"] < 1e-6
    assert min(distance["after"], distance["never"]) > 1e-3


def by_hand(trainer, task, clip):
    plan = trainer.plan
    start, tensors, split = to_tensors(plan.weights), to_tensors(plan.weights), open_data(plan.settings.data).train
    weights = [tensor.requires_grad_() for tensor in tensors.values()]
    velocity = [torch.zeros_like(weight) for weight in weights]
    for batch in task.batches:
        inputs, labels = torch.from_numpy(split.inputs(batch)), torch.from_numpy(split.labels[batch])
        loss = torch.nn.functional.cross_entropy(trainer.step.forward(tensors, inputs, {}), labels)
        gradients = list(torch.autograd.grad(loss, weights))
        if clip == "before":
            gradients = shortened(gradients)
        velocity = [0.9 * v + g for v, g in zip(velocity, gradients, strict=True)]
        with torch.no_grad():
            for weight, step in zip(weights, shortened(velocity) if clip == "after" else velocity, strict=True):
                weight.sub_(0.25 * step)
    return {name: (tensors[name] - start[name]).detach().numpy() for name in start}


def shortened(tensors):
    norm = torch.cat([tensor.flatten() for tensor in tensors]).norm()
    return [tensor * min(1.0, 0.3 / float(norm)) for tensor in tensors]


# ------------------------------------------------------------------------------------------------------------- plateau

HOLDOUT = {"kind": "iid", "clients": 5, "holdout": 0.25}
# So high that every pass after the first is one without improvement: the rate falls after the 2nd, 3rd, ….
HOPELESS = {"kind": "plateau", "metric": "loss", "patience": 0, "threshold": 0.999, "decay": 0.5}


def test_a_clients_rate_falls_after_each_pass_without_improvement(make_plan):
    plan = make_plan(partition=HOLDOUT, client=work(SGD | {"schedule": HOPELESS}, epochs=4))
    plain = make_plan(partition=HOLDOUT, client=work(SGD, epochs=4))
    task = plan.cohort(1)[0]
    delta = Trainer(plan).train(task, plan.weights).delta
    assert apart(delta, in_passes(plain, task, [1.0, 1.0, 0.5, 0.25])) < 1e-6
    for wrong in ([1.0, 0.5, 0.25, 0.125], [1.0, 1.0, 1.0, 0.5], [1.0] * 4):
        assert apart(delta, in_passes(plain, task, wrong)) > 1e-4


def apart(one, other):
    return max(np.abs(one[name] - other[name]).max() for name in one)


def in_passes(plan, task, rates):
    """What plain descent adds up to, each pass being a training of its own at its own rate."""
    weights, size = plan.weights, len(task.batches) // len(rates)
    for number, rate in enumerate(rates):
        batches = task.batches[number * size : (number + 1) * size]
        trained = Trainer(plan).train(dataclasses.replace(task, batches=batches, rate=rate), weights)
        weights = {name: value + trained.delta[name] for name, value in weights.items()}
    return {name: weights[name] - value for name, value in plan.weights.items()}


def test_a_client_that_improves_keeps_its_rate(make_plan):
    patient = HOPELESS | {"patience": 4}
    plan, plain = (
        make_plan(partition=HOLDOUT, client=work(SGD | more, epochs=4)) for more in ({"schedule": patient}, {})
    )
    task = plan.cohort(1)[0]
    assert same(Trainer(plan).train(task, plan.weights).delta, Trainer(plain).train(task, plain.weights).delta)


@pytest.mark.parametrize("optimizer", [SGD, *OPTIMIZERS], ids=str)
def test_a_plateau_that_is_kept_goes_on_in_the_next_round_as_if_never_interrupted(make_plan, tmp_path, optimizer):
    client = work(optimizer | {"schedule": HOPELESS}, epochs=2)
    plan = make_plan(mode="local_only", partition=HOLDOUT, client=client)
    once = make_plan(mode="local_only", partition=HOLDOUT, client=client | {"epochs": 6}, rounds=1)
    end = states(plan, tmp_path)[-1].clients
    for number in range(5):
        long = Trainer(once).train(all_rounds(plan, number), {}, first_client_state(once)).client_state
        assert same(flatten(end[number]), flatten(long))
        assert end[number]["schedule"]["plateau"].tolist()[1:] == [0.0, 5.0]


def test_a_client_whose_metric_is_not_defined_goes_on_at_its_rate(make_plan):
    """One class for each client: no area under the curve."""
    dataset = {"kind": "synthetic", "classes": 2, "features": 4, "train_examples": 60, "test_examples": 20}
    partition = {"kind": "pathological", "clients": 2, "classes_per_client": 1, "holdout": 0.25}
    schedule = HOPELESS | {"metric": "roc_auc"}
    plan, plain = (
        make_plan(dataset=dataset, partition=partition, cohort={"kind": "all"}, client=work(SGD | more, epochs=4))
        for more in ({"schedule": schedule}, {})
    )
    task = plan.cohort(1)[0]
    assert same(Trainer(plan).train(task, plan.weights).delta, Trainer(plain).train(task, plain.weights).delta)


@pytest.mark.parametrize(
    ("changed", "where"),
    [
        ({"partition": {"kind": "iid", "clients": 5}}, "partition.holdout"),
        ({"client": {"steps": 3, "batch_size": 5, "optimizer": SGD | {"schedule": HOPELESS}}}, "client.epochs"),
        (
            {"client": work(SGD | {"schedule": HOPELESS}) | {"batch_across_epochs": True}},
            "client.batch_across_epochs: false",
        ),
    ],
    ids=["nothing held out", "no passes", "passes that do not end"],
)
def test_a_plateau_with_nothing_to_measure_or_no_passes_is_refused(make_plan, changed, where):
    sections = {"partition": HOLDOUT, "client": work(SGD | {"schedule": HOPELESS})}
    with pytest.raises(SpecError, match=where):
        make_plan(**sections | changed)


# ------------------------------------------------------------------------------------------- what would pass unnoticed


HOLDOUT = {"kind": "iid", "clients": 5, "holdout": 0.2}


def test_a_plateau_of_a_metric_that_such_labels_never_have_is_refused(make_plan):
    for metric, is_right in (("loss", True), ("roc_auc", True), ("balanced_accuracy", True), ("f1", False)):
        client = work(SGD | {"schedule": {"kind": "plateau", "metric": metric}})
        if is_right:
            make_plan(client=client, partition=HOLDOUT)
            continue
        with pytest.raises(SpecError, match=r"client.optimizer.schedule.metric: f1 is always undefined .* use loss"):
            make_plan(client=client, partition=HOLDOUT)


def test_a_schedule_that_measures_and_that_torch_does_not_know_is_refused(make_plan):
    plan = make_plan(client=work(SGD | {"schedule": {"kind": "plateau"}}), partition=HOLDOUT)
    assert LocalBackend().refusals(plan) == []
    foreign = plan.settings.client_optimizer | {"schedule": {"kind": "halving"}}
    other = dataclasses.replace(plan, settings=dataclasses.replace(plan.settings, client_optimizer=foreign))
    assert LocalBackend().refusals(other)[0].startswith("client.optimizer.schedule: halving needs a client's")


def test_a_plan_that_follows_a_plateau_over_several_passes_can_be_rehearsed(make_plan):
    plan = make_plan(client=work(SGD | {"schedule": {"kind": "plateau"}}, epochs=3), partition=HOLDOUT)
    assert LocalBackend().rehearse(plan) is not None


def test_a_schedule_that_changes_nothing_changes_no_digest(make_plan):
    steady = SGD | {"schedule": {"kind": "step", "every": 5}}
    assert make_plan(client=work(steady)).digest == make_plan(client=work(SGD)).digest
    assert make_plan(client=work(steady), rounds=6).digest != make_plan(client=work(SGD), rounds=6).digest


def test_a_factor_that_no_learning_rate_can_have_is_a_defect_of_the_schedule(make_plan, monkeypatch):
    from flspec.schedules.step import Step

    for factor in (-1.0, float("nan"), float("inf")):
        monkeypatch.setattr(Step, "factor", lambda self, number, total, factor=factor: factor)
        with pytest.raises(InputError, match=r"client.optimizer.schedule: step .* gives .* in round 1"):
            make_plan(client=work(SGD | {"schedule": {"kind": "step", "every": 1}}))


@pytest.mark.parametrize(
    ("sections", "feature"),
    [
        ({"client": work(SGD, clip={"norm": 1.0})}, "clip"),
        ({"client": work(SGD, loss="mean_squared_error")}, "loss"),
        ({"client": work(SGD, label_weights=[1.0, 2.0, 3.0])}, "label_weights"),
        ({"client": work(SGD | {"momentum": 0.9, "state": "kept"})}, "state"),
        ({"client": work(SGD | {"schedule": {"kind": "step", "every": 1}})}, "client_rates"),
        ({"aggregator": {"kind": "fedavg", "schedule": {"kind": "step", "every": 1}}}, "server_rates"),
        ({"client": work(SGD | {"schedule": {"kind": "plateau"}}), "partition": HOLDOUT}, "epochs"),
        ({"mode": "local_only"}, "local"),
        ({"dataset": {"kind": "digits"}, "model": {"kind": "cifar_cnn", "kernel_size": 3}}, "task_seeds"),
    ],
)
def test_whoever_does_not_read_a_feature_refuses_it(make_plan, sections, feature):
    class Older(LocalBackend):
        reads = frozenset(FEATURES) - {feature}

        def unsupported(self, plan):
            """Looks for what a plan with such a feature may not have."""
            raise KeyError("layers")

    plan = make_plan(**sections)
    assert feature in plan.features
    assert Older().refusals(plan) == [
        f"{FEATURES[feature]}: local does not read this; remove it, or choose another backend"
    ]
    assert LocalBackend().refusals(plan) == []
    assert make_plan().features == []
