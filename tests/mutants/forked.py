"""A process that runs pytest in forks of itself, after it has imported the modules that its arguments name.

Each line of its input is a JSON list: the folder of a tree, the seconds that it may take, and pytest's arguments. The
answer is a line with the exit status, negative where the run was ended. So a hundred runs need not import torch each.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time


def main() -> None:
    for name in ("pytest", *sys.argv[1:]):
        importlib.import_module(name)
    for line in sys.stdin:
        tree, seconds, *arguments = json.loads(line)
        print(_finished(_forked(tree, arguments), seconds), flush=True)


def _forked(tree: str, arguments: list[str]) -> int:
    """Start pytest in a child process, whose modules are those of the tree."""
    if child := os.fork():
        return child
    import pytest

    os.chdir(tree)
    paths = [tree, os.path.join(tree, "backends")]
    sys.path[:0] = paths
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    with open(os.path.join(tree, "log"), "wb") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    os._exit(pytest.main(arguments))


def _finished(child: int, seconds: float) -> int:
    """Wait for a child process, but not for longer, and return its exit status."""
    deadline = time.monotonic() + seconds
    while not (ended := os.waitpid(child, os.WNOHANG))[0]:
        if time.monotonic() > deadline:
            os.kill(child, 9)
            ended = os.waitpid(child, 0)
            break
        time.sleep(0.02)
    return os.waitstatus_to_exitcode(ended[1])


if __name__ == "__main__":
    main()
