"""The long table as Parquet."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from typing import IO, Any

from pydantic import JsonValue

from flspec.data.parquet_files import pyarrow_module
from flspec.exports.base import LongTable
from flspec.measurements import Measurements

__all__ = ["Parquet"]

_AT_ONCE = 65_536  # rows


class Parquet(LongTable):
    """Typed columns: an axis of numbers is numbers; any other is texts, with lists as JSON. Needs pyarrow."""

    is_text = False

    def write_rows(self, measured: Measurements, rows: Iterator[tuple[Any, ...]], file: IO[Any]) -> None:
        pyarrow = pyarrow_module()
        whole, real, text = pyarrow.int64(), pyarrow.float64(), pyarrow.string()
        types = dict.fromkeys(measured.columns, text) | {"seed": whole, "round": whole, "client": whole, "value": real}
        for path in measured.axes:
            values = [run.settings.get(path) for run in measured.runs]
            types[path] = whole if _are(values, int) else real if _are(values, int | float) else text
        schema = pyarrow.schema(list(types.items()))
        with pyarrow.parquet.ParquetWriter(file, schema) as writer:
            while some := list(islice(rows, _AT_ONCE)):
                columns = {
                    name: [_cell(cell, types[name] == text) for cell in column]
                    for name, column in zip(types, zip(*some, strict=True), strict=True)
                }
                writer.write_table(pyarrow.table(columns, schema))


def _are(values: list[JsonValue], kind: Any) -> bool:
    """Return whether all values that there are are numbers of a kind."""
    return all(isinstance(value, kind) and not isinstance(value, bool) for value in values if value is not None)


def _cell(cell: Any, is_text: bool) -> Any:
    return json.dumps(cell) if is_text and cell is not None and not isinstance(cell, str) else cell
