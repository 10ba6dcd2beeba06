"""Whatever the updates: what every rule that combines them promises, one byzantine update among them or none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flspec.aggregators import Aggregator, MeanAggregator
from flspec.aggregators.centered_clipping import CenteredClipping
from flspec.core.components import comes_with_flspec, family_members, parse_component
from tests.unit.aggregators.updates import NUM_VALUES, combined

FAR = 1e30
RULES: dict[str, dict[str, Any]] = {
    "median": {},
    "trimmed_mean": {"f": 1},
    "krum": {"f": 1},
    "multi_krum": {"f": 1, "m": 4},
    "bulyan": {"f": 1},
    "geometric_median": {"weighting": "uniform", "tolerance": 1e-10},
    "norm_clipping": {"weighting": "uniform"},
    "centered_clipping": {"tau": 2.0, "iterations": 2},
}
MEANS: dict[str, dict[str, Any]] = {  # what makes a rule the mean
    "trimmed_mean": {"f": 0},
    "multi_krum": {"f": 0, "m": 7},
    "bulyan": {"f": 0},
    "centered_clipping": {"tau": 1e6},
}
every_rule = pytest.mark.parametrize("kind", RULES)
few = settings(max_examples=10, deadline=None)
seeds, sizes = st.integers(0, 2**32), st.integers(7, 12)


def drawn(seed, num):
    """Updates without ties: rounding may decide these either way."""
    return np.random.default_rng(seed).normal(size=(num, NUM_VALUES))


def rule(kind, x, center=None):
    return combined({"kind": kind, **RULES[kind]}, x, center=center)


def starts(kind, center):
    return center if kind == "centered_clipping" else None


def test_every_rule_that_comes_with_flspec_is_here():
    members = family_members(Aggregator).items()
    ours = {kind for kind, one in members if comes_with_flspec(one.model_construct())}
    assert set(RULES) == ours - {kind for kind, one in members if issubclass(one, MeanAggregator)}


@every_rule
@few
@given(seed=seeds, num=sizes)
def test_the_order_of_clients_is_all_the_same(kind, seed, num):
    document = {"kind": kind, **RULES[kind]}
    if kind == "bulyan":  # with a smaller f the last picks tie
        num, document = num + 8, document | {"f": 3}
    x = drawn(seed, num)
    shuffled = x[np.random.default_rng(seed + 1).permutation(num)]
    assert combined(document, shuffled) == pytest.approx(combined(document, x), rel=1e-9, abs=1e-9)


@every_rule
@few
@given(seed=seeds, num=sizes)
def test_updates_that_are_all_moved_give_a_result_that_is_moved(kind, seed, num):
    x, by = drawn(seed, num), np.float32(3.0)
    if kind == "norm_clipping":  # it clips towards 0
        assert rule(kind, x + by) != pytest.approx(rule(kind, x) + by, abs=1e-3)
        return
    center = np.zeros(NUM_VALUES, np.float32)
    expected = rule(kind, x, starts(kind, center)) + by
    assert rule(kind, x + by, starts(kind, center + by)) == pytest.approx(expected, abs=1e-8)


@every_rule
@few
@given(seed=seeds, num=sizes, power=st.integers(-3, 6))
def test_the_scale_of_updates_is_the_scale_of_the_result(kind, seed, num, power):
    x, by = drawn(seed, num), 2.0**power
    document = {"kind": kind, **RULES[kind]}
    scaled = document | ({"tau": 2.0 * by} if kind == "centered_clipping" else {})
    assert combined(scaled, x * by) == pytest.approx(combined(document, x) * by, rel=1e-7, abs=1e-8)


@every_rule
@few
@given(seed=seeds, num=sizes)
def test_updates_that_are_one_and_the_same_are_the_result(kind, seed, num):
    x = np.repeat(drawn(seed, 1), num, axis=0) / 10  # within tau of 0
    assert rule(kind, x) == pytest.approx(x[0], rel=1e-12, abs=1e-13)


@every_rule
@few
@given(seed=seeds, num=sizes, who=st.integers(0, 6), sign=st.sampled_from([-1.0, 1.0]))
def test_one_update_of_any_size_moves_the_result_by_little(kind, seed, num, who, sign):
    x = drawn(seed, num)
    honest, x[who] = np.delete(x, who, axis=0), sign * FAR
    assert np.abs(rule(kind, x)).max() <= 2 * np.abs(honest).max() + 5
    assert np.abs(x.mean(axis=0)).max() > FAR / 100


@every_rule
@few
@given(seed=seeds, num=sizes)
def test_updates_in_float32_give_what_their_values_give_in_float64(kind, seed, num):
    x = drawn(seed, num).astype(np.float32)
    assert np.array_equal(rule(kind, x), rule(kind, x.astype(np.float64)))


@pytest.mark.parametrize("kind", MEANS)
@few
@given(seed=seeds)
def test_a_rule_that_withstands_nothing_is_the_mean(kind, seed):
    x = drawn(seed, 7)
    assert combined({"kind": kind, **MEANS[kind]}, x) == pytest.approx(x.mean(axis=0), rel=1e-12, abs=1e-13)


@few
@given(seed=seeds, num=sizes)
def test_a_round_of_centered_clipping_moves_by_no_more_than_its_clips(seed, num):
    center = drawn(seed + 1, 1)[0].astype(np.float32)
    moved = rule("centered_clipping", drawn(seed, num) * FAR, center) - center
    parsed = parse_component(Aggregator, {"kind": "centered_clipping", **RULES["centered_clipping"]})
    assert isinstance(parsed, CenteredClipping)
    assert np.linalg.norm(moved) <= parsed.tau * parsed.iterations * (1 + 1e-12)
