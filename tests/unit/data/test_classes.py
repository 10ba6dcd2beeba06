"""Labels become classes: which there are, in which order, and which are refused."""

from __future__ import annotations

import numpy as np
import pytest

from flspec.data.classes import Classes, number_labels
from flspec.data.column_types import Cells
from flspec.errors import InputError


def numbered(train, test=(), known=None):
    """Classes of train and test, the number of classes and their names."""
    parts = {
        name: [(f"{name}.csv", labels if isinstance(labels, np.ndarray) else Cells.of(list(labels)))]
        for name, labels in (("train", train), ("test", test))
    }
    made = number_labels(parts, known)
    return [codes.tolist() for codes in made.codes], made.num, made.names


def refusal(*arguments):
    with pytest.raises(InputError) as refused:
        numbered(*arguments)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_numbers_from_0_are_their_own_classes():
    assert numbered(["2", "0", "1"], ["1"]) == ([[2, 0, 1], [1]], 3, ())
    assert numbered(np.array([2, 0, 1]), np.array([1])) == ([[2, 0, 1], [1]], 3, ())


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (["1", "2", "3"], ("1", "2", "3")),
        (["5000", "10", "200"], ("10", "200", "5000")),
        (["0", "2"], ("0", "2")),
        (["2", "10"], ("2", "10")),  # in the order of numbers, not of texts
        (["01", "00"], ("00", "01")),
        (["E2", "E10"], ("E10", "E2")),
        (["b", "B", "a"], ("B", "a", "b")),
        (["18446744073709551615", "1"], ("1", "18446744073709551615")),
    ],
)
def test_other_labels_are_names_and_no_class_is_made_for_what_does_not_occur(labels, names):
    codes, num, found = numbered(labels, labels[:1])
    assert (found, num) == (names, len(labels))
    assert [names[code] for code in codes[0]] == labels


def test_equal_numbers_are_equal_labels_however_a_file_stores_them():
    expected = ([[0, 1], [1, 0]], 2, ())
    for test in (["1.0", "0.0"], np.array([1.0, 0.0]), np.array([1, 0], np.uint8), np.array(["1", "0"])):
        assert numbered(["0", "1"], test) == expected
        assert numbered(np.array([0, 1]), test) == expected


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        (["<=50K", ">50K"], ["<=50K", "<=50K.", ">50K."], "test.csv: row 2: label '<=50K.' is no training label; "),
        (["<=50K", ">50K"], ["<=50K.", ">50K."], "'>50K.' neither; those are '<=50K', '>50K'; write labels alike"),
        (
            ["0", "1"],
            ["zero", "one"],
            "test.csv: row 1: label 'zero' is no training label; 'one' neither; those are 0, 1",
        ),
        (["0", "1"], ["00", "01"], "test.csv: row 1: label 00 is no training label"),
        (["0", "1"], ["0", "2"], "test.csv: row 2: label 2 is no training label; those are 0, 1"),
        (["a", "b"], ["a", "b "], "label 'b ' is no training label"),
        (["0", "-1"], ["0"], "train.csv: row 2: label -1 is negative"),
        (["0.5", "1"], [], "train.csv: row 1: label 0.5 is not an integer"),
        (["0", "1"], ["0.0", "0.5"], "test.csv: row 2: label 0.5 is not an integer"),
        (["0", ""], [], "train.csv: row 2: label '' is empty"),
        (np.array([0.0, np.nan]), [], "train.csv: row 2: label '' is empty"),
        ([str(number) for number in range(100_001)], [], "100,001 different labels"),
    ],
)
def test_labels_that_are_no_classes_are_refused_with_file_and_row(train, test, message):
    assert message in refusal(train, test)


def test_a_test_set_may_lack_a_class():
    assert numbered(["a", "b", "c"], ["a"]) == ([[0, 1, 2], [0]], 3, ("a", "b", "c"))


def test_a_spec_may_name_the_classes_in_its_order():
    named = Classes(("ill", "healthy", "unknown"))
    assert numbered(["healthy", "ill"], ["unknown"], named) == ([[1, 0], [2]], 3, ("ill", "healthy", "unknown"))
    assert numbered(["1", "0"], ["2"], Classes(("0", "1", "2"))) == ([[1, 0], [2]], 3, ())
    assert numbered(["1", "-1"], [], Classes(("-1", "1")))[0] == [[1, 0], []]
    assert "row 2: label 'x' is none of the 3 classes that are declared: 'ill'" in refusal(["ill", "x"], [], named)


def test_numbers_may_be_positions_among_the_names_that_a_file_declares():
    declared = Classes(("cold", "hot"), are_positions=True)
    assert numbered(["1", "0"], ["1"], declared) == ([[1, 0], [1]], 2, ("cold", "hot"))
    assert numbered(["hot", "cold"], [], declared)[0] == [[1, 0], []]
    assert "row 2: label 2 is outside 0..1" in refusal(["1", "2"], [], declared)
