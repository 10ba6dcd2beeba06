"""How many examples are scored together."""

from __future__ import annotations

import pytest

from flspec.layers import Conv, GlobalAveragePool, chain, one_network
from flspec.protocol.registry import REFERENCE, find_backend
from flspec_torch.scoring_batches import examples_at_once


def test_fewer_examples_are_scored_at_once_where_layers_make_much_of_them():
    narrow, wide = (chain([Conv(name="c", channels=n, kernel_size=1), GlobalAveragePool(name="p")]) for n in (1, 1000))
    assert examples_at_once(one_network(narrow, (1, 8, 8))) == 500
    assert examples_at_once(one_network(wide, (1, 100, 100))) == 2**25 // (1001 * 100 * 100)
    assert examples_at_once(one_network(wide, (1, 1000, 1000))) == 1


def test_whoever_scores_says_how_many_at_once_and_nobody_else(make_plan):
    plan = make_plan()
    assert find_backend(REFERENCE).scored_at_once(plan) == 500
    with pytest.raises(NotImplementedError, match="tff scores no models"):
        find_backend("tff").scored_at_once(plan)
