"""Client algorithms against their definitions, in closed form and in loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from flspec.client_algorithms import ClientAlgorithm, LocalWork
from flspec.client_algorithms.fedprox import FedProx
from flspec.data.store import open_data
from flspec_torch.supervised import SupervisedStep
from flspec_torch.training import Trainer

SGD = {"kind": "sgd", "learning_rate": 0.1}


def work(**more):
    return {"epochs": 2, "batch_size": 5, "optimizer": SGD} | more


def test_fedprox_minimises_a_quadratic_as_in_closed_form():
    """Of (a/2)(w - b)^2 + (mu/2)(w - w_t)^2 the minimum is (a b + mu w_t) / (a + mu)."""
    a, b, start, algorithm = 2.0, 3.0, np.array([-1.0]), FedProx(mu=0.5)
    w = start.copy()
    for _ in range(500):
        w = w - 0.1 * algorithm.correct(a * (w - b), w, start, {}, {})
    assert w == pytest.approx((a * b + 0.5 * start) / (a + 0.5), rel=1e-12)
    assert w != pytest.approx((a * b - 0.5 * start) / (a - 0.5), rel=1e-3)  # the sign reversed


@pytest.mark.parametrize("optimizer", [SGD, SGD | {"momentum": 0.9, "weight_decay": 0.1}], ids=["plain", "momentum"])
def test_fedprox_is_torchs_gradient_of_the_whole_objective(make_plan, optimizer):
    """The loss with its second term written out, differentiated by torch and descended by torch's own SGD."""
    mu = 0.7
    plan = make_plan(client=work(optimizer=optimizer, algorithm={"kind": "fedprox", "mu": mu}))
    task = plan.cohort(1)[0]
    ours, forward = Trainer(plan).train(task, plan.weights).delta, SupervisedStep(plan, Trainer(plan).data).forward
    ends = {}
    for name, sign in (("right", 1.0), ("reversed", -1.0), ("absent", 0.0)):
        tensors = {n: torch.tensor(value, requires_grad=True) for n, value in plan.weights.items()}
        options = {
            "lr": 0.1,
            "momentum": optimizer.get("momentum", 0),
            "weight_decay": optimizer.get("weight_decay", 0),
        }
        descent, data = torch.optim.SGD(tensors.values(), **options), open_data(plan.settings.data).train
        for batch in task.batches:
            outputs = forward(tensors, torch.tensor(data.inputs(batch)), {})
            loss = torch.nn.functional.cross_entropy(outputs, torch.tensor(data.labels[batch]))
            near = sum((w - torch.tensor(plan.weights[n])).square().sum() for n, w in tensors.items())
            descent.zero_grad()
            (loss + sign * mu / 2 * near).backward()
            descent.step()
        ends[name] = {n: w.detach().numpy() - plan.weights[n] for n, w in tensors.items()}
    assert all(np.allclose(ours[n], ends["right"][n], atol=1e-6) for n in ours)
    assert not any(np.allclose(ours[n], ends[wrong][n], atol=1e-4) for n in ours for wrong in ("reversed", "absent"))


def test_gradients_are_corrected_before_they_are_clipped(make_plan):
    """A correction a million times as large as the clip's norm is bounded by it."""
    plan = make_plan(client=work(clip={"norm": 1e-3}, algorithm={"kind": "fedprox", "mu": 1e6}))
    task = plan.cohort(1)[0]
    delta = Trainer(plan).train(task, plan.weights).delta
    length = np.sqrt(sum(np.square(value).sum() for value in delta.values()))
    assert 0 < length <= 0.1 * 1e-3 * len(task.batches) * (1 + 1e-5)


def test_the_plain_algorithm_changes_nothing(make_plan):
    gradient, start, after = object(), {"w": np.ones(2, np.float32)}, {"w": np.full(2, 3, np.float32)}
    assert ClientAlgorithm().correct(gradient, None, None, {}, {}) is gradient
    assert ClientAlgorithm().finish(LocalWork(start, after, {}, {}, 1, 0.1)).delta["w"].tolist() == [2.0, 2.0]
    plain = {"epochs": 1, "batch_size": 5, "optimizer": SGD}
    assert make_plan().digest == make_plan(client=plain).digest == make_plan(client=plain | {"algorithm": None}).digest


def test_an_algorithm_is_in_the_digest_and_left_out_where_nobody_learns_together(make_plan):
    with_mu = [make_plan(client=work(algorithm={"kind": "fedprox", "mu": mu})) for mu in (0.1, 0.2)]
    assert len({plan.digest for plan in (*with_mu, make_plan(client=work()))}) == 3
    assert with_mu[0].features == ["client_algorithm"]
    alone = make_plan(mode="local_only", client=work(algorithm={"kind": "fedprox", "mu": 0.1}))
    assert alone.digest == make_plan(mode="local_only", client=work()).digest
