"""`flspec certify` and `flspec compare`: what backends did, and finished runs, side by side."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from flspec.cli import tables
from flspec.cli.consoles import console, progress_console
from flspec.cli.evaluation_tables import compared_evaluations
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
    Trust,
    Workers,
)
from flspec.cli.output import print_json, tell_interrupted
from flspec.cli.ranking_tables import pairs_table, ranking_notes, settings_table

__all__ = ["certify", "compare"]

OfRound = Literal["last", "best"]
_MOST_RUNS = 8  # of several plans, each in a row of its own


def certify(
    spec: SpecFile,
    backends: Annotated[
        str, typer.Option(help="Backends, with commas between; the first is the reference.")
    ] = "local,flower,tff",
    first_steps: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Of each client's work in a round, the first N steps alone.")
    ] = None,
    settings: Settings = None,
    small: Small = False,
    trust: Trust = False,
    cell: CellLabel = None,
    max_runs: MaxRuns = 10_000,
    out: Annotated[Path | None, typer.Option(help="Folder; else a new one below certificates/.")] = None,
    workers: Workers = 0,
    device: DeviceName = "cpu",
    data_root: DataRoot = None,
    timeout: Timeout = 3600.0,
    log_format: LogFormats = LogFormat.text,
    debug: Debug = False,
    as_json: Json = False,
) -> None:
    """Run a spec on several backends; compare weights round by round.

    Rounding grows with the steps of a round, so where it hides what backends
    do, compare the --first-steps of each client alone. Writes certificate.json
    and report.html. Exits with 1 unless every backend carried out the same plan.
    """
    from flspec.cli.progress import CertifyProgress, decoding_progress
    from flspec.comparison.certification import (
        CERTIFICATE,
        certify,
        check_certifiable,
        check_repeatable,
        load_certificate,
    )
    from flspec.compiler.compile import compile
    from flspec.compiler.first_steps import first_steps_of
    from flspec.core.files import numbered_folder
    from flspec.data.synthetic.twin_cache import twin_in_words
    from flspec.execution.remote import Limits
    from flspec.report import REPORT, write_certificate_report
    from flspec.spec.places import naming_places
    from flspec.spec.study import load_study

    chosen = load_study(spec, settings or (), max_runs, small).cell(cell)
    with nullcontext(out) if out else numbered_folder(Path("certificates"), chosen.spec.name) as folder:
        certified = None
        if (folder / CERTIFICATE).exists() and not (folder / REPORT).exists():  # killed between the two
            certified = load_certificate(folder)
        else:
            check_certifiable(folder)
        with decoding_progress(progress_console):
            compiled = compile(chosen, data_root)
        with naming_places(chosen.draft):
            check_repeatable(compiled)
        compiled = first_steps_of(compiled, first_steps) if first_steps else compiled
        options: dict[str, Any] = {"workers": workers, "device": device, "source": chosen.text}
        options["limits"] = Limits(silence=timeout)
        if certified and certified.plan_digest == compiled.digest:
            certificate = certified
        else:
            log_json = log_format is LogFormat.json
            with _certifying(folder), CertifyProgress(progress_console, compiled.num_rounds, log_json) as progress:
                certificate = certify(compiled, backends, folder, **options, watch=progress.update)
        report = write_certificate_report(folder)
    if as_json:
        print_json(certificate.model_dump(mode="json") | {"folder": str(folder)})
    else:
        console.print(tables.certificate_table(certificate))
        if twin := twin_in_words(compiled.spec):
            console.print(twin)
        console.print(f"written to {folder}; open {report}")
    if not certificate.is_equivalent:
        raise typer.Exit(1)


@contextmanager
def _certifying(folder: Path) -> Iterator[None]:
    """Say of an interrupted certificate how to have it after all."""
    try:
        yield
    except KeyboardInterrupt:
        tell_interrupted(f"before it was done; begin again with the same command and --out {folder}")
        raise


def compare(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="PATH...", help="Runs and sweeps, the first run being the measure of weights; or a spec."
        ),
    ],
    backends: Annotated[
        str | None, typer.Option(help="Of a spec: on which backends it is run and certified, as by certify.")
    ] = None,
    settings: Settings = None,
    small: Small = False,
    trust: Trust = False,
    data_root: DataRoot = None,
    metric: Annotated[str | None, typer.Option(help="What settings are compared by; else accuracy.")] = None,
    on: Annotated[str, typer.Option(help="Set of examples that it was measured on.")] = "test",
    of_round: Annotated[OfRound, typer.Option("--round", help="Model: of the last round, or the best one.")] = "last",
    out: Annotated[Path | None, typer.Option(help="Write an HTML report to this file.")] = None,
    as_json: Json = False,
) -> None:
    """Put finished runs side by side.

    Runs of one plan: are their weights the same? Runs of several: which
    settings are better, where seeds are enough to say so. Runs that were not
    measured alike are told apart by the field in which they differ. A spec is
    run on several backends first: whether they did the same, and where not.
    """
    from flspec.comparison.ranking import rank
    from flspec.comparison.results import compare
    from flspec.errors import InputError
    from flspec.measurements import Measurements, run_folders

    if backends or any(path.is_file() for path in paths):
        if len(paths) > 1 or out or metric:
            raise InputError("compare: one spec at a time is run on backends; --out and --metric are for finished runs")
        chosen = backends or "local,flower,tff"
        certify(paths[0], chosen, settings=settings, small=small, trust=trust, data_root=data_root, as_json=as_json)
        return
    if out and out.suffix not in (".html", ".htm"):
        raise InputError(f"--out: {out} does not end in .html; a report replaces the file it is given")
    folders = run_folders(paths)
    comparison = compare(folders)
    measured = Measurements(tuple(folders), tuple(run.result for run in comparison.runs))
    ranking = rank(measured, metric, on, of_round) if len(comparison.plan_digests) > 1 else None
    if out:
        from flspec.report import write_comparison_report

        write_comparison_report(comparison, out)
    if as_json:
        print_json(comparison.as_dict() | ({"ranking": ranking.as_dict()} if ranking else {}))
        return
    if len(folders) <= _MOST_RUNS or not ranking:
        console.print(tables.comparison_table(comparison))
        if table := compared_evaluations(comparison):
            console.print(table)
    if ranking:
        console.print(settings_table(ranking))
        if ranking.pairs:
            console.print(pairs_table(ranking))
        for note in ranking_notes(ranking):
            console.print(note, soft_wrap=True)
    for warning in comparison.warnings:
        console.print(f"warning: {warning}", soft_wrap=True)
    if out:
        console.print(f"written to {out}")
