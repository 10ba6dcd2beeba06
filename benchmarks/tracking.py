"""Whether a run of the benchmarks is slower than the baseline: `python -m benchmarks.tracking`, by `make bench`.

Ratios to the floor are compared, not times, so a slower machine is no regression. A ratio may grow by what chance
explains: MOST_ERRORS standard errors, of its own pairs, of the baseline's, and between runs of the same code.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import exp, sqrt
from pathlib import Path

from benchmarks.history import Baseline, Entry, Run, baseline_of, read_baseline, read_history, write_baseline
from benchmarks.measuring import ALL_CORES, Beside
from benchmarks.page import write_page

__all__ = ["Regression", "main", "regressions"]

ROOT = Path(__file__).parents[1]
MOST_ERRORS = 4.0  # normal noise exceeds it once in 30,000 comparisons, so about once in 300 runs of a hundred


@dataclass(frozen=True)
class Regression:
    """A benchmark whose ratio to its floor grew by more than chance explains."""

    name: str
    before: float
    now: float
    allowed: float

    def __str__(self) -> str:
        return f"{self.name}: {self.before:.3g} x the floor before, {self.now:.3g} now, {self.allowed:.3g} allowed"


def regressions(run: Run, baseline: Baseline) -> Iterator[Regression]:
    """Find those among the benchmarks that can be compared."""
    for name, now in run.benchmarks.items():
        before = baseline.benchmarks.get(name)
        if before and _are_comparable(run, baseline, now) and now.ratio > (most := allowed(before, now)):
            yield Regression(name, before.ratio, now.ratio, most)


def allowed(before: Entry, now: Beside) -> float:
    """Return the largest ratio that is no regression."""
    return before.ratio * exp(MOST_ERRORS * sqrt(before.spread**2 + now.spread**2 + before.between**2))


def _are_comparable(run: Run, baseline: Baseline, now: Beside) -> bool:
    """What keeps all cores busy has another ratio to one thread where there are more of them."""
    return now.cores != ALL_CORES or run.machine.cores == baseline.machine.cores


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Compare the last run, or store the baseline; draw the page. Returns the exit status, 1 for a regression."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tracking", description=__doc__)
    parser.add_argument(
        "--baseline", action="store_true", help="take the runs of the last one's commit as the baseline"
    )
    chosen = parser.parse_args(arguments)
    file, history = root / "benchmarks" / "baseline.json", read_history(root / ".benchmarks")
    if not history:
        return _refuse("nothing has been measured; run make bench")
    try:
        if chosen.baseline:
            write_baseline(baseline_of(history), file)
    except ValueError as error:
        return _refuse(str(error))
    baseline = read_baseline(file)
    write_page(history, baseline, root / "docs")
    return _report(history[-1], baseline)


def _report(run: Run, baseline: Baseline | None) -> int:
    if baseline is None:
        print("no baseline yet; make bench-baseline stores one")
        return 0
    found = list(regressions(run, baseline))
    for regression in found:
        print(f"slower: {regression}", file=sys.stderr)
    compared = [name for name, now in run.benchmarks.items() if _are_comparable(run, baseline, now)]
    known = sum(name in baseline.benchmarks for name in compared)
    print(f"{known} compared with the baseline of {baseline.commit[:12]}, {len(found)} slower")
    if others := len(run.benchmarks) - known:
        cores = f"{baseline.machine.cores} cores, this machine has {run.machine.cores}"
        print(f"{others} not compared: they are new, or use all cores (the baseline's machine has {cores})")
    return 1 if found else 0


def _refuse(why: str) -> int:
    print(f"benchmarks: {why}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
