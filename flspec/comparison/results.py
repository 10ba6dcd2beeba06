"""Several finished runs side by side."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flspec.core.reading import read_regular
from flspec.errors import InputError
from flspec.execution.software import software_differences
from flspec.protocol.state import load_weights
from flspec.runs.folders import was_changed
from flspec.runs.result import Result, WeightsFile, load_result

__all__ = ["SECRET_NOISE", "ComparedRun", "Comparison", "compare"]


SECRET_NOISE = (
    "each of these runs drew private noise of its own (privacy.seed: secret), so they end with other weights on any "
    "backend, and on the same one"
)

_ROUNDING = 1e-6  # of metrics of the same weights, which another machine sums in another order


@dataclass(frozen=True)
class ComparedRun:
    """One run compared with the first."""

    folder: Path
    result: Result
    same_plan: bool  # as the first run has
    same_weights: bool | None  # equal to the last bit; None if either has no final weights
    weights_diff: float | None  # largest difference of any final weight; None if they cannot be compared
    was_changed: bool = False  # its result is not what the run wrote

    @property
    def seconds_a_round(self) -> float | None:
        """Median over the rounds, without evaluation."""
        seconds = [sum(record.seconds.get(p, 0.0) for p in ("train", "aggregate")) for record in self.result.rounds]
        return float(np.median(seconds)) if seconds else None


@dataclass(frozen=True)
class Comparison:
    """Runs side by side; the first is the reference."""

    runs: tuple[ComparedRun, ...]

    @property
    def plan_digests(self) -> list[str]:
        """The different plans among the runs, in order of appearance."""
        return list(dict.fromkeys(run.result.plan_digest for run in self.runs))

    def as_dict(self) -> dict[str, Any]:
        """Return the comparison as plain JSON."""
        return {
            "warnings": self.warnings,
            "runs": [
                {
                    "folder": str(run.folder),
                    "backend": run.result.backend.name,
                    "plan_digest": run.result.plan_digest,
                    "status": run.result.status,
                    "same_plan": run.same_plan,
                    "same_weights": run.same_weights,
                    "weights_diff": run.weights_diff,
                    "final": run.result.final.model_dump(mode="json") if run.result.final else None,
                    "best": run.result.best.model_dump(mode="json") if run.result.best else None,
                    "native": run.result.native.model_dump(mode="json") if run.result.native else None,
                    "privacy": run.result.privacy.model_dump(mode="json") if run.result.privacy else None,
                    "startup_seconds": run.result.seconds.startup,
                    "seconds_a_round": run.seconds_a_round,
                    "overhead": run.result.overhead.model_dump(mode="json") if run.result.overhead else None,
                    "peak_bytes": run.result.memory.get("peak_bytes"),
                }
                for run in self.runs
            ],
        }

    @property
    def warnings(self) -> list[str]:
        """What a reader must know before these runs are believed."""
        return [*self._of_plans(), *(text for run in self.runs for text in _of_run(run, self.runs[0]))]

    def _of_plans(self) -> Iterator[str]:
        if len(self.plan_digests) == 1 and self.has_secret_noise:
            yield SECRET_NOISE

    @property
    def has_secret_noise(self) -> bool:
        """Whether several of the runs drew noise of their own."""
        return len([run for run in self.runs if run.result.privacy and run.result.privacy.secret_noise]) > 1


def _of_run(run: ComparedRun, first: ComparedRun) -> Iterator[str]:
    if native := run.result.native:
        yield f"{run.folder} ran {native.in_words}"
    if run.was_changed:
        yield f"{run.folder}: result.json is not as the run wrote it; it was changed since, so do not rely on it"
    earlier = (what for one in run.result.earlier for what in software_differences(one, run.result.software))
    if mixed := "; ".join(dict.fromkeys(earlier)):
        yield f"{run.folder} was begun by other software than it was ended by: {mixed}"
    if run.same_plan and run.same_weights and (other := _other_metrics(first.result, run.result)):
        yield (
            f"{run.folder} has the plan and the weights of {first.folder}, but other metrics: {other}; "
            "one of the two was changed, or measured otherwise"
        )
    if found := software_differences(first.result.software, run.result.software):
        yield f"{run.folder} was run by other software than {first.folder}, which may differ: {'; '.join(found)}"


def _other_metrics(ours: Result, theirs: Result) -> str:
    """Return the first metric of the final models that differs by more than rounding; empty if none does."""
    if not (ours.final and theirs.final):
        return ""
    pairs = (
        (f"{name} {metric}", value, theirs.final.evaluation.get(name, {}).get(metric))
        for name, metrics in ours.final.evaluation.items()
        for metric, value in metrics.items()
    )
    differ = (
        f"{what} {value:.6g} and {other:.6g}"
        for what, value, other in pairs
        if other is not None and not math.isclose(value, other, rel_tol=_ROUNDING, abs_tol=_ROUNDING)
    )
    return next(differ, "")


def compare(runs: str | Path | Sequence[str | Path]) -> Comparison:
    """Read run folders and compare each run with the first; raises InputError if one has no result."""
    if isinstance(runs, str | Path):
        runs = [runs]
    if not runs:
        raise InputError("runs: name at least one run's folder")
    folders = [Path(run) for run in runs]
    results = [load_result(folder) for folder in folders]
    return Comparison(
        tuple(_hold_against(folders[0], results[0], *pair) for pair in zip(folders, results, strict=True))
    )


def _hold_against(first_folder: Path, first: Result, folder: Path, result: Result) -> ComparedRun:
    same_weights, difference = None, None
    if first.weights and result.weights:
        same_weights = first.weights.sha256 == result.weights.sha256
        difference = _largest_difference(_weights(first_folder, first.weights), _weights(folder, result.weights))
    same_plan = first.plan_digest == result.plan_digest
    return ComparedRun(folder, result, same_plan, same_weights, difference, was_changed(folder))


def _weights(folder: Path, stated: WeightsFile) -> Mapping[str, NDArray[np.float32]]:
    """Return a run's final weights; raises InputError unless they are in its folder and match its result."""
    if Path(stated.path).name != stated.path:
        raise InputError(f"{folder}: its result names weights outside of it, {stated.path!r}")
    path = folder / stated.path
    if hashlib.sha256(read_regular(path)).hexdigest() != stated.sha256:
        raise InputError(f"{path} does not have the SHA-256 that its result states; was it changed?")
    return load_weights(path)


def _largest_difference(
    ours: Mapping[str, NDArray[np.float32]], theirs: Mapping[str, NDArray[np.float32]]
) -> float | None:
    if {name: value.shape for name, value in ours.items()} != {name: value.shape for name, value in theirs.items()}:
        return None
    return max(float(np.max(np.abs(ours[name].astype(np.float64) - theirs[name]), initial=0.0)) for name in ours)
