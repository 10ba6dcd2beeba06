"""Clients that can take part at some times only: as a file says, or by day and night."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveInt, PrivateAttr, model_validator

from flspec.core.components import Document
from flspec.core.locations import Location, locate
from flspec.core.randomness import Stream
from flspec.core.reading import read_regular
from flspec.errors import InputError, shorten
from flspec.samplers.base import Sampler, Sampling


class Day(Document):
    """Clients that are awake for a part of each day, which begins for each client at a time of its own, drawn once."""

    rounds: Annotated[PositiveInt, Field(description="of one day", examples=[24])]
    awake: Annotated[float, Field(gt=0, le=1, description="share of the day", examples=[0.4])]

    def is_available(self, number: int, num_clients: int, stream: Stream) -> NDArray[np.bool_]:
        """[num_clients]: who is awake in round `number`, from 1."""
        starts = np.floor(stream.child("days").uniform(num_clients) * self.rounds)
        hours = (number - 1 + starts) % self.rounds
        return np.asarray(hours < self.awake * self.rounds)


class Available(Sampler):
    """Of the clients that are available in a round, `size`, every such set being equally likely; all if they are fewer.

    A round in which fewer than `min_available` are available has no client: it passes, and the weights stay. A `trace`
    is a CSV file with the heading `client,from,to`: a client by its number from 0, and the first and last round in
    which it is available; a client may have several rows. After the last round that it names, a trace starts anew.
    """

    kind: Literal["available"] = "available"
    may_be_empty = True
    size: Annotated[PositiveInt, Field(description="clients a round, if so many are available", examples=[2])]
    day: Annotated[Day, Field(description="day and night; or give trace")] = Day(rounds=24, awake=0.5)
    trace: Annotated[
        Location | None,
        Field(
            description="CSV file, below the data root, beside the spec, or absolute; or give day",
            examples=["available.csv"],
        ),
    ] = None
    min_available: Annotated[PositiveInt, Field(description="a round with fewer available clients has none")] = 1
    _spans: NDArray[np.int64] | None = PrivateAttr(None)  # [rows, 3]: client, first and last round

    @model_validator(mode="after")
    def _says_when(self) -> Available:
        if self.trace is not None and "day" in self.model_fields_set and self.day != Day(rounds=24, awake=0.5):
            raise ValueError("day and trace both say when clients are available; give one")
        return self

    def for_clients(self, sizes: NDArray[np.int64], root: Path) -> Sampler:
        if self.trace is None:
            return self
        known = self.model_copy()
        known._spans = _read(locate(self.trace, root, "cohort.trace"), len(sizes))
        return known

    def cohort(self, num_clients: int, stream: Stream) -> NDArray[np.int64]:
        """Return the first cohort."""
        return self.cohort_of(1, num_clients, stream)

    def cohort_of(self, number: int, num_clients: int, stream: Stream) -> NDArray[np.int64]:
        there = np.flatnonzero(self._available(number, num_clients, stream))
        if len(there) < self.min_available:
            return there[:0]
        return there if len(there) <= self.size else there[stream.child(number).choice(len(there), self.size)]

    def _available(self, number: int, num_clients: int, stream: Stream) -> NDArray[np.bool_]:
        if self.trace is None:
            return self.day.is_available(number, num_clients, stream)
        available = np.zeros(num_clients, bool)
        if self._spans is not None:
            clients, first, last = self._spans.T
            at = (number - 1) % int(last.max()) + 1
            available[clients[(first <= at) & (at <= last)]] = True
        return available

    def why_invalid(self, num_clients: int) -> str | None:
        if self.min_available <= num_clients:
            return None
        return f"min_available is {self.min_available}, but there are {num_clients} clients; lower it or add clients"

    def sampling(self, num_clients: int) -> Sampling:
        share = self.day.awake if self.trace is None else 1.0
        return Sampling("unknown", min(self.size, max(1.0, share * num_clients)))


def _read(path: Path, num_clients: int) -> NDArray[np.int64]:
    """Return the rows of a trace; raises InputError with the line that cannot be read."""
    try:
        rows = csv.reader(io.StringIO(read_regular(path).decode("utf-8-sig"), newline=""))
    except InputError as error:
        raise InputError(f"cohort.trace: {error}") from None
    except UnicodeDecodeError:
        raise InputError(f"cohort.trace: {path} is not UTF-8 text; save it as UTF-8") from None
    if (heading := [name.strip() for name in next(rows, [])]) != ["client", "from", "to"]:
        raise InputError(f"cohort.trace: {path}: its heading is {shorten(','.join(heading))}, not client,from,to")
    spans = [_span(path, rows.line_num, row, num_clients) for row in rows if row]
    if not spans:
        raise InputError(f"cohort.trace: {path} has no rows; a trace says when somebody is available")
    return np.array(spans, np.int64)


def _span(path: Path, line: int, row: list[str], num_clients: int) -> tuple[int, int, int]:
    try:
        client, first, last = (int(cell) for cell in row)
    except ValueError:
        raise InputError(f"cohort.trace: {path}:{line}: {shorten(','.join(row))} is not three whole numbers") from None
    if not 0 <= client < num_clients:
        raise InputError(f"cohort.trace: {path}:{line}: {client} is no client; there are {num_clients}, counted from 0")
    if not 1 <= first <= last < 2**31:
        raise InputError(f"cohort.trace: {path}:{line}: from {first} to {last}; rounds count from 1, first to last")
    return client, first, last
