"""The axes of a sweep: small multiples, one for each value of the first axis, and a heat map of two axes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from flspec.report.charts import Line, draw_lines
from flspec.report.heat_map import draw_heat_map
from flspec.report.page import Chart, Figure, Section
from flspec.report.palette import plain_style
from flspec.report.sections.sweeps.curves import runs_in_words
from flspec.report.sweep_subject import SweepSubject, Values, shown
from flspec.report.words import brief, words_of

__all__ = ["axes_section"]

_MOST_PANELS, _MOST_CELLS, _MOST_MAPS = 12, 20, 2


def axes_section(subject: SweepSubject) -> Section | None:
    """Return the section, or None if fewer than two axes vary."""
    metrics = subject.metrics(subject.split)
    if len(subject.axes) < 2 or not metrics:
        return None
    blocks = [figure for figure in (_multiples(subject, metrics[0]), _maps(subject, metrics)) if figure]
    return Section("By axis", blocks) if blocks else None


def _multiples(subject: SweepSubject, metric: str) -> Figure | None:
    """Return one chart for each value of the first axis, with equal scales, in which the others are told apart."""
    lines = subject.curves(metric, subject.split)
    first = list(dict.fromkeys(shown(one.values[0]) for one in subject.combinations))
    rest = list(dict.fromkeys(_rest(subject, one.values) for one in subject.combinations))
    if not 2 <= len(first) <= _MOST_PANELS or len(rest) > 2 * _MOST_PANELS:
        return None
    styles = {label: plain_style(index) for index, label in enumerate(rest)}
    charts = []
    for value in first:
        panel = [
            Line(styles[_rest(subject, one.values)], lines[one.label].points, lines[one.label].band)
            for one in subject.combinations
            if shown(one.values[0]) == value and one.label in lines
        ]
        title = f"{subject.headings[0]} {value}: {subject.split} {words_of(metric)}"
        charts.append(Chart(title, draw_lines(panel, alike=[*lines.values()])))
    caption = (
        f"The same curves apart, one chart for each {subject.headings[0]}, on equal scales: {runs_in_words(subject)}."
    )
    return Figure(caption, charts, list(styles.items()))


def _rest(subject: SweepSubject, values: Values) -> str:
    pairs = zip(subject.headings[1:], values[1:], strict=True)
    return ", ".join(f"{name} {shown(value)}" for name, value in pairs if value is not None) or "the rest"


def _maps(subject: SweepSubject, metrics: Sequence[str]) -> Figure | None:
    """Return a heat map of each of the first metrics, if the sweep has two axes of not too many values."""
    rows, columns = ([*dict.fromkeys(shown(one.values[at]) for one in subject.combinations)] for at in (0, 1))
    if len(subject.axes) != 2 or max(len(rows), len(columns)) > _MOST_CELLS:
        return None
    charts = [_map(subject, metric, rows, columns) for metric in metrics[:_MOST_MAPS]]
    caption = (
        f"The mean of the last models: {subject.headings[0]} down, {subject.headings[1]} across. The darker a cell, "
        "the greater the value; the colours of two maps do not compare."
    )
    return Figure(caption, charts)


def _map(subject: SweepSubject, metric: str, rows: Sequence[str], columns: Sequence[str]) -> Chart:
    spreads = subject.spreads(metric, subject.split)
    means = {place: float(spreads[label]["mean"]) for place, label in _places(subject) if label in spreads}
    table = [[means.get((row, column)) for column in columns] for row in rows]
    drawing = draw_heat_map(table, rows, columns, brief(subject.headings[0], 30), brief(subject.headings[1], 30))
    return Chart(f"{subject.split.capitalize()} {words_of(metric)}", drawing)


def _places(subject: SweepSubject) -> Iterator[tuple[tuple[str, str], str]]:
    for one in subject.combinations:
        yield (shown(one.values[0]), shown(one.values[1])), one.label
