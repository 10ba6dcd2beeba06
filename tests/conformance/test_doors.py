"""Nobody reaches a run from outside: every port that it listens on is tried, and none does what a stranger asks."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from flspec.execution.own_network import why_shared
from tests.conformance.harness import require
from tests.conformance.launched import Launched
from tests.conformance.ports import knock, listening
from tests.networks import NO_NETWORKS, networks_allowed
from tests.processes import wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for ports in /proc")

# The Ray that flspec starts, but with nobody having closed it.
OPEN_RAY = """
import ray, sys
from flspec_flower.ray_access import LOCAL_ONLY
ray.init(num_cpus=1, log_to_driver=False, object_store_memory=80 * 2**20, _temp_dir=sys.argv[1], **LOCAL_ONLY)
print("started", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def launched(backend: str, before: tuple[str, ...], tmp_path: Path) -> Iterator[Launched]:
    """A run that is in its rounds."""
    require(backend)
    run = Launched(tmp_path, backend, before)
    try:
        run.wait_for_rounds()
        yield run
    finally:
        run.process.kill()
        wait_until(lambda: not run.processes())


@pytest.fixture
def before() -> tuple[str, ...]:
    return ()


@pytest.mark.parametrize("backend", ["local", "flower:inprocess"])
def test_a_backend_without_processes_of_its_own_listens_nowhere(launched: Launched) -> None:
    assert listening(launched.processes()) == []


@pytest.mark.parametrize("backend", ["flower"])
def test_ray_is_bound_to_loopback_and_does_nothing_without_the_token(launched: Launched) -> None:
    ports = listening(launched.processes())
    assert {"gcs_server", "raylet"} <= {port.program for port in ports}
    assert all(port.is_loopback for port in ports)
    assert knock(ports) == {"closed" if networks_allowed() else "denied"}
    assert knock(ports, inside=ports[0].pid) == {"denied"}  # the token holds alone, too
    (token,) = {process.environ()["RAY_AUTH_TOKEN"] for process in launched.processes() if is_ray(process)}
    assert len(token) == 64
    assert not [process for process in launched.processes() if token in " ".join(process.cmdline())]
    temporary = {"/tmp", tempfile.gettempdir()}
    places = [launched.folder, *(Path(place, f"flspec-{worker}") for worker in launched.tokens for place in temporary)]
    files = [file for place in places for file in place.rglob("*") if file.is_file()]
    assert len(files) > 20  # Ray's logs, too
    assert not [file for file in files if token.encode() in file.read_bytes()]


def is_ray(process: psutil.Process) -> bool:
    return process.name() in ("gcs_server", "raylet") or process.name().startswith("ray::")


@pytest.mark.parametrize("backend", ["tff"])
def test_nobody_reaches_tff_from_outside_its_network(launched: Launched) -> None:
    if not networks_allowed():
        pytest.skip("this system allows no network namespaces, of which the next test is")
    ports = listening(launched.processes())
    assert [port.program for port in ports] == ["worker_binary"]
    assert knock(ports) == {"closed"}
    assert knock(ports, inside=ports[0].pid) == {"open"}  # the knocks are those that TFF's worker answers
    assert "listens" not in launched.output()


@pytest.mark.parametrize(("backend", "before"), [("tff", NO_NETWORKS if networks_allowed() else ())])
def test_where_tff_cannot_have_a_network_of_its_own_each_run_says_so(launched: Launched) -> None:
    (port,) = listening(launched.processes())
    warning = f"its worker listens on port {port.number} of every network address"
    assert warning in launched.output()
    assert warning in (launched.folder / "worker.log").read_text()
    assert knock([port]) == {"open"}  # so an open door is found


@pytest.fixture
def short_folder() -> Iterator[str]:
    """A temporary folder whose path leaves room for those of Ray's sockets."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield folder


def test_a_ray_that_nobody_closed_is_caught(short_folder: str) -> None:
    require("flower")
    command = [sys.executable, "-c", OPEN_RAY, short_folder]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdin
        assert driver.stdout
        while driver.stdout.readline() != "started\n":
            assert driver.poll() is None
        ports = listening([psutil.Process(driver.pid), *psutil.Process(driver.pid).children(recursive=True)])
        assert not all(port.is_loopback for port in ports)
        assert "open" in knock(ports)
        driver.stdin.close()


def test_a_process_that_flspec_did_not_start_shares_the_machines_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FLSPEC_NETWORK", raising=False)
    assert why_shared() == "it was started otherwise"
