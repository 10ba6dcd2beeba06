"""The cost of each run: time, memory and traffic."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple, dataclass, fields
from statistics import median

from flspec.report.charts import Bar, draw_bars
from flspec.report.page import Chart, Column, Figure, Section, Table
from flspec.report.subject import PlanGroup, ReportedRun, Subject
from flspec.report.words import NOT_FINITE, number
from flspec.runs.result import Result

__all__ = ["cost_section"]

_MEBIBYTE = 2**20
_COLUMNS = (
    Column("startup (s)"),
    Column("train (s\u00a0a\u00a0round)"),
    Column("aggregate (s\u00a0a\u00a0round)"),
    Column("first round (s\u00a0more)"),
    Column("overhead (s\u00a0a\u00a0round)"),
    Column("overhead (ms\u00a0a\u00a0client)"),
    Column("total (s)"),
    Column("peak memory (MiB)"),
    Column("to clients (MiB)"),
    Column("to server (MiB)"),
)


@dataclass(frozen=True)
class _Cost:
    """The cost of a run, a column each; None where it was not measured."""

    startup: float | None  # seconds
    train: float | None  # seconds, median over rounds
    aggregate: float | None
    first: float | None  # seconds, of the first round more than of the later ones
    beside: float | None  # seconds a round beside the clients' training
    beside_client: float | None  # the same a client, in milliseconds
    total: float | None  # seconds
    memory: float | None  # MiB
    down: float | None  # MiB, over all rounds
    up: float | None


def cost_section(subject: Subject) -> Section:
    blocks: list[Table | Figure] = []
    for plan in subject.plans:
        blocks.append(_table(subject, plan))
        if plan.result:
            blocks.append(_figure(subject.heading(plan), plan))
    return Section("Cost", blocks)


def _table(subject: Subject, plan: PlanGroup) -> Table:
    rows = []
    for run in plan.runs:
        cost = _cost(run.result)
        rows.append([run.label, *(number(value, 3) for value in astuple(cost))])
    caption = (
        "Wall-clock time, peak memory of all processes, and traffic of weights. Train and aggregate are medians over "
        "the rounds; the total includes evaluation. Overhead is what a round takes beside its clients' training, which "
        "its workers share: messages, the server's step, and workers that wait for the last one. "
    )
    told = [run.result.overhead.unknown for run in plan.runs if run.result and run.result.overhead]
    if reasons := "; ".join(dict.fromkeys(why for why in told if why)):
        caption += f"Where it is missing, it is not known: {reasons}."
    return Table(subject.heading(plan) + caption, (Column(subject.noun, "word"), *_COLUMNS), rows)


def _figure(heading: str, plan: PlanGroup) -> Figure:
    charts = [
        _chart("Seconds a round", plan, lambda cost: (cost.train, cost.aggregate)),
        _chart("Seconds in all", plan, lambda cost: (cost.startup, _rest(cost))),
        _chart("Peak memory, MiB", plan, lambda cost: (cost.memory,)),
    ]
    caption = "Full colour: training and startup. Pale, after it: aggregation and everything after startup."
    return Figure(heading + caption, charts)


def _chart(title: str, plan: PlanGroup, parts: Callable[[_Cost], tuple[float | None, ...]]) -> Chart:
    return Chart(title, draw_bars([_bar(run, parts(_cost(run.result))) for run in plan.runs]))


def _bar(run: ReportedRun, parts: tuple[float | None, ...]) -> Bar:
    known = [part for part in parts if part is not None and part < NOT_FINITE]
    return Bar(run.label, run.style, known if len(known) == len(parts) else None)


def _rest(cost: _Cost) -> float | None:
    if cost.total is None or cost.startup is None:
        return None
    return max(0.0, cost.total - cost.startup)


def _cost(result: Result | None) -> _Cost:
    if result is None:
        return _Cost(*(None for _ in fields(_Cost)))
    rounds, overhead = result.rounds, result.overhead
    peak = result.memory.get("peak_bytes")
    return _Cost(
        startup=result.seconds.startup,
        train=_median(result, "train"),
        aggregate=_median(result, "aggregate"),
        first=overhead.first_round if overhead else None,
        beside=overhead.round if overhead else None,
        beside_client=overhead.client * 1000 if overhead and overhead.client is not None else None,
        total=result.seconds.total,
        memory=peak / _MEBIBYTE if peak else None,
        down=sum(record.bytes_down for record in rounds) / _MEBIBYTE if rounds else None,
        up=sum(record.bytes_up for record in rounds) / _MEBIBYTE if rounds else None,
    )


def _median(result: Result, part: str) -> float | None:
    seconds = [record.seconds[part] for record in result.rounds if part in record.seconds]
    return median(seconds) if seconds else None
