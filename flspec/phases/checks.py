"""Checks of phases before anything trains. Each raises ValueError, which names the phase and the value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from flspec.errors import choose
from flspec.layers import Network, Shape, parameters_of, trace
from flspec.phases.documents import REAL, Call, Draw, Phase, Sample

__all__ = ["check_phases", "check_sample", "metric_names", "scored_values"]

Networks = Mapping[str, Network]
Players = Mapping[str, Sequence[str]]  # the networks of each optimizer


@dataclass(frozen=True)
class _Value:
    """What is known of a value: its shape, the networks that it can be derived to, who made it and when."""

    shape: Shape
    derived: frozenset[str] = frozenset()
    maker: Phase | None = None  # None: it is given
    at: int = 0  # how many phases came before its maker


class _Step:
    """The values of a step while its phases are followed."""

    def __init__(self, networks: Networks, given: Mapping[str, _Value]) -> None:
        self.networks = networks
        self.values = dict(given)
        self.stepped: dict[str, int] = {}  # by network: the last phase that changed it, from 0

    def call(self, where: str, call: Call, values: Mapping[str, _Value]) -> _Value:
        """Return the output of a call. Raises ValueError if it cannot be made."""
        if call.network not in self.networks:
            raise ValueError(f"{where}: {call.value} is a call of network {choose(call.network, self.networks)}")
        network, given = self.networks[call.network], {}
        if set(call.inputs) != set(network.inputs):
            takes, has = (", ".join(sorted(names)) or "nothing" for names in (network.inputs, call.inputs))
            raise ValueError(f"{where}: {call.value} gives {call.network} {has}, but it takes {takes}")
        for name, source in call.inputs.items():
            given[name] = _found(where, source, values)
            if given[name].shape != network.inputs[name]:
                shape, wanted = list(given[name].shape), list(network.inputs[name])
                raise ValueError(
                    f"{where}: {call.value} gives {call.network} {source} of shape {shape} as {name}, whose is {wanted}"
                )
        derived = frozenset({call.network})
        if not call.detached:
            derived = derived.union(*(value.derived for value in given.values()))
        return _Value(trace(network)[network.output], derived)


def check_phases(phases: Sequence[Phase], networks: Networks, players: Players, real: Shape) -> None:
    """Raise ValueError unless the phases can be carried out, and train each network by one optimizer.

    `real` is the shape of an example.
    """
    _check_players(phases, networks, players)
    _check_names(phases)
    step = _Step(networks, {REAL: _Value(real)})
    for number, phase in enumerate(phases):
        _follow(step, number, phase, players)


def check_sample(sample: Sample, networks: Networks, real: Shape) -> None:
    """Raise ValueError unless a sample makes pictures of the shape of an example."""
    step, values = _Step(networks, {}), _drawn(sample.draws)
    for call in sample.calls:
        _expect_new("sample", call.value, values)
        values[call.value] = step.call("sample", call, values)
    if (picture := _found("sample", sample.picture, values)).shape != real:
        raise ValueError(f"sample: {sample.picture} has shape {list(picture.shape)}, but the examples' is {list(real)}")


def metric_names(phases: Sequence[Phase]) -> list[str]:
    """Return the names of a round's training metrics: each phase's, and each value's that its terms are of."""
    return [name for phase, values in scored_values(phases).items() for name in (phase, *values)]


def scored_values(phases: Sequence[Phase]) -> dict[str, tuple[str, ...]]:
    """Return, by phase, the values whose mean is a metric: those that its terms are of, and those of none before it."""
    seen: set[str] = set()
    scored: dict[str, tuple[str, ...]] = {}
    for phase in phases:
        scored[phase.name] = tuple(dict.fromkeys(term.of for term in phase.terms if term.of not in seen))
        seen |= set(scored[phase.name])
    return scored


def _follow(step: _Step, number: int, phase: Phase, players: Players) -> None:
    where, trained = f"phase {phase.name}", frozenset(players[phase.optimizer])
    own = _drawn(phase.draws)
    for name in own:
        _expect_new(where, name, step.values)
    for call in phase.calls:
        _expect_new(where, call.value, {**step.values, **own})
        made = step.call(where, call, {**step.values, **own})
        for source in call.inputs.values():
            _check_reuse(step, number, phase, source, is_detached=call.detached)
        step.values[call.value] = _Value(made.shape, made.derived, phase, number)
    derived: frozenset[str] = frozenset()
    for term in phase.terms:
        value = _found(where, term.of, step.values)
        _check_reuse(step, number, phase, term.of, is_detached=False)
        if value.shape != (1,):
            raise ValueError(f"{where}: term {term.kind} takes one score a row, but {term.of} is {list(value.shape)}")
        derived |= value.derived
    if untouched := sorted(trained - derived):
        raise ValueError(f"{where}: its terms do not depend on {', '.join(untouched)}, which {phase.optimizer} trains")
    step.stepped |= dict.fromkeys(trained, number)


def _check_reuse(step: _Step, number: int, phase: Phase, name: str, is_detached: bool) -> None:
    """Raise ValueError if a value that an earlier phase made is not there, or not as it was derived."""
    if name not in step.values or (maker := (value := step.values[name]).maker) is None:
        return
    if phase.every % maker.every:
        raise ValueError(
            f"phase {phase.name}: {name} is made by phase {maker.name}, which takes place every {maker.every} steps, "
            f"but this one every {phase.every}; let its `every` be a multiple"
        )
    changed = sorted(network for network in value.derived if value.at <= step.stepped.get(network, -1) < number)
    if changed and not is_detached:
        raise ValueError(
            f"phase {phase.name}: {name} is derived from {', '.join(changed)}, which changed since phase {maker.name} "
            "made it; call it anew, or use it detached"
        )


def _check_players(phases: Sequence[Phase], networks: Networks, players: Players) -> None:
    if not phases:
        raise ValueError("there are no phases")
    for player, trained in players.items():
        for name in trained:
            if name not in networks:
                raise ValueError(f"optimizer {player}: network {choose(name, networks)}")
    for phase in phases:
        if phase.optimizer not in players:
            raise ValueError(f"phase {phase.name}: optimizer {choose(phase.optimizer, players)}")
    if idle := sorted(set(players) - {phase.optimizer for phase in phases}):
        raise ValueError(f"optimizer {idle[0]} steps in no phase")
    for name, network in networks.items():
        trained_by = [player for player, trained in players.items() if name in trained]
        learns = any(tensor.is_learned for tensor in parameters_of(network).values())
        if learns and len(trained_by) != 1:
            by = f"by {' and '.join(trained_by)}" if trained_by else "in no phase"
            raise ValueError(f"network {name} is trained {by}; it needs one optimizer")


def _check_names(phases: Sequence[Phase]) -> None:
    names = [phase.name for phase in phases]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"two phases are named {name}")
    for phase in phases:
        for term in phase.terms:
            if term.of in names:
                raise ValueError(f"phase {phase.name}: value {term.of} has the name of a phase, as its metric would")


def _expect_new(where: str, name: str, values: Iterable[str]) -> None:
    if name in values or name == REAL:
        raise ValueError(f"{where}: there is a value named {name} already")


def _found(where: str, name: str, values: Mapping[str, _Value]) -> _Value:
    if name not in values:
        raise ValueError(f"{where}: value {choose(name, values)}")
    return values[name]


def _drawn(draws: Mapping[str, Draw]) -> dict[str, _Value]:
    return {name: _Value(draw.shape) for name, draw in draws.items()}
