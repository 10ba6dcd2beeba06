"""Starts a program in a network of its own, with nothing but loopback, where the system allows that.

    python -I -S own_network.py COMMAND...

No other process can then reach a port that the program or its children open, nor can they reach any other machine. On
Linux such a network is a namespace. Privileged processes make it alone. Others make a user namespace with it, in which
their user and group are what they were, so files and devices stay as accessible as before. A namespace that is only
half made cannot be left, so each way is tried in a child first.

It runs as a script in a bare interpreter, like the warden that starts it, so it imports only the standard library.
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct
import sys
from contextlib import suppress

__all__ = ["NETWORK", "why_shared"]

NETWORK = "FLSPEC_NETWORK"  # environment variable of what was started: _OWN, or why it shares the machine's network
_OWN = "own"

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_WAYS = (_CLONE_NEWNET, _CLONE_NEWUSER | _CLONE_NEWNET)
_PR_SET_PDEATHSIG = 1
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1
_IFREQ = "16sh22x"  # struct ifreq of netdevice(7): name and flags


def why_shared() -> str | None:
    """Return why this process shares the machine's network, or None if it has one of its own."""
    found = os.environ.get(NETWORK, "it was started otherwise")
    return None if found == _OWN else found


def main(command: list[str]) -> None:
    """Become `command`, in a network of its own if possible."""
    parent = os.getppid()
    os.environ[NETWORK] = _enter_network()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # a change of user namespace may have ended it
    if os.getppid() != parent:  # it ended before the line above
        os._exit(1)
    os.execv(command[0], command)


def _enter_network() -> str:
    """Enter a network of its own. Returns _OWN, or the reason against the last way that was tried."""
    if sys.platform != "linux":
        return f"{sys.platform} has no network namespaces"
    reason = ""
    for way in _WAYS:
        if error := _try_in_child(way):
            reason = f"unshare: {os.strerror(error)}"
        else:
            _unshare(way)
            return _OWN
    return reason


def _try_in_child(way: int) -> int:
    """Return the number of the error that this way ends with, or 0 if it works."""
    if child := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status = 255
    with suppress(Exception):
        try:
            _unshare(way)
            status = 0
        except OSError as error:
            status = error.errno or status
    os._exit(status)


def _unshare(way: int) -> None:
    user, group = os.geteuid(), os.getegid()
    system = ctypes.CDLL(None, use_errno=True)
    if system.unshare(way):
        raise OSError(ctypes.get_errno(), "unshare")
    if way & _CLONE_NEWUSER:
        _write("/proc/self/setgroups", "deny")  # user_namespaces(7) asks for it before a group is mapped
        _write("/proc/self/uid_map", f"{user} {user} 1")
        _write("/proc/self/gid_map", f"{group} {group} 1")
    _raise_loopback()


def _raise_loopback() -> None:
    import fcntl
    import socket

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = fcntl.ioctl(any_socket, _SIOCGIFFLAGS, struct.pack(_IFREQ, b"lo", 0))
        flags = struct.unpack(_IFREQ, request)[1]
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack(_IFREQ, b"lo", flags | _IFF_UP))


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


if __name__ == "__main__":
    main(sys.argv[1:])
