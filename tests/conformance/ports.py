"""The ports that processes listen on, in whatever network they are, and what a stranger's knocks bring."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

__all__ = ["Port", "knock", "listening"]

_LISTENING = {"tcp": "0A", "tcp6": "0A", "udp": "07", "udp6": "07"}  # the state in /proc/PID/net, see proc_net(5)
_LOOPBACK = {"0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F"}


@dataclass(frozen=True)
class Port:
    """A port that a process listens on."""

    pid: int  # of a process that has it
    program: str
    number: int
    is_loopback: bool  # bound to an address that other machines cannot reach


def listening(processes: Iterable[psutil.Process]) -> list[Port]:
    """Every port that these processes listen on."""
    found = {}
    for process in processes:
        with suppress(OSError, psutil.Error):  # it has ended
            for port in _ports_of(process):
                found[port.number] = port
    return list(found.values())


def _ports_of(process: psutil.Process) -> Iterable[Port]:
    folder = Path("/proc", str(process.pid))
    opened = {os.readlink(descriptor) for descriptor in (folder / "fd").iterdir()}
    for protocol, listens in _LISTENING.items():
        for line in (folder / "net" / protocol).read_text().splitlines()[1:]:
            _, local, _, state, _, _, _, _, _, inode, *_ = line.split()
            if state == listens and f"socket:[{inode}]" in opened:
                address, _, number = local.partition(":")
                yield Port(process.pid, process.name(), int(number, 16), address in _LOOPBACK)


def knock(ports: Iterable[Port], inside: int | None = None) -> set[str]:
    """What a stranger hears at these ports, knocking from here or from inside the network of a process."""
    numbers = [str(port.number) for port in ports]
    command = [*_entering(inside), sys.executable, "-m", "tests.conformance.knock", *numbers]
    answers: dict[str, str] = json.loads(subprocess.check_output(command, text=True, timeout=120))
    assert len(answers) == len(numbers) > 0
    return set(answers.values())


def _entering(pid: int | None) -> list[str]:
    if pid is None:
        return []
    user = os.readlink(f"/proc/{pid}/ns/user") != os.readlink("/proc/self/ns/user")
    return ["nsenter", f"--target={pid}", "--net", *(["--user", "--preserve-credentials"] if user else [])]
