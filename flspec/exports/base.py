"""An export: one file of what is at some paths."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, ClassVar

from flspec.errors import InputError, printable
from flspec.measurements import Measurements, measurements_of
from flspec.measurements.outcomes import RoundChoice
from flspec.measurements.summary import Summary, summary_of

if TYPE_CHECKING:
    from flspec.api.models import Model

__all__ = ["Asked", "Export", "LongTable", "ModelExport", "PaperTable", "model_at"]


@dataclass(frozen=True)
class Asked:
    """What is to be exported, and how: what the options of the command say."""

    paths: tuple[Path, ...]
    metrics: tuple[str, ...] = ()
    round: RoundChoice = "last"
    by: tuple[str, ...] | None = None
    client: str | None = None  # whose model, by number or name

    @cached_property
    def measured(self) -> Measurements:
        """The measurements of the runs at the paths."""
        return measurements_of(self.paths)


class Export(ABC):
    """A kind of file."""

    is_text: ClassVar[bool] = True  # False: it can only be written to a file
    reads: ClassVar[frozenset[str]] = frozenset()  # the options of the command that make a difference

    @abstractmethod
    def write(self, asked: Asked, file: IO[Any]) -> str:
        """Write the file, and return what is in it, in a few words. Raises InputError before anything is written."""


class LongTable(Export):
    """The long table, a row at a time: everything that was measured, to go on with in other programs."""

    @abstractmethod
    def write_rows(self, measured: Measurements, rows: Iterator[tuple[Any, ...]], file: IO[Any]) -> None:
        """Write rows that have a cell for each of the columns: text, a number, None, or in an axis any JSON value."""

    def write(self, asked: Asked, file: IO[Any]) -> str:
        measured = asked.measured
        rows = measured.cells()
        first = next(rows, None)
        if first is None:
            raise InputError(f"nothing to export: none of {len(measured.runs):,} runs has a round")
        counted = _Counted(chain([first], rows))
        self.write_rows(measured, iter(counted), file)
        return f"{counted.num:,} rows of {len(measured.runs):,} {'run' if len(measured.runs) == 1 else 'runs'}"


class PaperTable(Export):
    """Means and deviations by axis, as a table for a paper."""

    reads = frozenset({"metric", "round", "by"})

    @abstractmethod
    def render(self, summary: Summary) -> str:
        """Return the table as text, with everything in it escaped."""

    def write(self, asked: Asked, file: IO[Any]) -> str:
        summary = summary_of(asked.measured, asked.metrics, asked.round, asked.by)
        file.write(self.render(_printable(summary)))
        return f"{len(summary.rows):,} {'row' if len(summary.rows) == 1 else 'rows'} of means and deviations"


class ModelExport(Export):
    """The model of one run, after a round."""

    is_text = False
    reads = frozenset({"round", "client"})

    @abstractmethod
    def content(self, model: Model) -> bytes:
        """Return the file."""

    def write(self, asked: Asked, file: IO[Any]) -> str:
        if len(asked.paths) != 1:
            raise InputError(f"PATH: a model is of one run, got {len(asked.paths)} paths; name one")
        model = model_at(asked.paths[0], asked.round, asked.client)
        file.write(self.content(model))
        return f"the model after round {model.round}"


def model_at(run: Path, round: RoundChoice, client: str | None) -> Model:
    """Return a run's model as the options of a command say which; raises InputError, which names the option."""
    from flspec.api.models import load_model  # with what a plan needs

    try:
        return load_model(run, round, client)
    except InputError as error:
        raise InputError(re.sub("^(which|client): ", _option, str(error))) from None


def _option(found: re.Match[str]) -> str:
    return "--round: " if found[1] == "which" else "--client: "


class _Counted:
    """An iterable that knows how many it has given."""

    def __init__(self, items: Iterator[Any]) -> None:
        self._items, self.num = items, 0

    def __iter__(self) -> Iterator[Any]:
        for item in self._items:
            self.num += 1
            yield item


def _printable(summary: Summary) -> Summary:
    """Return a table whose texts are of one line each."""
    return Summary(
        title=printable(summary.title),
        columns=tuple(map(printable, summary.columns)),
        num_axes=summary.num_axes,
        rows=tuple(tuple(map(printable, row)) for row in summary.rows),
        notes=tuple(map(printable, summary.notes)),
    )
