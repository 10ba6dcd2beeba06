"""Removing runs: their folders, and the states that finished ones no longer need.

The noise key and the ledger of a private run are the only record of what it has released, so that they go with the
whole folder alone, when that was said.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from flspec.core.files import is_locked, keep_number, locked_folder, num_bytes
from flspec.errors import InputError, RunError
from flspec.execution.ledger import LEDGER
from flspec.execution.noise_key import NOISE_KEY
from flspec.protocol.backend import kept_state
from flspec.runs.event_log import EVENTS
from flspec.runs.found import check_run
from flspec.runs.result import RESULT
from flspec.runs.stored_models import kept_rounds

__all__ = ["Removable", "removable", "remove_run", "remove_states", "states_of"]


@dataclass(frozen=True)
class Removable:
    """A run that can be removed."""

    folder: Path  # absolute
    num_bytes: int
    private: tuple[str, ...]  # files that say what a private run has released


def removable(folder: Path) -> Removable:
    """Return the run in a folder; raises InputError unless there is one, at which no process works."""
    if folder.is_symlink():
        raise InputError(f"{folder}: a link; name the folder that it leads to")
    check_run(folder)
    whole = folder.resolve()
    if is_locked(whole):
        raise InputError(f"{folder}: a run is at work there; end it first")
    return Removable(whole, num_bytes(whole), tuple(name for name in (NOISE_KEY, LEDGER) if (whole / name).exists()))


def remove_run(run: Removable) -> None:
    """Remove a run's folder. A kill meanwhile leaves what counts as an interrupted run, which can be removed again."""
    try:
        with locked_folder(run.folder):
            keep_number(run.folder)
            (run.folder / RESULT).unlink(missing_ok=True)  # first: what is left is not finished
            for path in sorted(run.folder.iterdir(), key=lambda path: path.name == EVENTS):
                _remove(path)
        run.folder.rmdir()
    except OSError as error:
        raise RunError(f"{error.filename or run.folder} cannot be removed: {error.strerror or error}") from None


def states_of(folder: Path) -> dict[int, Path]:
    """Return the states that a run has stored, by their rounds."""
    return {number: kept_state(folder, number) for number in kept_rounds(folder)}


def remove_states(states: Sequence[Path], folder: Path) -> None:
    """Remove some states of a run; raises InputError if a process works there."""
    with locked_folder(folder):
        for path in states:
            path.unlink(missing_ok=True)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif path.name != ".lock":
        path.unlink()
