"""The warden: a small process between flspec and a worker. It makes sure that no process or file of the worker is left.

    python -I -S warden.py LIFELINE PARENT TOKEN FOLDER COMMAND...    0< jobs  1> events  2>> log

It runs COMMAND. It stops when COMMAND ends, when flspec (PARENT) ends, or when the LIFELINE pipe delivers a byte or is
closed. It then kills every process that descends from COMMAND, removes FOLDER (their TMPDIR) and the shared memory that
they left, and exits with the worker's status, encoded as a shell does.

Engines start daemons in sessions of their own, so killing a process group is not enough. On Linux the warden is the
subreaper, so every orphaned descendant becomes its child, and a process with TOKEN in its environment is found wherever
it is. On other systems only the worker's process group can be killed.

It runs as a script in a bare interpreter, so it imports only the standard library and starts in 20 ms.
"""

from __future__ import annotations

import ctypes
import os
import select
import shutil
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress

__all__ = ["EVENTS", "JOBS", "TOKEN", "kill_marked"]

JOBS, EVENTS = 3, 4  # file descriptors of the worker; its 0 is empty, its 1 and 2 are the log
TOKEN = "FLSPEC_RUN"  # environment variable that marks the processes of one worker

_LINUX = sys.platform == "linux"
_TICK_SECONDS = 0.5
_KILL_SECONDS = 10.0  # a process still alive then hangs in the kernel and cannot be killed
_LOG_BYTES, _LOG_KEPT_BYTES = 64 * 2**20, 2**20
_SHM, _LOOKS = "/dev/shm", 3
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
# By name: flspec imports this module on every system, but not every system has these signals.
_IGNORED = ("SIGINT", "SIGTERM", "SIGHUP")  # meant for flspec, whose end shows on the lifeline
_RESTORED = (*_IGNORED, "SIGPIPE", "SIGXFSZ")  # Python ignores the last two


def main(lifeline: int, parent: int, token: str, folder: str, command: list[str]) -> int:
    """Guard one worker from its start until none of its processes is left. Returns its status."""
    for name in _IGNORED:
        signal.signal(signal.Signals[name], signal.SIG_IGN)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    os.set_inheritable(lifeline, False)
    os.mkdir(folder, 0o700)
    worker, segments, status = 0, _Segments(), None
    try:
        ended = _wake_up_on_child_exit()
        worker = _spawn(command)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # the worker alone reads the jobs
        while status is None and _is_wanted(lifeline, parent, ended):
            status = _reap(worker)
            segments.note()
            _trim_log()
        segments.note()
    finally:
        _end_all(token, group=worker)
        segments.remove()
        shutil.rmtree(folder, ignore_errors=True)
    return _shell_status(status)


def kill_marked(token: str, folder: str) -> None:
    """Kill the processes that have the token and remove the folder, for a warden that was killed itself."""
    _kill_until_gone(lambda: _holders(token))
    shutil.rmtree(folder, ignore_errors=True)


# The worker


def _spawn(command: list[str]) -> int:
    warden = os.getpid()
    if pid := os.fork():
        return pid
    try:
        os.setpgid(0, 0)
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != warden:  # the warden was killed before the line above
            os._exit(1)
        os.dup2(0, JOBS)
        os.dup2(1, EVENTS)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(2, 1)
        for name in _RESTORED:
            signal.signal(signal.Signals[name], signal.SIG_DFL)
        os.execv(command[0], command)
    except OSError as error:
        os.write(2, f"cannot start {command[0]}: {error.strerror}\n".encode())
    finally:
        os._exit(127)


def _wake_up_on_child_exit() -> int:
    """Return a file descriptor that becomes readable when a child has ended."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)  # a handler is needed: ignored signals write nothing
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    return reader


def _is_wanted(lifeline: int, parent: int, ended: int) -> bool:
    """Wait a moment for news, then return whether flspec still needs the worker."""
    poll = select.poll()  # select itself fails for descriptors above 1023
    for descriptor in (lifeline, ended):
        poll.register(descriptor, select.POLLIN)
    ready = [descriptor for descriptor, _ in poll.poll(_TICK_SECONDS * 1000)]
    if ended in ready:
        os.read(ended, 4096)
    # A child that flspec forked may keep the lifeline open, so the parent process is checked too.
    return lifeline not in ready and os.getppid() == parent


def _reap(worker: int) -> int | None:
    """Reap every child that has ended, orphans too. Returns the worker's wait status if it was among them."""
    found = None
    with suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            if pid == worker:
                found = status
    return found


