"""`flspec run`: one experiment, or every experiment of a matrix that is not done yet."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flspec.cli.consoles import console, progress_console
from flspec.cli.options import (
    CellLabel,
    DataRoot,
    Debug,
    DeviceName,
    Json,
    LogFormat,
    LogFormats,
    MaxRuns,
    Settings,
    Small,
    SpecFile,
    Timeout,
    Trackers,
    Trust,
    Workers,
)
from flspec.cli.output import print_json, tell_interrupted
from flspec.core.collection import nothing_collected

if TYPE_CHECKING:
    from flspec.protocol.plan import Plan
    from flspec.runs.result import Result

__all__ = ["run"]


def run(
    spec: SpecFile,
    backend: Annotated[str | None, typer.Option(help="NAME or NAME:VARIANT; else the spec's.")] = None,
    settings: Settings = None,
    small: Small = False,
    trust: Trust = False,
    out: Annotated[Path | None, typer.Option(help="Folder of the run; else a new one below runs/.")] = None,
    cell: CellLabel = None,
    max_runs: MaxRuns = 10_000,
    jobs: Annotated[
        int, typer.Option(min=0, max=1024, metavar="N", help="Experiments of a matrix at once; 0: automatic.")
    ] = 0,
    workers: Workers = 0,
    device: DeviceName = "cpu",
    data_root: DataRoot = None,
    timeout: Timeout = 3600.0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the interrupted run in --out.")] = False,
    extend: Annotated[Path | None, typer.Option(metavar="RUN", help="Go on from a finished, shorter run.")] = None,
    anyway: Annotated[bool, typer.Option("--anyway", help="Go on with what other versions began.")] = False,
    trackers: Trackers = None,
    log_format: LogFormats = LogFormat.text,
    debug: Debug = False,
    as_json: Json = False,
) -> None:
    """Run a spec on one backend; of a matrix, all that is not done yet."""
    with nothing_collected():
        from flspec.cli.progress import decoding_progress
        from flspec.compiler.compile import compile
        from flspec.core.part_files import using
        from flspec.errors import InputError
        from flspec.execution.remote import Limits
        from flspec.protocol.registry import find_backend
        from flspec.spec.study import load_study
        from flspec.spec.unread import unread_settings
        from flspec.trackers import chosen_trackers

    if resume and not out:
        raise InputError("--resume: name the interrupted run with --out")
    study, limits = load_study(spec, settings or (), max_runs, small, backend is None), Limits(silence=timeout)
    selection = backend or study.backend
    find_backend(selection).find_device(device)  # reports what there is not before the plan is made, which takes time
    with using(study.cells[0].spec.part_files):
        chosen_trackers(study.cells[0].spec.track, trackers or ())
    is_matrix, log_json = study.is_matrix and cell is None, log_format is LogFormat.json
    _check_options(is_matrix, resume, anyway, workers, jobs, extend)
    for remark in unread_settings(study.cells if is_matrix else [study.cell(cell)]):
        progress_console.print(f"remark: {remark}", soft_wrap=True)
    given: dict[str, Any] = {"limits": limits, "device": device, "trackers": trackers or (), "anyway": anyway}
    if is_matrix:
        from flspec.cli.sweeping import run_study

        folder = out or Path("runs", f"{spec.stem}{'-small' if small else ''}-{selection}-matrix".replace(":", "-"))
        run_study(study, selection, folder, data=data_root, jobs=jobs, **given, as_json=as_json, log_json=log_json)
        return
    chosen = study.cell(cell)
    with _folder_of_run(out, f"{study.name}-{selection}", resume) as folder:
        with decoding_progress(progress_console):
            compiled = compile(chosen, data_root)
        given |= {
            "workers": workers,
            "resume": resume,
            "extend": extend,
            "source": chosen.text,
            "spec_folders": chosen.spec.folders,
        }
        to_repeat: dict[str, object] = {
            "--backend": selection,
            "--cell": cell,
            "--data-root": data_root,
            "--workers": workers or None,
            "--device": None if device == "cpu" else device,
        }
        to_repeat |= {"--timeout": None if timeout == 3600.0 else timeout, "--out": folder}
        arguments = [str(spec), *(["--small"] if small else []), *_repeated("--set", settings)]
        command = _command([*arguments, *_repeated("--tracker", trackers)], to_repeat)
        result = _run(compiled, selection, folder, given, command, as_json, log_json)
    _print_result(result, folder, as_json)
    if not as_json:
        console.print(f"written to {folder}")


def _run(
    plan: Plan, selection: str, folder: Path, given: dict[str, Any], command: str, as_json: bool, log_json: bool
) -> Result:
    """Run a plan and show its progress; if it is interrupted, print what there is, and `command`, which goes on."""
    from flspec.cli.progress import RunProgress
    from flspec.runs.runner import run

    with RunProgress(progress_console, plan.num_rounds, selection, log_json) as progress:
        try:
            return run(plan, selection, folder, **given, watch=progress.update)
        except (KeyboardInterrupt, SystemExit) as interrupt:
            stopped = interrupt
    _print_interrupted(folder, as_json)
    tell_interrupted(_how_far(progress.last_round, folder, command))
    raise typer.Exit(stopped.code if isinstance(stopped, SystemExit) else 130) from None  # type: ignore[arg-type]


@contextmanager
def _folder_of_run(out: Path | None, name: str, resume: bool) -> Iterator[Path]:
    """Yield the folder of a run: `out` if a run can begin there or go on, else a new one with the next number."""
    from flspec.core.files import check_new_folder, numbered_folder
    from flspec.runs.folders import check_resumable

    if out is None:
        with numbered_folder(Path("runs"), name) as folder:
            yield folder
        return
    if resume:
        check_resumable(out)
    else:
        check_new_folder(out)
    yield out


def _check_options(is_matrix: bool, resume: bool, anyway: bool, workers: int, jobs: int, extend: Path | None) -> None:
    """Raise InputError if an option was given that has no effect on a matrix, or on one experiment."""
    from flspec.errors import InputError

    if is_matrix and (resume or workers):
        unread = "--resume: a matrix goes on by itself" if resume else "--workers: of a matrix, give --jobs"
        raise InputError(f"{unread}; leave it out, or choose one experiment with --cell")
    if is_matrix and extend:
        raise InputError("--extend: a matrix has many runs; leave it out, or choose one experiment with --cell")
    if jobs and not is_matrix:
        raise InputError("--jobs: this is one experiment; leave it out, or give --workers")
    if anyway and not (is_matrix or resume or extend):
        raise InputError("--anyway: there is nothing to go on with; leave it out, or give --resume")


def _print_interrupted(folder: Path, as_json: bool) -> None:
    from flspec.errors import InputError
    from flspec.runs.result import load_result

    try:
        result = load_result(folder)
    except InputError:  # interrupted before there was anything
        return
    if result.rounds:
        _print_result(result, folder, as_json)


def _print_result(result: Result, folder: Path, as_json: bool) -> None:
    from flspec.cli.evaluation_tables import evaluation_tables
    from flspec.cli.tables import run_table

    if as_json:
        print_json(result.model_dump(mode="json") | {"folder": str(folder)})
        return
    for table in (run_table(result), *evaluation_tables(result)):
        console.print(table)


def _how_far(last_round: int, folder: Path, command: str) -> str:
    """Return how far an interrupted run came, and the command that continues it, if there is something to continue."""
    from flspec.runs.event_log import EVENTS

    if not (folder / EVENTS).exists():
        return "before anything was written"
    return f"after round {last_round}; go on with: {command} --resume"


def _command(arguments: Sequence[str], options: Mapping[str, object]) -> str:
    given = [part for option, value in options.items() if value is not None for part in (option, str(value))]
    return shlex.join(["flspec", "run", *arguments, *given])


def _repeated(option: str, values: Sequence[str] | None) -> list[str]:
    return [part for value in values or () for part in (option, value)]
