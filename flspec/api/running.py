"""`flspec.run`: one experiment or a matrix of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, overload

from flspec.api.results import Results, RunResult
from flspec.errors import InputError, RunError
from flspec.execution.remote import Limits
from flspec.protocol.plan import Plan
from flspec.runs.result import load_result
from flspec.runs.runner import Experiment, Watch, run_in_folder
from flspec.runs.sweep import SweepWatch, sweep
from flspec.runs.sweep_summary import Sweep
from flspec.spec.spec import Spec
from flspec.spec.study import Study, load_study
from flspec.trackers import Chosen

__all__ = ["run"]

_MOST_REASONS = 3  # in one error


@overload
def run(
    experiment: Spec | Plan, backend: str | None = None, out: str | Path | None = None, **options: Any
) -> RunResult: ...
@overload
def run(experiment: Study, backend: str | None = None, out: str | Path | None = None, **options: Any) -> Results: ...
@overload
def run(experiment: str | Path, backend: str | None = None, out: str | Path | None = None, **options: Any) -> Any: ...
def run(  # type: ignore[misc]  # the forms above do not repeat its options
    experiment: Experiment | Study,
    backend: str | None = None,
    out: str | Path | None = None,
    *,
    data: Path | None = None,
    workers: int = 0,
    device: str = "cpu",
    jobs: int = 0,
    limits: Limits | None = None,
    resume: bool = False,
    anyway: bool = False,
    extend: str | Path | None = None,
    watch: Watch | SweepWatch | None = None,
    source: str | None = None,
    trackers: str | Chosen | Sequence[str | Chosen] = (),
) -> RunResult | Results:
    """Run a spec, a plan, a spec's file or a matrix, and return the result, or the results of a matrix's cells.

    `backend` is a NAME or NAME:VARIANT, by default the spec's. `out` is the folder, by default a new one below `runs`;
    for a matrix it is the command's, `runs/NAME-BACKEND-matrix`, and cells that are finished there are not run again.

    `watch` is called after each round with its record, of a matrix at each change with how far it is. What `watch`
    raises ends the run and comes out as it is, once every process of the engine has ended; the run counts as
    interrupted, and its result has the rounds until then. An interrupted run goes on with
    `resume=True` and its folder as `out`, a matrix by the same call.

    `device` trains and evaluates: cpu, cuda, cuda:N, mps, or auto for the fastest that there is.
    `workers` clients of a run train at once, `jobs` cells of a matrix run at once; 0 means one a core. `anyway` goes on
    where other software began. `extend` is the folder of a finished run of fewer rounds, from which this one goes on.
    `trackers` follow the rounds, given by name, class or instance. `source` is the spec's text to be stored, instead of
    the plan's own.

    Raises InputError before anything is written. Raises RunError if the run fails, of a matrix once all other cells
    have ended.
    """
    name = ""
    if isinstance(experiment, str | Path) and (study := load_study(experiment)).is_matrix:
        name, experiment = Path(experiment).stem, study
    options: dict[str, Any] = {"data": data, "device": device, "limits": limits, "anyway": anyway}
    options |= {"watch": watch, "trackers": trackers}
    if not isinstance(experiment, Study):
        _refuse({"jobs": jobs}, "one run has no cells; leave it out, or give workers")
        options |= {"workers": workers, "resume": resume, "extend": extend, "source": source}
        return RunResult.of(*run_in_folder(experiment, backend, out, **options))
    _refuse(
        {"workers": workers, "source": source, "extend": extend},
        "a matrix takes jobs, and stores each cell's own spec; leave it out",
    )
    default = f"{name or experiment.name}-{backend or experiment.backend}-matrix".replace(":", "-")
    folder = Path(out or Path("runs", default)).absolute()
    return _results(experiment, sweep(experiment, backend, folder, jobs=jobs, **options), folder)


def _refuse(given: dict[str, Any], why: str) -> None:
    for name, value in given.items():
        if value:
            raise InputError(f"{name}: {why}")


def _results(study: Study, done: Sweep, folder: Path) -> Results:
    """Return the results of a sweep; raises RunError if a cell has none."""
    failed = [f"{cell.label}: {cell.error or cell.status}" for cell in done.cells if cell.status != "completed"]
    if failed:
        told = "; ".join([*failed[:_MOST_REASONS], *(["…"] if len(failed) > _MOST_REASONS else [])])
        rest = f"flspec.measurements_of({str(folder)!r}) has the others; the same call runs these again"
        raise RunError(f"{len(failed)} of {len(done.cells)} cells failed: {told}; {rest}")
    folders = [folder / str(cell.folder) for cell in done.cells]
    results = [RunResult.of(one, load_result(one)) for one in folders]
    return Results(folder, results, [cell.values for cell in study.cells])
