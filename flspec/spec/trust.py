"""Whose part files are imported: a spec's own files of Python run with the rights of whoever reads the spec.

Files are the user's own, and imported without a question, if nobody else can change them (`core.ownership`) and they
did not come from elsewhere: they are in no clone of a repository, that is below no folder whose `.git` has a remote. Of
any others a command tells what it would import, until `--trust` was said once for their folder or one above it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING

from flspec.core.cache import cache_folder
from flspec.core.files import write_atomically
from flspec.core.ownership import make_own, require_own
from flspec.core.reading import read_regular
from flspec.core.text import join_some
from flspec.errors import InputError

if TYPE_CHECKING:
    from flspec.protocol.plan import Plan


__all__ = ["check_trusted_plan", "trust", "trust_all", "why_not_trusted"]

_LIST = "trusted-folders"
_trusts_all: ContextVar[bool] = ContextVar("trusts_all", default=False)


def trust_all() -> None:
    """Trust the folder of every spec that this command reads, and remember it."""
    _trusts_all.set(True)


def trust(folder: str | os.PathLike[str]) -> None:
    """Remember that the part files in `folder` and below may be imported."""
    known = _trusted()
    if (path := str(Path(folder).resolve())) not in known:
        make_own(cache_folder())
        write_atomically(cache_folder() / _LIST, "".join(f"{one}\n" for one in [*known, path]).encode(), is_secret=True)


def why_not_trusted(folder: Path, paths: Sequence[str]) -> str | None:
    """Return why the files at `paths` in `folder` are not imported, with the way out; None if they are."""
    if _trusts_all.get():
        trust(folder)
        return None
    resolved = folder.resolve()
    if {str(resolved), *map(str, resolved.parents)} & set(_trusted()):
        return None
    if why := _why_not_own(resolved, paths):
        would = f"it would import {join_some(list(paths), 10)}, which then act with your rights"
        return f"{would}, but {why}; look at them, and say --trust once for {resolved}"
    return None


def check_trusted_plan(plan: Plan, folder: Path) -> None:
    """Raise InputError if a plan that was read from `folder` holds part files that are not to be imported.

    A plan has the texts in itself, so they are whoever's the plan is.
    """
    if plan.settings.parts and (why := why_not_trusted(folder, ["plan.json"])):
        what = join_some(sorted(plan.settings.parts.sources), 10)
        raise InputError(f"{folder}: {why.replace('plan.json', what, 1)}")


def _why_not_own(folder: Path, paths: Sequence[str]) -> str | None:
    for place in dict.fromkeys((folder, *((folder / path).parent for path in paths), *(folder / p for p in paths))):
        try:
            require_own(place, "")
        except InputError as error:
            return str(error).partition(", so nothing in")[0]
    if (repository := _clone_around(folder)) is not None:
        return f"{repository} was cloned from elsewhere"
    return None


def _clone_around(folder: Path) -> Path | None:
    """Return the nearest repository around a folder if it has a remote."""
    for place in (folder, *folder.parents):
        if (git := place / ".git").exists():
            return place if _has_remote(git) else None
    return None


def _has_remote(git: Path) -> bool:
    try:
        if git.is_file():  # a worktree or a submodule, whose own folder is elsewhere
            return True
        return b"[remote " in read_regular(git / "config", 2**20)
    except InputError:
        return True


def _trusted() -> list[str]:
    try:
        return read_regular(cache_folder() / _LIST, 2**20).decode(errors="replace").splitlines()
    except InputError:
        return []
