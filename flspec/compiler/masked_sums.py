"""What a plan's weights mean for simulated secure aggregation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from flspec.protocol.plan import Plan
from flspec.secure_aggregation import SecureAggregation

__all__ = ["sum_remarks"]


def sum_remarks(part: SecureAggregation | None, plan: Plan) -> Sequence[str]:
    """Return what can go wrong in the round whose weights sum to most."""
    if part is None:
        return ()
    totals = np.append(0, np.cumsum(plan.arrays["task_weights"], dtype=np.int64))[plan.arrays["round_task_ends"]]
    return part.remarks(int(np.diff(totals, prepend=0).max()))
