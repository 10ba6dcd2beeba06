"""A flspec to be killed: `fake_flspec.py SELECTION HOW FOLDER` executes the plan in FOLDER and prints the events."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from flspec.execution.remote import Limits, open_backend
from flspec.protocol.backend import Job
from flspec.protocol.events import dump_event
from flspec.protocol.plan import Plan


def main(selection: str, how: str, folder: Path) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # which nohup has ignored
    limits = Limits(silence=2.5, heartbeat=2.5) if how == "impatient" else Limits()
    forks = how == "forks"
    with open_backend(selection, limits) as backend:
        for event in backend.execute(Plan.load(folder / "plan"), Job(folder)):
            print(dump_event(event), flush=True)
            if forks and os.fork() == 0:
                os.closerange(0, 3)
                time.sleep(600)
            forks = False


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
