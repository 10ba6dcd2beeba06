"""Part files of classes and functions that are given as Python's objects.

What a script or notebook defines is taken out of it (`core.extracts`) into one text, `from_python.py`. Of what is
defined in a module of one's own, the module's file is the part, as if the spec named it, so both have one digest. What
an installed distribution has needs no file.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from types import ModuleType
from typing import Any

from flspec.core.extracts import Chunk, chunks_of, extracted, text_of
from flspec.core.origins import EXTRACT
from flspec.core.own_modules import is_own_module, path_of_module, text_of_module, with_own_imports
from flspec.core.part_files import is_from_part_file, known_files, module_name
from flspec.core.reading import read_regular
from flspec.errors import InputError, Problem, SpecError
from flspec.spec.overlays import Draft, Origin
from flspec.spec.yaml_reader import KeyPath

__all__ = ["EXTRACT", "GivenDefinition", "module_name", "with_given_parts"]

_HEADING = "Taken by flspec from a script or notebook: what its parts are made of."

GivenDefinition = tuple[KeyPath, Origin, Callable[..., Any]]  # where an object stands, and what defines it


def with_given_parts(draft: Draft, given: Iterable[GivenDefinition]) -> Draft:
    """Return a draft that names the files of what is given as parts, beside its own, and has their texts.

    Raises SpecError for all that no file can hold.
    """
    named, texts, chunks, problems = dict[str, Origin](), dict[str, str](), dict[Chunk, None](), list[Problem]()
    for path, origin, definition in given:
        try:
            files, more = _files_of(definition)
        except InputError as error:
            problems.append(Problem(str(error), ".".join(map(str, path)), origin.source))
            continue
        chunks |= dict.fromkeys(more)
        texts |= files
        named |= dict.fromkeys([*files, *([EXTRACT] if more else [])], origin)
    if problems:
        raise SpecError(list(dict.fromkeys(problems)))
    if not named:
        return draft
    if chunks:
        texts[EXTRACT] = _merged(_extract_of(draft), list(chunks))
    return _naming(draft, named, {**draft.texts, **with_own_imports(texts)})


def _extract_of(draft: Draft) -> str:
    """Return what was taken out of a script before, as the spec of a run's folder has it beside itself."""
    if EXTRACT in draft.texts or not draft.folders or EXTRACT not in (draft.value.get("parts") or ()):
        return draft.texts.get(EXTRACT, "")
    try:
        return read_regular(draft.folders[0] / EXTRACT, 2**20).decode(errors="replace")
    except InputError:
        return ""  # which reading the parts tells


def _files_of(definition: Callable[..., Any]) -> tuple[dict[str, str], list[Chunk]]:
    """Return the texts of the files to be named for a definition, by path, and what is taken out of a script."""
    module, name = definition.__module__, definition.__qualname__
    if "<lambda>" in name or "<locals>" in name:
        inside = name.partition(".<locals>")[0]
        raise InputError(
            f"{name.rpartition('.')[2]} is defined inside of {inside}, so it may need what only a call of that knows; "
            "define it at the top level, or put it into a file of parts"
        )
    if is_from_part_file(module):
        return _of_other_parts(module)
    if module == "__main__":
        return {}, extracted(main := sys.modules["__main__"], _bound_as(main, definition))
    if is_own_module(module):
        return {path_of_module(module): text_of_module(module)}, []
    if not hasattr(sys.modules.get(module), "__file__"):
        raise InputError(f"{name} is defined in no file; put it into one")
    return {}, []  # of an installed distribution


def _of_other_parts(module: str) -> tuple[dict[str, str], list[Chunk]]:
    """Return the file of a part that another spec has."""
    files = known_files(module)
    assert files is not None
    path = files.path_of(module.partition(".")[2])
    assert path is not None
    return ({}, chunks_of(files.sources[path])) if path == EXTRACT else ({path: files.sources[path]}, [])


def _bound_as(main: ModuleType, definition: Callable[..., Any]) -> str:
    """Return the name that a script has for a definition. Raises InputError if it has none any more."""
    name = definition.__qualname__.partition(".")[0]
    top, made = vars(main).get(name), definition
    for part in definition.__qualname__.split(".")[1:]:
        top = getattr(top, part, None)
    if top is made or getattr(top, "of", None) is made:
        return name
    for other, value in vars(main).items():
        if getattr(value, "of", None) is made:  # a metric under another name
            return other
    raise InputError(f"{name} was defined anew since this was made of it, or deleted; make it again")


def _merged(before: str, chunks: list[Chunk]) -> str:
    """Return a text of chunks and of those that were there before and whose names they do not define."""
    names = {name for chunk in chunks if not chunk.is_import for name in chunk.names}
    every = [chunk for chunk in chunks_of(before) if chunk.is_import or not chunk.names & names] + chunks
    used = {name for chunk in every for name in chunk.needs}
    return text_of([chunk for chunk in every if not chunk.is_import or chunk.names & used], _HEADING)


def _naming(draft: Draft, named: Mapping[str, Origin], texts: Mapping[str, str]) -> Draft:
    """Return a draft with files among its `parts`, and with their texts."""
    parts = draft.value.get("parts") or []
    if not isinstance(parts, list):
        return draft  # validation tells what is wrong with it
    new = {path: origin for path, origin in named.items() if path not in parts}
    origins: dict[KeyPath, Origin] = {} if parts else {("parts",): next(iter(named.values()))}
    origins |= {("parts", len(parts) + number): origin for number, origin in enumerate(new.values())}
    return replace(
        draft,
        value={**draft.value, "parts": [*parts, *new]},
        origins={**draft.origins, **origins},
        texts=texts,
        original=None,
    )
