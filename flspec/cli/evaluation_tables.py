"""Evaluations as tables for a terminal: by set of examples, and run beside run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from flspec.cli.consoles import lines
from flspec.cli.tables import plain_table, short_number
from flspec.core.text import and_more
from flspec.runs.metric_words import digits_of
from flspec.runs.missing_values import undefined_in_words

if TYPE_CHECKING:
    from flspec.comparison.results import Comparison
    from flspec.runs.result import Result

__all__ = ["compared_evaluations", "evaluation_tables"]

Evaluation = Mapping[str, Mapping[str, float]]  # by set of examples, then by metric

_MOST_COLUMNS = 6  # of metrics side by side: as many as fit into 80 characters
_MOST_ROWS = 60  # of a comparison


def evaluation_tables(result: Result) -> list[Table]:
    """Return the metrics of the last and the best model, one row a set; none if the run's table shows everything
    already.
    """
    final, best = result.final, result.best
    tables: list[Table] = []
    is_last = bool(best and result.rounds and best.round == result.rounds[-1].round)
    undefined = result.rounds[-1].undefined if result.rounds else {}
    if final and (undefined or not _is_brief(final.evaluation)):
        title = "the last model" + (f", and the best, by {best.on} {best.metric}" if best and is_last else "")
        tables += _tables(title, final.evaluation, undefined)
    if best and not is_last and not _is_brief(best.evaluation):
        title = f"the best model, of round {best.round} by {best.on} {best.metric}"
        tables += _tables(title, best.evaluation, best.undefined)
    return tables


def compared_evaluations(comparison: Comparison) -> Table | None:
    """Return the metrics of the runs' last and best models, one column a run; None if one
    table has shown everything.
    """
    finals = [run.result.final.evaluation if run.result.final else {} for run in comparison.runs]
    bests = [run.result.best for run in comparison.runs]
    if all(map(_is_brief, finals)) and not any(bests):
        return None
    table = plain_table("what their models are worth")
    table.add_column("examples", no_wrap=True)
    table.add_column("metric", no_wrap=True)
    for run in comparison.runs:
        table.add_column(run.folder.name, justify="right", overflow="fold")
    rows = list(_rows(finals))
    before = ""
    for name, metric in rows[:_MOST_ROWS]:
        values = (_value(name, final.get(name, {}).get(metric), metric) for final in finals)
        table.add_row(name if name != before else "", metric, *values)
        before = name
    if any(bests):
        table.add_row("best", "round", *(str(best.round) if best else "" for best in bests))
        chosen = ("" if best is None else f"{best.on} {best.metric} {short_number(best.value)}" for best in bests)
        table.add_row("", "by", *chosen)
    if len(rows) > _MOST_ROWS:
        table.caption = f"{len(rows) - _MOST_ROWS} more rows are shown with --json or --out"
    return table


def _is_brief(evaluation: Evaluation) -> bool:
    """Return whether a row of a table of runs or rounds has room for the whole evaluation."""
    return set(evaluation) <= {"test"} and set(evaluation.get("test", {})) <= {"loss", "accuracy"}


def _tables(title: str, evaluation: Evaluation, undefined: Mapping[str, Mapping[str, str]]) -> Iterator[Table]:
    """Yield as many tables, one below the other, as the metrics need."""
    metrics = list(dict.fromkeys(name for values in evaluation.values() for name in values))
    blocks = [metrics[start : start + _MOST_COLUMNS] for start in range(0, len(metrics), _MOST_COLUMNS)]
    for number, shown in enumerate(blocks):
        table = plain_table(title if not number else None)
        table.add_column("examples", no_wrap=True)
        for name in shown:
            table.add_column(lines(*name.split("_")), justify="right")
        for name, values in evaluation.items():
            if any(metric in values for metric in shown):
                table.add_row(name, *(_value(name, values.get(metric), metric) for metric in shown))
        if number == len(blocks) - 1:
            table.caption = _reasons(evaluation, undefined)
        yield table


def _reasons(evaluation: Evaluation, undefined: Mapping[str, Mapping[str, str]]) -> str | None:
    if not (reasons := undefined_in_words(evaluation, undefined)):
        return None
    return "; ".join(filter(None, (*reasons[:3], and_more(len(reasons) - 3))))


def _rows(evaluations: Sequence[Evaluation]) -> Iterator[tuple[str, str]]:
    """Yield every set and metric that any run has, in the order of the runs."""
    names = dict.fromkeys(name for evaluation in evaluations for name in evaluation)
    for name in names:
        metrics = dict.fromkeys(metric for evaluation in evaluations for metric in evaluation.get(name, {}))
        yield from ((name, metric) for metric in metrics)


def _value(name: str, value: float | None, metric: str) -> str:
    """Return a metric as text; a number of clients as a whole number."""
    return short_number(value, ".0f" if name.endswith("/num_clients") else f".{digits_of(metric)}f")
