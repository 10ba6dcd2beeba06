"""Metrics by round. Those of local training and those of the aggregated model never share a chart or a column."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from flspec.core.text import join_all
from flspec.report.charts import Line, Points, draw_lines
from flspec.report.page import Chart, Column, Figure, Paragraph, Section, Table
from flspec.report.subject import PlanGroup, ReportedRun, Subject
from flspec.report.thinning import thinning_in_words
from flspec.report.words import DASH, number, words_of
from flspec.runs.metric_words import features_in_words, metrics_in_order
from flspec.runs.result import RoundRecord

__all__ = ["curves_section"]

Metrics = Callable[[RoundRecord], dict[str, float]]


def _train(record: RoundRecord) -> dict[str, float]:
    return record.train


def _test(record: RoundRecord) -> dict[str, float]:
    return (record.evaluation or {}).get("test", {})


_KINDS: tuple[tuple[str, Metrics, str], ...] = (
    ("train", _train, "During local training: over the examples trained on, each batch measured before its step."),
    ("test", _test, "Of the aggregated model: over the test set, after the round."),
)


def curves_section(subject: Subject) -> Section:
    blocks: list[Figure | Table] = []
    for plan in subject.plans:
        heading = subject.heading(plan)
        figures = [_figure(kind, metrics, heading + caption, plan.runs) for kind, metrics, caption in _KINDS]
        blocks += [figure for figure in figures if figure.charts]
        if any(run.result and run.result.rounds for run in plan.runs):
            blocks.append(_last_values(subject, plan))
    return Section("Curves", blocks or [Paragraph("No run finished a round.")])


def _figure(kind: str, metrics: Metrics, caption: str, runs: Sequence[ReportedRun]) -> Figure:
    """Return one chart for each metric."""
    charts = []
    for name in _names(metrics, runs):
        drawn = [(run, points) for run in runs if (points := _points(run, metrics, name))]
        svg = draw_lines([Line(run.style, points) for run, points in drawn])
        note = " ".join(filter(None, (_overlap(drawn), thinning_in_words(max(len(points) for _, points in drawn)))))
        charts.append(Chart(f"{kind.capitalize()} {words_of(name)}", svg, note))
    legend = [(run.label, run.style) for run in runs if any(map(metrics, _rounds(run)))]
    if kind == "test":
        caption = " ".join((caption, *(f"{words}." for words in _features(runs))))
    return Figure(caption, charts, legend)


def _features(runs: Sequence[ReportedRun]) -> list[str]:
    """Return by which features pictures were compared."""
    results = [run.result for run in runs if run.result and run.result.features]
    evaluations = [record.evaluation or {} for result in results for record in result.rounds[-1:]]
    return features_in_words([result.features for result in results], evaluations)


def _overlap(drawn: Sequence[tuple[ReportedRun, Points]]) -> str:
    """Return which lines hide each other, and how far apart the others are."""
    (first, measure), *others = drawn
    gaps = [(run.label, _gap(measure, points)) for run, points in others]
    same = [label for label, gap in gaps if gap == 0.0]
    apart = [(label, gap) for label, gap in gaps if gap]
    notes = []
    if same:
        shorter = any(len(points) != len(measure) for run, points in others if run.label in same)
        shared = " in the rounds they share" if shorter else ""
        notes.append(f"Lines coincide: {join_all([first.label, *same])} are equal to the last bit{shared}.")
    if apart:
        largest = number(max(gap for _, gap in apart), 2)
        verb = "stays" if len(apart) == 1 else "stay"
        notes.append(f"{join_all([label for label, _ in apart])} {verb} within {largest} of {first.label}.")
    return " ".join(notes)


def _gap(ours: Points, theirs: Points) -> float | None:
    """Return the largest difference in the rounds that both have."""
    values = dict(ours)
    return max((abs(values[number] - value) for number, value in theirs if number in values), default=None)


def _last_values(subject: Subject, plan: PlanGroup) -> Table:
    names = {kind: _names(metrics, plan.runs) for kind, metrics, _ in _KINDS}
    columns = [Column(subject.noun, "word")]
    for kind, _, _ in _KINDS:
        columns += [
            Column(f"last {kind} round"),
            *(Column(f"{kind} {words_of(name)}") for name in names[kind]),
        ]
    rows = [
        [run.label, *(cell for kind, metrics, _ in _KINDS for cell in _last(run, metrics, names[kind]))]
        for run in plan.runs
    ]
    return Table(f"{subject.heading(plan)}The last values of these curves", columns, rows)


def _last(run: ReportedRun, metrics: Metrics, names: Sequence[str]) -> list[str]:
    """Return the last round that has metrics, and these metrics."""
    measured = [record for record in _rounds(run) if metrics(record)]
    if not measured:
        return [DASH] * (1 + len(names))
    return [str(measured[-1].round), *(number(metrics(measured[-1]).get(name)) for name in names)]


def _names(metrics: Metrics, runs: Iterable[ReportedRun]) -> list[str]:
    """Return the metrics that any run has, the usual ones first."""
    return metrics_in_order(name for run in runs for record in _rounds(run) for name in metrics(record))


def _points(run: ReportedRun, metrics: Metrics, name: str) -> Points:
    return [(record.round, metrics(record)[name]) for record in _rounds(run) if name in metrics(record)]


def _rounds(run: ReportedRun) -> Sequence[RoundRecord]:
    return run.result.rounds if run.result else ()
