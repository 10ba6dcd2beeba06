"""Backends in processes of their own: what they say arrives, and whatever happens nothing of them is left."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from flspec.errors import BackendError, InputError, RunError, RunWarning
from flspec.execution.remote import Limits, Remote, open_backend
from flspec.protocol.backend import Backend, Job
from flspec.protocol.events import RunFinished, RunStarted, parse_event
from flspec.protocol.plan import ClientTask, Plan
from flspec.protocol.registry import find_backend
from tests.plan_settings import settings_with
from tests.processes import wait_until
from tests.unit.execution.workers import MARK, leftovers, marked, read_line, warden_of

FAKES = Path(__file__).parents[2] / "fakes"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")

PLAN = Plan.build(settings_with(), {}, [np.arange(2)], [[ClientTask(0, 1, (np.arange(2),))]] * 3, {})


def of_rounds(num: int) -> Plan:
    """The same plan with another number of rounds."""
    return Plan(PLAN.settings, dict(PLAN.arrays) | {"round_task_ends": np.minimum(np.arange(1, num + 1), 3)})


@pytest.fixture(autouse=True)
def mark(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Fakes are installed, and at the end of the test nothing is left of any."""
    mark = f"{os.getpid()}-{time.monotonic_ns()}"
    monkeypatch.syspath_prepend(FAKES)
    monkeypatch.setenv("PYTHONPATH", str(FAKES), prepend=os.pathsep)
    monkeypatch.setenv(MARK, mark)
    yield mark
    left = marked(mark)
    for process in left:
        process.kill()
    assert not left


def executed(backend: Backend, job: Job, other: Plan = PLAN) -> Generator[Any, None, None]:
    """The events of the plan; each is tried by the test for being what it should."""
    return backend.execute(other, job)


def failure(selection: str, folder: Path, **limits: float) -> str:
    """The message of the BackendError that a run ends with."""
    with open_backend(selection, Limits(**limits)) as backend, pytest.raises(BackendError) as caught:
        list(executed(backend, Job(folder)))
    message = str(caught.value)
    assert "\n" not in message
    assert str(folder / "worker.log") in message
    return message


# What is said arrives


def test_events_pass_through_unchanged_and_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # where the fake that runs here leaves a file
    job = Job(tmp_path, follow=tmp_path / "states", keep="all", workers=2)
    with open_backend("fake") as backend:
        first, *remote = executed(backend, job)
    here, *direct = find_backend("fake").execute(PLAN, job)
    assert remote == direct
    assert isinstance(first, RunStarted)
    assert isinstance(here, RunStarted)
    assert first.versions["pid"] != here.versions["pid"]


def test_a_remote_backend_answers_for_the_one_it_wraps(tmp_path: Path) -> None:
    remote = Remote(find_backend("fake:chatty"), Path(sys.executable))
    assert (remote.name, remote.variant) == ("fake", "chatty")
    assert remote.unsupported(of_rounds(10)) == ["rounds: too many"]


def test_a_backend_that_wants_no_process_gets_none() -> None:
    with open_backend("local") as backend:
        assert not isinstance(backend, Remote)


def test_jobs_share_a_process_and_its_backend(tmp_path: Path) -> None:
    with open_backend("fake") as backend:
        first, *_ = executed(backend, Job(tmp_path / "first"))
        second, *_ = executed(backend, Job(tmp_path / "second"))
    assert first.versions["pid"] == second.versions["pid"]
    assert (first.versions["jobs"], second.versions["jobs"]) == ("1", "2")
    assert not (tmp_path / "second" / "worker.log").exists()


def test_the_temporary_folder_is_for_this_user_alone(tmp_path: Path) -> None:
    with open_backend("fake") as backend:
        started, *_ = executed(backend, Job(tmp_path))
        assert Path(started.versions["temp"]).stat().st_mode & 0o777 == 0o700


def test_what_a_backend_prints_goes_to_the_log(tmp_path: Path) -> None:
    with open_backend("fake:chatty") as backend:
        events = list(executed(backend, Job(tmp_path)))
    assert [event.event for event in events] == ["run_started", *["round_finished"] * 3, "run_finished"]
    assert (tmp_path / "worker.log").read_text().count("run_finished") == 3


