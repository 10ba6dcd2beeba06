"""Parquet files: their columns as arrays, and pictures stored in them by Hugging Face's convention.

Nothing outside the file is read: neither columns that the format allows in other files, nor pictures of which the file
has only the path. pyarrow is imported when a file is opened.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flspec.core.reading import open_regular
from flspec.data.column_types import Cells, as_integers, type_cells
from flspec.data.examples import MISSING_INTEGER
from flspec.data.images import UnreadableImage, file_stamp
from flspec.data.parquet_bounds import A_NUMBER, A_PICTURE, A_TEXT, check_columns, read_cells, read_texts
from flspec.data.tables import MOST_VALUES, as_float32
from flspec.errors import InputError, shorten

__all__ = ["ImageFormat", "ParquetFile", "ParquetImage", "find_shards", "image_format_of", "pyarrow_module"]

_AT_ONCE = 65_536  # rows
_MOST_BYTES = 2**42  # of a file, which is read in parts
_MOST_ROWS = 2**28
_GREY = ("1", "L", "LA", "I", "I;16", "I;16B", "F")
_TURNED = (5, 6, 7, 8)  # EXIF orientations that swap height and width


class ParquetFile:
    """One file and its schema. The constructor raises InputError if the file is not valid or not supported."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._opened() as file:
            schema, metadata = file.schema_arrow, file.metadata
            self.num_rows: int = metadata.num_rows
            self.types: dict[str, Any] = dict(zip(schema.names, schema.types, strict=True))
            self._pandas = (schema.metadata or {}).get(b"pandas", b"")
            self._huggingface = (schema.metadata or {}).get(b"huggingface", b"")
            if len(self.types) < len(schema.names):
                raise InputError(f"{path}: two columns have one name; rename one")
            if not 0 < self.num_rows <= _MOST_ROWS:
                raise InputError(f"{path}: {self.num_rows:,} rows; between 1 and {_MOST_ROWS:,} are read")
            groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
            if any(group.column(number).file_path for group in groups for number in range(group.num_columns)):
                raise InputError(f"{path}: keeps columns in other files, which are not read; write it in one piece")
            self.starts = np.cumsum([0, *(group.num_rows for group in groups)])  # first row of each group, and the end

    def label_names(self, column: str) -> tuple[str, ...]:
        """Return the names of the classes, if Hugging Face's description of the column has them."""
        try:
            names = json.loads(self._huggingface)["info"]["features"][column]["names"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return ()
        return tuple(names) if isinstance(names, list) and all(isinstance(name, str) for name in names) else ()

    def is_image(self, column: str) -> bool:
        """Return whether a column can hold pictures: it has bytes, or bytes with a path."""
        kind = self.types.get(column)
        fields = [field.name for field in kind] if kind is not None and kind.num_fields else []
        return str(kind) in ("binary", "large_binary") or "bytes" in fields

    def is_number(self, column: str) -> bool:
        """Return whether a column holds a number, or a list of numbers, in each row."""
        types = pyarrow_module().types
        kind = self.types[column]
        if _is_list(kind):
            kind = kind.value_type
        return any(test(kind) for test in (types.is_integer, types.is_floating, types.is_boolean, types.is_decimal))

    def unfit(self) -> dict[str, str]:
        """Return the columns that are no features unless a spec names them, with the reason."""
        found = {name: f"holds {self.in_words(name)}" for name in self.types if not self.is_number(name)}
        return found | {name: "is an index of pandas" for name in self._indices() if name in self.types}

    def in_words(self, column: str) -> str:
        """Return what a column holds."""
        types, kind = pyarrow_module().types, self.types[column]
        if types.is_dictionary(kind):
            kind = kind.value_type
        if _is_text(kind):
            return "text"
        if types.is_boolean(kind):
            return "true or false"
        if _is_list(kind) and self.is_number(column):
            return "lists of numbers"
        if types.is_integer(kind):
            return "whole numbers"
        if types.is_floating(kind) or types.is_decimal(kind):
            return "numbers"
        if types.is_temporal(kind):
            return "dates or times"
        return "nothing" if types.is_null(kind) else shorten(str(kind), 60)

    def numbers(self, columns: Sequence[str]) -> NDArray[np.float32]:
        """Read columns side by side, float32 [num_rows, num_features]. A list of numbers gives that many features.

        One column is in memory at a time, beside the array: all those of a wide table take ten times as much.
        """
        with self._opened(columns) as file:
            widths = [next(self._blocks(file, name, 1)).shape[1] for name in columns]
            if self.num_rows * sum(widths) > MOST_VALUES:
                raise InputError(f"{self.path}: more than {MOST_VALUES:,} numbers; name fewer in dataset.features")
            table = np.empty((self.num_rows, sum(widths)), np.float32)
            for name, end, width in zip(columns, np.cumsum(widths).tolist(), widths, strict=True):
                first = 0
                for block in self._blocks(file, name, _AT_ONCE):
                    if block.shape[1] != width:
                        raise InputError(
                            f"{self.path}: column {name}: lists below row {first} have another length; all need one"
                        )
                    table[first : first + len(block), end - width : end] = block
                    first += len(block)
        return table

    def _blocks(self, file: Any, name: str, at_once: int) -> Iterator[NDArray[np.float32]]:
        """Yield a column's values of some rows at a time, [num, num_values]."""
        first = 0
        for batch in file.iter_batches(at_once, columns=[name], use_threads=False):
            yield self._block(batch.column(0), name, first)
            first += batch.num_rows

    def column(self, name: str, may_be_empty: bool = False) -> NDArray[Any]:
        """Read a column as int64, float64 or text. Dates and decimals have the type of their text in a CSV file.

        A missing value is an error; or, if `may_be_empty`, what `flspec.data.column_types` says.
        """
        types, kind = pyarrow_module().types, self.types[name]
        if types.is_dictionary(kind):
            kind = kind.value_type
        texts = self._texts_in(name) if _is_text(kind) else []
        a_value = A_TEXT if types.is_temporal(kind) or types.is_decimal(kind) else A_NUMBER
        with self._opened([name], a_value, texts) as file:
            values = file.read(columns=[name]).column(name)
            if not may_be_empty:
                self._full(values, name)
            if texts:
                return read_texts(self.path, name, values)
            if types.is_dictionary(values.type):
                values = values.cast(kind)
            if types.is_temporal(kind) or types.is_decimal(kind) or types.is_null(kind):
                return type_cells([Cells.of(_as_texts(values))])[0]
            if types.is_boolean(kind) or types.is_integer(kind):
                return _integers(values)
            if types.is_floating(kind):
                found = np.asarray(values.to_numpy(), np.float64)
                return found if may_be_empty else self._without_nan(found, name)
        raise InputError(f"{self.path}: column {name} is {shorten(str(kind), 60)}, neither numbers nor text")

    def texts(self, name: str) -> Cells:
        """Read a column of texts of any length; a missing one is empty."""
        with self._opened([name], texts=self._texts_in(name)) as file:
            return read_cells(self.path, name, file.read(columns=[name]).column(name))

    def count(self, name: str, most: int = 1000) -> tuple[int, int | None]:
        """Return in how many rows a column is missing or NaN, and the number of its values; None if over `most`."""
        missing, seen, kind = 0, set[Any](), self.types[name]
        pyarrow = pyarrow_module()
        is_float = pyarrow.types.is_floating(kind)
        with self._opened([name], texts=self._texts_in(name)) as file:
            for batch in file.iter_batches(_AT_ONCE, columns=[name]):
                values = batch.column(0).drop_null()
                if is_float:
                    values = values.filter(pyarrow.array(~np.isnan(_numpy(values))))
                if _is_text(values.type.value_type if pyarrow.types.is_dictionary(values.type) else values.type):
                    values = values.filter(pyarrow.array(_is_told(values)))
                missing += batch.num_rows - len(values)
                if not kind.num_fields and len(seen) <= most:  # not of lists
                    seen.update(values.unique().to_pylist())
        return missing, None if kind.num_fields or len(seen) > most else len(seen)

    def images(self, column: str, due: ImageFormat | None = None) -> list[ParquetImage]:
        """Return the picture of each row. It is read when needed, and refused then unless it has the format `due`."""
        with self._opened([column], A_PICTURE):
            return [ParquetImage(self, column, row, due) for row in range(self.num_rows)]

    def cells(self, column: str, group: int) -> Any:
        """Read a column of one row group."""
        with self._opened([column], texts=self._texts_in(column)) as file:
            return file.read_row_group(group, columns=[column]).column(column).combine_chunks()

    def _texts_in(self, column: str) -> list[str]:
        """Return the places of a column's texts and bytes, of which equal ones are then in memory once."""
        types, kind = pyarrow_module().types, self.types[column]
        if types.is_struct(kind):
            return [f"{column}.{field.name}" for field in kind if _is_text(field.type) or _is_bytes(field.type)]
        kind = kind.value_type if types.is_dictionary(kind) else kind
        return [column] if _is_text(kind) or _is_bytes(kind) else []

    @contextmanager
    def _opened(self, columns: Sequence[str] = (), a_value: int = A_NUMBER, texts: Sequence[str] = ()) -> Iterator[Any]:
        """Open the file, once it is clear that the memory of some columns is bounded. `texts` are columns of text."""
        pyarrow = pyarrow_module()
        try:
            # Opened by Python, because pyarrow would take some file names for addresses.
            with open_regular(self.path, _MOST_BYTES) as opened:
                file = pyarrow.parquet.ParquetFile(opened, thrift_string_size_limit=2**27, read_dictionary=list(texts))
                check_columns(self.path, file.metadata, columns, a_value)
                yield file
        except (pyarrow.ArrowException, OSError, MemoryError) as error:
            reason = shorten(str(error).strip().partition("\n")[0], 200)
            raise InputError(f"{self.path}: cannot be read as Parquet: {reason}") from None

    def _block(self, values: Any, name: str, first: int) -> NDArray[np.float32]:
        """Return some rows of a column as float32 [num_rows, num_values]."""
        num_rows, source = len(values), str(self.path)
        self._full(values, name, first)
        if hasattr(values, "flatten") and values.type.num_fields:
            flat = values.flatten()
            self._full(flat, name, first)
            if len(flat) % num_rows or not _even(values):
                raise InputError(f"{source}: column {name}: lists have different lengths below row {first}; use one")
            block = _numpy(flat).reshape(num_rows, -1)
        else:
            block = _numpy(values).reshape(num_rows, 1)
        return as_float32(block, (name,) * block.shape[1], source, first)

    def _indices(self) -> Iterator[str]:
        """Yield the columns that pandas wrote of an index."""
        yield from (name for name in self.types if re.fullmatch("__index_level_[0-9]+__", name))
        try:
            named = json.loads(self._pandas)["index_columns"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return
        yield from (name for name in named if isinstance(name, str)) if isinstance(named, list) else ()

    def _without_nan(self, values: NDArray[np.float64], name: str) -> NDArray[np.float64]:
        if (missing := np.isnan(values)).any():
            raise InputError(f"{self.path}: row {int(missing.argmax()) + 1}: column {name} is not a number; fill it")
        return values

    def _full(self, values: Any, name: str, first: int = 0) -> Any:
        """Return `values`. Raises InputError if one of them is missing."""
        if values.null_count:
            row = int(np.asarray(values.is_null()).argmax()) + first + 1
            raise InputError(f"{self.path}: row {row}: column {name} is empty; leave the row out or fill it")
        return values


@dataclass(frozen=True, slots=True)
class ImageFormat:
    """Size and colour of a picture, or those required of it. None means any."""

    height: int | None
    width: int | None
    is_grey: bool | None

    def suits(self, found: ImageFormat) -> bool:
        """Return whether a picture of format `found` meets the requirement."""
        return all(due in (None, have) for due, have in zip(_values(self), _values(found), strict=True))

    def __str__(self) -> str:
        size = "of any size" if self.height is None else f"{self.height} by {self.width} pixels"
        return size + {None: "", True: " in grey", False: " in colour"}[self.is_grey]


@dataclass(frozen=True, slots=True)
class ParquetImage:
    """The picture in one row."""

    file: ParquetFile
    column: str
    row: int  # from 0
    due: ImageFormat | None = None

    @property
    def name(self) -> str:
        return f"{self.file.path.name}: row {self.row + 1}"

    def stamp(self) -> str:
        return f"{file_stamp(os.stat(self.file.path))} {self.column!r} {self.due}"

    def read(self) -> bytes:
        group = int(np.searchsorted(self.file.starts, self.row, side="right")) - 1
        cell = _cells(self.file, self.column, group)[self.row - int(self.file.starts[group])].as_py()
        content = cell.get("bytes") if isinstance(cell, dict) else cell
        if not content:
            elsewhere = isinstance(cell, dict) and cell.get("path")
            raise UnreadableImage("has only a path, which is not opened; store its bytes" if elsewhere else "is empty")
        if self.due and not self.due.suits(found := image_format_of(content)):
            raise UnreadableImage(f"is {found}, but should be {self.due}; set dataset.size and dataset.colour")
        return bytes(content)


def image_format_of(content: bytes) -> ImageFormat:
    """Read size and colour from a picture's header. Raises UnreadableImage."""
    from PIL import Image

    try:
        with Image.open(BytesIO(content), formats=("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")) as image:
            # Not the method of the format's class, which for PNG decodes all pixels first.
            turned = Image.Image.getexif(image).get(0x0112, 1) in _TURNED
            width, height = image.size[::-1] if turned else image.size
            return ImageFormat(height, width, image.mode in _GREY)
    except Exception as error:  # a damaged file can make its reader raise anything
        raise UnreadableImage(f"is not a readable picture ({shorten(str(error), 80)})") from None


def find_shards(folder: Path, split: str) -> list[Path]:
    """Return the files of a split: for `train` the files `train*.parquet`, or all in `train/`."""
    named = sorted(path for path in folder.glob(f"{split}*.parquet") if path.is_file())
    return named or sorted(path for path in (folder / split).glob("*.parquet") if path.is_file())


_lock = Lock()


@lru_cache(maxsize=4)
def _group(file: ParquetFile, column: str, group: int) -> Any:
    return file.cells(column, group)


def _cells(file: ParquetFile, column: str, group: int) -> Any:
    with _lock:  # threads that decode neighbours wait for one of them to read the group
        return _group(file, column, group)


def _is_list(kind: Any) -> bool:
    types = pyarrow_module().types
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def _is_text(kind: Any) -> bool:
    types = pyarrow_module().types
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def _is_bytes(kind: Any) -> bool:
    types = pyarrow_module().types
    return bool(types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind))


def _is_told(values: Any) -> NDArray[np.bool_]:
    """Return which texts are not empty."""
    if not pyarrow_module().types.is_dictionary(values.type):
        return np.array([text != "" for text in values.to_pylist()], np.bool_)
    told = np.array([text != "" for text in values.dictionary.to_pylist()] or [True], np.bool_)
    return np.asarray(told[np.asarray(values.indices)])


def _as_texts(values: Any) -> list[str]:
    """Return values as they are written in a text table; a missing one is empty."""
    return [text or "" for text in values.cast(pyarrow_module().string()).to_pylist()]


def _integers(values: Any) -> NDArray[Any]:
    if not values.null_count:
        return as_integers(np.asarray(values.to_numpy()))
    whole = values.cast(pyarrow_module().int64(), safe=True) if str(values.type) != "uint64" else values
    found = as_integers(np.asarray(whole.fill_null(0).to_numpy()))
    missing = np.asarray(values.is_null())
    return np.where(missing, "" if found.dtype.kind == "U" else np.int64(MISSING_INTEGER), found)


def _numpy(values: Any) -> NDArray[Any]:
    """Return numbers as an array; numpy has no decimals."""
    pyarrow = pyarrow_module()
    decimal = pyarrow.types.is_decimal(values.type)
    return np.asarray((values.cast(pyarrow.float64()) if decimal else values).to_numpy(zero_copy_only=False))


def _even(values: Any) -> bool:
    """Return whether all lists have the same length."""
    lengths = values.value_lengths().to_numpy(zero_copy_only=False) if hasattr(values, "value_lengths") else np.zeros(1)
    return bool((lengths == lengths[0]).all())


def _values(look: ImageFormat) -> tuple[int | None, int | None, bool | None]:
    return look.height, look.width, look.is_grey


def pyarrow_module() -> Any:
    """Import pyarrow with its Parquet reader. Raises InputError, which says how to install it."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise InputError("Parquet files need pyarrow; install it with: pip install 'flspec[parquet]'") from None
    return pyarrow
