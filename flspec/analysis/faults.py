"""The faults of a plan, in words."""

from __future__ import annotations

import numpy as np

from flspec.execution.parts import faults_of
from flspec.protocol.plan import Plan

__all__ = ["faults_in_words"]


def faults_in_words(plan: Plan) -> tuple[str, ...]:
    """Return for each fault how many tasks it hits and of how many clients, and what small rounds lead to."""
    log = plan.arrays.get("fault_log", np.empty((0, 3), np.int32))
    titles = [fault.title for fault in faults_of(plan)]
    told = [_hits(title, log[log[:, 2] == number]) for number, title in enumerate(titles)]
    if (least := plan.settings.min_clients) > 1:
        told.append(f"a round in which fewer than {least} updates count changes nothing")
    return tuple(told)


def _hits(title: str, log: np.ndarray) -> str:
    rounds, clients = len(np.unique(log[:, 0])), len(np.unique(log[:, 1]))
    return (
        f"{title}: {len(log):,} tasks, of {clients:,} clients in {rounds:,} rounds" if len(log) else f"{title}: no task"
    )