def test_the_log_stays_small(tmp_path: Path) -> None:
    with open_backend("fake:floods") as backend:
        list(executed(backend, Job(tmp_path)))
    assert (tmp_path / "worker.log").stat().st_size < 70 * 2**20


def test_the_plan_is_saved_once_and_never_mistaken(tmp_path: Path) -> None:
    with open_backend("fake") as backend:
        list(executed(backend, Job(tmp_path)))
        other = of_rounds(4)
        with pytest.raises(InputError, match="choose another folder"):
            list(executed(backend, Job(tmp_path), other))
    assert Plan.load(tmp_path / "plan").digest == PLAN.digest


def test_the_folder_where_flspec_was_started_is_not_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fake_backend.py").write_text("raise ImportError")
    (tmp_path / "json.py").write_text("raise ImportError")
    monkeypatch.chdir(tmp_path)
    with open_backend("fake") as backend:
        assert list(executed(backend, Job(tmp_path)))[-1] == RunFinished()


def test_a_warning_of_a_backend_is_given_here_each_time_and_is_in_the_log(tmp_path: Path) -> None:
    with open_backend("fake:warns") as backend, pytest.warns(RunWarning) as told:
        assert list(executed(backend, Job(tmp_path)))[-1] == RunFinished()
    assert [str(one.message) for one in told] == [r"fake: the door\x1b[31m is open"] * 2
    assert (tmp_path / "worker.log").read_text().count("the door") >= 2


# What goes wrong is told


def test_an_input_error_is_raised_as_it_is(tmp_path: Path) -> None:
    with open_backend("fake:raises_input_error") as backend, pytest.raises(InputError) as caught:
        list(executed(backend, Job(tmp_path)))
    assert str(caught.value) == "rounds: 3 is one too many; ask for 2"


def test_a_run_error_keeps_its_class_and_names_the_log(tmp_path: Path) -> None:
    with open_backend("fake:raises_run_error") as backend, pytest.raises(RunError) as caught:
        list(executed(backend, Job(tmp_path)))
    assert str(caught.value) == f"fake: client 7 fell asleep; its log is {tmp_path / 'worker.log'}"
    assert type(caught.value) is RunError


def test_any_other_exception_is_told_with_its_type(tmp_path: Path) -> None:
    told = failure("fake:raises", tmp_path)
    assert re.search(r"fake: ValueError: the weights are odd \(\S+/fake_backend\.py:\d+\); its log is ", told)
    assert "Traceback (most recent call last)" in (tmp_path / "worker.log").read_text()


def test_a_failed_clean_up_is_a_failed_job(tmp_path: Path) -> None:
    assert "ValueError: could not clean up" in failure("fake:raises_late", tmp_path)


def test_a_backend_that_ends_before_the_run_does_is_told(tmp_path: Path) -> None:
    assert "ended before the run did" in failure("fake:ends_early", tmp_path)


def test_an_exit_is_told_with_its_code_its_round_and_the_last_words(tmp_path: Path) -> None:
    assert failure("fake:exits", tmp_path) == (
        f"fake: its process ended (exit code 3) in round 2; "
        f"its log is {tmp_path / 'worker.log'}, whose end reads: disk on fire"
    )


def test_a_crash_is_told_with_its_signal(tmp_path: Path) -> None:
    assert "its process ended (killed by SIGSEGV) in round 2" in failure("fake:dies", tmp_path)


def test_a_backend_that_does_not_start_is_given_up(tmp_path: Path) -> None:
    message = failure("fake:hangs_at_once", tmp_path, start=1.5)
    assert "no event for 1.5 s while starting" in message


def test_a_round_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    message = failure("fake:hangs", tmp_path, silence=4, heartbeat=3)
    assert "no event for 4 s in round 2" in message
    assert message.endswith("waiting for client 7")


def test_rounds_may_take_longer_together_than_one_may(tmp_path: Path) -> None:
    with open_backend("fake:sleeps", Limits(silence=2.5)) as backend:
        assert list(executed(backend, Job(tmp_path)))[-1] == RunFinished()


