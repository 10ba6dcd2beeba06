"""Means and deviations of measurements, as rows to print, to show in a notebook or to go on with."""

from __future__ import annotations

import html
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Tally"]

_WORDS = {"num_runs": "runs", "sd": "sd"}


@dataclass(frozen=True)
class Tally:
    """Rows of values that stand for several runs each: `num_runs`, `mean`, and `sd`, the sample standard deviation.

    `sd` is None for one run.
    """

    columns: tuple[str, ...]
    rows: tuple[Mapping[str, Any], ...]

    @classmethod
    def of(cls, by: Sequence[str], values: Iterable[tuple[Sequence[Any], float]]) -> Tally:
        """Return one row for each different key, in the order of their first values."""
        together: dict[str, tuple[Sequence[Any], list[float]]] = {}
        for key, value in values:
            together.setdefault(repr(list(key)), (key, []))[1].append(value)
        rows = tuple(dict(zip(by, key, strict=True)) | _spread(found) for key, found in together.values())
        return cls((*by, "num_runs", "mean", "sd"), rows)

    def __str__(self) -> str:
        """Return the rows as text in columns."""
        lines = [[_WORDS.get(name, name) for name in self.columns], *self._texts()]
        widths = [max(len(line[number]) for line in lines) for number in range(len(self.columns))]
        padded = ("  ".join(map(str.rjust, line, widths)) for line in lines)
        return "\n".join(line.rstrip() for line in padded)

    def _repr_html_(self) -> str:
        """Return the rows as a table for a notebook."""
        head = "".join(f"<th>{html.escape(_WORDS.get(name, name))}</th>" for name in self.columns)
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(text)}</td>" for text in line) + "</tr>" for line in self._texts()
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def _texts(self) -> list[list[str]]:
        return [[_text(name, row[name]) for name in self.columns] for row in self.rows]


def _spread(values: Sequence[float]) -> dict[str, Any]:
    sd = statistics.stdev(values) if len(values) > 1 else None
    return {"num_runs": len(values), "mean": statistics.fmean(values), "sd": sd}


def _text(column: str, value: Any) -> str:
    if value is None:
        return "-"
    text = f"{value:.4f}" if column in ("mean", "sd") else str(value)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
