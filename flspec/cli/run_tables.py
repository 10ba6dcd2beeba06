"""Runs that were found as tables for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from rich.table import Table

from flspec.cli.consoles import lines
from flspec.cli.tables import plain_table, short_number
from flspec.core.text import and_more, bytes_in_words, join_some, short_names
from flspec.errors import shorten
from flspec.measurements.listing import ListedRun, Listing, text_of
from flspec.runs.metric_words import digits_of

if TYPE_CHECKING:
    from flspec.runs.description import RunDescription
    from flspec.runs.found import FoundRun
    from flspec.runs.result import Result

__all__ = ["facts_table", "notes_below", "runs_table", "when"]

_MOST_AXES = 6  # columns of settings
_MOST_REASONS = 10  # why runs did not finish
_LONGEST_VALUE, _LONGEST_REASON = 24, 200  # characters


def runs_table(listing: Listing, chosen: Sequence[ListedRun], sort: str | None, metrics: Sequence[str]) -> Table:
    """Return runs as a table, one a row: the settings that differ, and what came of each."""
    table = plain_table()
    axes = listing.axes[:_MOST_AXES]
    if sort and sort in listing.runs[0].settings and sort not in axes:
        axes = [*axes, sort]
    is_mixed = len({run.found.backend for run in chosen}) > 1
    for heading in ("run", *short_names(axes).values(), "started", *(["backend"] if is_mixed else []), "status"):
        table.add_column(heading, no_wrap=True)
    is_partial = any(_is_partial(run.found) for run in chosen)
    if is_partial:
        table.add_column("done", justify="right", no_wrap=True)
    shown = _shown(listing, sort, metrics)
    for name in shown:
        table.add_column(lines(*name.rsplit("/", 1)), justify="right", no_wrap=True)
    for run in chosen:
        table.add_row(
            run.name,
            *(_setting(run, path) for path in axes),
            when(run.found.started),
            *([run.found.backend] if is_mixed else []),
            run.found.status,
            *([_rounds(run.found)] if is_partial else []),
            *(short_number(run.metrics.get(name), f".{digits_of(name.rpartition('/')[2])}f") for name in shown),
        )
    return table


def _setting(run: ListedRun, path: str) -> str:
    """Return a setting in so few characters that it stands in one line."""
    return shorten(text_of(run.settings[path]), _LONGEST_VALUE).replace(" ", "") if path in run.settings else ""


def _is_partial(found: FoundRun) -> bool:
    """Return whether a run has, or may have, fewer rounds than were asked for."""
    return found.status != "finished" or found.last_round not in (None, found.num_rounds)


def _rounds(found: FoundRun) -> str:
    """Return `7/10`: how many rounds are done, of how many that were asked for."""
    return "/".join("?" if number is None else str(number) for number in (found.last_round, found.num_rounds))


def notes_below(listing: Listing, chosen: Sequence[ListedRun]) -> Iterator[str]:
    """Yield why runs are not finished, and what the table has no room for."""
    if len(backends := {run.found.backend for run in chosen}) == 1:
        yield f"{len(chosen):,} runs, all on {backends.pop()}" if len(chosen) > 1 else f"on {backends.pop()}"
    unfinished = [run for run in chosen if run.found.why not in ("", run.found.status)]
    for run in unfinished[:_MOST_REASONS]:
        yield f"{run.name} {run.found.status}: {shorten(run.found.why, _LONGEST_REASON)}"
    yield from filter(None, [and_more(len(unfinished) - _MOST_REASONS, "did not finish")])
    if more := and_more(len(listing.axes) - _MOST_AXES, "settings differ"):
        yield f"{more}: {join_some(listing.axes[_MOST_AXES:])}"


def facts_table(described: RunDescription) -> Table:
    """Return what a run is as a table, one fact a row."""
    table = plain_table(f"{described.name}, plan {described.plan_digest[:12]}")
    table.show_header = False
    table.add_column("fact", no_wrap=True)
    table.add_column("value", overflow="fold")
    for fact, sentences in _facts(described):
        if sentences := [sentence for sentence in sentences if sentence]:
            table.add_row(fact, lines(*sentences))
    return table


def _facts(described: RunDescription) -> Iterator[tuple[str, Sequence[str]]]:
    result = described.result
    yield "folder", [f"{described.folder}, {bytes_in_words(described.num_bytes)}"]
    yield "status", [described.status, described.why]
    yield "started", [when(described.started)]
    yield "on", [_on(described)]
    yield "written as", [described.written_as]
    if result:
        yield "took", [_took(result)]
        yield "sent", [_sent(result)]
        best = result.best
        yield "best", [f"round {best.round}, by {best.on} {best.metric}: {best.value:.4f}" if best else ""]
        yield "private", [result.privacy.statement if result.privacy else ""]
        yield "ran in", [", ".join(f"{name} {value}" for name, value in result.environment.items())]
    yield "remarks", described.remarks
    yield "again by", described.commands


def _on(described: RunDescription) -> str:
    info = described.result.backend if described.result else None
    versions = ", ".join(f"{name} {version}" for name, version in info.versions.items()) if info else ""
    workers = info.workers.title if info and info.workers else ""
    return ", ".join(filter(None, (described.backend, versions, workers)))


def _took(result: Result) -> str:
    rounds, seconds = len(result.rounds), result.seconds
    start = f"{seconds.startup:.1f} s to start, " if seconds.startup is not None else ""
    peak = result.memory.get("peak_bytes", 0)
    return f"{start}{seconds.total:.1f} s in all for {rounds:,} rounds; at most {bytes_in_words(peak)} of memory"


def _sent(result: Result) -> str:
    down, up = (sum(getattr(one, name) for one in result.rounds) for name in ("bytes_down", "bytes_up"))
    return f"{bytes_in_words(down)} to clients, {bytes_in_words(up)} back"


def when(started: str) -> str:
    """Return a time in this machine's zone without spaces, this year's as `12-01T12:52`; if it is none, as it is."""
    try:
        time = datetime.fromisoformat(started).astimezone()
    except ValueError:
        return shorten(started, 12).replace(" ", "")
    return time.strftime("%m-%dT%H:%M" if time.year == datetime.now().astimezone().year else "%Y-%m-%d")


def _shown(listing: Listing, sort: str | None, metrics: Sequence[str]) -> list[str]:
    """Return the metrics to be shown: those that are named, else accuracy, else the first that there is."""
    usual = [name for name in ("test/accuracy", *listing.metrics) if name in listing.metrics][:1]
    sorted_by = [sort] if sort in listing.metrics else []
    return list(dict.fromkeys((*sorted_by, *(metrics or usual))))
