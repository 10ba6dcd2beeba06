"""`flspec runs` and `flspec show`: which runs there are, and what one of them is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flspec.cli.consoles import console
from flspec.cli.options import Json
from flspec.cli.output import print_json

if TYPE_CHECKING:
    from flspec.measurements.listing import ListedRun

__all__ = ["runs", "show"]


def runs(
    folders: Annotated[
        list[Path] | None, typer.Argument(metavar="DIR...", help="Folders with runs or sweeps; else runs.")
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option("--where", metavar="CONDITION", help="Only those of which it holds; repeatable."),
    ] = None,
    sort: Annotated[str | None, typer.Option(metavar="NAME", help="By a value; a metric's best first.")] = None,
    reverse: Annotated[bool, typer.Option("--reverse", help="In the opposite order.")] = False,
    metrics: Annotated[
        list[str] | None,
        typer.Option("--metric", metavar="NAME", help="A metric to show, e.g. test/loss; repeatable."),
    ] = None,
    as_json: Json = False,
) -> None:
    """List runs: what differs between them, and what came of each.

    A CONDITION compares a setting, a metric, name, status, backend, seed, plan or
    started by = != < <= > or >=: aggregator=fedadam, 'test/accuracy>0.9'.
    """
    from flspec.measurements.listing import list_runs

    listing = list_runs(folders or [Path("runs")]).where(where or ())
    for name in metrics or ():
        listing.check(name, "--metric")
    if sort:
        listing = listing.sorted_by(sort)
    chosen = listing.runs[::-1] if reverse else listing.runs
    if as_json:
        print_json({"axes": listing.axes, "runs": [_as_dict(run) for run in chosen]})
    elif not chosen:
        console.print("no run meets this" if where else "no runs here")
    else:
        from flspec.cli.run_tables import notes_below, runs_table

        console.print(runs_table(listing, chosen, sort, metrics or ()))
        for note in notes_below(listing, chosen):
            console.print(note, soft_wrap=True)


def show(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")], as_json: Json = False
) -> None:
    """Show one run: its results, its costs, who said its settings."""
    from flspec.runs.description import describe_run

    described = describe_run(run)
    if as_json:
        print_json(described.model_dump(mode="json"))
        return
    from flspec.cli.evaluation_tables import evaluation_tables
    from flspec.cli.explanation_tables import settings_table
    from flspec.cli.run_tables import facts_table
    from flspec.cli.tables import run_table

    console.print(facts_table(described))
    if result := described.result:
        for table in (run_table(result), *evaluation_tables(result)):
            console.print(table)
    console.print(settings_table(described.settings))


def _as_dict(run: ListedRun) -> dict[str, Any]:
    found = run.found
    return {
        "run": run.name,
        "folder": str(found.folder),
        "status": found.status,
        "why": found.why,
        "started": found.started,
        "backend": found.backend,
        "plan_digest": found.plan_digest,
        "last_round": found.last_round,
        "num_rounds": found.num_rounds,
        "settings": dict(run.settings),
        "metrics": run.metrics,
    }
