"""Files are there whole or not at all, locks are held by one, and folders that hold something are left alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import filelock
import pytest

from flspec.core import files
from flspec.core.files import check_new_folder, is_empty, locked, locked_folder, write_atomically
from flspec.core.reading import read_regular
from flspec.errors import InputError

HOLDS = """
import subprocess, sys, time
from pathlib import Path
from flspec.core.files import locked
with locked(Path(sys.argv[1])) as descriptor:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[descriptor])
    print(child.pid, flush=True)
    time.sleep(600)
"""


# Content


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    file = tmp_path / "file"
    write_atomically(file, b"old")

    def full(_):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space left"):
        write_atomically(file, b"new and longer")
    assert file.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_new_file_is_on_disk_before_it_takes_the_old_ones_name(tmp_path, monkeypatch):
    steps: Any = []
    fsync, replace = os.fsync, type(tmp_path).replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: steps.append("fsync") or fsync(descriptor))
    monkeypatch.setattr(type(tmp_path), "replace", lambda path, target: steps.append("rename") or replace(path, target))
    write_atomically(tmp_path / "file", b"content")
    assert steps == ["fsync", "rename", "fsync"]  # the content, the name, and that the folder has it


@pytest.mark.timeout(30)
def test_a_pipe_is_refused_instead_of_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name, told in (("pipe", "is not a file"), ("absent", "does not exist")):
        with pytest.raises(InputError, match=told):
            read_regular(tmp_path / name)


# Locks


def test_a_lock_is_had_by_one_and_leaves_nothing(tmp_path):
    with locked(tmp_path / "lock"):
        with pytest.raises(BlockingIOError, match="lock is locked by another process"), locked(tmp_path / "lock"):
            pass
        assert (tmp_path / "lock").exists()
    assert list(tmp_path.iterdir()) == []
    with locked(tmp_path / "lock"):
        pass


def test_who_waits_is_told_once_and_has_it_then(tmp_path):
    order, told = [], []

    def work(name):
        with locked(tmp_path / "lock", waiting=lambda: told.append(name)):
            order.append(f"{name} in")
            order.append(f"{name} out")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(40)))
    assert [pair.split()[0] for pair in order[::2]] == [pair.split()[0] for pair in order[1::2]]
    assert len(order) == 80
    assert len(told) == len(set(told))


def take_from_a_holder_who_leaves(tmp_path, monkeypatch):
    """Lock a file that its holder removes just after it was opened; whether what is locked is what others find."""
    lock_descriptor = filelock.lock_descriptor

    def leave_first(descriptor, blocking):
        if not left:
            left.append((tmp_path / "lock").unlink())
        return lock_descriptor(descriptor, blocking=blocking)

    left = []
    monkeypatch.setattr(filelock, "lock_descriptor", leave_first)
    with locked(tmp_path / "lock") as descriptor:
        return (tmp_path / "lock").exists() and os.path.samestat(os.fstat(descriptor), os.stat(tmp_path / "lock"))


def test_a_lock_that_was_removed_meanwhile_is_taken_again(tmp_path, monkeypatch):
    assert take_from_a_holder_who_leaves(tmp_path, monkeypatch)


def test_a_lock_on_a_removed_file_would_be_found(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_is_at", lambda file, descriptor: True)
    assert not take_from_a_holder_who_leaves(tmp_path, monkeypatch)


def test_a_lock_is_held_until_the_children_of_a_killed_holder_have_ended(tmp_path):
    lock = tmp_path / "lock"
    with subprocess.Popen([sys.executable, "-c", HOLDS, str(lock)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout
        child = int(holder.stdout.readline())
        holder.send_signal(signal.SIGSTOP)  # so that its end of the child's stdin stays open until the kill
        with pytest.raises(BlockingIOError), locked(lock):
            pass
        os.kill(child, signal.SIGSTOP)
        holder.kill()
    with pytest.raises(BlockingIOError), locked(lock):
        pass  # the child, which would end by itself, is stopped
    os.kill(child, signal.SIGCONT)
    with locked(lock, waiting=lambda: None):
        pass


def test_a_folder_in_use_is_refused_and_one_that_cannot_be_written_to(tmp_path):
    with (
        locked_folder(tmp_path),
        pytest.raises(InputError, match=r"^out: another flspec is running in "),
        locked_folder(tmp_path),
    ):
        pass
    (tmp_path / "file").touch()
    for name in ("file", "absent", "nul\0"):
        with (
            pytest.raises(InputError, match="is not a folder that can be written to: "),
            locked_folder(tmp_path / name),
        ):
            pass


def test_what_goes_wrong_while_a_folder_is_held_is_not_taken_for_the_lock_s(tmp_path):
    with pytest.raises(BlockingIOError, match="mine"), locked_folder(tmp_path):
        raise BlockingIOError("mine")
    assert is_empty(tmp_path)


def test_a_lock_that_a_kill_left_behind_is_no_content(tmp_path):
    (tmp_path / ".lock").touch()
    assert is_empty(tmp_path)
    check_new_folder(tmp_path)
    with locked_folder(tmp_path):
        pass
    (tmp_path / "result.json").touch()
    assert not is_empty(tmp_path)
    with pytest.raises(InputError, match="is not empty"):
        check_new_folder(tmp_path)


# Elsewhere than on POSIX


# Takes away what only POSIX has, once those packages are imported that mind that themselves.
NO_POSIX = """
import builtins, os, signal
import filelock, psutil, torch
POSIX = {"fcntl", "grp", "pty", "pwd", "resource", "termios"}
import_module = builtins.__import__
def refuse(name, globals=None, *arguments):
    if name in POSIX and (globals or {}).get("__name__", "").startswith(("flspec", "__main__")):
        raise ModuleNotFoundError(name)
    return import_module(name, globals, *arguments)
builtins.__import__ = refuse
for name in "O_DIRECTORY O_NOFOLLOW O_NONBLOCK fork getuid killpg mkfifo setsid".split():
    delattr(os, name)
for name in "SIGCHLD SIGHUP SIGKILL SIGPIPE SIGXFSZ".split():
    delattr(signal, name)
"""


@pytest.mark.parametrize("more", ["", "import fcntl"], ids=["flspec", "a source that needs POSIX"])
def test_flspec_runs_where_there_is_no_posix(tmp_path, more):
    run = """
import flspec, flspec.cli, flspec.execution.remote, flspec.execution.environments
result = flspec.run(flspec.load_spec("spec.yaml"), backend="local", out="run")
print(result.status)
"""
    (tmp_path / "spec.yaml").write_text(SPEC)
    done = subprocess.run(
        [sys.executable, "-c", NO_POSIX + more + run], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode == 0) == (more == ""), done.stderr
    if not more:
        assert done.stdout.strip() == "completed"


SPEC = """\
flspec: 1
name: small
rounds: 1
dataset: {kind: synthetic, classes: 3, features: 4, train_examples: 60, test_examples: 20}
partition: {kind: iid, clients: 5}
model: {kind: mlp, hidden: [6]}
client: {epochs: 1, batch_size: 5, optimizer: {kind: sgd, learning_rate: 0.1}}
"""
