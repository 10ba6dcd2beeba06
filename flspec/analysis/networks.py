"""The networks of a plan that has several, in numbers, and what a client does with them in a step, in words."""

from __future__ import annotations

from collections.abc import Iterator

from flspec.core.components import Document
from flspec.core.text import join_some
from flspec.execution.parts import feature_network_of, networks_of, optimizers_of, phases_of
from flspec.layers import Network, count_multiply_adds, trace
from flspec.phases import Phase
from flspec.protocol.plan import Plan

__all__ = ["NetworkFacts", "network_facts", "phases_in_words", "pictures_in_words"]


class NetworkFacts(Document):
    """One of several networks."""

    name: str
    num_parameters: int  # trained parameters
    num_bytes: int  # of the tensors that are sent each way, statistics included
    num_bytes_kept: int  # of those that stay with each client
    multiply_adds: int  # of one example's forward pass


def network_facts(plan: Plan) -> tuple[NetworkFacts, ...]:
    """Return the facts of each network; none of a plan that has one."""
    return tuple(_facts(plan, network) for network in networks_of(plan).values() if network.name)


def phases_in_words(plan: Plan) -> tuple[str, ...]:
    """Return a line on each phase of a step; none if a step is of one loss."""
    return tuple(_words(plan, phase) for phase in phases_of(plan))


def pictures_in_words(plan: Plan) -> tuple[str, ...]:
    """Return how the pictures that a model makes are measured and shown; nothing if it makes none."""
    if (pictures := plan.settings.evaluation.pictures) is None:
        return ()
    network = feature_network_of(plan)
    (num,) = trace(network)[network.output]
    evaluated = sum(map(plan.keeps, range(1, plan.num_rounds + 1)))
    measured = f"{pictures.generated:,} made in each of {evaluated:,} evaluated rounds, compared by {num:,} features"
    grid = f"a grid of {pictures.rows} by {pictures.columns} of them in images/" if pictures.rows else ""
    return tuple(filter(None, (f"{measured} ({pictures.features.title})", grid)))


def _facts(plan: Plan, network: Network) -> NetworkFacts:
    sent, kept = network.own(plan.weights), network.own(plan.local)
    statistics = {name.removeprefix(network.prefix) for name in plan.statistics if name.startswith(network.prefix)}
    return NetworkFacts(
        name=network.name,
        num_parameters=sum(value.size for name, value in {**sent, **kept}.items() if name not in statistics),
        num_bytes=sum(value.nbytes for value in sent.values()),
        num_bytes_kept=sum(value.nbytes for value in kept.values()),
        multiply_adds=count_multiply_adds(network),
    )


def _words(plan: Plan, phase: Phase) -> str:
    optimizer = optimizers_of(plan)[phase.optimizer]
    every = f", every {phase.every} steps" if phase.every > 1 else ""
    steps = f"{getattr(optimizer, 'kind', '')} {optimizer.learning_rate:g} steps {phase.optimizer}{every}"
    return f"{phase.name}: {join_some(list(_terms(phase)))}; {steps}"


def _terms(phase: Phase) -> Iterator[str]:
    for term in phase.terms:
        factor = f"{term.factor:g} " if term.factor != 1 else ""
        yield f"{factor}{term.kind} of {term.of} as {'real' if term.real else 'not real'}"
