"""Clients as listed in a file."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from flspec.core.locations import Location, locate
from flspec.core.randomness import Stream
from flspec.core.reading import JSON_VALUE, read_json
from flspec.data.examples import Examples
from flspec.errors import InputError, shorten
from flspec.partitioners.base import ClientIndices, Partitioner
from flspec.partitioners.dealing import held_by

_Pair = tuple[str, int]  # a client's name, and the index of one of its examples


class Explicit(Partitioner):
    """A file says which client has which training example; an example that it leaves out belongs to no client.

    CSV has the heading `client,example` and one example a row, by its index from 0. JSON is a mapping of clients to
    lists of indices, or a list with the client of each example, null for none. Clients numbered 0, 1, ... without a gap
    keep their numbers; others are numbered in order of appearance. The plan has the split, not the file.
    """

    kind: Literal["explicit"] = "explicit"
    file: Annotated[
        Location,
        Field(
            description="CSV or JSON, below the data root, beside the spec, or absolute; ${env:NAME} is replaced",
            examples=["splits/clients.csv"],
        ),
    ]

    def split(self, examples: Examples, stream: Stream) -> ClientIndices:
        path = locate(self.file, examples.root, "partition.file")
        try:
            text = read_json(path, JSON_VALUE).decode("utf-8-sig")
        except InputError as error:
            raise InputError(f"partition.file: {error}") from None
        except UnicodeDecodeError:
            raise InputError(f"partition.file: {path} is not UTF-8 text; save it as UTF-8") from None
        try:
            pairs = list(_read(path, text, len(examples)))
            return held_by(_owners(pairs, len(examples)), len({name for name, _ in pairs}))
        except _Wrong as wrong:
            raise InputError(f"partition.file: {path}: {wrong}") from None


class _Wrong(Exception):
    """An error in the file's content."""


def _read(path: Path, text: str, num_examples: int) -> Iterator[_Pair]:
    match path.suffix.lower():
        case ".csv":
            return _from_csv(text)
        case ".json":
            return _from_json(text, num_examples)
    raise _Wrong(f"{shorten(path.suffix) or 'no ending'} is not known; give a .csv or .json file")


def _from_csv(text: str) -> Iterator[_Pair]:
    rows = csv.reader(io.StringIO(text, newline=""))
    try:
        heading = [name.strip().lower() for name in next(rows, [])]
        if sorted(heading) != ["client", "example"]:
            raise _Wrong(f"its heading is {shorten(','.join(heading)) or 'empty'}, not client,example; correct it")
        client, example = heading.index("client"), heading.index("example")
        for row in rows:
            if not row:
                continue
            if len(row) != 2 or not row[client].strip():
                raise _Wrong(f"line {rows.line_num} is not a client and an example: {shorten(','.join(row))!r}")
            yield row[client].strip(), _index(row[example].strip(), f"line {rows.line_num}")
    except csv.Error as error:
        raise _Wrong(f"line {rows.line_num}: {error}") from None


def _from_json(text: str, num_examples: int) -> Iterator[_Pair]:
    try:
        document = json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise _Wrong(f"is no JSON: {error}") from None
    if isinstance(document, dict):
        for client, indices in document.items():
            if not isinstance(indices, list):
                raise _Wrong(f"client {shorten(client)} has no list of examples")
            yield from ((client, _index(index, f"client {shorten(client)}")) for index in indices)
    elif isinstance(document, list):
        if len(document) != num_examples:
            raise _Wrong(f"lists {len(document):,} clients for {num_examples:,} examples; give one an example, or null")
        for index, client in enumerate(document):
            if client is not None:
                yield _name(client, index), index
    else:
        raise _Wrong("is neither a mapping of clients to examples nor a list of clients")


def _unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise _Wrong(f"client {shorten(name)} appears twice; put its examples together")
        found[name] = value
    return found


def _name(client: Any, index: int) -> str:
    if isinstance(client, bool) or not isinstance(client, (int, str)) or client == "":
        raise _Wrong(f"the client of example {index} is {shorten(str(client))}; give a number, a name or null")
    return str(client)


def _index(value: Any, where: str) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 19:
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise _Wrong(f"{where}: {shorten(str(value))!r} is no index of an example; they are numbered from 0")


def _owners(pairs: list[_Pair], num_examples: int) -> np.ndarray:
    """Return the client of each example, by number; -1 for none."""
    if not pairs:
        raise _Wrong("gives no example to any client")
    names = list(dict.fromkeys(name for name, _ in pairs))
    numbered = [str(number) for number in range(len(names))]
    number_of = {name: number for number, name in enumerate(numbered if set(names) == set(numbered) else names)}
    owners = np.full(num_examples, -1, np.int64)
    for name, index in pairs:
        if index >= num_examples:
            raise _Wrong(f"client {shorten(name)} has example {index}, but there are {num_examples:,}, from 0")
        if owners[index] >= 0:
            other = list(number_of)[owners[index]]
            raise _Wrong(f"example {index} is given to client {shorten(other)} and client {shorten(name)}; remove one")
        owners[index] = number_of[name]
    return owners
