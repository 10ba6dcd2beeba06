"""Client algorithms in float64 by hand, each as its paper's pseudocode has it, on vectors of all weights.

Shares no code with `flspec.client_algorithms` nor an engine. A round's weights are rounded to float32, as a server
keeps them. The class attributes of an algorithm are what deliberately wrong variants change.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from flspec.data.store import open_data
from flspec.protocol.plan import ClientTask, Plan
from flspec.protocol.state import ServerState
from tests.oracle import loss_and_gradient

Vector = NDArray[np.float64]


class Problem:
    """A plan's examples and its dense model, as functions of one vector."""

    def __init__(self, plan: Plan) -> None:
        self._layers, self._shapes = plan.settings.layers, {n: v.shape for n, v in (plan.weights | plan.local).items()}
        self._data, self._plan = open_data(plan.settings.data), plan
        self.rate = plan.settings.client_optimizer["learning_rate"]
        self.momentum = plan.settings.client_optimizer["momentum"]
        self.decay = plan.settings.client_optimizer["weight_decay"]

    def vector(self, tensors: Any) -> Vector:
        return np.concatenate([np.asarray(tensors[name], np.float64).ravel() for name in self._shapes])

    def tensors(self, vector: Vector) -> dict[str, NDArray[np.float64]]:
        ends = np.cumsum([int(np.prod(shape)) for shape in self._shapes.values()])[:-1]
        parts = zip(self._shapes.items(), np.split(vector, ends), strict=True)
        return {name: part.reshape(shape) for (name, shape), part in parts}

    def loss_of(self, rows: Any, at: Vector) -> float:
        return self._of(rows, at)[0]

    def loss(self, client: int, at: Vector) -> float:
        return self._of(self._plan.client_examples(client), at)[0]

    def full_gradient(self, client: int, at: Vector) -> Vector:
        return self._of(self._plan.client_examples(client), at)[1]

    def gradient(self, batch: Any, at: Vector) -> Vector:
        return self._of(batch, at)[1]

    def test_loss(self, at: Vector) -> float:
        return self._of(slice(None), at, "test")[0]

    def _of(self, rows: Any, at: Vector, split: str = "train") -> tuple[float, Vector]:
        examples = self._data.splits[split]
        inputs, labels = examples.inputs(rows).astype(np.float64), examples.labels[rows]
        loss, _, gradient = loss_and_gradient(self._layers, self.tensors(at), inputs, labels)
        return loss, self.vector(gradient)


class Algorithm:
    """Federated averaging; each algorithm replaces what it does otherwise."""

    decays_all = False  # also what a pass does not train

    def __init__(self, plan: Plan) -> None:
        self.plan, self.on = plan, Problem(plan)
        self.x = self.on.vector(plan.weights | plan.local)
        self.num_sent = sum(weight.size for weight in plan.weights.values())  # these come first
        self.own: dict[int, Vector] = {}  # what stays with each client that has taken part
        self.parameters = dict(plan.settings.client_algorithm or {})
        self.prepare(len(self.x), plan.num_clients)

    def prepare(self, size: int, num_clients: int) -> None:
        """Set up what server and clients remember."""

    def client(self, k: int, task: ClientTask) -> Any:
        """Return what client k sends after its work from `self.x`."""
        return self.steps(task.batches, lambda g, w: g) - self.x

    def server(self, messages: list[Any], p: Vector) -> None:
        """Move `self.x`; `p` are the shares of the clients, which sum to 1."""
        self.x = self.x + sum(share * delta for share, delta in zip(p, messages, strict=True))

    def steps(self, batches: Any, corrected: Any, start: Vector | None = None, mask: Vector | float = 1.0) -> Vector:
        """Return the weights after a step for each batch, in which those change where the mask is 1."""
        w, v = (self.x if start is None else start), np.zeros_like(self.x)
        for batch in batches:
            decay = self.on.decay * w * (1.0 if self.decays_all else mask)
            v = self.on.momentum * v + mask * corrected(self.on.gradient(batch, w), w) + decay
            w = w - self.on.rate * v
        return w

    def run(self) -> list[Vector]:
        """Return the weights after each round."""
        after = []
        for number in range(1, self.plan.num_rounds + 1):
            tasks = self.plan.cohort(number)
            shares = np.array([task.weight for task in tasks], np.float64)
            self.server([self.client(task.client, task) for task in tasks], shares / shares.sum())
            self.x = self.x.astype(np.float32).astype(np.float64)
            self.own = {k: own.astype(np.float32).astype(np.float64) for k, own in self.own.items()}
            after.append(self.x[: self.num_sent])
        return after


