"""The commands."""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer

from flspec.cli import tables
from flspec.cli.backends import backends_app
from flspec.cli.output import console, print_json, progress_console, use_json

__all__ = ["app"]

app = typer.Typer(
    name="flspec",
    help="Write a federated-learning experiment once; know that every backend ran the same thing.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
)
app.add_typer(backends_app, name="backends")

Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.", callback=use_json)]
SpecFile = Annotated[Path, typer.Argument(metavar="SPEC", help="A spec, e.g. specs/quickstart.yaml.")]
DataRoot = Annotated[
    Path | None, typer.Option("--data-root", help="Folder of data sets; else $FLSPEC_DATA, else ./data.")
]
Workers = Annotated[int, typer.Option(min=0, max=1024, help="Clients trained at once; 0: as many as pays.")]
Timeout = Annotated[float, typer.Option(min=1, help="Seconds that one round may take before the engine is given up.")]


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
    specs: Annotated[list[Path], typer.Argument(metavar="SPEC...", help="Specs to check.")], as_json: Json = False
) -> None:
    """Check specs and print every problem, each with its place and a way out."""
    from flspec.errors import InputError, Problem, SpecError
    from flspec.loading import load_spec

    problems: list[Problem] = []
    for path in specs:
        try:
            load_spec(path)
        except SpecError as error:
            problems += error.problems
        except InputError as error:
            problems.append(Problem(str(error)))
    if problems:
        raise SpecError(problems)
    if as_json:
        print_json({"ok": True, "specs": [str(path) for path in specs]})
    else:
        for path in specs:
            console.print(f"{path}: valid", markup=False)


@app.command()
def plan(
    spec: SpecFile,
    out: Annotated[Path | None, typer.Option(help="Folder to write the plan into.")] = None,
    data_root: DataRoot = None,
    as_json: Json = False,
) -> None:
    """Compile a spec and say what will happen, without training."""
    from flspec.description import describe_plan
    from flspec.errors import InputError
    from flspec.runner import plan_of

    compiled = plan_of(spec, data_root)
    description = describe_plan(compiled)
    if out:
        try:
            compiled.save(out)
        except OSError as error:
            raise InputError(f"--out: {out} cannot be written: {error}") from None
    if as_json:
        print_json(description)
    else:
        console.print(tables.plan_table(description))


@app.command()
def run(
    spec: SpecFile,
    backend: Annotated[str | None, typer.Option(help="NAME or NAME:VARIANT; else the spec's.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run; else a new one below runs/.")] = None,
    workers: Workers = 0,
    data_root: DataRoot = None,
    timeout: Timeout = 3600.0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the interrupted run in --out.")] = False,
    as_json: Json = False,
) -> None:
    """Run a spec on one backend and write its result."""
    from flspec.cli.progress import RunProgress
    from flspec.errors import InputError
    from flspec.remote import Limits
    from flspec.runner import new_folder, plan_of, run

    if resume and not out:
        raise InputError("--resume: name the interrupted run with --out")
    compiled = plan_of(spec, data_root)
    selection = backend or str(compiled.spec["backend"])
    folder = out or new_folder(Path("runs"), f"{compiled.spec['name']}-{selection}")
    limits = Limits(silence=timeout)
    with RunProgress(progress_console, compiled.num_rounds, selection) as progress:
        options: dict[str, Any] = {"workers": workers, "limits": limits, "resume": resume}
        try:
            result = run(compiled, selection, folder, **options, watch=progress.update, source=spec)
        except (KeyboardInterrupt, SystemExit) as stop:
            again = f"flspec run {spec} --backend {selection} --out {folder} --resume"
            print(f"flspec: interrupted after round {progress.last_round}; go on with: {again}", file=sys.stderr)
            raise typer.Exit(stop.code if isinstance(stop, SystemExit) else 130) from None  # type: ignore[arg-type]
    if as_json:
        print_json(result.model_dump(mode="json") | {"folder": str(folder)})
    else:
        console.print(tables.run_table(result))
        console.print(f"written to {folder}", markup=False)


@app.command()
def certify(
    spec: SpecFile,
    backends: Annotated[
        str, typer.Option(help="Backends, with commas between; the first is the reference.")
    ] = "local,flower,tff",
    out: Annotated[Path | None, typer.Option(help="Folder; else a new one below certificates/.")] = None,
    workers: Workers = 0,
    data_root: DataRoot = None,
    timeout: Timeout = 3600.0,
    as_json: Json = False,
) -> None:
    """Run a spec on several backends and compare their weights, round by round.

    Writes certificate.json and report.html. Exits with 1 unless every backend carried out the same plan.
    """
    from flspec.certification import certify
    from flspec.cli.progress import CertifyProgress
    from flspec.remote import Limits
    from flspec.report import write_certificate_report
    from flspec.runner import new_folder, plan_of

    compiled = plan_of(spec, data_root)
    folder = out or new_folder(Path("certificates"), str(compiled.spec["name"]))
    with CertifyProgress(progress_console, compiled.num_rounds) as progress:
        certificate = certify(
            compiled, backends, folder, workers=workers, limits=Limits(silence=timeout), watch=progress.update
        )
    report = write_certificate_report(folder)
    if as_json:
        print_json(certificate.model_dump(mode="json") | {"folder": str(folder)})
    else:
        console.print(tables.certificate_table(certificate))
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
    from flspec.comparison import compare
    from flspec.errors import InputError

    comparison = compare(runs)
    if out and out.suffix not in (".html", ".htm"):
        raise InputError(f"--out: {out} does not end in .html; a report replaces the file it is given")
    if out:
        from flspec.report import write_comparison_report

        write_comparison_report(comparison, out)
    if as_json:
        print_json(comparison.as_dict())
    else:
        console.print(tables.comparison_table(comparison))
        if comparison.warning:
            console.print(comparison.warning, markup=False)
        if out:
            console.print(f"written to {out}", markup=False)
