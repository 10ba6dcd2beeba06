"""The state in git of the folder of a spec, recorded in a run's folder when the run begins.

It says which commit the files around the spec were of, and whether they had been changed since. It helps whoever looks
for the sources of a run; nothing depends on it, and where there is no git there is no record.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from flspec.core.components import Document
from flspec.core.files import write_atomically
from flspec.core.reading import PYDANTIC_VALUE, read_json
from flspec.errors import InputError

__all__ = ["GIT_STATE", "GitState", "git_state_of", "load_git_state", "record_git_state"]

GIT_STATE = "git.json"
_SECONDS = 3.0  # for git to answer; a large repository must not delay a run
# Nothing that a repository's own configuration names is to be executed.
_GIT = ("git", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "--no-optional-locks")
_SOURCES = (":(glob)*.yaml", ":(glob)*.yml", ":(glob)*.py")  # an untracked one of these counts as a change


class GitState(Document):
    """A commit, and whether files of the folder differ from it; None if that took too long to find out."""

    commit: str
    is_dirty: bool | None


def git_state_of(folders: Sequence[Path]) -> GitState | None:
    """Return the state of the first of a spec's folders; None where there is no git, or it says nothing."""
    if not folders:
        return None
    folder = Path(folders[0]).absolute()
    if not any((place / ".git").exists() for place in (folder, *folder.parents)):  # most quickly said without git
        return None
    commit = _ask(folder, "rev-parse", "--verify", "HEAD")
    if not commit:
        return None
    tracked = _ask(folder, "status", "--porcelain", "--untracked-files=no", "--", ".")
    others = _ask(folder, "status", "--porcelain", "--untracked-files=normal", "--", *_SOURCES)
    is_dirty = None if tracked is None or others is None else bool(tracked or others)
    return GitState(commit=commit, is_dirty=is_dirty)


def record_git_state(run: Path, state: GitState | None) -> None:
    """Write `git.json` into a run's folder, unless it is there; if it cannot be written, the run goes on without it."""
    if state and not (run / GIT_STATE).exists():
        with suppress(OSError):
            write_atomically(run / GIT_STATE, (state.model_dump_json(indent=2) + "\n").encode())


def load_git_state(run: Path) -> GitState | None:
    """Return what was recorded in a run's folder; None if nothing was, or it cannot be read."""
    try:
        return GitState.model_validate_json(read_json(run / GIT_STATE, PYDANTIC_VALUE))
    except (InputError, ValidationError):
        return None


def _ask(folder: Path, *arguments: str) -> str | None:
    """Return what git prints; None if it cannot be asked, takes too long or fails."""
    try:
        done = subprocess.run(
            [*_GIT, *arguments],
            cwd=folder,
            env={**os.environ, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_SECONDS,
            check=True,
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return done.stdout.decode(errors="replace").strip()
