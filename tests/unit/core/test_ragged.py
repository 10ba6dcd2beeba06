"""Arrays in one are what a list of them is."""

from __future__ import annotations

import numpy as np
import pytest

from flspec.core.ragged import Ragged

ARRAYS = [np.array([4, 1]), np.array([], int), np.array([7]), np.array([2, 3, 5])]


def test_it_is_the_sequence_of_its_arrays():
    every = Ragged.of(ARRAYS)
    assert [one.tolist() for one in every] == [one.tolist() for one in ARRAYS]
    assert [every[place].tolist() for place in (0, 1, -1)] == [[4, 1], [], [2, 3, 5]]
    assert [one.tolist() for one in every[1:3]] == [[], [7]]
    assert every.sizes.tolist() == [2, 0, 1, 3]
    assert Ragged.of(every) is every
    with pytest.raises(IndexError):
        every[4]


def test_what_is_left_over_is_in_no_array():
    assert [one.tolist() for one in Ragged.cut(np.arange(9), np.array([2, 1]))] == [[0, 1], [2]]
    assert len(Ragged.of([])) == len(Ragged.of([]).values) == 0
