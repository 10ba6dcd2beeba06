"""docs/benchmarks.md: what was measured last, as tables and plots, beside the floor."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path

from benchmarks.drawing import Curve, draw_dots, draw_panels
from benchmarks.history import Baseline, Machine, Run, is_busy
from benchmarks.measuring import ALL_CORES, Beside
from benchmarks.workloads import WORKLOADS

__all__ = ["peers_table", "write_page"]

_ROUND = re.compile(r"test_rounds\.py::test_backend\[(?P<workload>[^-]+)-(?P<backend>.+)-(?P<workers>\d+)\]$")
_SCALE = re.compile(r"test_scaling\.py::test_(?P<axis>\w+)\[(?P<size>\d+)\]$")
_INTRODUCTION = """# Benchmarks

Written by `make bench`: what each part took, and its ratio to a floor that was measured in turns with it, a call of one
and then of the other. The floor of training is a bare torch loop of one thread that takes the same steps
(`benchmarks/floor.py`); those of other parts are in `benchmarks/floors_of_parts.py`. Medians; behind ± stands the
standard error of the ratio. Data are made up, of the published shapes, so that any machine can measure the same. A
ratio is held to that of `benchmarks/baseline.json`, and `make bench` fails where it grew by more than chance explains
(`benchmarks/tracking.py`).
"""


def write_page(history: Sequence[Run], baseline: Baseline | None, folder: Path) -> None:
    """Write the page and its plots: of each benchmark what this machine measured last, or else the baseline's."""
    last = history[-1]
    runs = [run for run in history if run.machine == last.machine]
    measured = _latest(runs, baseline)
    pictures = folder / "benchmarks"
    pictures.mkdir(parents=True, exist_ok=True)
    sections = [
        _INTRODUCTION,
        f"Last measured at commit {last.commit[:12]}, {last.date[:10]}, on {_machine(last.machine, last.load)}.\n",
        *_rounds(measured, pictures),
        *peers_table(folder.parent / "benchmarks" / "peers" / "measured.json"),
        *_scaling(measured, pictures),
        *_others(measured),
        *_time(runs, pictures),
    ]
    (folder / "benchmarks.md").write_text("\n".join(sections), encoding="utf-8")


def _machine(machine: Machine, load: float | None) -> str:
    """Name the machine, and where it is known what else it had to do: times of a busy one mean little."""
    name = f"{machine.cpu}, {machine.cores} cores"
    if not is_busy(machine, load):
        return name
    return f"{name}, while {load:.0f} processes shared them, so take these figures for a trial"


def _latest(runs: Sequence[Run], baseline: Baseline | None) -> dict[str, tuple[str, Beside]]:
    """Return group and measurement by the benchmark's name."""
    found: dict[str, tuple[str, Beside]] = {}
    for name, entry in baseline.benchmarks.items() if baseline else ():
        found[name] = entry.group, entry
    for run in runs:
        found |= {name: (run.groups[name], one) for name, one in run.benchmarks.items()}
    return found


def _rounds(measured: Mapping[str, tuple[str, Beside]], pictures: Path) -> Iterator[str]:
    cells: dict[str, dict[str, Beside]] = {}
    for name, (_, one) in measured.items():
        if match := _ROUND.search(name):
            cells.setdefault(_backend(match["backend"], int(match["workers"])), {})[match["workload"]] = one
    if not cells:
        return
    columns = [name for name in WORKLOADS if any(name in row for row in cells.values())]
    floors = {name: next(row[name].floor for row in cells.values() if name in row) for name in columns}
    yield "## A round\n"
    yield "Times the floor. Start-up and the first rounds are left out.\n"
    yield from _table(
        ["", *(f"{WORKLOADS[name].title}, {WORKLOADS[name].cohort}" for name in columns)],
        [
            ["floor, one thread", *(_amount(floors[name], "s") for name in columns)],
            *([backend, *(_ratio(row.get(name)) for name in columns)] for backend, row in cells.items()),
        ],
    )
    titles = [WORKLOADS[name].title for name in columns]
    curves = [
        Curve(backend, [row[name].ratio if name in row else None for name in columns]) for backend, row in cells.items()
    ]
    (pictures / "rounds.svg").write_text(draw_dots(titles, curves, "times the floor"), encoding="utf-8")
    yield "![A round, times the floor](benchmarks/rounds.svg)\n"


def _backend(name: str, workers: int) -> str:
    return f"`{name}`" if workers == ALL_CORES else f"`{name}`, one worker"


