"""Compression: Flower's messages carry the payload and cost what is counted; the same bits on local, resumed too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flspec.compiler.compile import compile
from flspec.errors import SpecError
from flspec.execution.parts import bytes_per_client
from flspec.protocol.backend import Job, kept_state
from flspec.protocol.plan import Plan
from flspec.protocol.registry import find_backend
from flspec.protocol.state import ServerState, load_state
from flspec.spec.loading import load_spec
from tests.conformance.harness import require

BASE: dict[str, Any] = {
    "flspec": 1,
    "name": "compressed",
    "seed": 3,
    "rounds": 3,
    "dataset": {"kind": "synthetic", "classes": 3, "features": 6, "train_examples": 60, "test_examples": 20},
    "partition": {"kind": "iid", "clients": 3},
    "model": {"kind": "mlp", "hidden": [5]},
    "client": {"epochs": 1, "batch_size": 8, "optimizer": {"kind": "sgd", "learning_rate": 0.1}},
}
SCAFFOLD = {**BASE["client"], "algorithm": {"kind": "scaffold"}}
EXAMPLE = {"kind": "example", "delta": 0.01, "noise_multiplier": 1.0, "clip": {"norm": 1.0}}
UNIFORM = {"kind": "fedavg", "weighting": "uniform"}
NUM_LEARNED = 6 * 5 + 5 + 5 * 3 + 3
CASES: dict[str, tuple[dict[str, Any], int]] = {  # and the bytes of an update, by hand
    "float16": ({"compression": {"kind": "float16"}}, 2 * NUM_LEARNED),
    "int8": ({"compression": {"kind": "int8"}}, NUM_LEARNED + 4 * 4),
    "top_k": ({"compression": {"kind": "top_k", "share": 0.1}}, 8 * 5),
    "int8 remembered, with scaffold": (
        {"compression": {"kind": "int8", "error_feedback": True}, "client": SCAFFOLD, "aggregator": UNIFORM},
        NUM_LEARNED + 4 * 4 + 4 * NUM_LEARNED,
    ),
}
CENTRAL = {"kind": "central", "delta": 0.01, "noise_multiplier": 1.0, "clip": {"kind": "fixed", "norm": 1.0}}
LOCAL = {"kind": "local", "delta": 0.01, "noise_multiplier": 1.0, "clip": {"norm": 1.0}}


def planned(**more: Any) -> Plan:
    return compile(load_spec({**BASE, **more}))


def states(plan: Plan, folder: Path, start: Path | None = None, backend: str = "local") -> list[ServerState]:
    """The states after each round, of a run in this process."""
    folder.mkdir()
    first = load_state(start, plan.digest).round if start else 0
    list(_executed(plan, Job(folder, start=start, keep="all", workers=1), backend))
    return [load_state(kept_state(folder, number), plan.digest) for number in range(first + 1, plan.num_rounds + 1)]


def _executed(plan: Plan, job: Job, backend: str) -> Iterator[object]:
    if backend == "local":
        return find_backend("local").execute(plan, job)
    from flspec_flower.simulation import run_in_process

    plan.save(job.folder / "plan")
    return run_in_process(plan, job, {})


def same_bits(one: ServerState, other: ServerState) -> bool:
    pairs = [(one.weights, other.weights)]
    for client in one.clients:
        assert one.clients[client].keys() == other.clients[client].keys()
        pairs += [(one.clients[client][name], other.clients[client][name]) for name in one.clients[client]]
    return all(np.array_equal(mine[name], yours[name]) for mine, yours in pairs for name in mine)


@pytest.mark.parametrize("case", CASES)
def test_flowers_messages_cost_what_is_counted_and_lead_to_locals_bits(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, case: str
) -> None:
    require("flower:inprocess")
    from flspec_flower import server
    from flspec_flower.client import read_reply

    settings, num_bytes = CASES[case]
    plan, sizes = planned(**settings), []

    def measured(reply: Any, of: Plan) -> Any:
        records = [reply.content.array_records[name] for name in ("delta", "payload", "sent") if name in reply.content]
        sizes.append(sum(array.nbytes for record in records for array in record.to_numpy_ndarrays()))
        return read_reply(reply, of)

    monkeypatch.setattr(server, "read_reply", measured)
    theirs = states(plan, tmp_path / "flower", backend="flower")
    assert len(sizes) == 9
    assert set(sizes) == {num_bytes} == {bytes_per_client(plan)[1]}
    ours = states(plan, tmp_path / "local")
    assert all(map(same_bits, ours, theirs))
    resumed = states(plan, tmp_path / "resumed", kept_state(tmp_path / "local", 1))
    assert all(map(same_bits, ours[1:], resumed))
    whole = states(planned(**{**settings, "compression": None}), tmp_path / "whole")
    assert any((ours[0].weights[name] != value).any() for name, value in whole[0].weights.items())


def test_compression_changes_no_other_draw() -> None:
    plain, plan = planned(), planned(compression={"kind": "int8"})
    assert "compression" not in plain.document
    for number in range(1, 4):
        for ours, theirs in zip(plain.cohort(number), plan.cohort(number), strict=True):
            assert all(map(np.array_equal, ours.batches, theirs.batches))
            assert (ours.seed, bool(theirs.seed)) == (0, True)


@pytest.mark.parametrize("mode", ["centralized", "local_only"])
def test_modes_in_which_nothing_is_sent_do_not_read_it(mode: str) -> None:
    plan = planned(mode=mode, compression={"kind": "int8"})
    assert plan.digest == planned(mode=mode).digest


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"compression": {"kind": "topk"}}, r"compression\.kind: .*top_k"),
        ({"compression": {"kind": "top_k"}}, r"compression\.share"),
        ({"compression": {"kind": "top_k", "share": 0}}, r"compression\.share"),
        (
            {"compression": {"kind": "int8"}, "privacy": LOCAL, "aggregator": UNIFORM},
            "compression: would round or leave out what a client then noises",
        ),
        (
            {"compression": {"kind": "top_k", "share": 0.1}, "privacy": CENTRAL, "aggregator": UNIFORM},
            r"compression\.error_feedback: carries .*set error_feedback: false",
        ),
        (
            {"compression": {"kind": "top_k", "share": 0.1}, "cohort": {"kind": "with_replacement", "size": 3}},
            "compression: remembers of each client .*set error_feedback: false",
        ),
    ],
)
def test_what_compression_cannot_stand_beside(more: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        load_spec({**BASE, **more})


@pytest.mark.parametrize(
    ("compression", "privacy"),
    [
        ({"kind": "top_k", "share": 0.1, "error_feedback": False}, CENTRAL),
        ({"kind": "top_k", "share": 0.1}, EXAMPLE),
    ],
)
def test_what_privacy_covers_is_not_refused(compression: dict[str, Any], privacy: dict[str, Any]) -> None:
    assert load_spec({**BASE, "compression": compression, "privacy": privacy, "aggregator": UNIFORM}).compression


def test_a_private_mean_bounds_what_arrives(tmp_path: Path) -> None:
    plan = planned(compression={"kind": "int8"}, privacy=CENTRAL, aggregator=UNIFORM)
    assert len(states(plan, tmp_path / "private")) == 3
