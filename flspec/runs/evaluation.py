"""The evaluation of aggregated models: one evaluator for every backend, so that engines differ in their training alone.

Every set of examples is scored once and measured over masks. The sets are `test`; `validation` if there is one; the
groups of each column in `evaluation.groups` (`test/Male=1`; see `flspec.data.groups`) and their gaps (`test/Male gap`);
the clients' holdouts, pooled (`holdout`) and as a distribution over clients (`clients/mean`, `clients/worst`, …). With
`evaluation.by_label` also the examples of each label (`test/label=melanoma`).

A gap is the greatest value less the least. Equal opportunity asks that it be 0 for `recall`, demographic parity for
`positive_rate`. Examples without a value, `test/Male missing`, do not count in it.

If parts of the model stay with clients, each client has its own model. A value of `test` is then the mean over the
clients' models for which it is defined, and `test/clients/worst` and so on describe its distribution.

What a model gives on a set, scores of examples or pictures beside real ones, is a judge's affair (`judging`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from flspec.data.client_names import client_names
from flspec.data.examples import Split
from flspec.data.groups import label_masks, parse_groups
from flspec.data.store import open_data
from flspec.metrics import find_metric, measure
from flspec.protocol.devices import CPU, Device
from flspec.protocol.part_scope import using_parts_of
from flspec.protocol.plan import Plan
from flspec.protocol.state import ServerState
from flspec.runs.judging import Found, Judge, JudgedModel
from flspec.runs.measured import Measured, distribution, over_clients, reasons_over_clients
from flspec.runs.own_models import first_own_tensors, own_tensors
from flspec.runs.pictured import PictureJudge
from flspec.runs.scored import ScoreJudge

__all__ = ["Evaluator", "Measured"]


class Evaluator:
    """The metrics of a plan, measured on a device for any weights on the plan's examples, which are verified first."""

    def __init__(self, plan: Plan, device: Device = CPU) -> None:
        with using_parts_of(plan.settings):
            self._prepare(plan, device)

    def _prepare(self, plan: Plan, device: Device) -> None:
        self._plan = plan
        settings = plan.settings.evaluation
        self._metrics = [find_metric(name) for name in settings.metrics]  # once: a million clients may be measured
        self._groups = parse_groups(settings.groups)
        self._by_label = bool(settings.pictures and settings.pictures.by_label)
        self._data = open_data(plan.settings.data, verify=True)
        self._judge: Judge = (PictureJudge if settings.pictures else ScoreJudge)(plan, self._data, device)
        self._names = client_names(plan, self._data)
        self._beside: dict[str, Measured] = {}  # by set; it does not change

    def __call__(self, state: ServerState) -> Measured:
        """Measure the models of a state: the server's model, or each client's."""
        with using_parts_of(self._plan.settings):
            return self._measured(state)

    def _measured(self, state: ServerState) -> Measured:
        models = self._models(state)
        if self._judge.has_own_models:
            clients = self._plan.participants
            sizes = [len(self._plan.client_examples(client)) for client in clients]
            measured = over_clients(
                [self._names[client] for client in clients],
                [self._measure(models[client]) for client in clients],
                sizes,
            )
        else:
            measured = self._measure(models[0])
        if self._plan.holdout:
            self._measure_clients(models, measured)
        measured.images.update(self._judge.images(models))
        return measured

    def _models(self, state: ServerState) -> dict[int, JudgedModel]:
        """Return each client's own model, of those that are measured; or the server's, by 0."""
        if not self._judge.has_own_models:
            return {0: self._judge.model({**self._plan.local, **state.weights})}
        clients = range(self._plan.num_clients) if self._plan.holdout else self._plan.participants
        return {client: self._judge.model(_weights(state, self._plan, client)) for client in clients}

    def _measure(self, model: JudgedModel) -> Measured:
        """Measure one model on every set that is the same for all models."""
        measured = Measured()
        for name, split in self._data.splits.items():
            if name != "train":
                self._measure_set(model, name, split, measured)
        return measured

    def _measure_set(self, model: JudgedModel, name: str, split: Split, measured: Measured) -> None:
        found = model.on(name, split)
        measured.add(name, found, self._metrics)
        measured.take(self._measured_beside(name, split))
        if table := self._judge.confusion(found):
            measured.confusion[name] = table
        for part, mask in label_masks(split.labels, self._data.label_names).items() if self._by_label else ():
            measured.add(f"{name}/{part}", found.part(mask), self._metrics)
        for group in self._groups:
            masks = group.masks(split.columns[group.column])
            for part, mask in masks.items():
                measured.add(f"{name}/{part}", found.part(mask), self._metrics)
            known = [f"{name}/{part}" for part in masks if part != group.missing]
            measured.add_gap(f"{name}/{group.gap}", known, self._metrics)

    def _measured_beside(self, name: str, split: Split) -> Measured:
        if name not in self._beside:
            self._beside[name] = Measured()
            for what, found in self._judge.beside(name, split).items():
                self._beside[name].add(f"{name}/{what}", found, self._metrics)
        return self._beside[name]

    def _measure_clients(self, models: Mapping[int, JudgedModel], measured: Measured) -> None:
        """Measure the pooled holdouts, and the distribution of the clients' own values."""
        whole, each = self._on_holdouts(models)
        measured.add("holdout", whole, self._metrics)
        own = [measure(found, self._metrics) for found in each]
        sizes = [len(found) for found in each]
        names = self._names if len(self._names) == len(own) else list(map(str, range(len(own))))  # pooled into one
        measured.values.update(distribution("clients", [values for values, _ in own], sizes))
        if undefined := reasons_over_clients(names, [reasons for _, reasons in own]):
            measured.undefined["clients"] = undefined

    def _on_holdouts(self, models: Mapping[int, JudgedModel]) -> tuple[Found, Sequence[Found]]:
        """Return what is found on all holdouts, and on each client's, by the client's own model if it has one."""
        split, holdout = self._data.train_as_tested, self._plan.holdout
        if len(models) == 1:  # the server's, or that of the one client of a pooled plan
            (model,) = models.values()
            whole = model.on("holdout", split.part(np.concatenate(holdout)))
            ends = np.cumsum([len(held) for held in holdout])[:-1]
            return whole, [whole.part(rows) for rows in np.split(np.arange(len(whole)), ends)]
        each = [models[client].on(f"holdout/{client}", split.part(held)) for client, held in enumerate(holdout)]
        return self._judge.together(each), each


def _weights(state: ServerState, plan: Plan, client: int) -> dict[str, NDArray[np.float32]]:
    """Return the server's tensors and a client's own; a client that never takes part has the initial ones."""
    own = own_tensors(plan, state.clients.get(client, {}))
    return {**state.weights, **first_own_tensors(plan), **own}
