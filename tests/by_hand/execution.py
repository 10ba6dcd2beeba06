"""A plan of digits executed in float64, from its first draw to its last metric, with nothing of flspec's engines.

Of flspec it has the plan's reader (which clients, which batches, which seeds) and the names of layers. The pictures are
scikit-learn's; what a model is shown of them (`pixels`), a client's work (`clients`, `network`), learning rates
(`schedules`), the server (`tests/oracle.py`) and metrics (`metrics`) are written out here.

Like a backend in lockstep it takes each round from a given state, and says what the state after it should be and what
it should be worth.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from flspec.layers import Layer, parse_layers
from flspec.protocol.plan import ClientTask, Plan
from flspec.protocol.state import ServerState
from tests import oracle
from tests.by_hand import metrics, network, pixels
from tests.by_hand.clients import Trained, Work, train
from tests.by_hand.schedules import factor

LARGEST = 16  # of a digit's pixels
Tensors = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Round:
    """What a round should come to."""

    weights: Tensors  # the server's, statistics included
    slots: Mapping[str, Tensors]  # the server optimizer's
    clients: Mapping[int, Mapping[str, Tensors]]  # the records that each client of the cohort keeps
    train: Mapping[str, float]


@dataclass(frozen=True)
class ByHand:
    """A plan's experiment, by its spec and its planned draws."""

    plan: Plan

    @cached_property
    def examples(self) -> dict[str, tuple[NDArray[np.uint8], NDArray[np.int64]]]:
        """Pictures [num, height, width] and classes; every fifth is for the test set."""
        bunch = load_digits()
        is_test = np.arange(len(bunch.target)) % 5 == 4
        images, classes = bunch.images.astype(np.uint8), bunch.target.astype(np.int64)
        return {"train": (images[~is_test], classes[~is_test]), "test": (images[is_test], classes[is_test])}

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        return parse_layers(self.plan.settings.layers)

    @property
    def spec(self) -> Mapping[str, Any]:
        return self.plan.spec

    def rounds(self, starts: Sequence[ServerState]) -> Iterator[Round]:
        """Every round, each from the state before it."""
        for number, start in enumerate(starts, start=1):
            yield self.round(number, start)

    def round(self, number: int, start: ServerState) -> Round:
        cohort = self.plan.cohort(number)
        trained = {task.client: self.train(number, task, start) for task in cohort}
        deltas = [
            {name: trained[task.client].tensors[name] - start.weights[name] for name in start.weights}
            for task in cohort
        ]
        mean = oracle.weighted_mean(deltas, [self.counts(task) for task in cohort])
        weights, slots = self.serve(number, start, mean)
        seen = sum(task.num_trained for task in cohort)
        return Round(
            weights,
            slots,
            {client: self.keeps(one) for client, one in trained.items()},
            {
                "loss": sum(one.loss for one in trained.values()) / seen,
                "accuracy": sum(one.right for one in trained.values()) / seen,
            },
        )

    def counts(self, task: ClientTask) -> int:
        """A client's part of the mean: the examples that it may use, or as much as any other."""
        if self.spec["aggregator"]["weighting"] == "uniform":
            return 1
        return min(len(self.plan.client_examples(task.client)), self.spec["client"]["max_examples"] or 10**9)

    def train(self, number: int, task: ClientTask, start: ServerState) -> Trained:
        """One client's steps, on pictures that are transformed by its planned draws."""
        kept = start.clients.get(task.client, {})
        tensors = {**start.weights, **kept.get("weights", {})}
        pictures, classes = self.examples["train"]
        batches = [
            (self.shown(pictures[batch], "train", (task.seed, "step", place)), classes[batch])
            for place, batch in enumerate(task.batches)
        ]
        schedule = self.spec["client"]["optimizer"].get("schedule")
        return train(
            self.work, tensors, kept, factor(schedule, number, self.spec["rounds"]), batches, self.measure(task)
        )

    @cached_property
    def work(self) -> Work:
        client = self.spec["client"]
        learned = [
            name
            for name in (*self.plan.settings.weights, *self.plan.settings.local)
            if not name.endswith(("running_mean", "running_var"))
        ]
        return Work(self.layers, learned, client["optimizer"], client["clip"], client["epochs"] or 1)

    def measure(self, task: ClientTask) -> Any:
        """What a plateau follows: a metric on the client's holdout, seen as the test set is."""
        metric = (self.spec["client"]["optimizer"].get("schedule") or {}).get("metric", "loss")
        return lambda tensors: self.worth(tensors, self.plan.holdout_examples(task.client))[metric]

    def serve(self, number: int, start: ServerState, mean: Tensors) -> tuple[Tensors, Mapping[str, Tensors]]:
        """The server optimizer's step for what is learned; to statistics the mean change is added as it is."""
        aggregator = dict(self.spec["aggregator"])
        aggregator["learning_rate"] *= factor(aggregator.get("schedule"), number, self.spec["rounds"])
        learned = {
            name: oracle.rounded({name: start.weights[name]})[name] for name in self.work.learned if name in mean
        }
        slots = {slot: oracle.rounded(values) for slot, values in start.optimizer.slots.items()}
        moved, slots = oracle.server_step(
            aggregator, start.optimizer.step + 1, learned, slots, {name: mean[name] for name in learned}
        )
        still = {name: start.weights[name] + mean[name] for name in mean if name not in learned}
        return {**moved, **still}, slots

    def keeps(self, one: Trained) -> dict[str, Tensors]:
        local = {name: one.tensors[name] for name in self.plan.settings.local}
        return {**({"weights": local} if local else {}), **one.records}

    # ------------------------------------------------------------------------------------------------- evaluation

    def shown(self, pictures: NDArray[np.uint8], split: str, name: tuple[Any, ...] = ()) -> NDArray[np.float64]:
        dataset = self.spec["dataset"]
        return pixels.shown(list(pictures), dataset[f"{split}_transforms"], dataset["normalise"], LARGEST, name)

    def worth(self, tensors: Tensors, examples: NDArray[Any] | None = None) -> metrics.Values:
        """Every metric of some training examples, or of the test set, both through the test set's transforms."""
        pictures, classes = self.examples["test"] if examples is None else self.examples["train"]
        rows = slice(None) if examples is None else examples
        scores = network.outputs(self.layers, tensors, self.shown(pictures[rows], "test"))
        return metrics.measured(scores, classes[rows].tolist())

    def evaluation(self, state: ServerState) -> dict[str, metrics.Values]:
        """The values of a state's models by set of examples."""
        clients = range(self.plan.num_clients)
        models = [{**state.weights, **state.clients.get(c, {}).get("weights", self.plan.local)} for c in clients]
        held = [self.plan.holdout_examples(client) for client in clients]
        own = [self.worth(model, rows) for model, rows in zip(models, held, strict=True)]
        found = metrics.over_clients("clients", own, [len(rows) for rows in held])
        if not self.plan.settings.local:
            return found | {
                "test": self.worth(state.weights),
                "holdout": self.worth(state.weights, np.concatenate(held)),
            }
        taking_part = sorted({task.client for n in range(1, self.plan.num_rounds + 1) for task in self.plan.cohort(n)})
        sizes = [len(self.plan.client_examples(client)) for client in taking_part]
        tested = metrics.over_clients("test/clients", [self.worth(models[client]) for client in taking_part], sizes)
        return found | tested | {"test": tested["test/clients/mean"]}


def wrong(plan: Plan, **sections: Mapping[str, Any]) -> ByHand:
    """The same draws, executed by another spec: what must be told from the right one."""
    spec = {name: {**plan.spec[name], **changes} for name, changes in sections.items()}
    return ByHand(replace(plan, spec={**plan.spec, **spec}))
