"""Folders of runs that nobody ran: results written down, so that a table's numbers are known beforehand."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flspec.runs.sweep_summary import CellRecord, Sweep

__all__ = ["write_run", "write_sweep"]


def write_run(
    folder: Path, accuracies: Sequence[float | None], seed: int = 0, status: str = "completed", **changed: Any
) -> None:
    """Write a run with one accuracy a round; `changed` are fields of the result, and the settings of its spec."""
    settings = changed.pop("settings", {})
    spec = {"name": "made", "seed": seed, "aggregator": {"kind": "fedavg"}, **settings}
    document = {
        "status": status,
        "name": "made",
        "plan_digest": hashlib.sha256(json.dumps(spec).encode()).hexdigest(),
        "spec": spec,
        "seed": seed,
        "backend": {"name": "local", "versions": {}},
        "environment": {},
        "started": "2026-12-01T00:00:00Z",
        "seconds": {"startup": None, "total": 1.0},
        "memory": {},
        "rounds": [_round(number, accuracy) for number, accuracy in enumerate(accuracies, start=1)],
        "final": None,
        "weights": None,
    }
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(json.dumps(document | changed))


def _round(number: int, accuracy: float | None) -> dict[str, Any]:
    undefined = {"test": {"accuracy": "why"}} if accuracy is None else {}
    evaluation: Mapping[str, Any] = {"test": {"loss": 0.5} | ({} if accuracy is None else {"accuracy": accuracy})}
    costs = {"bytes_down": 8, "bytes_up": 4, "seconds": {"train": 0.25, "evaluate": 0.25}}
    known = {"round": number, "cohort": [0, 1], "num_examples": 2, "train": {"loss": 2.0}}
    return {**known, "evaluation": evaluation, "undefined": undefined, **costs}


def write_sweep(folder: Path, cells: Sequence[Mapping[str, Any]]) -> None:
    """Write the record of a sweep around runs."""
    sweep = Sweep(name="made", backend="local", cells=tuple(CellRecord(**cell) for cell in cells), groups=())
    (folder / "matrix.json").write_text(sweep.model_dump_json())
