"""`flspec audit`: whether what a private spec releases tells more than it claims."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from flspec.cli.consoles import console, lines, progress_console
from flspec.cli.options import CellLabel, DataRoot, Json, MaxRuns, Settings, Small, SpecFile, Trust
from flspec.cli.output import print_json
from flspec.cli.tables import plain_table

if TYPE_CHECKING:
    from flspec.analysis.audit import Audit, WhatRan

__all__ = ["audit"]

_LOUD = "bold red"


def audit(
    spec: SpecFile,
    trials: Annotated[int, typer.Option(metavar="N", help="Trials with the canary, and as many without.")] = 20_000,
    confidence: Annotated[float, typer.Option(metavar="C", help="With which the bound holds.")] = 0.95,
    settings: Settings = None,
    small: Small = False,
    trust: Trust = False,
    cell: CellLabel = None,
    max_runs: MaxRuns = 10_000,
    data_root: DataRoot = None,
    as_json: Json = False,
) -> None:
    """Measure a lower bound of a private spec's epsilon.

    Its model is not trained. The canary, a client or with kind example an example,
    gives the worst there is, or is absent. How well the two can be told apart by
    what is released bounds epsilon. Exits with 1 if the bound is above the claim.
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
        verdict = {"refuted": found.is_refuted, "broken": found.is_broken, "plan": compiled.digest}
        print_json(found.model_dump(mode="json") | verdict)
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
    table.add_row("claimed", f"epsilon {found.claimed:.4g} at delta {found.delta:g}, by {found.accountant} accounting")
    if ran := found.what_ran:
        table.add_row("what ran", lines(f"epsilon {ran.epsilon:.4g}, by {ran.accountant} accounting", *_assumed(ran)))
    bound = f"epsilon at least {found.measured:.4g}, with {found.confidence:.4g} confidence"
    if found.is_refuted:
        table.add_row("measured", Text(f"{bound}: ABOVE THE CLAIM", style=_LOUD))
    else:
        table.add_row("measured", bound if found.measured else "nothing: these trials are not told apart well enough")
    canary, seen = _CANARIES[found.mechanism]
    table.add_row("canary", f"{canary}, told by {seen.format(found.releases)}")
    neighbour = "without it" if found.adjacency == "add_or_remove" else "where it sends the opposite"
    table.add_row(
        "trials",
        lines(
            f"{found.trials:,} with the canary, {found.trials:,} {neighbour}",
            f"{found.num_tested:,} of each tested; false alarms: {found.false_alarms:,}, misses: {found.misses:,}",
            f"without an error they would show {found.largest:.3g}",
        ),
    )
    return table


# By mechanism: what a canary is, and what it is told by.
_CANARIES = {
    "central": ("one client", "the models after all rounds, {:,} of them"),
    "local": ("one client", "each report that it sends, {:,} in all"),
    "example": ("one example of a client", "each step of that client, {:,} in all"),
}


def _assumed(ran: WhatRan) -> list[str]:
    """Return what the claim assumes in place of what there is."""
    assumed = []
    if ran.claimed_population:
        assumed.append(f"{ran.population:,} clients; the claim is for {ran.claimed_population:,}")
    if ran.simulated_cohort:
        assumed.append(f"cohorts of {ran.cohort:,.0f}; the claim is for the noise of {ran.simulated_cohort:,.0f}")
    return assumed


def _meaning(found: Audit) -> Text:
    if found.is_broken:
        beyond = ", and than accounting says of what ran" if found.what_ran else ""
        return Text(
            f"The claim is refuted: the canary is told apart better than the claimed epsilon allows{beyond}.",
            style=_LOUD,
        )
    if found.is_refuted:
        loud = Text("This run does not keep the claim: its canary is told apart better than that allows.", style=_LOUD)
        return loud + Text(
            " The claim is for a larger run, which nobody made. Nothing contradicts the epsilon of what ran: publish "
            "that one."
        )
    if found.what_ran and found.claimed < found.what_ran.epsilon:
        return Text(
            "These trials contradict neither number, which is no proof. The claim is for a larger run, which nobody "
            "made: of this one only the epsilon of what ran is true."
        )
    if found.largest < found.claimed:
        return Text("Nothing contradicts the claim, but so few trials could not: raise --trials.")
    return Text("Nothing contradicts the claim. That is no proof of it: other attacks may show more.")
