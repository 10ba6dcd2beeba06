"""Runs of a matrix: progress on a terminal, and one table at the end."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import typer
from pydantic import JsonValue
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from flspec.cli.consoles import console, lines, progress_console
from flspec.cli.output import print_json, tell_interrupted
from flspec.cli.progress_log import Log
from flspec.cli.tables import plain_table
from flspec.core.text import and_more, join_some, short_names
from flspec.data.synthetic.twin_cache import twin_in_words
from flspec.errors import shorten
from flspec.execution.remote import Limits
from flspec.privacy.promises import epsilons_in_words
from flspec.runs.metric_words import digits_of, features_in_words
from flspec.runs.missing_values import undefined_in_words
from flspec.runs.sweep import Standing, sweep
from flspec.runs.sweep_summary import Spread, Sweep
from flspec.spec.study import Study

__all__ = ["SweepProgress", "run_study", "sweep_table"]

_MOST_METRICS = 4  # in a table
_MOST_REASONS = 3  # below it
_BAR_WIDTH = 18
_AROUND = _BAR_WIDTH + 2 + 8 + 7  # spinner, time left, spaces, and room for the ^C that a terminal echoes


def run_study(
    study: Study,
    backend: str,
    folder: Path,
    *,
    data: Path | None = None,
    jobs: int = 0,
    limits: Limits | None = None,
    as_json: bool = False,
    log_json: bool = False,
    anyway: bool = False,
    device: str = "cpu",
    trackers: Sequence[str] = (),
) -> None:
    """Run the unfinished cells of a study and print the results; exits with 1 unless every cell is done."""
    progress = SweepProgress(len(study.cells), log_json)
    try:
        with progress:
            options: dict[str, Any] = {"data": data, "jobs": jobs, "limits": limits, "trackers": trackers}
            options |= {"anyway": anyway, "device": device}
            result = sweep(study, backend, folder, **options, watch=progress.update)
    except (KeyboardInterrupt, SystemExit) as stop:
        done = f"{progress.num_done} of {len(study.cells)} cells done"
        tell_interrupted(f"with {done}; go on with the same command")
        raise typer.Exit(stop.code if isinstance(stop, SystemExit) else 130) from None  # type: ignore[arg-type]
    if as_json:
        print_json(result.model_dump(mode="json") | {"folder": str(folder)})
    else:
        _print(result, folder)
        found = (twin_in_words(cell.spec.model_dump(mode="json")) for cell in study.cells)
        for twin in filter(None, dict.fromkeys(found)):
            console.print(twin)
    if not result.is_complete:
        raise typer.Exit(1)


class SweepProgress:
    """The bar of a sweep, over the rounds left to do; where there is no terminal, a line for each cell that is done."""

    def __init__(self, num_cells: int, as_json: bool = False) -> None:
        self.num_done = 0
        self._log, self._num_run = Log(progress_console, as_json), 0
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=_BAR_WIDTH),
            TimeRemainingColumn(),
            TextColumn("{task.fields[running]}", markup=False),
            console=progress_console,
            disable=self._log.is_on,
            transient=True,
        )
        self._task = self._progress.add_task(f"0 of {num_cells} cells", total=num_cells, running="")

    def __enter__(self) -> SweepProgress:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def update(self, standing: Standing) -> None:
        """Show the new state of the sweep."""
        self.num_done = standing.num_done
        # Reused cells take no time, and counting them would make the time left too short.
        due = standing.num_cells - standing.num_reused
        done = standing.num_done - standing.num_reused + sum(standing.running.values())
        failed = f", {standing.num_failed} failed" if standing.num_failed else ""
        description = f"{standing.num_done} of {standing.num_cells} cells{failed}"
        self._progress.update(
            self._task,
            description=description,
            total=due,
            completed=done,
            running=_running(list(standing.running), progress_console.width - _AROUND - len(description)),
        )
        self._tell(standing, description, done, due)

    def _tell(self, standing: Standing, description: str, done: float, due: float) -> None:
        """Write a line when a cell is done that was not done before."""
        self._log.begin("sweep")
        num_run = standing.num_done - standing.num_reused
        if num_run == self._num_run:
            return
        self._num_run = num_run
        names = ("num_cells", "num_done", "num_failed", "num_reused")
        self._log.line("sweep", description, done, due, {name: getattr(standing, name) for name in names})


def sweep_table(result: Sweep) -> Table:
    """Return a sweep as a table, one combination of values a row."""
    table = plain_table(f"{result.name} on {result.backend}, mean ± sd")
    paths = list(dict.fromkeys(path for group in result.groups for path in group.values))
    for heading in short_names(paths).values():
        table.add_column(heading, overflow="fold")
    table.add_column("runs", justify="right", no_wrap=True)
    measured = list(
        dict.fromkeys((split, name) for g in result.groups for split, found in g.evaluation.items() for name in found)
    )
    chosen = _chosen_by(result)
    epsilons, what = epsilons_in_words([group.privacy for group in result.groups])
    if any(epsilons):
        table.add_column("epsilon", justify="right", overflow="fold")
    metrics = _shown(measured)[: 1 if chosen else _MOST_METRICS]
    for split, name in metrics:
        table.add_column(_heading(split, name), justify="right", no_wrap=True)
    at_best = [chosen, *(one for one in metrics[:1] if one != chosen)] if chosen else []
    for split, name in at_best:
        table.add_column(lines("best", f"{split} {name}"), justify="right")
    if notes := [*_notes(chosen, len(measured) - len(metrics)), *what, *_features(result), *_why_missing(result)]:
        table.caption = lines(*notes, style="table.caption")
    has_failures = any(group.num_failures for group in result.groups)
    if has_failures:
        table.add_column("failed", justify="right", no_wrap=True)
    for group, epsilon in zip(result.groups, epsilons, strict=True):
        table.add_row(
            *(_value(group.values[path]) if path in group.values else "" for path in paths),
            str(group.num_runs),
            *([epsilon if group.num_runs else ""] if any(epsilons) else []),
            *(_spread(group.evaluation.get(s, {}).get(n), group.num_runs, digits_of(n)) for s, n in metrics),
            *(_spread(group.best.get(s, {}).get(n), group.num_runs, digits_of(n)) for s, n in at_best),
            *([str(group.num_failures or "")] if has_failures else []),
        )
    return table


def _heading(split: str, name: str) -> str | Text:
    return lines(split, *name.split("_")) if name.startswith("image_") else f"{split} {name}"


def _notes(chosen: tuple[str, str] | None, num_others: int) -> Iterator[str]:
    if chosen:
        yield f"best: of each run's best model, by {' '.join(chosen)}"
    if num_others:
        yield f"{num_others} more {'metric is' if num_others == 1 else 'metrics are'} in matrix.json"


def _features(result: Sweep) -> list[str]:
    """Return by which features pictures were compared."""
    cells = [cell for cell in result.cells if cell.features]
    return features_in_words([cell.features for cell in cells], [cell.evaluation or {} for cell in cells])


def _why_missing(result: Sweep) -> Iterator[str]:
    """Yield why metrics of whole sets are undefined, and in how many runs."""
    done = [cell for cell in result.cells if cell.status == "completed"]
    reasons: Counter[str] = Counter()
    for cell in done:
        whole = {name: why for name, why in cell.undefined.items() if "/" not in name and " " not in name}
        reasons.update(undefined_in_words(cell.evaluation or {}, whole))
    for reason, times in list(reasons.items())[:_MOST_REASONS]:
        yield reason if times == len(done) else f"{reason} ({times} of {len(done)} runs)"
    if others := and_more(len(reasons) - _MOST_REASONS, "reasons"):
        yield f"{others} are in matrix.json"


def _chosen_by(result: Sweep) -> tuple[str, str] | None:
    """Return the set and metric that choose each cell's best round, if they are the same for all."""
    rules = {(cell.best.on, cell.best.metric) for cell in result.cells if cell.best}
    return rules.pop() if len(rules) == 1 else None


