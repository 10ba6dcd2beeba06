"""The cost of one run: seconds by phase, memory and traffic."""

from __future__ import annotations

from collections import Counter

from flspec.protocol.records import Overhead
from flspec.report.charts import Bar, draw_bars
from flspec.report.page import Chart, Facts, Figure, Section
from flspec.report.palette import style
from flspec.report.subject import Subject
from flspec.report.words import number, plural
from flspec.runs.result import Result

__all__ = ["run_cost_section"]

_CAPTION = (
    "Seconds of wall-clock time by phase, over all rounds. Training includes what the engine does to reach its "
    "clients; what belongs to no phase, such as writing files, is the rest."
)
_MEBIBYTE = 2**20


def run_cost_section(subject: Subject) -> Section | None:
    """Return the section."""
    result = subject.runs[0].result
    if result is None:
        return None
    phases = _phases(result)
    bars = [Bar(name, style(2), [seconds]) for name, seconds in phases.items()]
    figure = Figure(_CAPTION, [Chart("Seconds by phase", draw_bars(bars))])
    return Section("Cost", [figure, Facts(_facts(result))])


def _phases(result: Result) -> dict[str, float]:
    """Return the seconds of each phase; the rest is what the total has beyond them."""
    spent: Counter[str] = Counter()
    for record in result.rounds:
        spent.update({name: max(0.0, seconds) for name, seconds in record.seconds.items()})
    phases = {"start-up": result.seconds.startup or 0.0, **spent}
    return phases | {"rest": max(0.0, result.seconds.total - sum(phases.values()))}


def _facts(result: Result) -> list[tuple[str, str]]:
    rounds = result.rounds
    peak, workers = result.memory.get("peak_bytes"), result.backend.workers
    down, up = sum(record.bytes_down for record in rounds), sum(record.bytes_up for record in rounds)
    return [
        ("seconds in all", number(result.seconds.total, 3)),
        *([("peak memory", f"{number(peak / _MEBIBYTE, 3)} MiB")] if peak else []),
        ("sent to clients", f"{number(down / _MEBIBYTE, 3)} MiB in {plural(len(rounds), 'round')}"),
        ("sent to the server", f"{number(up / _MEBIBYTE, 3)} MiB"),
        *([("overhead", _overhead(overhead))] if (overhead := result.overhead) else []),
        *([("trained by", f"{workers.title}: {workers.why}")] if workers else []),
    ]


def _overhead(overhead: Overhead) -> str:
    """Return what a round takes beside its clients' training, or why that is not known."""
    if overhead.round is None or overhead.client is None:
        return f"not known: {overhead.unknown}"
    each = f"{number(overhead.round, 3)} s a round, {number(1000 * overhead.client, 3)} ms a client"
    return f"{each}, beside the training that workers share"