@pytest.mark.parametrize("ailment", ["freezes", "seizes"])
def test_a_frozen_process_is_told_from_a_slow_one(tmp_path: Path, ailment: str) -> None:
    message = failure(f"fake:{ailment}", tmp_path, heartbeat=2.5)
    assert "no sign of life for 2.5 s in round 2" in message


def test_time_spent_by_the_reader_of_events_is_not_silence(tmp_path: Path) -> None:
    with open_backend("fake", Limits(silence=3)) as backend:
        events = executed(backend, Job(tmp_path))
        next(events)
        time.sleep(4)  # the reader's own time, whatever the machine does
        assert list(events)[-1] == RunFinished()


def test_a_worker_of_another_version_is_told(tmp_path: Path) -> None:
    assert "this version of flspec cannot read" in failure("fake:mumbles", tmp_path)


def test_an_interpreter_that_is_not_there_is_told(tmp_path: Path) -> None:
    remote = Remote(find_backend("fake"), Path("/nowhere/python"))
    with remote, pytest.raises(BackendError, match=r"cannot start /nowhere/python: No such file"):
        list(remote.execute(PLAN, Job(tmp_path)))


def test_after_a_failure_the_next_job_gets_a_new_process(tmp_path: Path) -> None:
    with open_backend("fake:exits") as backend:
        for attempt in "ab":
            with pytest.raises(BackendError, match="exit code 3"):
                list(executed(backend, Job(tmp_path / attempt)))


# Nothing is left


def test_nothing_is_left_of_a_run_that_ends_well(tmp_path: Path, mark: str) -> None:
    with open_backend("fake:daemon") as backend:
        first, *_ = executed(backend, Job(tmp_path))
        assert len(leftovers(mark, first)) == 5  # warden, worker, daemon, folder, segment
    assert leftovers(mark, first) == []


def test_nothing_is_left_when_the_events_are_closed(tmp_path: Path, mark: str) -> None:
    with open_backend("fake:daemon_then_hangs") as backend:
        events = executed(backend, Job(tmp_path))
        first, _, _ = next(events), next(events), next(events)
        events.close()
        assert leftovers(mark, first) == []


