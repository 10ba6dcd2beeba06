"""The commands."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flspec.cli import authoring, explaining, starting, tables
from flspec.cli.backends import backends_app
from flspec.cli.data import data_app
from flspec.cli.evaluation_tables import compared_evaluations, evaluation_tables
from flspec.cli.options import CellLabel, DataRoot, Json, MaxRuns, Settings, Small, SpecFile, Timeout, Trackers, Workers
from flspec.cli.output import console, print_json, progress_console, tell_interrupted

if TYPE_CHECKING:
    from flspec.runs.result import Result

__all__ = ["app"]

app = typer.Typer(
    name="flspec",
    help="Write a federated-learning experiment once; know that every backend ran the same thing.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
)
app.add_typer(backends_app, name="backends")
app.add_typer(data_app, name="data")
app.command("new")(starting.new_file)
app.command("list")(authoring.list_kinds)
app.command("schema")(authoring.schema)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"flspec {version('flspec')}")
        raise typer.Exit


@app.callback()
def _options(
    show_version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    pass


@app.command()
def validate(
    specs: Annotated[list[Path], typer.Argument(metavar="SPEC...", help="Specs to check.")],
    settings: Settings = None,
    small: Small = False,
    max_runs: MaxRuns = 10_000,
    as_json: Json = False,
) -> None:
    """Check specs, each with its small variant, and print every problem, with its place and a way out."""
    from flspec.errors import InputError, Problem, SpecError
    from flspec.spec.study import check_backends, load_study, load_variants

    problems: list[Problem] = []
    runs: dict[str, int] = {}
    small_runs: dict[str, int] = {}
    for path in specs:
        try:
            if small:
                study, variant = load_study(path, settings or (), max_runs, small), None
            else:
                study, variant = load_variants(path, settings or (), max_runs)
            check_backends(study)
            runs[str(path)] = len(study.cells)
            small_runs |= {str(path): len(variant.cells)} if variant else {}
        except SpecError as error:
            problems += error.problems
        except InputError as error:
            problems.append(Problem(str(error)))
    if problems:
        raise SpecError(list(dict.fromkeys(problems)))
    if as_json:
        print_json({"ok": True, "specs": runs} | ({"small": small_runs} if small_runs else {}))
    else:
        for name, num_runs in runs.items():
            also = f"; with --small too{_in_runs(small_runs[name])}" if name in small_runs else ""
            console.print(f"{name}: valid{_in_runs(num_runs)}{also}", markup=False)


def _in_runs(number: int) -> str:
    return f", {number:,} runs" if number > 1 else ""


app.command()(explaining.plan)
app.command()(explaining.diff)


@app.command()
def run(
    spec: SpecFile,
    backend: Annotated[str | None, typer.Option(help="NAME or NAME:VARIANT; else the spec's.")] = None,
    settings: Settings = None,
    small: Small = False,
    out: Annotated[Path | None, typer.Option(help="Folder of the run; else a new one below runs/.")] = None,
    cell: CellLabel = None,
    max_runs: MaxRuns = 10_000,
    jobs: Annotated[int, typer.Option(min=0, max=1024, help="Experiments of a matrix at once; 0: automatic.")] = 0,
    workers: Workers = 0,
    data_root: DataRoot = None,
    timeout: Timeout = 3600.0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the interrupted run in --out.")] = False,
    trackers: Trackers = None,
    as_json: Json = False,
) -> None:
    """Run a spec on one backend and write its result; for a matrix, run every experiment that is not done yet."""
    from flspec.cli.progress import RunProgress, decoding_progress
    from flspec.compiler.compile import compile
    from flspec.core.files import new_folder
    from flspec.errors import InputError
    from flspec.execution.remote import Limits
    from flspec.protocol.registry import find_backend
    from flspec.runs.runner import run
    from flspec.spec.study import load_study
    from flspec.trackers import find_trackers

    if resume and not out:
        raise InputError("--resume: name the interrupted run with --out")
    study, limits = load_study(spec, settings or (), max_runs, small), Limits(silence=timeout)
    selection = backend or study.backend
    find_backend(selection)  # reports an unknown name before the plan is made, which takes time
    find_trackers(trackers or ())
    is_matrix = study.is_matrix and cell is None
    _check_options(is_matrix, resume, workers, jobs)
    if is_matrix:
        from flspec.cli.sweeping import run_study

        folder = out or Path("runs", f"{spec.stem}{'-small' if small else ''}-{selection}-matrix".replace(":", "-"))
        given: dict[str, Any] = {"data": data_root, "jobs": jobs, "limits": limits, "trackers": trackers or ()}
        run_study(study, selection, folder, **given, as_json=as_json)
        return
    chosen = study.cell(cell)
    folder = out or new_folder(Path("runs"), f"{study.name}-{selection}")
    _check_folder(folder, resume)
    with decoding_progress(progress_console):
        compiled = compile(chosen.spec, data_root)
    with RunProgress(progress_console, compiled.num_rounds, selection) as progress:
        options: dict[str, Any] = {"workers": workers, "limits": limits, "resume": resume, "trackers": trackers or ()}
        try:
            result = run(compiled, selection, folder, **options, watch=progress.update, source=chosen.text)
        except (KeyboardInterrupt, SystemExit) as stop:
            to_repeat: dict[str, object] = {"--backend": selection, "--cell": cell, "--data-root": data_root}
            limit = None if timeout == 3600.0 else timeout
            to_repeat |= {"--workers": workers or None, "--timeout": limit, "--out": folder}
            arguments = [str(spec), *(["--small"] if small else []), *_repeated("--set", settings)]
            arguments += _repeated("--tracker", trackers)
            tell_interrupted(_how_far(progress.last_round, folder, arguments, to_repeat))
            raise typer.Exit(stop.code if isinstance(stop, SystemExit) else 130) from None  # type: ignore[arg-type]
    _tell_result(result, folder, as_json)


def _check_options(is_matrix: bool, resume: bool, workers: int, jobs: int) -> None:
    """Raise InputError if an option was given that has no effect on a matrix, or on one experiment."""
    from flspec.errors import InputError

    if is_matrix and (resume or workers):
        unread = "--resume: a matrix goes on by itself" if resume else "--workers: of a matrix, give --jobs"
        raise InputError(f"{unread}; leave it out, or choose one experiment with --cell")
    if jobs and not is_matrix:
        raise InputError("--jobs: this is one experiment; leave it out, or give --workers")


def _check_folder(folder: Path, resume: bool) -> None:
    """Raise InputError unless a run can begin in the folder, or go on in it."""
    from flspec.core.files import check_new_folder
    from flspec.errors import InputError

    if not resume:
        check_new_folder(folder)
    elif not (folder / "plan").is_dir():
        raise InputError(f"--resume: {folder} holds no run to go on with; leave --resume out")


def _tell_result(result: Result, folder: Path, as_json: bool) -> None:
    if as_json:
        print_json(result.model_dump(mode="json") | {"folder": str(folder)})
        return
    for table in (tables.run_table(result), *evaluation_tables(result)):
        console.print(table)
    console.print(f"written to {folder}", markup=False)


def _how_far(last_round: int, folder: Path, arguments: Sequence[str], given: Mapping[str, object]) -> str:
    """Return how far an interrupted run came, and the command that continues it, if there is something to continue."""
    if not (folder / "plan" / "plan.json").exists():
        return "before anything was written"
    options = [part for option, value in given.items() if value is not None for part in (option, str(value))]
    return f"after round {last_round}; go on with: {shlex.join(['flspec', 'run', *arguments, *options, '--resume'])}"


def _repeated(option: str, values: Sequence[str] | None) -> list[str]:
    return [part for value in values or () for part in (option, value)]


@app.command()
def certify(
    spec: SpecFile,
    backends: Annotated[
        str, typer.Option(help="Backends, with commas between; the first is the reference.")
    ] = "local,flower,tff",
    settings: Settings = None,
    small: Small = False,
    cell: CellLabel = None,
    max_runs: MaxRuns = 10_000,
    out: Annotated[Path | None, typer.Option(help="Folder; else a new one below certificates/.")] = None,
    workers: Workers = 0,
    data_root: DataRoot = None,
    timeout: Timeout = 3600.0,
    as_json: Json = False,
) -> None:
    """Run a spec on several backends and compare their weights, round by round.

    Writes certificate.json and report.html. Exits with 1 unless every backend carried out the same plan.
    """
    from flspec.cli.progress import CertifyProgress, decoding_progress
    from flspec.comparison.certification import certify
    from flspec.compiler.compile import compile
    from flspec.core.files import check_new_folder, new_folder
    from flspec.data.synthetic.twin_cache import twin_in_words
    from flspec.execution.remote import Limits
    from flspec.report import write_certificate_report
    from flspec.spec.study import load_study

    chosen = load_study(spec, settings or (), max_runs, small).cell(cell)
    folder = out or new_folder(Path("certificates"), chosen.spec.name)
    check_new_folder(folder)
    with decoding_progress(progress_console):
        compiled = compile(chosen.spec, data_root)
    options: dict[str, Any] = {"workers": workers, "limits": Limits(silence=timeout), "source": chosen.text}
    with CertifyProgress(progress_console, compiled.num_rounds) as progress:
        certificate = certify(compiled, backends, folder, **options, watch=progress.update)
    report = write_certificate_report(folder)
    if as_json:
        print_json(certificate.model_dump(mode="json") | {"folder": str(folder)})
    else:
        console.print(tables.certificate_table(certificate))
        if twin := twin_in_words(compiled.spec):
            console.print(twin, markup=False)
        console.print(f"written to {folder}; open {report}", markup=False)
    if not certificate.is_equivalent:
        raise typer.Exit(1)


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of runs; the first is the measure.")],
    out: Annotated[Path | None, typer.Option(help="Write an HTML report to this file.")] = None,
    as_json: Json = False,
) -> None:
    """Put finished runs side by side."""
    from flspec.comparison.results import compare
    from flspec.errors import InputError

    if out and out.suffix not in (".html", ".htm"):
        raise InputError(f"--out: {out} does not end in .html; a report replaces the file it is given")
    comparison = compare(runs)
    if out:
        from flspec.report import write_comparison_report

        write_comparison_report(comparison, out)
    if as_json:
        print_json(comparison.as_dict())
    else:
        console.print(tables.comparison_table(comparison))
        if measured := compared_evaluations(comparison):
            console.print(measured)
        if comparison.warning:
            console.print(comparison.warning, markup=False)
        if out:
            console.print(f"written to {out}", markup=False)
