"""TensorBoard's event files."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import ClassVar

from flspec.protocol.plan import Plan
from flspec.protocol.records import Result, RoundRecord
from flspec.protocol.requirements import Requirement
from flspec.trackers.base import Tracker
from flspec.trackers.values import settings_by_path, values_of

__all__ = ["TensorBoard"]


class TensorBoard(Tracker):
    """Writes `tensorboard/` into the run's folder: a scalar for each value, and settings as hyperparameters.

    `tensorboard --logdir runs` shows all runs below a folder. A scalar is named as split/metric; its step is the round.
    TensorBoard keeps scalars in float32; `result.json` has all digits.
    """

    name: ClassVar[str] = "tensorboard"
    requirements = (Requirement("tensorboard", "flspec[tensorboard]"),)

    def start(self, plan: Plan, folder: Path) -> None:
        from tensorboard.plugins.hparams.summary_v2 import hparams_pb
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        path = folder / "tensorboard"
        shutil.rmtree(path, ignore_errors=True)  # of an earlier attempt, whose rounds are told again
        self._writer = EventFileWriter(str(path))
        chosen = {name: _shown(value) for name, value in settings_by_path(plan.spec).items()}
        self._add(hparams_pb(chosen, trial_id=folder.name), 0)
        self._writer.flush()

    def round(self, record: RoundRecord) -> None:
        from tensorboard.plugins.scalar.summary_v2 import scalar_pb

        for name, value in values_of(record).items():
            self._add(scalar_pb(name, value), record.round)
        self._writer.flush()

    def finish(self, result: Result) -> None:
        self._writer.close()

    def _add(self, summary: object, step: int) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self._writer.add_event(Event(wall_time=time.time(), step=step, summary=summary))


def _shown(value: object) -> str | float | bool:
    """Return a setting as one of the three types that a hyperparameter can have."""
    return value if isinstance(value, bool | float) else float(value) if isinstance(value, int) else str(value)
