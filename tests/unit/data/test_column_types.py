"""What cells mean: numbers only where nothing is lost by reading them as such."""

from __future__ import annotations

import numpy as np
import pytest

from flspec.data.column_types import Cells, common_type, type_cells, why_text
from flspec.data.examples import MISSING_INTEGER, Examples, is_missing


def typed(*files):
    """The column in each file as a list, and its type."""
    arrays = type_cells([Cells.of(list(file)) for file in files])
    assert len({values.dtype.kind for values in arrays}) == 1
    return [values.tolist() for values in arrays], arrays[0].dtype.kind


LONG = [str(1234567890123456780 + number) for number in range(6)]  # apart by less than a double's step of 256


def test_ids_of_nineteen_digits_stay_apart():
    assert typed(LONG) == ([list(map(int, LONG))], "i")
    assert len(set(map(float, LONG))) == 1  # what reading them as floating point makes of them


@pytest.mark.parametrize(
    "column",
    [
        ["01", "1", "002"],
        ["E1", "E2", "E10"],
        ["1E5", "2"],
        ["1e5", "100000"],
        ["1_000", "1000"],
        ["+1", "1"],
        ["-0", "0"],
        ["-0.0", "0.0"],
        [" 1", "1"],
        ["1 ", "1"],
        ["0x10", "16"],
        ["inf", "1"],
        ["nan", "1.5"],
        ["NA", "1"],
        ["true", "false"],
        ["2024-01-01"],
        ["1,5", "2"],
        ["１", "1"],
        ["٣"],
        ["1.50", "1.5"],
        ["1.", "1"],
        [".5", "0.5"],
        ["1", "1.0"],
        ["1", "1.5"],
        ["9223372036854775807", "1"],
        ["18446744073709551615"],
        ["0.1000000000000000055511151231257827", "0.1"],
        ["1e999", "1"],
        ["1\u2028", "1"],
    ],
)
def test_what_would_not_be_written_again_as_it_is_makes_text(column):
    assert typed(column) == ([column], "U")
    assert why_text(column)


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        (["0", "-1", "10"], "i"),
        (["9223372036854775806"], "i"),
        (["1.0", "2.0"], "f"),
        (["0.1", "-2.5", "1e+16", "1e-07"], "f"),
    ],
)
def test_what_would_be_is_numbers(column, kind):
    (values,), found = typed(column)
    assert ([str(value) for value in values], found) == (column, kind)
    assert why_text(column) is None


def test_a_missing_cell_changes_no_type_and_no_order_and_is_last():
    for column in (["10", "9"], ["2.5", "10.0"], ["b", "a"], ["10", "9a"]):
        whole, holed = (type_cells([Cells.of(cells)])[0] for cells in (column, [*column, ""]))
        assert whole.dtype.kind == holed.dtype.kind
        assert holed[:2].tolist() == whole.tolist()
        assert is_missing(holed).tolist() == [False, False, True]
        codes, num = Examples(np.zeros(3, np.int64), 1, {"c": holed}).classes("", "c")
        assert (codes[:2].tolist(), codes[2], num) == (np.argsort(np.argsort(whole)).tolist(), 2, 3)


def test_a_column_has_one_type_over_all_files():
    assert typed(["1"], ["1.5"], [""]) == ([["1"], ["1.5"], [""]], "U")
    assert typed(["1", "2"], ["x"]) == ([["1", "2"], ["x"]], "U")
    assert typed(["1"], [""]) == ([[1], [MISSING_INTEGER]], "i")
    assert typed([""], []) == ([[""], []], "U")


@pytest.mark.parametrize(
    ("column", "reason"),
    [
        (["1", "02"], "'02' would be written back as '2'"),
        (["1.0", "1.50"], "'1.50' would be written back as '1.5'"),
        (["E1"], "'E1' is no number"),
        (["nan"], "'nan' is no finite number"),
        (["99999999999999999999"], "'99999999999999999999' is too long for a 64-bit integer"),
        (["1", "1.5"], "'1' has no decimal point, but '1.5' has one"),
        (["", ""], "every cell is empty"),
        (["１"], "'\\uff11' is no number"),
    ],
)
def test_why_a_column_is_text_is_told_with_the_cell(column, reason):
    assert why_text(column) == reason


def in_common(*arrays):
    """The column in each file as a list, all of one type; or None."""
    made = common_type([np.array(values) for values in arrays])
    assert made is None or len({values.dtype.kind for values in made}) == 1
    return None if made is None else [values.tolist() for values in made]


def test_whole_numbers_that_one_file_stores_as_floating_point_are_whole_in_all():
    assert in_common([1.0, np.nan, 3.0], [1, 2]) == [[1, MISSING_INTEGER, 3], [1, 2]]
    assert in_common([0.5], [1, 2]) == [[0.5], [1.0, 2.0]]
    assert in_common([1.0], [2.0]) == [[1.0], [2.0]]


def test_a_column_of_text_in_one_file_and_whole_numbers_in_another_is_text():
    assert in_common(["01", "1"], [1, MISSING_INTEGER]) == [["01", "1"], ["1", ""]]
    assert in_common(["1"], [1.0]) is None