def _shell_status(status: int | None) -> int:
    if status is None or os.WIFSIGNALED(status):
        return 128 + (signal.SIGKILL if status is None else os.WTERMSIG(status))
    return os.WEXITSTATUS(status)


# Processes


def _end_all(token: str, group: int) -> None:
    if _LINUX:
        _kill_until_gone(lambda: _remaining(token))
    elif group:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)


def _remaining(token: str) -> set[int]:
    _reap(0)
    return _descendants() | _holders(token)


def _kill_until_gone(find: Callable[[], set[int]]) -> None:
    """Kill what `find` returns until it returns nothing, because processes may start others meanwhile."""
    deadline = time.monotonic() + _KILL_SECONDS
    while found := find():
        for pid in found:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            os.write(2, f"flspec: could not end processes {sorted(found)}\n".encode())
            return
        time.sleep(0.01)


def _descendants() -> set[int]:
    """Return every descendant of this process."""
    children: dict[int, list[int]] = {}
    for pid in _processes():
        with suppress(OSError, IndexError, ValueError):
            # pid (name) state ppid ...; the name may contain anything, even ')'.
            parent = int(_read(f"/proc/{pid}/stat").rpartition(b")")[2].split()[1])
            children.setdefault(parent, []).append(pid)
    found: set[int] = set()
    below = [os.getpid()]
    while below:
        new = children.get(below.pop(), [])
        found.update(new)
        below.extend(new)
    return found


def _holders(token: str) -> set[int]:
    """Return every other process that has this token in its environment."""
    mark, found = f"{TOKEN}={token}".encode(), set()
    for pid in _processes():
        with suppress(OSError):
            if mark in _read(f"/proc/{pid}/environ").split(b"\0"):
                found.add(pid)
    return found - {os.getpid()}


def _processes() -> list[int]:
    with suppress(OSError):
        return [int(name) for name in os.listdir("/proc") if name.isdecimal()]
    return []


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _prctl(option: int, value: int) -> None:
    if _LINUX:
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


# Files


class _Segments:
    """Shared memory of the worker's processes: new files in /dev/shm that they have mapped.

    Files of other programs must stay. So a file is left alone if no process of the worker was ever seen to map it.
    """

    def __init__(self) -> None:
        self._before = self._list()
        self._looks: dict[tuple[str, int], int] = {}
        self._ours: set[tuple[str, int]] = set()

    def note(self) -> None:
        """Check which new files the worker's processes have mapped. Each is checked a few times only, as it is slow."""
        self._looks = {segment: self._looks.get(segment, 0) for segment in self._list() - self._before}
        if not (new := [segment for segment, looks in self._looks.items() if looks < _LOOKS]):
            return
        maps = b"".join(map(self._maps, _descendants()))
        for name, inode in new:
            self._looks[name, inode] += 1
            if f" {_SHM}/{name}\n".encode() in maps:
                self._ours.add((name, inode))

    def remove(self) -> None:
        for name, _ in self._ours & self._list():
            with suppress(OSError):
                os.unlink(f"{_SHM}/{name}")

    @staticmethod
    def _list() -> set[tuple[str, int]]:
        """Return this user's files in /dev/shm, by name and inode."""
        found = set()
        for name in os.listdir(_SHM) if os.path.isdir(_SHM) else ():
            with suppress(OSError):
                status = os.lstat(f"{_SHM}/{name}")
                if status.st_uid == os.getuid():
                    found.add((name, status.st_ino))
        return found

    @staticmethod
    def _maps(pid: int) -> bytes:
        with suppress(OSError):
            return _read(f"/proc/{pid}/maps")
        return b""


def _trim_log() -> None:
    """Cut a log that has grown too long, so that endless output does not fill the disk; it is open for appending."""
    with suppress(OSError):
        size = os.fstat(2).st_size
        if size > _LOG_BYTES:
            kept = os.pread(2, _LOG_KEPT_BYTES, size - _LOG_KEPT_BYTES)
            os.ftruncate(2, 0)
            os.write(2, b"[flspec: the log had grown too long; this is the end of it]\n" + kept)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4], sys.argv[5:]))