def _shown(measured: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the metrics that fit a table: those of the test set first, kid before others."""
    whole = [one for one in measured if "/" not in one[0]]
    return sorted(whole, key=lambda one: (one[0] != "test", one[1] != "kid"))[:_MOST_METRICS]


def _running(labels: Sequence[str], room: int) -> str:
    """Return which cells are running, in at most `room` characters: a longer line would lose its bar."""
    if not labels:
        return ""
    others = f" +{len(labels) - 1}" if len(labels) > 1 else ""
    return shorten(labels[0], max(1, room - len(others))) + others


def _print(result: Sweep, folder: Path) -> None:
    console.print(sweep_table(result))
    why: dict[str, list[str]] = {}
    for cell in result.cells:
        if cell.status != "completed":
            why.setdefault(f"{cell.status}: {cell.error}", []).append(cell.label)
    for reason, labels in why.items():
        some = filter(None, (", ".join(labels[:3]), and_more(len(labels) - 3)))
        console.print(f"{' '.join(some)} {reason}", soft_wrap=True)
    reused = sum(cell.reused for cell in result.cells)
    taken_over = f"{reused} of {len(result.cells)} cells were done before; " if reused else ""
    console.print(f"{taken_over}written to {folder}")
    if others := [cell for cell in result.cells if cell.other_software]:
        what = join_some(list(dict.fromkeys(one for cell in others for one in cell.other_software)))
        warning = f"{len(others)} of {len(result.cells)} cells were done by other software, which may compute otherwise"
        console.print(f"{warning}: {what}", soft_wrap=True)
        console.print("for cells that are all alike name another --out", soft_wrap=True)


def _value(value: JsonValue) -> str:
    """Return a value as a cell of the table; a component by its kind and its parameters, a part of one by these."""
    if isinstance(value, dict) and value:
        others = [f"{name}={_value(inner)}" for name, inner in value.items() if name != "kind"]
        return " ".join([*([_value(value["kind"])] if "kind" in value else []), *others])
    if isinstance(value, list) and all(isinstance(one, dict) for one in value):
        return " + ".join(map(_value, value)) or "none"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _spread(spread: Spread | None, num_runs: int, digits: int) -> str:
    """Return mean ± deviation, and the number of runs if some have no value, for instance because they diverged."""
    if spread is None:
        return "none" if num_runs else ""
    form = f".{digits}f" if max(abs(spread.mean), spread.sd or 0) < 1e4 else ".2e"
    some = f" ({spread.num_runs} of {num_runs})" if spread.num_runs < num_runs else ""
    return f"{spread.mean:{form}}" + ("" if spread.sd is None else f" ± {spread.sd:{form}}") + some
