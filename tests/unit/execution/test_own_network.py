"""A program in a network of its own can reach itself and nobody else, and is otherwise as it would be."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from flspec.execution import own_network
from flspec.execution.remote import open_backend
from flspec.protocol.backend import Job
from flspec.protocol.registry import find_backend
from tests.networks import NO_NETWORKS, ORDINARY_USER, networks_allowed
from tests.processes import marked, wait_until
from tests.unit.execution.test_remote import FAKES, PLAN

MARK = "FLSPEC_NETWORK_TEST"
START = [sys.executable, "-I", "-S", own_network.__file__, sys.executable, "-I", "-c"]
# What a program finds around it: networks, whether it can call itself, whom it runs as, and why, if it shares.
LOOK = """
import json, os, socket, sys
listener = socket.create_server(("localhost", 0))
socket.create_connection(listener.getsockname(), timeout=10).close()
open(sys.argv[1], "w").close()
print(json.dumps({
    "interfaces": [name for _, name in socket.if_nameindex()], "network": os.readlink("/proc/self/ns/net"),
    "user": [os.getuid(), os.geteuid(), os.getgid(), os.stat(sys.argv[1]).st_uid], "why": os.environ["FLSPEC_NETWORK"],
}))
"""


pytestmark = pytest.mark.skipif(not networks_allowed(), reason="this system allows no network namespaces")


def look(before: tuple[str, ...], file: Path) -> dict[str, Any]:
    answer = subprocess.run([*before, *START, LOOK, str(file)], capture_output=True, text=True, check=True)
    return dict(json.loads(answer.stdout))


@pytest.mark.parametrize(("before", "user"), [((), os.getuid()), (ORDINARY_USER, 1234)], ids=["as is", "ordinary"])
def test_there_is_loopback_alone_and_the_same_user(before: tuple[str, ...], user: int, tmp_path: Path) -> None:
    found = look(before, tmp_path / "file")
    assert found["interfaces"] == ["lo"]
    assert found["network"] != os.readlink("/proc/self/ns/net")
    assert found["user"][:2] == [user, user]
    assert found["user"][3] == user  # what it writes is its user's
    assert (tmp_path / "file").stat().st_uid == os.getuid()
    assert found["why"] == "own"


def test_where_it_is_forbidden_the_program_runs_all_the_same_and_is_told_why(tmp_path: Path) -> None:
    found = look(NO_NETWORKS, tmp_path / "file")
    assert found["network"] == os.readlink("/proc/self/ns/net")
    assert found["why"] == "unshare: No space left on device"  # what Linux says when there are as many as there may be


@pytest.mark.parametrize("before", [(), ORDINARY_USER, NO_NETWORKS], ids=["as is", "ordinary", "forbidden"])
def test_it_ends_with_whoever_started_it(before: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    mark = f"{os.getpid()}-{time.monotonic_ns()}"
    monkeypatch.setenv(MARK, mark)
    # The warden's part: a process that is to end with its parent, and becomes the program.
    starts = "import subprocess, sys; subprocess.run(sys.argv[1:], stdout=1)"
    says = "print('started', flush=True); import time; time.sleep(600)"
    command = [sys.executable, "-c", starts, *before, *START, says]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        assert parent.stdout.readline() == "started\n"
        parent.send_signal(signal.SIGKILL)
    wait_until(lambda: not marked(MARK, mark))


def test_a_backend_that_is_offline_has_a_network_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(FAKES)
    monkeypatch.setenv("PYTHONPATH", str(FAKES), prepend=os.pathsep)
    networks = []
    for offline in (False, True):
        monkeypatch.setattr(type(find_backend("fake")), "offline", offline)
        with open_backend("fake") as backend:
            started: Any = next(iter(backend.execute(PLAN, Job(tmp_path / str(offline)))))
        networks.append(started.versions["network"] == os.readlink("/proc/self/ns/net"))
        assert not psutil.pid_exists(int(started.versions["pid"]))
    assert networks == [True, False]
