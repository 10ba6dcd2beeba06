"""What `make bench` measured: pytest-benchmark's own files, one a run, and the baseline made of some of them."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from math import exp, log, sqrt
from pathlib import Path
from typing import Any

from benchmarks.measuring import Beside

__all__ = [
    "Baseline",
    "Entry",
    "Machine",
    "Run",
    "baseline_of",
    "is_busy",
    "read_baseline",
    "read_history",
    "write_baseline",
]


@dataclass(frozen=True)
class Machine:
    """What decides which runs are one history."""

    cpu: str
    cores: int


@dataclass(frozen=True)
class Run:
    """One run: of each benchmark that has a floor, by its full name, what was measured and the group it is shown in."""

    machine: Machine
    commit: str
    date: str  # ISO 8601
    load: float | None  # mean number of processes that ran or wanted to, the benchmarks' own among them
    benchmarks: Mapping[str, Beside]
    groups: Mapping[str, str]

    @property
    def was_busy(self) -> bool:
        """Whether the machine had more to do than the benchmarks, as far as it is known."""
        return is_busy(self.machine, self.load)


@dataclass(frozen=True)
class Entry(Beside):
    """What runs of the same commit measured of a benchmark, with what they differed by."""

    between: float = 0.0  # standard deviation, between runs, of the logarithm of the ratio
    group: str = ""


@dataclass(frozen=True)
class Baseline:
    """What later runs are compared with."""

    machine: Machine
    commit: str
    date: str
    runs: int
    benchmarks: Mapping[str, Entry]


_FIELDS = {field.name for field in fields(Beside)}


def read_history(storage: Path) -> list[Run]:
    """Return the runs in pytest-benchmark's storage, by date."""
    return sorted((_read(file) for file in storage.glob("*/[0-9]*_*.json")), key=lambda run: run.date)


def _read(file: Path) -> Run:
    document = json.loads(file.read_text(encoding="utf-8"))
    cpu = document["machine_info"]["cpu"]
    timed = [one for one in document["benchmarks"] if set(one["extra_info"]) >= _FIELDS]
    return Run(
        Machine(cpu.get("brand_raw", "unknown"), cpu["count"]),
        document["commit_info"]["id"],
        document["datetime"],
        document["machine_info"].get("load"),
        {one["fullname"]: Beside(**{name: one["extra_info"][name] for name in _FIELDS}) for one in timed},
        {one["fullname"]: one["group"] for one in timed},
    )


def baseline_of(history: Sequence[Run]) -> Baseline:
    """Return the runs of the last one's commit and machine as a baseline.

    Raises ValueError if there is one alone, which says nothing of how far runs are apart, or if the machine was busy.
    """
    last = history[-1]
    runs = [run for run in history if (run.commit, run.machine) == (last.commit, last.machine)]
    if any(run.was_busy for run in runs):
        raise ValueError("the machine was busy, and what varies so much would allow anything; measure on an idle one")
    measured = {name: [run.benchmarks[name] for run in runs if name in run.benchmarks] for name in last.benchmarks}
    apart = {name: _deviation(several) for name, several in measured.items() if len(several) > 1}
    if not apart:
        raise ValueError("one run says nothing of how far runs are apart; run make bench again on this commit")
    # Two or three runs of one benchmark may agree by chance, hence what is usual for all of them at least.
    usual = sqrt(statistics.fmean(deviation**2 for deviation in sorted(apart.values())[: len(apart) * 9 // 10 + 1]))
    entries = {
        name: _entry(several, max(usual, apart.get(name, 0.0)), last.groups[name]) for name, several in measured.items()
    }
    return Baseline(last.machine, last.commit, last.date, len(runs), entries)


def is_busy(machine: Machine, load: float | None) -> bool:
    """Return whether so many processes are more than the benchmarks' own, which keep all cores busy at most twice."""
    return load is not None and load > 2 * machine.cores


def _deviation(several: Sequence[Beside]) -> float:
    return statistics.stdev(log(one.ratio) for one in several)


def _entry(several: Sequence[Beside], between: float, group: str) -> Entry:
    last = several[-1]
    return Entry(
        ours=statistics.median(one.ours for one in several),
        floor=statistics.median(one.floor for one in several),
        ratio=exp(statistics.median(log(one.ratio) for one in several)),
        spread=sqrt(statistics.fmean(one.spread**2 for one in several)),
        pairs=sum(one.pairs for one in several),
        cores=last.cores,
        unit=last.unit,
        between=between,
        group=group,
    )


def write_baseline(baseline: Baseline, file: Path) -> None:
    """Write it, with four digits, as lines that can be compared."""
    document = _rounded(asdict(baseline))
    document["benchmarks"] = dict(sorted(document["benchmarks"].items()))
    file.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def read_baseline(file: Path) -> Baseline | None:
    """Return the stored baseline, or None if there is none yet."""
    if not file.exists():
        return None
    document = json.loads(file.read_text(encoding="utf-8"))
    entries = {name: Entry(**entry) for name, entry in document.pop("benchmarks").items()}
    return Baseline(**document | {"machine": Machine(**document["machine"]), "benchmarks": entries})


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.4g}")
    return {name: _rounded(part) for name, part in value.items()} if isinstance(value, dict) else value
