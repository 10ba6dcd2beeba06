"""Times the simulators beside the floor and writes `benchmarks/peers/measured.json`, from which the page has its table.

python -m benchmarks.peers [--only pfl flower] [--plans mlp softmax] [--pairs 5] [--small]
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cpuinfo

from benchmarks.floor import bare_rounds
from benchmarks.history import Machine
from benchmarks.measuring import Beside
from benchmarks.peers.base import PLAN, Absent, Simulator, simulators
from benchmarks.workloads import SHARED, WORKLOADS
from flspec.execution import warden
from flspec.protocol.plan import Plan

__all__ = ["document", "end_to_end", "in_words", "main", "measure"]

FIRST = "mlp"
ROOT = Path(__file__).parents[2]
MEASURED = Path(__file__).with_name("measured.json")


@dataclass
class Found:
    """What was measured of one simulator, by plan."""

    title: str
    start: dict[str, float] = field(default_factory=dict)  # seconds, the first round included
    rounds: dict[str, Beside] = field(default_factory=dict)
    whole: float | None = None  # seconds of 20 rounds of the first MLP, end to end
    absent: str = ""  # why there is nothing, or no more


class _Child:
    """A simulator in its process, under a warden: nothing of it is left, however this process ends."""

    def __init__(self, simulator: Simulator, python: Path, plan: Plan, rounds: int) -> None:
        token = secrets.token_hex(4)
        folder = Path("/tmp" if os.access("/tmp", os.W_OK) else tempfile.gettempdir(), f"peers-{token}")
        command = [str(python), "-m", "benchmarks.peers.child", simulator.name, str(rounds)]
        reader, self._lifeline = os.pipe()
        self._log = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 # as long as the process
        search = os.pathsep.join([str(ROOT), str(ROOT / "backends")])
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", warden.__file__, str(reader), str(os.getpid()), token, str(folder), *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            pass_fds=(reader,),
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": search, "TMPDIR": str(folder), warden.TOKEN: token},
        )
        os.close(reader)
        while not folder.exists() and self._process.poll() is None:
            time.sleep(0.001)
        plan.save(folder / PLAN)  # while it imports
        self._order(1)

    def round(self, go: bool = True) -> float:
        """Return the seconds until it has done another round. Raises Absent with the end of its log if it ended."""
        began = time.perf_counter()
        if go:
            self._order(1)
        assert self._process.stdout
        if not self._process.stdout.readline():
            raise Absent(f"failed: {self._end_of_log()}")
        return time.perf_counter() - began

    def run_to_its_end(self, rounds: int) -> None:
        """Have it do so many rounds without a pause, and end. Raises Absent if it did fewer."""
        self._order(rounds)
        assert self._process.stdout
        done = self._process.stdout.readlines()
        if self._process.wait() or len(done) != rounds:
            raise Absent(f"failed: {self._end_of_log()}")

    def close(self) -> None:
        os.close(self._lifeline)
        self._process.wait()

    def _order(self, lines: int) -> None:
        assert self._process.stdin
        with suppress(BrokenPipeError):  # it has ended, which shows where it is read
            self._process.stdin.write("\n" * lines)
            self._process.stdin.flush()

    def _end_of_log(self) -> str:
        self._process.wait()
        self._log.seek(0)
        said = self._log.read().strip().splitlines()
        return " ".join((said or ["it ended"])[-1].split())[:200]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what was asked for; what was measured before of others stays."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__.partition("\n")[0])
    known = simulators()
    parser.add_argument("--only", nargs="+", choices=known, default=list(known), help="simulators")
    parser.add_argument("--plans", nargs="+", choices=SHARED, default=list(SHARED))
    parser.add_argument("--pairs", type=int, default=5, help="rounds of each, in turns with the floor's")
    parser.add_argument("--small", action="store_true", help="tiny plans, to see that all works; stores nothing")
    chosen = parser.parse_args(arguments)
    found: dict[str, Found] = {}
    for name in chosen.only:
        one = found[name] = measure(known[name], chosen.plans, chosen.pairs, chosen.small)
        print(name, *(f"{plan} {beside.ratio:.3g}" for plan, beside in one.rounds.items()), one.absent, flush=True)
        with suppress(Absent):
            one.whole = end_to_end(known[name], small=chosen.small)
    print(*in_words(found), sep="\n")
    if not chosen.small:
        MEASURED.write_text(json.dumps(document(found, _machine()), indent=1) + "\n", encoding="utf-8")
    return 0


def measure(simulator: Simulator, plans: Sequence[str], pairs: int, small: bool) -> Found:
    """Time a simulator on the plans, each beside the floor."""
    found = Found(simulator.title)
    try:
        python = simulator.python()
        for name in plans:
            plan = WORKLOADS[name].plan(2 + pairs if small else WORKLOADS[name].rounds, small)
            found.start[name], found.rounds[name] = _in_turns(simulator, python, plan, pairs)
    except Absent as why:
        found.absent = str(why)
    return found


def _in_turns(simulator: Simulator, python: Path, plan: Plan, pairs: int) -> tuple[float, Beside]:
    bare = bare_rounds(plan)
    next(bare)
    # One round at least beside the first, which belongs to the start.
    warm_up = min(max(1, round(simulator.settled / _seconds_of_next(bare))), plan.num_rounds - pairs - 1)
    with closing(_Child(simulator, python, plan, 1 + warm_up + pairs)) as child:
        start = child.round(go=False)
        for _ in range(warm_up):
            child.round()
        times = [(_seconds_of_next(bare), child.round()) for _ in range(pairs)]
    return start, Beside.of([ours for _, ours in times], [floor for floor, _ in times], cores=0)


def _seconds_of_next(rounds: Iterator[object]) -> float:
    began = time.perf_counter()
    next(rounds)
    return time.perf_counter() - began


def end_to_end(simulator: Simulator, rounds: int = 20, small: bool = False) -> float:
    """Return the seconds that rounds of the first MLP take, from the start of a process until all of them have ended.

    Raises Absent.
    """
    plan, python = WORKLOADS[FIRST].plan(rounds, small), simulator.python()
    began = time.perf_counter()
    with closing(_Child(simulator, python, plan, rounds)) as child:
        child.run_to_its_end(rounds)
    return time.perf_counter() - began


def in_words(found: Mapping[str, Found]) -> Iterator[str]:
    """Say what 20 rounds take end to end, and of others how many times what they take flspec."""
    ours = found["flspec"].whole if "flspec" in found else None
    for name, one in found.items():
        if one.whole is not None:
            times = f", {one.whole / ours:.3g} times flspec" if ours and name != "flspec" else ""
            yield f"20 rounds of the first MLP end to end, {one.title}: {one.whole:.1f} s{times}"


def document(found: Mapping[str, Found], machine: Machine) -> dict[str, Any]:
    """What is stored: the median floor of each plan, and each simulator's start and ratios."""
    floors: dict[str, list[float]] = {}
    for one in found.values():
        for name, beside in one.rounds.items():
            floors.setdefault(name, []).append(beside.floor)
    return {
        "machine": asdict(machine),
        "load": round(os.getloadavg()[2], 1),
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "floor": {name: _rounded(statistics.median(several)) for name, several in floors.items()},
        "peers": [
            {
                "title": one.title,
                "start": _rounded(statistics.median(one.start.values())) if one.start else None,
                "whole": _rounded(one.whole) if one.whole is not None else None,
                "ratio": {name: _rounded(beside.ratio) for name, beside in one.rounds.items()},
                "absent": one.absent,
            }
            for one in found.values()
        ],
    }


def _machine() -> Machine:
    info = cpuinfo.get_cpu_info()
    return Machine(info.get("brand_raw", "unknown"), info["count"])


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")


if __name__ == "__main__":
    sys.exit(main())
