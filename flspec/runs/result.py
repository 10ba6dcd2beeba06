"""The result of a run as a file, `result.json`."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Iterator
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from flspec.core.files import write_atomically
from flspec.core.reading import PYDANTIC_VALUE, check_json, check_json_parts, read_regular
from flspec.errors import InputError
from flspec.protocol.events import RunEnded
from flspec.protocol.records import (
    BackendInfo,
    BestRecord,
    Failure,
    FinalRecord,
    Result,
    RoundRecord,
    Seconds,
    WeightsFile,
)
from flspec.runs.event_log import append_events

__all__ = [
    "RESULT",
    "BackendInfo",
    "BestRecord",
    "Failure",
    "FinalRecord",
    "Result",
    "RoundRecord",
    "Seconds",
    "WeightsFile",
    "describe_environment",
    "load_result",
    "save_result",
]


RESULT = "result.json"
_ROUNDS, _NEXT, _END = b'\n  "rounds": [\n', b"\n    },\n", b"\n  ]"  # as `model_dump_json(indent=2)` writes them


def save_result(folder: Path, result: Result) -> None:
    """Write `result.json`, whole or not at all, and before it its digest into the run's events.

    Raises OSError, which names the file.
    """
    content = (result.model_dump_json(indent=2) + "\n").encode()
    with append_events(folder) as log:
        log.write(RunEnded(status=result.status, result=hashlib.sha256(content).hexdigest()))
    write_atomically(folder / RESULT, content)


def load_result(folder: Path) -> Result:
    """Read a run's result; raises InputError if there is none or it is not valid.

    Rounds are parsed one by one where the file is as `save_result` writes it: what pydantic takes for a moment is
    fifteen times what it leaves, so a result of a hundred thousand rounds would be too large otherwise.
    """
    path = folder / RESULT
    try:
        content = read_regular(path)
        if (parts := _parts(content)) and (result := _by_rounds(path, *parts)):
            return result
        check_json(content, path, PYDANTIC_VALUE)
    except InputError as error:
        raise InputError(f"{folder}: no readable result.json ({error}); name a run's folder") from None
    try:
        return Result.model_validate_json(content)
    except ValidationError as error:
        raise InputError(f"{path}: {_why_not(content, error)}") from None


def _parts(content: bytes) -> tuple[bytes, Iterator[bytes]] | None:
    """Return a result without its rounds, and each of these; None unless it is written as flspec writes it.

    A string has no line feed, so lines are told apart by how far they are indented.
    """
    first = content.find(_ROUNDS) + len(_ROUNDS)
    end = content.find(_END, first) + 1
    if first < len(_ROUNDS) or not end:
        return None

    def rounds(start: int) -> Iterator[bytes]:
        while (stop := content.find(_NEXT, start, end)) >= 0:
            yield content[start : stop + len(_NEXT) - 2]  # up to the brace
            start = stop + len(_NEXT)
        yield content[start:end]

    return content[:first] + content[end:], rounds(first)


def _by_rounds(path: Path, rest: bytes, rounds: Iterator[bytes]) -> Result | None:
    """Return the result that the parts make; None if they are not valid, and the whole is to say why."""
    parts = check_json_parts(chain([rest], rounds), path)
    try:
        without = Result.model_validate_json(next(parts))
        return without.model_copy(update={"rounds": tuple(map(RoundRecord.model_validate_json, parts))})
    except ValidationError:
        return None


def describe_environment() -> dict[str, Any]:
    """Return facts about this machine and its software that may matter to a reader of the result."""
    return {
        "flspec": version("flspec"),
        "python": platform.python_version(),
        "numpy": version("numpy"),
        "platform": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpus": os.cpu_count() or 1,
    }


def _why_not(content: bytes, error: ValidationError) -> str:
    try:
        document = json.loads(content)
        if isinstance(document, dict) and document.get("schema_version") not in (None, 1):
            return f"schema_version {document['schema_version']} is unknown to this flspec; upgrade flspec"
    except (ValueError, RecursionError):
        return "not valid JSON; was it cut short?"
    first = error.errors(include_url=False)[0]
    return f"not a result of this schema: {'.'.join(map(str, first['loc']))}: {first['msg']}"