def peers_table(file: Path) -> Iterator[str]:
    """The table of other simulators, as `benchmarks.peers` left it."""
    if not file.exists():
        return
    document = json.loads(file.read_text(encoding="utf-8"))
    machine = Machine(**document["machine"])
    columns = [name for name in WORKLOADS if name in document["floor"]]
    yield "## Other simulators on the same work\n"
    yield (
        "The same models, clients, examples and batch sizes; times the floor, in turns with it, by "
        f"`make peers` on {_machine(machine, document['load'])}. The first round is part of the start.\n"
    )
    floors = ["floor, one thread", "", "", *(_amount(document["floor"][name], "s") for name in columns)]
    rows = [
        [
            peer["title"],
            peer.get("absent") or _amount(peer["start"], "s"),
            "" if peer.get("whole") is None else _amount(peer["whole"], "s"),
            *(_times(peer["ratio"].get(name)) for name in columns),
        ]
        for peer in document["peers"]
    ]
    titles = (f"{WORKLOADS[name].title}, {WORKLOADS[name].cohort}" for name in columns)
    whole = f"20 rounds of {WORKLOADS['mlp'].title}, end to end"
    yield from _table(["", "start", whole, *titles], [floors, *rows])


def _scaling(measured: Mapping[str, tuple[str, Beside]], pictures: Path) -> Iterator[str]:
    axes: dict[str, list[tuple[int, str, Beside]]] = {}
    for name, (group, one) in measured.items():
        if match := _SCALE.search(name):
            axes.setdefault(match["axis"], []).append((int(match["size"]), group, one))
    if not axes:
        return
    yield "## Scaling of `local`\n"
    rows = [
        [
            group if place == 0 else "",
            f"{size:,}",
            _amount(one.ours, one.unit),
            _amount(one.floor, one.unit),
            _ratio(one),
        ]
        for points in axes.values()
        for place, (size, group, one) in enumerate(sorted(points, key=lambda point: point[0]))
    ]
    yield from _table(["", "size", "local", "floor", "times the floor"], rows)
    panels = {
        points[0][1]: sorted((size, one.ratio) for size, _, one in points)
        for points in axes.values()
        if len(points) > 1
    }
    (pictures / "scaling.svg").write_text(draw_panels(panels, "times the floor"), encoding="utf-8")
    yield "![Scaling of local](benchmarks/scaling.svg)\n"


def _others(measured: Mapping[str, tuple[str, Beside]]) -> Iterator[str]:
    rest = {name: one for name, one in measured.items() if not _ROUND.search(name) and not _SCALE.search(name)}
    if not rest:
        return
    yield "## Parts\n"
    rows = [
        [
            group,
            name.partition("::")[2].removeprefix("test_"),
            _amount(one.ours, one.unit),
            _amount(one.floor, one.unit),
            _ratio(one),
        ]
        for group, several in groupby(
            sorted(rest.items(), key=lambda item: (item[1][0], item[0])), key=lambda item: item[1][0]
        )
        for name, (_, one) in several
    ]
    yield from _table(["work", "benchmark", "flspec", "floor", "times the floor"], rows)


def _time(runs: Sequence[Run], pictures: Path) -> Iterator[str]:
    """A round of local, run after run on this machine."""
    names = {name: title for run in runs for name in run.benchmarks if (title := _local(name))}
    if not names:
        return
    kept = [run for run in runs if any(name in run.benchmarks for name in names)]
    curves = [Curve(title, [_ratio_of(run, name) for run in kept]) for name, title in sorted(names.items())]
    labels = [run.commit[:7] for run in kept]
    (pictures / "history.svg").write_text(draw_dots(labels, curves, "times the floor", joined=True), encoding="utf-8")
    yield f"## History\n\nA round of `local` as it is, run after run on this machine ({len(kept)} so far).\n"
    yield "![A round of local, run after run](benchmarks/history.svg)\n"


def _local(name: str) -> str | None:
    """The title of a benchmark of rounds on local as it is, None for others."""
    match = _ROUND.search(name)
    if not match or (match["backend"], int(match["workers"])) != ("local", ALL_CORES):
        return None
    return WORKLOADS[match["workload"]].title if match["workload"] in WORKLOADS else None


def _ratio_of(run: Run, name: str) -> float | None:
    return run.benchmarks[name].ratio if name in run.benchmarks else None


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    lines = [head, ["---"] * len(head), *rows]
    yield "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _ratio(one: Beside | None) -> str:
    error = one.ratio * one.spread if one else 0.0
    return f"{one.ratio:.3g} ± {error:{'.1g' if error < 9.5 else '.0f'}}" if one else ""


def _times(ratio: float | None) -> str:
    return f"{ratio:.3g}" if ratio is not None else ""


def _amount(value: float, unit: str) -> str:
    if unit == "s":
        return f"{value * 1000:.3g} ms" if value < 1 else f"{value:.3g} s"
    return f"{value:.4g} {unit}"