class FedProx(Algorithm):
    """Li et al. 2020, Equation 2. One framework has the sign the other way round."""

    sign, from_the_start = 1.0, True

    def client(self, k, task):
        mu, near = self.parameters["mu"], self.x if self.from_the_start else np.zeros_like(self.x)
        return self.steps(task.batches, lambda g, w: g + self.sign * mu * (w - near)) - self.x


class Scaffold(Algorithm):
    """Karimireddy et al. 2020, Algorithm 1."""

    sign, own_sign = 1.0, 1.0
    divides_by_all = True

    def prepare(self, size, num_clients):
        self.c, self.ci = np.zeros(size), np.zeros((num_clients, size))

    def client(self, k, task):
        ci, c, x = self.ci[k].copy(), self.c, self.x
        y = self.steps(task.batches, lambda g, w: g + self.sign * (c - ci))
        if self.parameters["option"] == "I":
            plus = self.on.full_gradient(k, x)
        else:
            plus = ci - self.own_sign * c + (x - y) / (len(task.batches) * self.on.rate)
        self.ci[k] = plus
        return y - x, plus - ci

    def server(self, messages, p):
        num = len(self.ci) if self.divides_by_all else len(messages)
        self.x = self.x + sum(dy for dy, _ in messages) / len(messages)
        self.c = self.c + sum(dc for _, dc in messages) / num


class FedDyn(Algorithm):
    """Acar et al. 2021, Algorithm 1."""

    linear, server_sign = 1.0, 1.0
    divides_by_all = True

    def prepare(self, size, num_clients):
        self.h, self.gradients = np.zeros(size), np.zeros((num_clients, size))

    def client(self, k, task):
        alpha, theta, mine = self.parameters["alpha"], self.x, self.gradients[k].copy()
        after = self.steps(task.batches, lambda g, w: g - self.linear * mine + alpha * (w - theta))
        self.gradients[k] = mine - alpha * (after - theta)
        return after

    def server(self, messages, p):
        alpha, num = self.parameters["alpha"], len(self.gradients) if self.divides_by_all else len(messages)
        self.h = self.h - alpha / num * sum(after - self.x for after in messages)
        self.x = sum(messages) / len(messages) - self.server_sign * self.h / alpha


class FedNova(Algorithm):
    """Wang et al. 2020, Equations 4 and 5 and the list of a_i below them, for constant learning rates."""

    normalises, of_momentum, of_proximal = True, True, True

    def length(self, tau: int) -> float:
        rho, alpha = self.on.momentum, self.on.rate * self.parameters["mu"]
        if rho and self.of_momentum:
            return float((tau - rho * (1 - rho**tau) / (1 - rho)) / (1 - rho))
        if alpha and self.of_proximal:
            return float((1 - (1 - alpha) ** tau) / alpha)
        return float(tau)

    def client(self, k, task):
        start = self.x
        update = self.steps(task.batches, lambda g, w: g + self.parameters["mu"] * (w - start)) - start
        return update, self.length(len(task.batches)) if self.normalises else 1.0

    def server(self, messages, p):
        effective = sum(share * length for share, (_, length) in zip(p, messages, strict=True))
        direction = sum(share * update / length for share, (update, length) in zip(p, messages, strict=True))
        self.x = self.x + effective * direction


