"""Bounds of what columns of a Parquet file take in memory.

A few bytes of such a file can stand for any number of equal values, and a page is compressed. Before a column is read,
its size is therefore taken from the file's own description. Texts are read as the different ones that there are and
the number of each row's, so that a long one is refused before it is repeated.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flspec.core.reading import check_ratio
from flspec.data.column_types import Cells
from flspec.data.tables import LONGEST_TEXT, MOST_TEXT, check_text

__all__ = ["A_NUMBER", "A_PICTURE", "A_TEXT", "check_columns", "read_cells", "read_texts"]

A_NUMBER, A_TEXT, A_PICTURE = 8, 64, 200  # bytes of memory that one takes at least
_WAY_OUT = "write it without compression and with use_dictionary=False"


def check_columns(path: Path, metadata: Any, columns: Collection[str], a_value: int) -> None:
    """Raise InputError if the columns take far more memory than the file's size explains."""
    groups = (metadata.row_group(number) for number in range(metadata.num_row_groups))
    chunks = (group.column(number) for group in groups for number in range(group.num_columns))
    needed = sum(
        max(chunk.total_uncompressed_size, a_value * chunk.num_values)
        for chunk in chunks
        if chunk.path_in_schema.partition(".")[0] in columns
    )
    check_decoded(path, needed)


def check_decoded(path: Path, num_bytes: int) -> None:
    """Raise InputError if so many bytes are far more than the file's size explains."""
    check_ratio(path, path.stat().st_size, num_bytes, _WAY_OUT)


def read_texts(path: Path, column: str, values: Any) -> NDArray[np.str_]:
    """Convert a column of texts, a missing one to an empty text. Raises InputError if one is too long to be stored."""
    cells = read_cells(path, column, values, MOST_TEXT)
    distinct = cells.distinct or [""]
    check_decoded(path, 4 * max(map(len, distinct)) * len(values))  # numpy gives each row the space of the longest
    return np.array(distinct, np.str_)[cells.codes]


def read_cells(path: Path, column: str, values: Any, most: int = LONGEST_TEXT) -> Cells:
    """Convert a column of texts of at most `most` characters, missing ones to empty texts. Raises as `read_texts`."""
    source, number = f"{path}: column {column}", dict[str, int]()
    parts = [np.zeros(0, np.int64)]
    for chunk in (values if hasattr(values.type, "value_type") else values.dictionary_encode()).chunks:
        _check_longest(chunk.dictionary, source, most)
        texts = [*(text or "" for text in chunk.dictionary.to_pylist()), ""]
        codes = chunk.indices.cast("int64").fill_null(len(texts) - 1).to_numpy(zero_copy_only=False)
        used, places = np.unique(codes, return_inverse=True)
        parts.append(np.array([number.setdefault(texts[code], len(number)) for code in used], np.int64)[places])
    return Cells([check_text(text, source, most) for text in number], np.concatenate(parts))


def _check_longest(texts: Any, source: str, most: int) -> None:
    """Raise InputError if one of pyarrow's texts is too long, without a copy of all."""
    import pyarrow.compute

    lengths = pyarrow.compute.binary_length(texts).fill_null(0).to_numpy(zero_copy_only=False)
    if len(lengths):
        check_text(texts[int(lengths.argmax())].as_py() or "", source, most)
