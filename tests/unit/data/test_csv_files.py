"""One grammar of CSV: numpy reads what Python's csv module reads, and what is wrong is told with its line."""

from __future__ import annotations

import csv
import gzip
import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flspec.data import csv_files
from flspec.data.csv_files import read_columns, read_header, read_rows
from flspec.errors import InputError


def read(tmp_path, text, features=("x",), texts=("t",), separator=","):
    """Features and texts of a table, or the error."""
    path = tmp_path / "a.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    try:
        found = read_columns(path, separator, features, texts)
    except InputError as error:
        return str(error).removeprefix(f"{path}:")
    return found.features.tolist(), [[cells.distinct[code] for code in cells.codes] for cells in found.texts.values()]


SPELLINGS = [
    *("1", "1.0", "1e0", "01", "+1", "-0", "1.", ".5", "1e+05", "1e-50", "1_000", "0x10", "0b1", "0x1p3"),
    *("inf", "-inf", "nan", "NA", "infinity", "true", "1L", "1f", "1j", "1e", "1d5", "1e39", "1e9999"),
    *("--1", "1.2.3", "１", "٣"),
]
SPACES = [f"{space}1" for space in " \t\x0b\x0c\x1c\x1f\x85\xa0\u1680\u2003\u2028\u202f\u3000"]


@pytest.mark.parametrize("cell", [*SPELLINGS, *SPACES, "", "1\x00", "1\u2028"])
def test_a_number_is_a_number_whether_a_quote_is_near_or_not(cell, tmp_path):
    plain, near, quoted = (
        read(tmp_path, text) for text in (f"t,x\nq,{cell}\n", f't,x\n"q",{cell}\n', f't,x\nq,"{cell}"\n')
    )
    assert plain == near == quoted
    try:
        value = float(cell) if cell.isascii() and "_" not in cell else None
    except ValueError:
        value = None
    if value is None:
        assert "is no number" in plain
    elif abs(value) < 1e38:
        assert plain == ([[np.float32(value)]], [["q"]])
    else:
        assert "is not a finite float32 number" in plain


@pytest.mark.parametrize(
    "text",
    [
        "t,x\r\nq,1\r\nr,2\r\n",
        "t,x\rq,1\rr,2\r",
        "t,x\nq,1\nr,2",
        "t,x\nq,1\nr,2\n\n\n",
        "\ufefft,x\nq,1\nr,2\n",
        '"t","x"\n"q","1"\n"r","2"\n',
        't,x\nq,1\n"r",2\n',
        "x,t\n1,q\n2,r\n",
        "x,left out,t\n1,é,q\n2,,r\n",
    ],
)
def test_ends_of_lines_marks_quotes_and_order_change_nothing(text, tmp_path):
    assert read(tmp_path, text) == ([[1], [2]], [["q", "r"]])


def test_cells_are_those_of_python_s_csv_module(tmp_path):
    names = ["a b", "a\nb", "a\r\nb", 'a"b', "a,b", "a\x85b", "a\u2028b", "a\x0bb", " ", "é", '"', "a\x1cb"]
    with (tmp_path / "names.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["t", "x"], *([name, number] for number, name in enumerate(names))])
    features, (texts,) = read(tmp_path, (tmp_path / "names.csv").read_bytes())
    assert texts == names
    assert features == [[number] for number in range(len(names))]


@given(
    cells=st.lists(st.lists(st.text('a1 ,;"\n\r\té\x85\u2028\x1c', max_size=5), min_size=3, max_size=3), max_size=12),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    separator=st.sampled_from(",;\t"),
    at_once=st.sampled_from([1, 5, 2**19]),
)
def test_any_table_that_python_writes_is_read_as_it_is(cells, quoting, separator, at_once):
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_files, "_CHARACTERS_AT_ONCE", at_once)
        path = Path(folder) / "a.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            rows = [["a", "b", "c"], ["1", "2", "3"], *cells]
            csv.writer(file, delimiter=separator, quoting=quoting).writerows(rows)
        found = read_columns(path, separator, (), ("a", "b", "c")).texts
    columns = [[one.distinct[code] for code in one.codes] for one in found.values()]
    assert [list(row) for row in zip(*columns, strict=True)] == rows[1:]


