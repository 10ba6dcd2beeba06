"""`flspec audit`: whether what a private spec releases tells more than it claims."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from flspec.cli.options import CellLabel, DataRoot, Json, MaxRuns, Settings, Small, SpecFile
from flspec.cli.output import console, lines, print_json, progress_console
from flspec.cli.tables import plain_table

if TYPE_CHECKING:
    from flspec.analysis.audit import Audit

__all__ = ["audit"]


def audit(
    spec: SpecFile,
    trials: Annotated[int, typer.Option(metavar="N", help="Trials with the canary, and as many without.")] = 20_000,
    confidence: Annotated[float, typer.Option(metavar="C", help="With which the bound holds.")] = 0.95,
    settings: Settings = None,
    small: Small = False,
    cell: CellLabel = None,
    max_runs: MaxRuns = 10_000,
    data_root: DataRoot = None,
    as_json: Json = False,
) -> None:
    """Measure a lower bound of a private spec's epsilon, without training.

    A client that sends the worst update there is, the canary, is in the rounds or
    not. How well the two can be told apart by what the rounds release bounds
    epsilon. Exits with 1 if the bound is above the claim.
    """
    from flspec.analysis.audit import audit as measured
    from flspec.analysis.audit import check_numbers
    from flspec.cli.progress import decoding_progress
    from flspec.compiler.compile import compile
    from flspec.spec.places import naming_places
    from flspec.spec.study import load_study

    check_numbers(trials, confidence)
    chosen = load_study(spec, settings or (), max_runs, small).cell(cell)
    with decoding_progress(progress_console):
        compiled = compile(chosen, data_root)
    with naming_places(chosen.draft):
        found = measured(compiled, chosen.spec.cohort, trials, confidence)
    if as_json:
        print_json(found.model_dump(mode="json") | {"refuted": found.is_refuted, "plan": compiled.digest})
    else:
        console.print(_table(found, f"{chosen.spec.name}, plan {compiled.digest[:12]}"))
        console.print(_meaning(found))
    if found.is_refuted:
        raise typer.Exit(1)


def _table(found: Audit, title: str) -> Table:
    table = plain_table(title)
    table.show_header = False
    table.add_column("fact", no_wrap=True)
    table.add_column("value", overflow="fold")
    neighbour = "without it" if found.adjacency == "add_or_remove" else "where it sends the opposite"
    table.add_row("claimed", f"epsilon {found.claimed:.4g} at delta {found.delta:g}, by {found.accountant} accounting")
    bound = f"epsilon at least {found.measured:.4g}, with {found.confidence:.4g} confidence"
    table.add_row("measured", bound if found.measured else "nothing: these trials are not told apart well enough")
    table.add_row("rounds", f"{found.rounds:,}")
    table.add_row(
        "trials",
        lines(
            f"{found.trials:,} with the canary, {found.trials:,} {neighbour}",
            f"{found.num_tested:,} of each tested; false alarms: {found.false_alarms:,}, misses: {found.misses:,}",
            f"without an error they would show {found.largest:.3g}",
        ),
    )
    return table


def _meaning(found: Audit) -> str:
    if found.is_refuted:
        return "The claim is refuted: the canary is told apart better than the claimed epsilon allows."
    if found.largest < found.claimed:
        return "Nothing contradicts the claim, but so few trials could not: raise --trials."
    return "Nothing contradicts the claim. That is no proof of it: other attacks may show more."
