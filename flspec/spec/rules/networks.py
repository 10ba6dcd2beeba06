"""Objective, model and optimizers are of the same networks."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase

from flspec.client_algorithms import ClientAlgorithm
from flspec.core.components import Component, family_members
from flspec.errors import choose
from flspec.losses.cross_entropy import CrossEntropy
from flspec.models import Model
from flspec.objectives import Objective
from flspec.spec.rules.base import Contradiction, rule
from flspec.spec.spec import ClientWork


@rule
def _objective_of_the_models_networks(client: ClientWork, model: Model) -> Iterator[Contradiction]:
    objective = client.objective
    if set(objective.network_names) == set(model.network_names):
        return
    needs, has = _networks(objective.network_names), _networks(model.network_names)
    if model.network_names == ("",):
        way_out = _one_of("model", Model, objective.network_names)
        message = f"trains {needs}, but model {_kind(model)} has {has}; {way_out}"
        yield Contradiction(("client", "objective"), ("model",), message)
    else:
        way_out = _one_of("client.objective", Objective, model.network_names)
        message = f"{_kind(model)} has {has}, but objective {_kind(objective)} trains {needs}; {way_out}"
        yield Contradiction(("model",), ("client", "objective"), message)


@rule
def _no_loss_of_outputs(client: ClientWork) -> Iterator[Contradiction]:
    said = {"loss": client.loss != CrossEntropy(), "label_weights": client.label_weights is not None}
    for name, is_said in said.items():
        if client.objective.has_phases and is_said:
            message = f"is of outputs and labels, which objective {_kind(client.objective)} does not read; remove it"
            yield Contradiction(("client", name), ("client", "objective"), message)


@rule
def _an_optimizer_for_each_network(client: ClientWork) -> Iterator[Contradiction]:
    objective, named, at = client.objective, client.optimizers, ("client", "optimizers")
    if named and not objective.has_phases:
        message = f"are of several networks, but objective {_kind(objective)} trains one; remove them"
        yield Contradiction(at, ("client", "objective"), message)
        return
    for name, optimizer in named.items():
        if name not in objective.players:
            yield Contradiction((*at, name), ("client", "objective"), choose(name, objective.players))
        if optimizer.schedule is not None:
            message = "is one for all optimizers; remove it, and set client.optimizer.schedule"
            yield Contradiction((*at, name, "schedule"), ("client", "optimizer", "schedule"), message)
    if named and set(objective.players) <= set(named):
        message = f"is that of no network: client.optimizers names {_and(list(named))}; leave one of these out"
        yield Contradiction(("client", "optimizer"), at, message)


@rule
def _steps_of_phases(client: ClientWork) -> Iterator[Contradiction]:
    if not client.objective.has_phases:
        return
    if (schedule := client.optimizer.schedule) and not schedule.is_planned:
        message = f"follows a metric of scores, which objective {_kind(client.objective)} gives none of; choose another"
        yield Contradiction(("client", "optimizer", "schedule"), ("client", "objective"), message)
    if client.algorithm and _is_of_one_network(client.algorithm):
        message = "counts on one gradient a step and one learning rate, but each network has its own; remove it"
        yield Contradiction(("client", "algorithm"), ("client", "objective"), message)


def _is_of_one_network(algorithm: ClientAlgorithm) -> bool:
    own = type(algorithm)
    is_plain = own.finish is ClientAlgorithm.finish and own.passes is ClientAlgorithm.passes
    return not is_plain or bool(algorithm.client_slots)


@rule
def _local_networks(model: Model) -> Iterator[Contradiction]:
    at = ("model", "local")
    if model.network_names == ("",):  # its parts have names once it is made
        return
    for name in dict.fromkeys(one.partition(".")[0] for one in model.local):
        if not any(fnmatchcase(network, name) for network in model.network_names):
            yield Contradiction(at, None, choose(name, model.network_names))
    if model.local and set(model.network_names) <= set(model.local):
        yield Contradiction(at, ("mode",), "leaves nothing to send; use mode: local_only, or leave a network out")


def _kind(part: Component) -> str:
    return str(part.kind)  # type: ignore[attr-defined]


def _networks(names: tuple[str, ...]) -> str:
    return "one network" if names == ("",) else f"networks {_and(names)}"


def _and(names: tuple[str, ...] | list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _one_of(section: str, family: type[Model] | type[Objective], names: tuple[str, ...]) -> str:
    """Return the way out: the members of a family that have these networks."""
    kinds = [kind for kind, member in family_members(family).items() if set(member.network_names) == set(names)]
    return f"choose another {section}" + (f", such as {kinds[0]}" if kinds else "")
