"""One simulator in a process of its own, round by round: `python -m benchmarks.peers.child NAME PLAN_FOLDER ROUNDS`.

It writes a line after each round, and waits for a line before the next. What the simulator prints goes to the log.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from benchmarks.peers.base import simulators
from flspec.protocol.plan import Plan

__all__: list[str] = []


def main(name: str, folder: Path, rounds: int) -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    plan = Plan.load(folder)
    done = 0

    def after_round() -> None:
        nonlocal done
        done += 1
        print(done, file=answers)
        if done < rounds:
            sys.stdin.readline()

    simulators()[name].run(plan, rounds, after_round)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
