"""Runs readers of files in processes of their own, which may take little memory and little time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

MOST_MIB = 400  # that a reader may take for a file that it refuses
_CHILD = """
import json, os, resource, signal, sys, warnings
from pathlib import Path
import numpy, torch, zipfile, gzip, pickle, pyarrow.parquet, PIL.Image
import flspec.cli.app, flspec.comparison.certification, flspec.compiler.compile, flspec.runs.recording, flspec.datasets
import flspec_torch.weight_files
from flspec.core.randomness import Stream

def mib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

def attempt(code):
    most = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGESIZE") + 3 * 2**30
    resource.setrlimit(resource.RLIMIT_AS, (most, most))  # for the naive ones; others do not come near it
    signal.setitimer(signal.ITIMER_PROF, 20)  # of processor time, which a busy machine does not change
    signal.alarm(120)
    before = mib()
    try:
        exec(code, globals())
        said = "nothing"
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
    return [said[:2000], mib() - before]

for name, folder, code in json.load(sys.stdin):
    os.chdir(folder)
    readable, writable = os.pipe()
    if not (child := os.fork()):
        os.write(writable, json.dumps(attempt(code)).encode())
        os._exit(0)
    os.close(writable)
    told = os.fdopen(readable).read()
    os.waitpid(child, 0)
    print(json.dumps([name, *(json.loads(told) if told else ["killed", 0])]))
"""


class Reader(NamedTuple):
    """A source that reads a file of the working folder."""

    name: str
    folder: Path
    source: str


class Attempt(NamedTuple):
    """What a reader said of a file, and how much memory it took."""

    said: str
    mib: float


def attempt(readers: Sequence[Reader]) -> dict[str, Attempt]:
    """Run each reader in a process of its own, for 20 seconds of processor time and with 3 GiB more at most."""
    asked = json.dumps([(one.name, str(one.folder), one.source) for one in readers])
    one_arena = os.environ | {"MALLOC_ARENA_MAX": "1", "ARROW_DEFAULT_MEMORY_POOL": "system"}  # each reserves addresses
    done = subprocess.run(
        [sys.executable, "-c", _CHILD], env=one_arena, input=asked, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return {name: Attempt(said, mib) for name, said, mib in map(json.loads, done.stdout.splitlines())}
