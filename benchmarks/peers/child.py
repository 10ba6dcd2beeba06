"""One simulator in a process of its own, round by round: `python -m benchmarks.peers.child NAME ROUNDS`.

It runs under a warden, as engines do: see `flspec.execution.warden`. It waits for a line, by when the plan is in its
folder of temporary files. It writes a line after each round, and waits for one before the next. What it prints goes to
the log.
"""

from __future__ import annotations

import os
import sys

from benchmarks.peers.base import plan_folder, simulators
from flspec.execution.warden import EVENTS, JOBS
from flspec.protocol.plan import Plan

__all__: list[str] = []


def main(name: str, rounds: int) -> None:
    for descriptor in (JOBS, EVENTS):
        os.set_inheritable(descriptor, False)  # not for the processes that engines start
    orders, answers = os.fdopen(JOBS), os.fdopen(EVENTS, "w", buffering=1)
    orders.readline()
    done = 0

    def after_round() -> None:
        nonlocal done
        done += 1
        print(done, file=answers)
        if done < rounds:
            orders.readline()

    simulators()[name].run(Plan.load(plan_folder()), rounds, after_round)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
