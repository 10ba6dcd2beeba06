"""Rounds of a private plan of which only the server's half matters."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from flspec.execution.rounds import initial_state
from flspec.execution.server_step import RoundOutcome, finish_round
from flspec.postprocessors.private_mean import PrivateMean
from flspec.protocol.plan import ClientTask, Plan
from flspec.protocol.state import ServerState
from flspec.protocol.updates import ClientUpdate
from tests.plan_settings import settings_with
from tests.unit.privacy.privacy_cases import facts

MECHANISM = "postprocessors/0"


def private_plan(shapes, clients=4, rounds=3, noise=0.0, clip=1.0, **mechanism) -> Plan:
    """A plan of private rounds in which all of some clients take part, with weights of zero of these shapes."""
    clip = clip if isinstance(clip, dict) else {"kind": "fixed", "norm": clip}
    part = PrivateMean(**({"clip": clip, "noise_multiplier": noise, "clients": float(clients)} | mechanism))
    tasks = [[ClientTask(client, 1, (np.array([client]),)) for client in range(clients)]] * rounds
    settings = settings_with(
        aggregator={"kind": "fedavg", "weighting": "uniform"},
        postprocessors=(part.model_dump(mode="json"),),
        privacy=facts("everybody", clients, float(clients), noise, 1e-3),
    )
    weights = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    own = [np.array([client]) for client in range(clients)]
    seeds = [int(seed) for seed in np.random.default_rng(5).integers(2**62, size=rounds)]
    return Plan.build(settings=settings, weights=weights, clients=own, rounds=tasks, spec={}, round_seeds=seeds)


def update(client, delta, weight=1.0, num_trained=1) -> ClientUpdate:
    return ClientUpdate(client, delta, weight, num_trained, {"loss": 1.0})


def one_round(plan: Plan, deltas, state: ServerState | None = None) -> RoundOutcome:
    """The outcome of a round in which client k sends the k-th delta."""
    updates = [update(client, delta) for client, delta in enumerate(deltas)]
    return finish_round(plan, state or initial_state(plan), updates)


def at_round(state: ServerState, number: int) -> ServerState:
    """The same state after `number` rounds."""
    return replace(state, round=number)


def clip_after(outcome: RoundOutcome) -> float:
    return float(outcome.state.records[MECHANISM]["clip"])
