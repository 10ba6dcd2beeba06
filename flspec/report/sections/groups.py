"""Curves of groups of examples: each value of a column by itself, with the number of its examples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from flspec.core.text import and_more
from flspec.report.charts import Line, draw_lines
from flspec.report.page import Chart, Figure, Section
from flspec.report.palette import plain_style
from flspec.report.subject import Subject
from flspec.report.thinning import thinning_in_words
from flspec.report.words import brief, words_of
from flspec.runs.metric_words import metrics_in_order
from flspec.runs.result import Result

__all__ = ["groups_section"]

_MOST_LINES, _MOST_CHARTS = 12, 4


def groups_section(subject: Subject) -> Section | None:
    """Return the section, or None if no group was evaluated."""
    result = subject.runs[0].result
    if result is None:
        return None
    columns: dict[str, list[str]] = {}
    for name in dict.fromkeys(name for record in result.rounds for name in record.evaluation or {}):
        of, _, group = name.partition("/")
        if "=" in group and "/" not in group:
            columns.setdefault(f"{of}/{group.partition('=')[0]}", []).append(name)
    blocks = [_figure(subject, result, column, names) for column, names in columns.items()]
    return Section("Groups", blocks) if blocks else None


def _figure(subject: Subject, result: Result, column: str, names: Sequence[str]) -> Figure:
    shown = names[:_MOST_LINES]
    legend = [(_label(subject, name), plain_style(index)) for index, name in enumerate(shown)]
    found = {metric for record in result.rounds for name in shown for metric in (record.evaluation or {}).get(name, {})}
    charts = [
        Chart(f"{brief(column)}: {words_of(metric)}", draw_lines(list(_lines(result, shown, metric))), _note(result))
        for metric in metrics_in_order(found)[:_MOST_CHARTS]
    ]
    caption = "Each group by itself, after each evaluated round; n is the number of its examples."
    more = and_more(len(names) - len(shown), "groups are in the evaluation below")
    return Figure(" ".join(filter(None, (caption, more))), charts, legend)


def _lines(result: Result, names: Sequence[str], metric: str) -> Iterator[Line]:
    for index, name in enumerate(names):
        values = ((record.round, (record.evaluation or {}).get(name, {}).get(metric)) for record in result.rounds)
        yield Line(plain_style(index), [(number, value) for number, value in values if value is not None])


def _label(subject: Subject, name: str) -> str:
    num = subject.facts.num_examples.get(name) if subject.facts else None
    group = brief(name.partition("/")[2])
    return group if num is None else f"{group}, n = {num:,}"


def _note(result: Result) -> str:
    return thinning_in_words(len(result.rounds))
