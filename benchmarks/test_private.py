"""What privacy adds to the server's step: 100 updates of eleven million parameters, clipped, summed and noised."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.floors_of_parts import add_up
from benchmarks.measuring import measure
from flspec.execution.rounds import initial_state
from flspec.execution.server_step import finish_round
from flspec.postprocessors.private_mean import PrivateMean
from flspec.protocol.plan import ClientTask, Plan
from flspec.protocol.settings import PrivacySettings
from flspec.protocol.updates import ClientUpdate
from flspec.update_clips.fixed import Fixed
from tests.plan_settings import settings_with

CLIENTS = 100
# As those of resnet18: most parameters are in a few large tensors.
SHAPES: dict[str, tuple[int, ...]] = {
    **{f"block{n}": (512, 512, 3, 3) for n in range(4)},
    **{f"layer{n}": (256, 256, 3, 3) for n in range(3)},
}
SMALL: dict[str, tuple[int, ...]] = {f"block{n}": (8, 8, 3, 3) for n in range(7)}
FACTS = PrivacySettings("client", 1.0, 1e-3, "everybody", CLIENTS, float(CLIENTS), "add_or_remove")


@pytest.fixture(scope="module")
def shapes(is_measured: bool) -> dict[str, tuple[int, ...]]:
    return SHAPES if is_measured else SMALL


@pytest.fixture(scope="module")
def updates(shapes: dict[str, tuple[int, ...]]) -> list[ClientUpdate]:
    """A hundred updates, of which every fourth is the same in memory."""
    rng = np.random.default_rng(0)
    deltas = [{n: rng.standard_normal(shape, np.float32) for n, shape in shapes.items()} for _ in range(4)]
    return [ClientUpdate(client, deltas[client % 4], 1.0, 1, {}) for client in range(CLIENTS)]


@pytest.mark.parametrize("noise", [None, 0.0, 1.0], ids=["open", "clipped", "clipped and noised"])
def test_private_aggregation(
    benchmark: BenchmarkFixture, shapes: dict[str, tuple[int, ...]], updates: list[ClientUpdate], noise: float | None
) -> None:
    part = PrivateMean(clip=Fixed(norm=1.0), noise_multiplier=noise or 0.0, clients=CLIENTS)
    private = {"postprocessors": (part.model_dump(mode="json"),), "privacy": FACTS}
    plan = Plan.build(
        settings=settings_with(
            aggregator={"kind": "fedavg", "weighting": "uniform"}, **({} if noise is None else private)
        ),
        weights={name: np.zeros(shape, np.float32) for name, shape in shapes.items()},
        clients=[np.array([client]) for client in range(CLIENTS)],
        rounds=[[ClientTask(client, 1, (np.array([client]),)) for client in range(CLIENTS)]],
        spec={},
        round_seeds=[7],
    )
    step = partial(finish_round, plan, initial_state(plan), updates)
    measure(benchmark, f"aggregate {CLIENTS} updates of 11 million parameters", step, partial(add_up, updates), pairs=3)
