"""Whatever the updates: what every aggregator that comes with flspec promises, one byzantine update among them or none.

A rule is found in its family and tried with the examples of its fields, so that a new one needs no line here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flspec.aggregators import Aggregator, MeanAggregator
from flspec.aggregators.centered_clipping import CenteredClipping
from flspec.core.components import comes_with_flspec, family_members, parse_component
from tests.unit.aggregators.updates import NUM_VALUES, combined

Combine = Callable[..., Any]  # of updates, one a row, and what the server has from the round before

FAR = 1e30
OURS = {kind: one for kind, one in family_members(Aggregator).items() if comes_with_flspec(one.model_construct())}
MEANS = {kind for kind, one in OURS.items() if issubclass(one, MeanAggregator)}
EXAMPLES = {
    kind: {name: field.examples[0] for name, field in one.model_fields.items() if field.is_required()}  # type: ignore
    for kind, one in OURS.items()
}
OTHERWISE: dict[str, dict[str, Any]] = {"geometric_median": {"tolerance": 1e-10}}
TOWARDS_ZERO = {"norm_clipping"}  # rules that are not moved with the updates, by their definition
IN_UNITS_OF_UPDATES = {"centered_clipping": ("tau",)}
PICKS_ONE = {"krum"}  # also with f = 0

every = pytest.mark.parametrize("kind", OURS)
few = settings(max_examples=10, deadline=None)
seeds, sizes = st.integers(0, 2**32), st.integers(7, 12)
zero = np.zeros(NUM_VALUES, np.float32)


def rule_of(kind: str, **more: Any) -> Combine:
    document = {"kind": kind, **EXAMPLES[kind], **OTHERWISE.get(kind, {}), **more}
    return lambda x, center=zero: combined(document, x, center=center)


def drawn(seed: int, num: int) -> Any:
    """Updates without ties: rounding may decide these either way."""
    return np.random.default_rng(seed).normal(size=(num, NUM_VALUES))


def disregards_order(rule: Combine, x: Any) -> None:
    shuffled = x[np.random.default_rng(len(x)).permutation(len(x))]
    assert rule(shuffled) == pytest.approx(rule(x), rel=1e-9, abs=1e-9)


def is_moved(rule: Combine, x: Any) -> None:
    by = np.float32(3.0)
    assert rule(x + by, zero + by) == pytest.approx(rule(x, zero) + by, abs=1e-8)


def is_scaled(rule: Combine, scaled: Combine, x: Any, by: float) -> None:
    assert scaled(x * by) == pytest.approx(rule(x) * by, rel=1e-7, abs=1e-8)


def keeps_what_is_the_same(rule: Combine, x: Any) -> None:
    same = np.repeat(x[:1], len(x), axis=0) / 20  # nearer to 0 than any example of a clip
    assert rule(same) == pytest.approx(same[0], rel=1e-12, abs=1e-13)


def bounds_one_update(rule: Combine, x: Any, who: int, sign: float) -> None:
    honest, x = np.delete(x, who, axis=0), np.array(x)
    x[who] = sign * FAR
    assert np.abs(rule(x)).max() <= 2 * np.abs(honest).max() + 5


def is_of_values_in_float64(rule: Combine, x: Any) -> None:
    x = x.astype(np.float32)
    assert np.array_equal(rule(x), rule(x.astype(np.float64)))


def is_the_mean(rule: Combine, x: Any) -> None:
    assert rule(x) == pytest.approx(x.mean(axis=0), rel=1e-12, abs=1e-13)


@every
@few
@given(seed=seeds, num=sizes)
def test_the_order_of_clients_is_all_the_same(kind, seed, num):
    if kind == "bulyan":  # with a smaller f the last picks tie
        disregards_order(rule_of(kind, f=3), drawn(seed, num + 8))
    else:
        disregards_order(rule_of(kind), drawn(seed, num))


@every
@few
@given(seed=seeds, num=sizes)
def test_updates_that_are_all_moved_give_a_result_that_is_moved(kind, seed, num):
    if kind in TOWARDS_ZERO:
        with pytest.raises(AssertionError):
            is_moved(rule_of(kind), drawn(seed, num))
    else:
        is_moved(rule_of(kind), drawn(seed, num))


@every
@few
@given(seed=seeds, num=sizes, power=st.integers(-3, 6))
def test_the_scale_of_updates_is_the_scale_of_the_result(kind, seed, num, power):
    by = 2.0**power
    scaled = {name: EXAMPLES[kind][name] * by for name in IN_UNITS_OF_UPDATES.get(kind, ())}
    is_scaled(rule_of(kind), rule_of(kind, **scaled), drawn(seed, num), by)


@every
@few
@given(seed=seeds, num=sizes)
def test_updates_that_are_one_and_the_same_are_the_result(kind, seed, num):
    keeps_what_is_the_same(rule_of(kind), drawn(seed, num))


@every
@few
@given(seed=seeds, num=sizes, who=st.integers(0, 6), sign=st.sampled_from([-1.0, 1.0]))
def test_one_update_of_any_size_moves_the_result_by_little(kind, seed, num, who, sign):
    if kind in MEANS:
        with pytest.raises(AssertionError):
            bounds_one_update(rule_of(kind), drawn(seed, num), who, sign)
    else:
        bounds_one_update(rule_of(kind), drawn(seed, num), who, sign)


@every
@few
@given(seed=seeds, num=sizes)
def test_updates_in_float32_give_what_their_values_give_in_float64(kind, seed, num):
    is_of_values_in_float64(rule_of(kind), drawn(seed, num))


@every
@few
@given(seed=seeds)
def test_a_rule_that_withstands_nothing_is_the_mean(kind, seed):
    nothing = {"f": 0, "m": 7, "tau": 1e6}
    given_up = {name: nothing[name] for name in OURS[kind].model_fields if name in nothing}
    if kind in PICKS_ONE or not (given_up or kind in MEANS):
        return
    is_the_mean(rule_of(kind, **given_up), drawn(seed, 7))


def test_a_rule_that_breaks_a_promise_shows():
    x = drawn(0, 9)
    promises: dict[Combine, Combine] = {
        disregards_order: lambda x: x[0],
        is_moved: lambda x, center: x.mean(axis=0) / 2,
        keeps_what_is_the_same: lambda x: x.sum(axis=0) / (len(x) - 1),
        is_of_values_in_float64: lambda x: x.mean(axis=0),
        is_the_mean: lambda x: np.sort(x, axis=0)[1:].mean(axis=0),
    }
    for promise, broken in promises.items():
        with pytest.raises(AssertionError):
            promise(broken, x)
    with pytest.raises(AssertionError):
        is_scaled(np.square, np.square, x, 2.0)
    with pytest.raises(AssertionError):
        bounds_one_update(lambda x: np.sort(x, axis=0)[1:].mean(axis=0), x, 3, 1.0)


@few
@given(seed=seeds, num=sizes)
def test_a_round_of_centered_clipping_moves_by_no_more_than_its_clips(seed, num):
    center = drawn(seed + 1, 1)[0].astype(np.float32)
    moved = rule_of("centered_clipping")(drawn(seed, num) * FAR, center) - center
    parsed = parse_component(Aggregator, {"kind": "centered_clipping", **EXAMPLES["centered_clipping"]})
    assert isinstance(parsed, CenteredClipping)
    assert np.linalg.norm(moved) <= parsed.tau * parsed.iterations * (1 + 1e-12)