def test_a_quoted_line_end_may_fall_between_two_chunks(tmp_path, monkeypatch):
    rows = "".join(f'"{number}\n{number}",{number}\n' for number in range(50))
    for characters in (1, 2, 3, 7, 200):
        monkeypatch.setattr(csv_files, "_CHARACTERS_AT_ONCE", characters)
        features, (texts,) = read(tmp_path, "t,x\n" + rows)
        assert features == [[number] for number in range(50)]
        assert texts == [f"{number}\n{number}" for number in range(50)]


def test_a_column_may_be_a_feature_and_a_text(tmp_path):
    for quote in ("", '"'):
        text = f"a,b,t,c,d\n1,2,z,3,04\n5,6,{quote}y{quote},7,8\n"
        assert read(tmp_path, text, ("d", "a", "c"), ("t", "d", "a")) == (
            [[4, 1, 3], [8, 5, 7]],
            [["z", "y"], ["04", "8"], ["1", "5"]],
        )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("t,x\nq\n", "2: row 1: 1 cells, but the header names 2"),
        ("t,x\nq,1,\n", "2: row 1: 3 cells, but the header names 2"),
        ('t,x\n"a\nb",1\nc,2,3\n', "4: row 2: 3 cells"),
        ("t,x\n" + "q,1\n" * 70_000 + "q\n", "70002: row 70001: 1 cells"),
        ("t,x\n" + "q,1\n" * 70_000 + "q,é\n", "70002: row 70001: column x: 'é' is no number"),
        ("t,x\nq,1\n\nq,1\n", " row 2: empty, with rows below it"),
        (
            "t,x\nq,1,5\n".replace(",1,5", ',"1,5"'),
            "2: row 1: column x: '1,5' is no number; set dataset.decimal: comma, or",
        ),
        ("t,x\nq,\n", "2: row 1: column x: '' is no number; impute it: features: {x: {impute: median}"),
        ('t,x\n"a"b,1\n', "2: not CSV (',' expected after '\"')"),
        ('t,x\nq,1\n"a,1\nb,2\n', "3: not CSV (a cell begins with a quote and never ends with one)"),
        ('t,x\n"' + "a," * 100_000 + '",1\n', "2: not CSV (a cell of more than 131,072 characters"),
        (b"t,x\nq,1\n\xe9,2\n", "3: not UTF-8 (byte 0xe9); save it as UTF-8"),
        ("t,x\nq,1\n".encode("utf-16"), " is not UTF-8, but UTF-16; save it as UTF-8"),
        (gzip.compress(b"t,x\nq,1\n"), " is compressed with gzip; decompress it (gunzip)"),
        (b"PK\x03\x04" + bytes(20), " is an Excel workbook or a zip archive; save the sheet as CSV"),
        (b"PAR1" + bytes(20), " is a Parquet file; read it with kind: parquet"),
        (b"", " empty"),
        ("t,x\n", " no rows below its header"),
        (",x\n0,1\n", " column 1 has no name in the header; give it one, or leave it out; pandas writes its index so"),
    ],
    # By the message: every process must name a case alike, and a compressed one has the time in it.
    ids=lambda value: "" if isinstance(value, bytes) or "\n" in value else value,
)
def test_what_is_wrong_is_told_with_its_line(text, message, tmp_path):
    assert message in read(tmp_path, text)


def test_the_line_of_a_row_is_the_one_on_which_it_begins(tmp_path):
    (tmp_path / "a.csv").write_text('a,b\n"1\n2",3\n4,5\n')
    assert list(read_rows(tmp_path / "a.csv")) == [(1, ["a", "b"]), (2, ["1\n2", "3"]), (4, ["4", "5"])]


def test_a_pipe_is_no_table(tmp_path):
    import os

    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(InputError, match="is not a file"):
        read_header(tmp_path / "pipe.csv", ",")


def test_memory_goes_by_cells_not_by_rows(tmp_path):
    """The numbers are in memory once, and text only of some cells: of all rows at once it would be ten times that."""
    columns, rows = 5_000, 200
    line = ",".join(f"{number / 7:.4f}" for number in range(columns))
    header = ",".join(f"x{number}" for number in range(columns))
    (tmp_path / "wide.csv").write_text(f"{header}\n" + f"{line}\n" * rows)
    tracemalloc.start()
    found = read_columns(tmp_path / "wide.csv", ",", header.split(","), ())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.features.nbytes == columns * rows * 4
    assert peak < 3 * found.features.nbytes
