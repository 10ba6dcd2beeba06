"""The long table as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import IO, Any

from flspec.exports.base import LongTable
from flspec.measurements import Measurements

__all__ = ["Json"]


class Json(LongTable):
    """A list of objects, one a line and row, in ASCII. A value that is not finite is null."""

    def write_rows(self, measured: Measurements, rows: Iterator[tuple[Any, ...]], file: IO[Any]) -> None:
        columns, before = measured.columns, "[\n"
        for row in rows:
            text = json.dumps(dict(zip(columns, map(_finite, row), strict=True)), allow_nan=False)
            file.write(before + text.replace("\x7f", "\\u007f"))
            before = ",\n"
        file.write("\n]\n")


def _finite(cell: Any) -> Any:
    return None if isinstance(cell, float) and not math.isfinite(cell) else cell
