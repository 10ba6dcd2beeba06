"""The first round of a plan, by flspec's trainer and server step alone."""

from __future__ import annotations

import numpy as np
import torch

from flspec.execution.rounds import initial_state
from flspec.execution.server_step import finish_round
from flspec.protocol.plan import Plan
from flspec_torch.training import Trainer

__all__ = ["first_round"]


def first_round(plan: Plan) -> dict[str, np.ndarray]:
    """The server's weights after it."""
    torch.set_num_threads(1)
    state, trainer = initial_state(plan), Trainer(plan)
    updates = [trainer.train_from(state, task) for task in plan.cohort(1)]
    return dict(finish_round(plan, state, updates).state.weights)