@pytest.mark.timeout(240)
def test_nothing_is_left_when_the_backend_is_closed_in_the_middle_of_a_job(
    tmp_path: Path, mark: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flspec.execution.remote._GRACE_SECONDS", 600)  # which only an idle worker is given
    with open_backend("fake:daemon_then_hangs") as backend:
        events = executed(backend, Job(tmp_path))
        first, _, _ = next(events), next(events), next(events)
    assert leftovers(mark, first) == []
    with pytest.raises(BackendError, match="its process ended"):
        next(events)


def test_nothing_is_left_of_a_worker_that_does_not_end_by_itself(
    tmp_path: Path, mark: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flspec.execution.remote._GRACE_SECONDS", 0.5)
    with open_backend("fake:lingers") as backend:
        first, *_ = executed(backend, Job(tmp_path))
    assert leftovers(mark, first) == []


@pytest.mark.parametrize("misfortune", ["raises", "exits", "dies", "freezes"])
def test_nothing_is_left_of_a_run_that_fails(tmp_path: Path, mark: str, misfortune: str) -> None:
    with open_backend(f"fake:{misfortune}", Limits(heartbeat=2.5)) as backend:
        events = executed(backend, Job(tmp_path))
        first = next(events)
        with pytest.raises(BackendError):
            list(events)
        assert leftovers(mark, first) == []


def test_a_daemon_that_dropped_its_environment_is_found(tmp_path: Path, mark: str) -> None:
    with open_backend("fake:hides") as backend:
        first, *_ = executed(backend, Job(tmp_path))
        assert len(leftovers(mark, first)) == 4  # warden, worker, daemon, folder
    assert leftovers(mark, first) == []


@pytest.mark.timeout(240)  # it sleeps for longer
def test_a_process_forked_from_flspec_does_not_keep_the_worker_alive(tmp_path: Path, mark: str) -> None:
    with open_backend("fake:daemon_then_hangs") as backend:
        events = executed(backend, Job(tmp_path))
        first, _, _ = next(events), next(events), next(events)
        sleeper = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
        sleeper.start()
        events.close()
        sleeper.kill()
        sleeper.join()
        assert leftovers(mark, first) == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_is_left_when_the_worker_is_killed(tmp_path: Path, mark: str, number: signal.Signals) -> None:
    with open_backend("fake:daemon_then_hangs") as backend:
        events = executed(backend, Job(tmp_path))
        first, _, _ = next(events), next(events), next(events)
        os.kill(int(first.versions["pid"]), number)
        with pytest.raises(BackendError, match=rf"killed by {number.name}.*\) in round 3"):
            next(events)
        assert leftovers(mark, first) == []


@pytest.mark.parametrize("idle", [False, True])
def test_no_process_is_left_when_the_warden_is_killed(tmp_path: Path, mark: str, idle: bool) -> None:
    with open_backend("fake:daemon" if idle else "fake:daemon_then_hangs") as backend:
        events = executed(backend, Job(tmp_path))
        first, _, _ = next(events), next(events), next(events)
        list(events if idle else ())
        warden_of(first).kill()
        if not idle:
            with pytest.raises(BackendError, match=r"killed by SIGKILL.*\) in round 3"):
                next(events)
    segment = Path("/dev/shm", f"fake-{first.versions['pid']}")
    assert leftovers(mark, first) == [segment]  # only the warden knew of it
    segment.unlink()


def test_a_worker_ends_with_its_warden_whatever_it_is_doing(tmp_path: Path) -> None:
    with open_backend("fake:seizes") as backend:
        events = executed(backend, Job(tmp_path))
        first, _ = next(events), next(events)
        worker = psutil.Process(int(first.versions["pid"]))
        warden_of(first).kill()
        worker.wait(timeout=120)


def test_the_warden_does_not_heed_signals_meant_for_flspec(tmp_path: Path) -> None:
    with open_backend("fake:sleeps") as backend:
        events = executed(backend, Job(tmp_path))
        warden = warden_of(next(events))
        for number in signal.SIGINT, signal.SIGTERM, signal.SIGHUP:
            warden.send_signal(number)
        assert list(events)[-1] == RunFinished()


def test_a_stopped_warden_is_not_waited_for(tmp_path: Path, mark: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flspec.execution.remote._GRACE_SECONDS", 0.5)
    monkeypatch.setattr("flspec.execution.remote._WARDEN_SECONDS", 0.5)
    with open_backend("fake") as backend:
        first, *_ = executed(backend, Job(tmp_path))
        warden_of(first).suspend()
    assert leftovers(mark, first) == []


def start_flspec(selection: str, folder: Path, how: str = "") -> subprocess.Popen[bytes]:
    """A process that executes the plan in `folder` and prints the events."""
    PLAN.save(folder / "plan")
    command = [sys.executable, FAKES / "fake_flspec.py", selection, how, folder]
    return subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_nothing_is_left_when_flspec_is_killed(tmp_path: Path, mark: str, number: signal.Signals) -> None:
    with start_flspec("fake:daemon_then_hangs", tmp_path) as flspec:
        started, _, _ = (parse_event(read_line(flspec)) for _ in range(3))
        assert len(leftovers(mark, started)) == 6  # flspec, warden, worker, daemon, folder, segment
        os.killpg(flspec.pid, number)  # as a terminal does
        flspec.wait(timeout=120)
        wait_until(lambda: not leftovers(mark, started))
    assert flspec.returncode == -number


def test_nothing_is_left_when_only_a_process_forked_from_flspec_lives(tmp_path: Path, mark: str) -> None:
    with start_flspec("fake:daemon_then_hangs", tmp_path, "forks") as flspec:
        started, _, _ = (parse_event(read_line(flspec)) for _ in range(3))
        (forked,) = set(psutil.Process(flspec.pid).children()) - {warden_of(started)}
        flspec.kill()
        wait_until(lambda: leftovers(mark, started) == [forked])
        forked.kill()
        forked.wait(timeout=120)


def test_a_flspec_that_was_stopped_finds_its_worker_well(tmp_path: Path) -> None:
    with start_flspec("fake:sleeps", tmp_path, "impatient") as flspec:
        read_line(flspec)
        flspec.send_signal(signal.SIGSTOP)
        time.sleep(4)
        flspec.send_signal(signal.SIGCONT)
        assert b"run_finished" in flspec.communicate()[0]
