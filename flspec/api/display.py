"""What notebooks show of results: a table of metrics, and curves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from flspec.core.text import and_more
from flspec.measurements import Tally
from flspec.report.charts import Line, draw_lines
from flspec.report.fragment import Fragment, render_fragment
from flspec.report.page import Chart, Column, Figure, Table
from flspec.report.palette import plain_style
from flspec.report.words import DASH, brief, number, plural
from flspec.runs.metric_words import metrics_in_order

if TYPE_CHECKING:
    from flspec.api.results import Results, RunResult

__all__ = ["html_of_result", "html_of_results", "line_of_result", "line_of_results"]

_MOST_CHARTS, _MOST_LINES, _MOST_ROWS = 2, 8, 30


def line_of_result(result: RunResult) -> str:
    """Return a run in one line: what it is, how it ended, and its first metrics."""
    evaluation = _last_evaluation(result).get("test", {})
    values = [f"{name} {evaluation[name]:.4g}" for name in _metrics(result)[:3] if name in evaluation]
    measured = f", test {', '.join(values)}" if values else ""
    return f"<{brief(result.name)} on {brief(result.backend.name)}, {_status(result)}{measured}, in {result.folder}>"


def line_of_results(results: Results) -> str:
    """Return results in one line."""
    axes = results.axes
    over = f" over {', '.join(map(brief, axes))}" if axes else ""
    return f"<{plural(len(results), 'result')}{over} in {results.folder}>"


def html_of_result(result: RunResult) -> str:
    """Return the last evaluation of each set of examples, and a curve of the first metrics on the test set."""
    metrics = _metrics(result)
    rows = [
        [brief(name), *(number(values.get(one)) for one in metrics)]
        for name, values in _last_evaluation(result).items()
    ]
    columns = (Column("examples", "word"), *(Column(_words(one)) for one in metrics))
    table = Table(and_more(len(rows) - _MOST_ROWS, "sets, which frame() has"), columns, rows[:_MOST_ROWS])
    charts = [_chart(one, [_of_result(result, one)]) for one in _drawn(result, metrics)]
    facts = (f"on {result.backend.name}", _status(result), f"{result.seconds.total:.1f} s", str(result.folder))
    line = ", ".join(brief(fact, 200) for fact in facts)
    return render_fragment(Fragment(brief(result.name), line, table, Figure("", charts)))


def html_of_results(results: Results) -> str:
    """Return mean and deviation of each metric of the last models by axis, and the curves of the first ones."""
    metrics = _metrics_on_test(results)
    lines = {name: _lines(results.curves(metric=name), results.axes) for name in metrics[:_MOST_CHARTS]}
    charts = [_chart(name, list(drawn.values())[:_MOST_LINES]) for name, drawn in lines.items()]
    named = next(iter(lines.values()), {})
    legend = [(brief(words), line.style) for words, line in list(named.items())[:_MOST_LINES] if words]
    left = and_more(len(named) - _MOST_LINES, "lines, which curves() has")
    caption = f"Means over the runs of a row, and one standard deviation to either side. {left}".strip()
    names = brief(", ".join(dict.fromkeys(result.name for result in results)), 120)
    line = f"{plural(len(results), 'run')} in {brief(str(results.folder), 200)}"
    return render_fragment(Fragment(names, line, _table(results, metrics), Figure(caption, charts, legend)))


def _table(results: Results, metrics: Sequence[str]) -> Table:
    axes = results.axes
    tables = {name: results.table(metric=name) for name in metrics}
    rows = [[*map(brief, key), *cells] for key, cells in _by_key(tables, axes).items()]
    measured = [Column("runs"), *(Column(_words(one)) for one in metrics)]
    more = and_more(len(rows) - _MOST_ROWS, "rows, which table() has")
    caption = f"Last models on the test set: mean ± standard deviation. {more}".strip()
    return Table(caption, (*(Column(brief(axis), "word") for axis in axes), *measured), rows[:_MOST_ROWS])


def _chart(metric: str, lines: Sequence[Line]) -> Chart:
    return Chart(f"test {_words(metric)}", draw_lines(lines))


def _metrics_on_test(results: Results) -> list[str]:
    """Return the metrics that any of the last models has on the test set."""
    on_test = {name for result in results for name in _last_evaluation(result).get("test", {})}
    return [name for name in dict.fromkeys(name for result in results for name in _metrics(result)) if name in on_test]


def _by_key(tables: Mapping[str, Tally], axes: Sequence[str]) -> dict[tuple[str, ...], list[str]]:
    """Return the cells of each row: the number of runs, and each metric's mean and deviation."""
    keys = dict.fromkeys(_key(row, axes) for tally in tables.values() for row in tally.rows)
    found = {name: {_key(row, axes): row for row in tally.rows} for name, tally in tables.items()}
    runs = {key: max(rows[key]["num_runs"] for rows in found.values() if key in rows) for key in keys}
    return {key: [str(runs[key]), *(_spread(rows.get(key)) for rows in found.values())] for key in keys}


def _lines(curves: Tally, axes: Sequence[str]) -> dict[str, Line]:
    """Return a line with its band for each value of the axes, by the words for it."""
    points: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for row in curves.rows:
        points.setdefault(_key(row, axes), []).append(row)
    return {
        ", ".join(f"{axis.rpartition('.')[2]} {value}" for axis, value in zip(axes, key, strict=True)): Line(
            plain_style(index),
            [(row["round"], row["mean"]) for row in rows],
            [(row["round"], row["mean"] - row["sd"], row["mean"] + row["sd"]) for row in rows if row["sd"] is not None],
        )
        for index, (key, rows) in enumerate(points.items())
    }


def _drawn(result: RunResult, metrics: Sequence[str]) -> Iterator[str]:
    having = [name for name in metrics if _of_result(result, name).points]
    yield from having[:_MOST_CHARTS]


def _of_result(result: RunResult, metric: str) -> Line:
    values = ((one.round, (one.evaluation or {}).get("test", {}).get(metric)) for one in result.rounds)
    return Line(plain_style(0), [(number, value) for number, value in values if value is not None])


def _last_evaluation(result: RunResult) -> Mapping[str, Mapping[str, float]]:
    return next((one.evaluation for one in reversed(result.rounds) if one.evaluation), {})


def _metrics(result: RunResult) -> list[str]:
    """Return the metrics of the last evaluation, accuracy before loss, then as the spec asks for them."""
    asked = result.spec.get("evaluation", {}).get("metrics") or ()
    found = {name for values in _last_evaluation(result).values() for name in values}
    return [name for name in dict.fromkeys((*asked, *metrics_in_order(found))) if name in found]


def _status(result: RunResult) -> str:
    return f"{result.status} after {plural(len(result.rounds), 'round')}"


def _key(row: Mapping[str, Any], axes: Sequence[str]) -> tuple[str, ...]:
    return tuple(DASH if row[axis] is None else str(row[axis]) for axis in axes)


def _spread(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return DASH
    return number(row["mean"]) if row["sd"] is None else f"{number(row['mean'])} ± {number(row['sd'], 2)}"


def _words(metric: str) -> str:
    return brief(metric.replace("_", " "))
