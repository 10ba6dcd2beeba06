"""MLflow's store of runs."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import ClassVar

from filelock import FileLock

from flspec.protocol.plan import Plan
from flspec.protocol.records import Result, RoundRecord
from flspec.protocol.requirements import Requirement
from flspec.trackers.base import Tracker
from flspec.trackers.values import settings_by_path, values_of

__all__ = ["MLflow"]

_ENDS = {"completed": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}
_FOLDER = "flspec.folder"  # the tag by which an earlier attempt at the same run is found
_LONGEST = 500  # characters of a parameter, as MLflow's older stores allow


class MLflow(Tracker):
    """Writes into `mlflow.db` beside the run's folder, one store for all runs there, or to MLFLOW_TRACKING_URI.

    `mlflow ui --backend-store-uri sqlite:///runs/mlflow.db` shows them. Metrics are named as split/metric, where
    characters that MLflow refuses are underscores; their step is the round. Settings are parameters, and the spec's
    name is the experiment's.
    """

    name: ClassVar[str] = "mlflow"
    requirements = (
        Requirement("mlflow", "flspec[mlflow]"),
        Requirement("alembic", "flspec[mlflow]"),
        Requirement("sqlalchemy", "flspec[mlflow]"),
    )

    def start(self, plan: Plan, folder: Path) -> None:
        from mlflow.tracking import MlflowClient

        store = f"sqlite:///{folder.parent / 'mlflow.db'}"
        with FileLock(folder.parent / "mlflow.db.lock"):  # the cells of a sweep begin at once
            self._client = MlflowClient(tracking_uri=os.environ.get("MLFLOW_TRACKING_URI", store))
            experiment = self._experiment(plan.spec["name"], folder.parent)
            self._forget(experiment, folder)
        tags = {_FOLDER: str(folder), "flspec.plan": plan.digest}
        self._id: str = self._client.create_run(experiment, run_name=folder.name, tags=tags).info.run_id
        for name, value in settings_by_path(plan.spec).items():
            self._client.log_param(self._id, _legal(name), str(value)[:_LONGEST])

    def round(self, record: RoundRecord) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        values = [Metric(_legal(name), value, now, record.round) for name, value in values_of(record).items()]
        self._client.log_batch(self._id, metrics=values)

    def finish(self, result: Result) -> None:
        self._client.set_terminated(self._id, _ENDS[result.status])

    def _experiment(self, name: str, folder: Path) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is None:
            artifacts = None if "MLFLOW_TRACKING_URI" in os.environ else (folder / "mlflow-artifacts").as_uri()
            return str(self._client.create_experiment(name, artifact_location=artifacts))
        return str(found.experiment_id)

    def _forget(self, experiment: str, folder: Path) -> None:
        """Delete what an earlier attempt at this run has told: its rounds are told again."""
        for run in self._client.search_runs([experiment], f"tags.`{_FOLDER}` = '{folder}'"):
            self._client.delete_run(run.info.run_id)


def _legal(name: str) -> str:
    """Return a name of the characters that MLflow takes."""
    return re.sub(r"[^\w\-./ ]", "_", name)
