"""Folders of the user's own: what nobody else can change may be read and executed without a second look.

The rules are those of OpenSSH for its keys (sshd_config(5), StrictModes), and a sticky folder may be anybody's.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from functools import cache
from pathlib import Path

from flspec.errors import InputError

__all__ = ["make_own", "require_own"]

_ROOT = 0


def require_own(folder: Path, hint: str) -> None:
    """Raise InputError, ending in `hint`, if anybody else could change what is in `folder` or put another in its place.

    The folder, where it exists, belongs to this user, and nobody else may write to it. The folders above it belong to
    this user or to the system. Symbolic links are followed, and are held to the same.
    """
    if not hasattr(os, "getuid"):  # Windows, where a user's folders are kept apart by other means
        return
    places = {path for whole in (folder.absolute(), folder.resolve()) for path in (whole, *whole.parents)}
    own = {folder.absolute(), folder.resolve()}
    for path in sorted(places):
        with suppress(FileNotFoundError):
            if why := _why_not_own(path, path.lstat(), trusts_system=path not in own):
                raise InputError(f"{path} {why}, so nothing in {folder} can be trusted; {hint}")


def make_own(folder: Path) -> None:
    """Make a folder and those above it that do not exist, each for this user alone."""
    for path in (*reversed(folder.parents), folder):
        if not path.exists():
            path.mkdir(0o700, exist_ok=True)


def _why_not_own(path: Path, status: os.stat_result, trusts_system: bool) -> str | None:
    """Return why a path is not this user's alone, or None if it is."""
    if status.st_uid != os.geteuid() and not (trusts_system and status.st_uid in (_ROOT, _nameless_user())):
        return f"belongs to {_user_name(status.st_uid)}"
    if stat.S_ISLNK(status.st_mode) or (trusts_system and status.st_mode & stat.S_ISVTX):
        return None  # only the owner of a link, or of a file in a sticky folder, can put another in its place
    if status.st_mode & stat.S_IWOTH:
        return "may be changed by everybody (chmod go-w takes that away)"
    if status.st_mode & stat.S_IWGRP and not _is_own_group(status.st_gid):
        return "may be changed by its group (chmod g-w takes that away)"
    return None


@cache
def _nameless_user() -> int:
    """Return who owns what belongs to nobody in this user namespace: in a container, what the system has mounted."""
    with suppress(OSError, ValueError):
        return int(Path("/proc/sys/kernel/overflowuid").read_text(encoding="ascii"))
    return _ROOT


def _user_name(number: int) -> str:
    import pwd

    with suppress(KeyError):
        return f"user {pwd.getpwuid(number).pw_name}"
    return f"user {number}"


def _is_own_group(number: int) -> bool:
    """Return whether a group is this user's private one, as many systems have for each user."""
    import grp
    import pwd

    with suppress(KeyError):
        user, group = pwd.getpwuid(os.geteuid()), grp.getgrgid(number)
        return number == user.pw_gid and group.gr_name == user.pw_name and set(group.gr_mem) <= {user.pw_name}
    return False