class QFedAvg(Algorithm):
    """Li et al. 2020, Algorithm 2."""

    power_of_h = -1.0

    def client(self, k, task):
        q, lipschitz = self.parameters["q"], 1 / self.on.rate
        loss = self.on.loss(k, self.x)
        dw = lipschitz * (self.x - self.steps(task.batches, lambda g, w: g))
        return loss**q * dw, q * loss ** (q + self.power_of_h) * (dw @ dw) + lipschitz * loss**q

    def server(self, messages, p):
        self.x = self.x - sum(delta for delta, _ in messages) / sum(h for _, h in messages)


class FedPer(Algorithm):
    """Arivazhagan et al. 2019, Algorithm 1: the last layers stay with each client."""

    def client(self, k, task):
        body = np.arange(len(self.x)) < self.num_sent
        start = np.where(body, self.x, self._with_head(k))
        after = self.trained(task, start, body.astype(float))
        self.own[k] = after[self.num_sent :]
        return after - start

    def _with_head(self, k):
        return np.concatenate([self.x[: self.num_sent], self.own.get(k, self.x[self.num_sent :])])

    def trained(self, task, start, body):
        return self.steps(task.batches, lambda g, w: g, start)

    def server(self, messages, p):
        head = self.x[self.num_sent :]
        super().server(messages, p)
        self.x = np.concatenate([self.x[: self.num_sent], head])


class FedRep(FedPer):
    """Collins et al. 2021, Algorithm 1: head, then representation."""

    head_first, share = True, 2 / 3

    def trained(self, task, start, body):
        split = round(self.share * len(task.batches))
        first, last = (1 - body, body) if self.head_first else (body, 1 - body)
        middle = self.steps(task.batches[:split], lambda g, w: g, start, first)
        return self.steps(task.batches[split:], lambda g, w: g, middle, last)


class Ditto(Algorithm):
    """Li et al. 2021, Algorithm 1."""

    sign, from_the_servers = 1.0, False

    def prepare(self, size, num_clients):
        self.first = self.x

    def client(self, k, task):
        strength, x = self.parameters["strength"], self.x
        v = x if self.from_the_servers else self.own.get(k, self.first)
        self.own[k] = self.steps(task.batches, lambda g, w: g + self.sign * strength * (w - x), v)
        return super().client(k, task)


BY_HAND: dict[str, type[Algorithm]] = {
    "ditto": Ditto,
    "feddyn": FedDyn,
    "fednova": FedNova,
    "fedprox": FedProx,
    "fedrep": FedRep,
    "qfedavg": QFedAvg,
    "scaffold": Scaffold,
}


def algorithm_of(plan: Plan, **wrong: Any) -> Algorithm:
    """The loop of a plan's algorithm, with what is to be wrong in it."""
    assert plan.settings.client_algorithm
    algorithm = BY_HAND[plan.settings.client_algorithm["kind"]](plan)
    vars(algorithm).update(wrong)
    return algorithm


def distance(states: list[ServerState], loop: Algorithm) -> float:
    """The farthest that any weight is from the loop's: the server's after each round, clients' own after the last."""
    servers = farthest(vectors(states), loop.run())
    clients = states[-1].clients
    return max(servers, 0.0, *(farthest([own_weights(clients[k])], [own]) for k, own in loop.own.items()))


def vectors(states: list[ServerState]) -> list[Any]:
    return [_vector(state.weights) for state in states]


def farthest(left: Any, right: Any) -> float:
    return max(float(np.abs(one - other).max()) for one, other in zip(left, right, strict=True))


def own_weights(records: Any) -> Any:
    """A client's weights: those that stay with it, or its own model's."""
    return _vector(records.get("weights", records.get("personal")))


def _vector(tensors: Any) -> Any:
    return np.concatenate([value.ravel() for value in tensors.values()])
