"""Specs from Python's values, and a spec's values as Python's: what a file could say, and no more."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from numbers import Integral, Real
from pathlib import Path, PurePath
from typing import Any

from flspec.core.components import Document
from flspec.errors import Problem, SpecError, shorten
from flspec.spec.given_parts import GivenDefinition, with_given_parts
from flspec.spec.overlays import Draft, Origin, Override, collisions, draft_of_tree
from flspec.spec.python_objects import definitions_in, is_object, said, why_no_part
from flspec.spec.yaml_reader import KeyPath, dotted

__all__ = ["definitions_of", "draft_of_mapping", "draft_of_spec", "settings_of", "stated", "with_parts_given"]

_SOURCE, _PARTS = "spec", "load_spec(parts=)"  # stand where messages name a file
_MOST_DEPTH = 32
_NO_UNICODE = "has characters that no text file can hold; write it without them"
_NOT_SET = {
    "extends": "only a file can extend another; write it there",
    "small": "a spec is the experiment or its small variant; load that with small=True",
    "matrix": "a spec is one experiment; write spec.with_matrix({path: [values]}, seeds=[...])",
}


def draft_of_mapping(values: Mapping[str, Any]) -> Draft:
    """Return the draft of a dictionary. It lies in the working folder, as a file there would.

    Raises SpecError with every value that no file could hold.
    """
    draft = draft_of_tree(_plain_or_refused(values, _SOURCE), _SOURCE, (Path.cwd(),))
    return with_given_parts(draft, definitions_of(values))


def draft_of_spec(
    spec: Document,
    folders: tuple[Path, ...],
    beside: Mapping[str, Any] | None = None,
    texts: Mapping[str, str] | None = None,
) -> Draft:
    """Return the draft of what a spec states, with other sections beside it; `texts` are its parts that are given."""
    others = beside or {}
    draft = draft_of_tree({**stated(spec), **_plain_or_refused(others, _SOURCE)}, _SOURCE, folders)
    return with_given_parts(replace(draft, texts=texts or {}), definitions_of(others))


def with_parts_given(draft: Draft, parts: Sequence[Any]) -> Draft:
    """Return a draft that has objects as parts, too; raises SpecError for what is none."""
    values = {"parts": list(parts)}
    if problems := list(_problems(values, (), _PARTS)):
        raise SpecError(problems)
    return with_given_parts(draft, definitions_of(values, (), _PARTS))


def definitions_of(value: Any, path: KeyPath = (), source: str = _SOURCE) -> Iterator[GivenDefinition]:
    """Yield what defines the objects in values, each with its place."""
    if isinstance(value, Mapping):
        for key, one in value.items():
            yield from definitions_of(one, (*path, key), source)
    elif _is_list(value):
        for number, one in enumerate(value):
            yield from definitions_of(one, (*path, number), source)
    else:
        yield from ((path, Origin(source), definition) for definition in definitions_in(value))


def settings_of(values: Mapping[str, Any]) -> list[Override]:
    """Return settings by path, as {"client.epochs": 3}; raises SpecError with all of their problems."""
    settings: list[Override] = []
    problems: list[Problem] = []
    for name, value in values.items():
        source, path = f"with_({shorten(name)})", tuple(name.split("."))
        found = list(_problems(value, path, source))
        if not all(path) or not _is_unicode(name):
            found = [Problem("expected a path, as client.epochs", file=source)]
        elif path[0] in _NOT_SET:
            found = [Problem(_NOT_SET[path[0]], path[0], source)]
        problems += found
        if not found:
            settings.append(Override(path, _plain(value, path), Origin(source)))
    problems += collisions(settings)
    if problems:
        raise SpecError(problems)
    return settings


def stated(document: Document) -> dict[str, Any]:
    """Return what was written of a document, without its defaults; kinds are always there."""
    dumped = document.model_dump(mode="json")
    names = document.model_fields_set | {"kind"}
    return {name: _stated(getattr(document, name), one) for name, one in dumped.items() if name in names}


def _stated(value: Any, dumped: Any) -> Any:
    match value:
        case Document() if isinstance(dumped, dict):
            return stated(value)
        case Mapping() if isinstance(dumped, dict):
            return {key: _stated(one, dumped[str(key)]) for key, one in value.items()}
        case tuple() | list() if isinstance(dumped, list):
            return [_stated(one, other) for one, other in zip(value, dumped, strict=True)]
    return dumped


def _plain_or_refused(values: Mapping[str, Any], source: str) -> dict[str, Any]:
    if problems := list(_problems(values, (), source)):
        raise SpecError(problems)
    return {key: _plain(value, (key,)) for key, value in values.items()}


def _problems(value: Any, path: KeyPath, source: str) -> Iterator[Problem]:
    """Yield each place whose value no file could hold, with what could stand there."""
    if len(path) > _MOST_DEPTH:
        yield Problem(f"more than {_MOST_DEPTH} levels deep; is it inside itself?", dotted(path[:4]), source)
    elif isinstance(value, Mapping):
        for key, one in value.items():
            if isinstance(key, str) and _is_unicode(key):
                yield from _problems(one, (*path, key), source)
            elif isinstance(key, str):
                yield Problem(f"the key {shorten(repr(key))} {_NO_UNICODE}", dotted(path), source)
            else:
                yield Problem(f"the key {shorten(repr(key))} is not a text; write it in quotes", dotted(path), source)
    elif _is_list(value):
        for number, one in enumerate(value):
            yield from _problems(one, (*path, number), source)
    elif message := _why_not_plain(value):
        yield Problem(message, dotted(path), source)


def _why_not_plain(value: Any) -> str | None:
    if isinstance(value, Real) and not math.isfinite(value):
        return f"{value} is not a finite number; give one"
    if isinstance(value, str | PurePath) and not _is_unicode(str(value)):
        return f"{shorten(repr(value))} {_NO_UNICODE}"
    if value is None or isinstance(value, Document | str | PurePath | Real) or _is_numpy_bool(value):
        return None
    if is_object(value):
        return None
    if why := why_no_part(value):
        return why
    what = shorten(repr(value))
    return f"{what} is a {type(value).__name__}, which no spec can hold; give a number, text, list or dict"


def _is_unicode(text: str) -> bool:
    """Return whether a text has no half of a surrogate pair, as undecodable file names have."""
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def _plain(value: Any, path: KeyPath) -> Any:
    """Return a value as a file would give it: numpy's numbers as Python's, tuples as lists, paths as text."""
    if is_object(value):
        return said(value, next((key for key in reversed(path) if isinstance(key, str)), ""))
    match value:
        case Document():
            return stated(value)
        case Mapping():
            return {key: _plain(one, (*path, key)) for key, one in value.items()}
        case str():
            return str(value)
        case PurePath():
            return str(value)
        case None | bool():
            return value
        case Integral():
            return int(value)
        case Real():
            return float(value)
    if not _is_list(value):
        return bool(value)
    items = [one for one in value if not (path == ("parts",) and is_object(one))]  # these become files
    return [_plain(one, (*path, number)) for number, one in enumerate(items)]


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray | memoryview)


def _is_numpy_bool(value: Any) -> bool:
    return type(value).__module__ == "numpy" and type(value).__name__ in ("bool", "bool_")
