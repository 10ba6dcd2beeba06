"""Weights & Biases, without network unless asked for it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import ClassVar

from flspec.protocol.plan import Plan
from flspec.protocol.records import Result, RoundRecord
from flspec.protocol.requirements import Requirement
from flspec.trackers.base import Tracker
from flspec.trackers.values import values_of

__all__ = ["WandB"]


class WandB(Tracker):
    """Writes `wandb/` into the run's folder, which `wandb sync` uploads; with WANDB_MODE=online, uploads at once.

    Values are named as split/metric; their step is the round; settings are the run's config. The project is
    WANDB_PROJECT, by default flspec; other variables of W&B are its own to read.
    """

    name: ClassVar[str] = "wandb"
    requirements = (Requirement("wandb", "flspec[wandb]"),)

    def start(self, plan: Plan, folder: Path) -> None:
        import wandb

        shutil.rmtree(folder / "wandb", ignore_errors=True)  # of an earlier attempt, whose rounds are told again
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "flspec"),
            name=folder.name,
            dir=str(folder),
            config={**plan.spec, "plan_digest": plan.digest},
            mode=os.environ.get("WANDB_MODE", "offline"),
            reinit="create_new",  # the cells of a sweep run side by side
            settings=wandb.Settings(silent=True, console="off"),
        )

    def round(self, record: RoundRecord) -> None:
        self._run.log(values_of(record), step=record.round)

    def finish(self, result: Result) -> None:
        self._run.summary["status"] = result.status
        self._run.finish(exit_code=0 if result.status == "completed" else 1)
