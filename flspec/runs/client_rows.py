"""`clients.csv`: a row for each client of each round, beside a run's result.

    round,client,name,examples,trained,loss,accuracy,update_norm,seconds,dropped

`name` is what the data call the client, if they do. `examples` is how many it has, `trained` how many it trained on in
this round, where an example counts once per use. Its training metrics are means over those, each measured before the
step that uses it; no engine measures a loss over all examples before and after. `update_norm` is the Euclidean norm of
its update as it arrived; `seconds` is the wall clock of its training; `dropped` says why its update did not count. An
empty cell is unknown. The result says what the engine knows of no client.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path

from flspec.core.files import name_file
from flspec.data.client_names import names_of_clients
from flspec.data.store import open_data
from flspec.protocol.events import RoundFinished
from flspec.protocol.plan import Plan
from flspec.protocol.records import ClientRows, Failure

__all__ = ["CLIENT_ROWS", "ClientTable", "unwritten_rows", "wants_client_rows"]

CLIENT_ROWS = "clients.csv"
_USUAL = ("loss", "update_norm", "seconds")  # what an engine may not know of any client
_PRIVATE = "the run is private, and no epsilon covers what each client measured; client_rows: true writes it"
_LEAKS = "no epsilon covers what each client measured: whoever has this file learns of single clients"


def wants_client_rows(plan: Plan) -> bool:
    """Return whether a run of this plan writes rows by client: as its spec says, else unless it is private."""
    asked = plan.spec.get("client_rows")
    return plan.settings.privacy is None if asked is None else bool(asked)


def unwritten_rows(plan: Plan) -> ClientRows | None:
    """Return why a run wrote no rows, if its spec or its privacy is the reason."""
    if wants_client_rows(plan):
        return None
    return ClientRows(note=_PRIVATE if plan.settings.privacy else "client_rows is false")


class ClientTable:
    """A writer of the table, round by round. A resumed run writes the rounds before again, into a new file."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self._plan, self._path = plan, folder / CLIENT_ROWS
        self._columns: list[str] = []  # of the first round that has a cohort
        self._known: set[str] = set()  # those in which there is a value
        self._waiting: list[dict[str, object]] = []  # rows of rounds before
        self._names: tuple[str, ...] = ()

    @property
    def record(self) -> ClientRows:
        """What the result says of the table."""
        if not self._columns:
            return ClientRows(note="no client trained")
        missing = tuple(name for name in _USUAL if name not in self._known)
        return ClientRows(path=CLIENT_ROWS, missing=missing, note=_LEAKS if self._plan.settings.privacy else None)

    def add(self, event: RoundFinished, failures: Iterable[Failure]) -> None:
        """Write the rows of a round: of its cohort, and of clients that a fault kept from it."""
        self._waiting += [*_of_cohort(event), *_absent(event, failures)]
        self._known |= {name for name, column in event.clients.items() if any(value is not None for value in column)}
        if event.cohort and not self._columns:
            self._begin(event)
        if self._columns:
            self._write("a", map(self._named, self._waiting))
            self._waiting = []

    def _begin(self, event: RoundFinished) -> None:
        self._columns = ["round", "client", "name", "examples", *event.clients, "dropped"]
        self._names = names_of_clients(self._plan, open_data(self._plan.settings.data))
        self._write("w", [dict(zip(self._columns, self._columns, strict=True))])

    def _named(self, row: dict[str, object]) -> dict[str, object]:
        client = row["client"]
        assert isinstance(client, int)
        name = self._names[client] if self._names else ""
        return {**row, "name": name, "examples": len(self._plan.client_examples(client))}

    def _write(self, mode: str, rows: Iterable[dict[str, object]]) -> None:
        try:
            with self._path.open(mode, encoding="utf-8", newline="") as file:
                csv.DictWriter(file, self._columns, extrasaction="ignore", lineterminator="\n").writerows(rows)
        except OSError as error:
            name_file(error, self._path)
            raise


def _of_cohort(event: RoundFinished) -> Iterator[dict[str, object]]:
    for place, client in enumerate(event.cohort):
        measured = {name: column[place] for name, column in event.clients.items()}
        if (trained := measured.get("trained")) is not None:
            measured["trained"] = int(trained)
        yield {"round": event.round, "client": client, **measured, "dropped": event.dropped.get(place, "")}


def _absent(event: RoundFinished, failures: Iterable[Failure]) -> Iterator[dict[str, object]]:
    for failure in failures:
        if failure.client not in event.cohort:
            yield {"round": event.round, "client": failure.client, "trained": 0, "dropped": failure.reason}
