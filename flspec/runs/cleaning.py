"""What takes room and is not needed: states of finished runs, and of the cache what can be made again.

Of the cache stays what a run that is looked at names, what any process has mapped, what was made within the last hour,
the environments that backends have today, and what a notebook gave, which nothing could make again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from flspec.core.cache import cache_folder, discard
from flspec.core.files import num_bytes
from flspec.errors import RunError
from flspec.execution.environments import current_environments, remove_folder
from flspec.protocol.backend import CHECKPOINTS
from flspec.runs.found import FoundRun
from flspec.runs.planned import planned_data
from flspec.runs.removal import remove_states, states_of

__all__ = ["Leftover", "leftovers", "remove"]

_MADE_AGAIN = {  # folders of the cache: what each entry is, and what makes it again
    "data": "examples that no run here names; a spec's next run stores them again",
    "images": "lists of decoded pictures; made again when they are read",
    "twins": "a synthetic twin; made again when a spec names it",
    "huggingface": "a table of the Hugging Face Hub; fetched again when a spec names it",
}
_ENVIRONMENTS, _ENVIRONMENT = "environments", "an environment by earlier pins; no backend has it today"
_STATES = "states after earlier rounds; its models and its last state stay"
_NEW_SECONDS = 3600.0


@dataclass(frozen=True)
class Leftover:
    """Something that can be removed."""

    path: Path
    kind: str  # states, environments, or a folder of the cache
    what: str
    num_bytes: int
    remove: Callable[[], None]


def leftovers(runs: Sequence[FoundRun]) -> list[Leftover]:
    """Return what is not needed, the largest first, if these are the runs that count."""
    return sorted([*_of_runs(runs), *_of_cache(runs)], key=lambda one: (-one.num_bytes, one.path))


def remove(found: Leftover) -> None:
    """Remove something; raises RunError if that cannot be done."""
    try:
        found.remove()
    except OSError as error:
        raise RunError(f"{error.filename or found.path} cannot be removed: {error.strerror or error}") from None


def _of_runs(runs: Sequence[FoundRun]) -> Iterator[Leftover]:
    """Yield the states of finished runs, but for those that a longer run would go on from. Others go on from theirs."""
    for run in runs:
        states = states_of(run.folder) if run.status == "finished" else {}
        stay = _to_be_extended(run, states)
        if going := [path for number, path in states.items() if number not in stay]:
            size = sum(map(num_bytes, going))
            yield Leftover(run.folder / CHECKPOINTS, "states", _STATES, size, partial(remove_states, going, run.folder))


def _to_be_extended(run: FoundRun, states: Collection[int]) -> Collection[int]:
    """Return the rounds whose states a run of more rounds may go on from: the last and the best.

    All, if the longer run has no state after the last of these rounds, since it evaluates other ones.
    """
    evaluation = run.spec.get("evaluation")
    every = evaluation.get("every") if isinstance(evaluation, dict) else None
    last = max(states, default=0)
    if not isinstance(every, int) or every < 1 or last % every:
        return states
    return {last, *([run.result.best.round] if run.result and run.result.best else [])}


def _of_cache(runs: Sequence[FoundRun]) -> Iterator[Leftover]:
    cache = cache_folder().resolve()  # as the system names what is mapped
    named, in_use = {planned_data(run.folder) for run in runs}, _in_use(cache)
    for kind, what in _MADE_AGAIN.items():
        for path in _entries(cache / kind):
            if path.name not in named and not _is_new(path) and not any(path in (p, *p.parents) for p in in_use):
                yield Leftover(path, kind, what, num_bytes(path), partial(discard, path))
    current = [folder.resolve() for folder in current_environments()]
    for path in _entries(cache / _ENVIRONMENTS):
        if path.is_dir() and path not in current and not any(path in one.parents for one in in_use):
            yield Leftover(path, _ENVIRONMENTS, _ENVIRONMENT, num_bytes(path), partial(remove_folder, path))


def _entries(folder: Path) -> list[Path]:
    """Return what is in a folder of the cache, but for what is being made there."""
    with suppress(OSError):
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    return []


def _is_new(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime < _NEW_SECONDS
    except OSError:
        return True


def _in_use(cache: Path) -> set[Path]:
    """Return the files in the cache that any process has mapped into its memory; none where the system has no /proc."""
    found, within = set[Path](), f"{cache}/".encode()
    for maps in Path("/proc").glob("[0-9]*/maps"):
        with suppress(OSError):  # it has ended, or is another user's
            lines = (line.partition(b"/") for line in maps.read_bytes().splitlines())
            found |= {Path(os.fsdecode(root + path)) for _, root, path in lines if (root + path).startswith(within)}
    return found
