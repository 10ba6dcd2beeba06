"""Partitioners that decide how much each client holds, or along what."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from flspec.core.components import parse_component
from flspec.core.randomness import Stream
from flspec.data.examples import Examples
from flspec.errors import InputError
from flspec.partitioners import Partitioner

LABELS = np.arange(1000) % 10
AGES = (np.arange(1000) * 7 % 1000).astype(float)
USERS = np.array([f"u{i % 50}" for i in range(1000)])
KNOWN = Examples(LABELS, 10, {"age": AGES, "user": USERS, "same": np.ones(1000, np.int64)}, "user")


def split(known=KNOWN, seed=0, **document):
    return parse_component(Partitioner, document).split(known, Stream(seed, "partition"))


def sizes(held):
    return [len(one) for one in held]


# -------------------------------------------------------------------------------------------------------------- sizes


def test_sizes_are_given_and_the_examples_drawn():
    held = split(kind="sizes", sizes=[10, 300, 200])
    assert sizes(held) == [10, 300, 200]
    assert max(held[0]) > 100


def test_sizes_in_file_order_follow_each_other():
    held = split(kind="sizes", sizes=[2, 3], shuffle=False)
    assert [one.tolist() for one in held] == [[0, 1], [2, 3, 4]]


@pytest.mark.parametrize(
    ("shares", "expected"),
    [([0.5, 0.3, 0.2], [500, 300, 200]), ([1 / 3] * 3, [333, 334, 333]), ([0.25, 0.0015], [250, 2])],
)
def test_shares_are_of_all_examples_and_leave_nothing_over(shares, expected):
    assert sizes(split(kind="sizes", sizes=shares, unit="shares")) == expected


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"sizes": [1.5]}, "1.5 is no number of examples; give whole numbers, or unit: shares"),
        ({"sizes": [0.6, 0.6], "unit": "shares"}, "sizes sum to 1.2, but shares sum to at most 1"),
        ({"sizes": [0]}, "greater than 0"),
        ({"sizes": []}, "at least 1"),
    ],
)
def test_sizes_that_mean_nothing_are_refused(document, message):
    with pytest.raises(ValidationError, match=message):
        split(kind="sizes", **document)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"sizes": [999, 2]}, "sizes sum to 1,001, but there are 1,000 examples"),
        ({"sizes": [0.5, 0.0001], "unit": "shares"}, "client 1 has a share of 0.0001, which is 0.10 of 1,000"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(document, message):
    with pytest.raises(InputError, match=message):
        split(kind="sizes", **document)


# -------------------------------------------------------------------------------------------------------- size ladder


@pytest.mark.parametrize(
    ("growth", "expected"),
    [
        ("linear", [100, 200, 300, 400]),
        ("square", [33, 133, 300, 534]),  # of 30: 33.3, 133.3, 300, 533.3
        ("exponential", [32, 87, 236, 645]),  # of e + e² + e³ + e⁴ = 84.79: 32.06, 87.14, 236.88, 643.91
    ],
)
def test_sizes_grow_with_the_client_s_number(growth, expected):
    assert sizes(split(kind="size_ladder", clients=4, growth=growth)) == expected


def test_a_ladder_whose_first_rung_holds_nothing_is_refused_with_what_it_would():
    with pytest.raises(InputError, match=r"over 12 clients gives the smallest 0\.011 of 1,000 .* 5 of"):
        split(kind="size_ladder", clients=12, growth="exponential")


def test_a_ladder_of_thousands_does_not_overflow():
    with pytest.raises(InputError, match="gives the smallest 0 of"):
        split(kind="size_ladder", clients=1000, growth="exponential")


# ------------------------------------------------------------------------------------------------------ quantity skew


@pytest.mark.parametrize("document", [{"kind": "log_normal", "sigma": 4.0}, {"kind": "dirichlet_sizes", "alpha": 0.01}])
def test_drawn_sizes_leave_everybody_the_minimum_and_nothing_over(document):
    held = split(clients=20, min_examples=7, **document)
    assert sum(sizes(held)) == 1000
    assert min(sizes(held)) == 7
    assert max(sizes(held)) > 300


def test_log_normal_sizes_deviate_by_sigma():
    known = Examples(np.zeros(10**6, np.int64), 1)
    assert np.log(sizes(split(known, kind="log_normal", clients=500, sigma=0.8))).std() == pytest.approx(0.8, abs=0.08)


def test_dirichlet_sizes_deviate_as_beta_does():
    """Var of a share: (K - 1) / (K² (K alpha + 1))."""
    known = Examples(np.zeros(10**6, np.int64), 1)
    shares = np.array(sizes(split(known, kind="dirichlet_sizes", clients=500, alpha=2.0))) / 10**6
    assert shares.var() == pytest.approx(499 / (500**2 * 1001), rel=0.2)


def test_minimums_that_do_not_fit_are_refused_with_the_sum():
    with pytest.raises(InputError, match="20 clients of at least 60 examples need 1200, but there are 1000"):
        split(kind="log_normal", clients=20, sigma=1.0, min_examples=60)


def test_quantity_skew_leaves_the_labels_alone():
    held = split(kind="log_normal", clients=4, sigma=1.0, min_examples=100)
    shares = np.array([np.bincount(LABELS[one], minlength=10) / len(one) for one in held])
    assert np.abs(shares - 0.1).max() < 0.1


# --------------------------------------------------------------------------------------------------------- continuous


def test_a_strict_order_gives_each_client_the_next_stretch():
    held = split(kind="continuous", clients=4, column="age", strictness=1.0)
    assert [(AGES[one].min(), AGES[one].max()) for one in held] == [(0, 249), (250, 499), (500, 749), (750, 999)]


def test_strictness_blends_the_column_with_noise_in_its_own_measure():
    """b = s z + (1 - s) e: the correlation of column and place is that of z and b, s / sqrt(s² + (1 - s)²)."""
    ages = Stream(1).normal(20_000)
    held = split(Examples(np.zeros(20_000, int), 1, {"age": 50 + 9 * ages}), kind="continuous", clients=20_000,
                 column="age", strictness=0.6)  # fmt: skip
    from scipy import stats

    place = stats.norm.ppf((np.argsort(np.concatenate(held)) + 0.5) / 20_000)
    assert np.corrcoef(place, ages)[0, 1] == pytest.approx(0.6 / np.hypot(0.6, 0.4), abs=0.01)


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("age", np.where(np.arange(1000) < 3, np.nan, 1.0), "3 of 1,000 examples have no age"),
        ("age", np.full(1000, 4), "age is 4 for every example, so it orders none"),
        ("age", np.array(["4", "old"] * 500), "age is text"),
        ("age", np.where(np.arange(1000) < 3, np.inf, 1.0), "age is infinite"),
        ("ages", np.ones(1000), "unknown 'ages'; did you mean 'age'"),
    ],
)
def test_a_column_that_puts_nothing_in_order_is_refused(column, values, message):
    with pytest.raises(InputError, match=message):
        split(Examples(LABELS, 10, {"age": values}), kind="continuous", clients=2, column=column, strictness=0.5)


# -------------------------------------------------------------------------------------------------------------- mixed


def test_the_first_clients_are_alike_and_the_others_as_the_rest_says():
    rest = {"kind": "pathological", "clients": 6, "classes_per_client": 1, "assignment": "deterministic"}
    held = split(kind="mixed", iid_clients=4, rest=rest)
    assert sizes(held)[:4] == [100] * 4  # four of ten clients hold four tenths
    assert min(len(set(LABELS[one])) for one in held[:4]) == 10
    assert [set(LABELS[one]) for one in held[4:]] == [{label} for label in range(6)]
    assert len(set(np.concatenate(held))) == sum(sizes(held))


def test_a_share_says_how_much_the_first_clients_hold():
    held = split(kind="mixed", iid_clients=4, iid_share=0.2, rest={"kind": "natural"})
    assert sizes(held)[:4] == [50] * 4
    assert all(len(set(USERS[one])) == 1 for one in held[4:])


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"iid_clients": 4, "rest": {"kind": "natural"}}, "iid_share: the number of clients of rest is not known"),
        ({"iid_clients": 999, "rest": {"kind": "iid", "clients": 1}, "iid_share": 0.5}, "the 999 i.i.d. clients"),
        (
            {"iid_clients": 5, "rest": {"kind": "iid", "clients": 600}, "iid_share": 0.5},
            "partition.rest.clients is 600, but there are only 500",
        ),
    ],
)
def test_a_mix_that_cannot_be_is_refused(document, message):
    with pytest.raises(InputError, match=message):
        split(kind="mixed", **document)


@pytest.mark.parametrize(
    ("rest", "message"),
    [
        ({"kind": "iid", "clients": 3, "holdout": 0.2}, "give them beside rest, not in it"),
        ({"kind": "mixed", "iid_clients": 1}, "'mixed'"),
        ({"kind": "nothing"}, "'nothing'"),
    ],
)
def test_a_rest_that_cannot_stand_there_is_refused(rest, message):
    with pytest.raises(ValidationError, match=message):
        split(kind="mixed", iid_clients=3, rest=rest)
