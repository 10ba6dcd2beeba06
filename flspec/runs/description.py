"""One run in words and numbers: what it is, who said each of its settings, what can be done with it now."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path

from flspec.core.components import Document
from flspec.core.files import num_bytes
from flspec.core.reading import read_regular
from flspec.errors import InputError
from flspec.execution.software import software_differences
from flspec.protocol.records import Result
from flspec.runs.folders import was_changed
from flspec.runs.found import FoundRun, Status, check_run, found_run
from flspec.runs.result import load_result
from flspec.spec.overlays import Draft, draft_of_text, draft_of_tree
from flspec.spec.provenance import Provenance, provenance_of

__all__ = ["RunDescription", "describe_run"]

_SPEC = "spec.yaml"
_ARGUMENT = re.compile(r" --set ([A-Za-z_][\w.]*)=")


class RunDescription(Document):
    """A run as it stands in its folder."""

    folder: str
    num_bytes: int
    status: Status
    why: str  # it is not finished
    name: str
    plan_digest: str
    backend: str
    started: str
    written_as: str  # the files and settings that its spec was put together from, if there were several
    commands: tuple[str, ...]  # that repeat it, or go on with it
    remarks: tuple[str, ...]
    settings: tuple[Provenance, ...]
    result: Result | None  # None if there is none that can be read


def describe_run(folder: str | Path) -> RunDescription:
    """Describe the run in a folder, whatever became of it; raises InputError if there is none."""
    folder = Path(folder)
    check_run(folder)
    found, heading = found_run(folder), ""
    text = _text(folder / _SPEC)
    if text.startswith("# "):
        heading = text.partition("\n")[0].removeprefix("# ")
    return RunDescription(
        folder=str(folder),
        num_bytes=num_bytes(folder),
        status=found.status,
        why=found.why,
        name=str(found.spec.get("name", folder.name)),
        plan_digest=found.plan_digest,
        backend=found.backend,
        started=found.started,
        written_as=heading if "--set" in heading or " extends " in heading or ", small" in heading else "",
        commands=tuple(_commands(found)),
        remarks=tuple(_remarks(found)),
        settings=tuple(_with_arguments(provenance_of(found.spec, _draft(text, found)), heading)),
        result=load_result(folder) if found.result else None,
    )


def _text(path: Path) -> str:
    try:
        return read_regular(path, 2**20).decode(errors="replace")
    except InputError:
        return ""


def _draft(text: str, found: FoundRun) -> Draft:
    """Return the run's spec with its places; without places, if its text is gone or is another one."""
    try:
        return draft_of_text(text.encode(), _SPEC)
    except InputError:
        return draft_of_tree({}, str(found.folder))


def _with_arguments(settings: Iterable[Provenance], heading: str) -> Iterator[Provenance]:
    """Yield settings with `--set` as the origin of those that the stored spec's heading gives as arguments."""
    given = _ARGUMENT.findall(heading)
    for one in settings:
        is_given = one.origin != "default" and any(
            one.path == path or one.path.startswith(f"{path}.") for path in given
        )
        yield one.model_copy(update={"origin": "--set"}) if is_given else one


def _commands(found: FoundRun) -> Iterator[str]:
    spec, folder = str(found.folder / _SPEC), str(found.folder)
    options = ["--backend", found.backend] if found.backend else []
    if found.status == "finished":
        yield shlex.join(["flspec", "reproduce", folder])
    elif found.status != "running":
        yield shlex.join(["flspec", "run", spec, *options, "--out", folder, "--resume"])
    yield shlex.join(["flspec", "run", spec, *options])


def _remarks(found: FoundRun) -> Iterator[str]:
    if was_changed(found.folder):
        yield "result.json is not as the run wrote it; it was changed since, so do not rely on it"
    if result := found.result:
        earlier = (what for one in result.earlier for what in software_differences(one, result.software))
        if mixed := "; ".join(dict.fromkeys(earlier)):
            yield f"begun by other software than it was ended by: {mixed}"
        if result.native:
            yield f"ran {result.native.in_words}"
