"""The folder of a run: begun in an order in which a kill at no moment makes it useless, and taken up again.

`events.jsonl` comes first, whole, and its first line has the plan's digest, the backend and the software. From then on
the folder is that run's, and whatever else is missing or damaged is made good when it is resumed. Before that line the
folder counts as empty.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from flspec.core.files import is_empty, locked_folder, made_folder, remove_partials, write_atomically
from flspec.core.reading import read_regular
from flspec.errors import InputError
from flspec.execution.software import software_differences
from flspec.protocol.backend import CHECKPOINTS
from flspec.protocol.events import RoundFinished, RunAttempted
from flspec.protocol.part_scope import part_files_of
from flspec.protocol.plan import Plan
from flspec.runs.event_log import EVENTS, ended, read_events, rewrite_events
from flspec.runs.image_files import IMAGES
from flspec.runs.result import RESULT, Result, load_result
from flspec.spec.yaml_writer import write_yaml

__all__ = [
    "OtherSoftware",
    "check_resumable",
    "finished_result",
    "prepared_folder",
    "remove_all_partials",
    "was_changed",
]

OtherSoftware = Literal["refuse", "go on", "begin again"]  # what becomes of a run that other software began

_PLAN, _SPEC = "plan", "spec.yaml"


@contextmanager
def prepared_folder(
    folder: Path,
    plan: Plan,
    attempt: RunAttempted,
    source: str | None = None,
    *,
    resume: bool = False,
    others: OtherSoftware = "refuse",
) -> Iterator[bool]:
    """Make a run's folder, or with `resume` take up the one that a run of this plan left; lock it against other runs.

    Yields whether there is a run to go on with. `source` is the spec's text to be stored, by default the spec of the
    plan. Raises InputError, before anything is changed, if the folder holds anything else.
    """
    with made_folder(folder), locked_folder(folder):
        if not resume and not is_empty(folder):
            raise InputError(f"out: {folder} is not empty; choose another folder, or go on with --resume")
        has_plan = resume and _has_plan(folder, plan)
        begun = resume and _take_up(folder, plan, attempt, others)
        try:
            remove_all_partials(folder)
            if not begun:
                rewrite_events(folder, [attempt])
            if not has_plan:
                plan.save(folder / _PLAN)
            _fill(folder, plan, write_yaml(dict(plan.spec)) if source is None else source)
        except OSError as error:
            raise InputError(f"out: {error.filename or folder} cannot be written: {error.strerror}") from None
        yield begun


def check_resumable(folder: Path) -> None:
    """Raise InputError unless a run has begun in the folder, or the folder is empty."""
    if not folder.is_dir() or not (is_empty(folder) or (folder / EVENTS).exists() or (folder / _PLAN).is_dir()):
        raise InputError(f"--resume: {folder} holds no run to go on with; leave --resume out")


def remove_all_partials(folder: Path) -> None:
    """Remove the partial files of killed processes from a run's folder."""
    for place in (folder, folder / _PLAN, folder / CHECKPOINTS, folder / IMAGES):
        remove_partials(place)


def finished_result(folder: Path, plan: Plan, selection: str) -> Result | None:
    """Return the result of a completed run of this plan on this backend, if it and its weights are as written."""
    try:
        result = load_result(folder)
    except InputError:
        return None
    is_ours = (result.plan_digest, result.backend.name) == (plan.digest, selection)
    return result if is_ours and _is_intact(folder, result) else None


def was_changed(folder: Path) -> bool:
    """Return whether `result.json` is not what the run wrote; False also if that cannot be known."""
    try:
        end, content = ended(folder), read_regular(folder / RESULT)
    except InputError:
        return False
    return end is not None and end.result != hashlib.sha256(content).hexdigest()


def _is_intact(folder: Path, result: Result) -> bool:
    if result.status != "completed" or not result.weights or was_changed(folder):
        return False
    try:
        content = read_regular(folder / Path(result.weights.path).name, 2**35)
    except InputError:
        return False
    return hashlib.sha256(content).hexdigest() == result.weights.sha256


def _take_up(folder: Path, plan: Plan, attempt: RunAttempted, others: OtherSoftware) -> bool:
    """Check that what is in the folder is this run's; returns whether there is anything to go on with."""
    check_resumable(folder)
    last, has_rounds = _last_attempt(folder, plan, attempt)
    _check_result(folder, attempt.backend)
    if last and has_rounds and (found := software_differences(last.software, attempt.software)):
        if others == "refuse":
            raise InputError(
                f"{folder} was begun by other software, which may compute otherwise: {'; '.join(found)}; resume it "
                "with the same, begin another run, or go on nevertheless with --anyway"
            )
        if others == "begin again":
            _forget(folder)
            return False
    return last is not None


def _has_plan(folder: Path, plan: Plan) -> bool:
    """Return whether the folder has this plan; a damaged one is none. Raises InputError if it has another."""
    try:
        found = Plan.load(folder / _PLAN).digest
    except InputError:
        return False
    if found != plan.digest:
        raise _other_plan(folder, found, plan)
    return True


def _last_attempt(folder: Path, plan: Plan, attempt: RunAttempted) -> tuple[RunAttempted | None, bool]:
    """Return the last attempt at this run, and whether any round was done."""
    last, has_rounds = None, False
    for event in read_events(folder) if (folder / EVENTS).exists() else ():
        if isinstance(event, RunAttempted):
            last = event
            if event.plan != plan.digest:
                raise _other_plan(folder, event.plan, plan)
            if event.backend != attempt.backend:
                raise InputError(f"{folder} is a run on {event.backend}, not {attempt.backend}; resume it there")
        has_rounds = has_rounds or isinstance(event, RoundFinished)
    return last, has_rounds


def _other_plan(folder: Path, found: str, plan: Plan) -> InputError:
    return InputError(
        f"{folder} is a run of plan {found[:12]}, but this spec compiles into {plan.digest[:12]}; "
        "resume with the spec, data and packages that it began with"
    )


def _check_result(folder: Path, selection: str) -> None:
    """Raise InputError if the run is complete, or is another backend's."""
    try:
        result = load_result(folder)
    except InputError:
        return
    if result.status == "completed" and result.backend.name != selection:
        raise InputError(f"{folder} is a run on {result.backend.name}, not {selection}; choose another folder")
    if _is_intact(folder, result):
        raise InputError(f"{folder} is complete; there is nothing to resume")


def _forget(folder: Path) -> None:
    """Remove what a run recorded, and its states: they are not to be mixed with others."""
    for made in (CHECKPOINTS, IMAGES):
        shutil.rmtree(folder / made, ignore_errors=True)
    for name in (RESULT, EVENTS):
        (folder / name).unlink(missing_ok=True)


def _fill(folder: Path, plan: Plan, source: str) -> None:
    """Write the spec if it is missing, with its part files, so that it runs again from here; and put a result aside
    that cannot be read or claims more than is there.
    """
    texts = {_SPEC: source, **(files.sources if (files := part_files_of(plan.settings)) else {})}
    for path, text in texts.items():
        if not (folder / path).exists():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            write_atomically(folder / path, text.encode())
    if not (folder / RESULT).exists():
        return
    try:
        is_sound = load_result(folder).status != "completed"  # an intact one has been refused
    except InputError:
        is_sound = False
    if not is_sound:
        (folder / RESULT).replace(folder / f"{RESULT}.damaged")
