"""Partitioners: who holds what."""

from __future__ import annotations

import re

import numpy as np
import pytest

from flspec.core.randomness import Stream
from flspec.data.examples import Examples
from flspec.errors import InputError
from flspec.partitioners.by_label import ByLabel
from flspec.partitioners.dealing import apportion, held_by
from flspec.partitioners.dirichlet import Dirichlet
from flspec.partitioners.groups import group_by
from flspec.partitioners.iid import Iid

LABELS = np.arange(1000) % 10


def split(partitioner, labels=LABELS, seed=0):
    return partitioner.split(Examples(labels, 10), Stream(seed, "partition"))


def label_share(held):
    """The share of each label, [client, label]."""
    counts = np.array([np.bincount(LABELS[examples], minlength=10) for examples in held])
    return counts / counts.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(
    "partitioner",
    [Iid(clients=7), Dirichlet(clients=7, alpha=0.5), ByLabel(clients=10)],
    ids=lambda partitioner: partitioner.kind,
)
def test_every_example_goes_to_exactly_one_client(partitioner):
    assert sorted(np.concatenate(split(partitioner))) == list(range(1000))


def test_iid_deals_out_equal_shares_and_the_first_clients_get_what_is_left():
    assert [len(held) for held in split(Iid(clients=7))] == [143] * 6 + [142]


def test_iid_mixes_the_labels_where_file_order_would_not():
    ordered = np.sort(LABELS)
    held = split(Iid(clients=10), ordered)
    assert min(len(set(ordered[examples])) for examples in held) == 10
    assert {len(set(ordered[examples])) for examples in np.array_split(np.arange(1000), 10)} == {1}


@pytest.mark.parametrize("partitioner", [Iid(clients=7), Dirichlet(clients=7, alpha=0.5)], ids=lambda p: p.kind)
def test_a_drawn_partition_follows_from_the_seed(partitioner):
    once, again, other = split(partitioner), split(partitioner), split(partitioner, seed=1)
    assert all(map(np.array_equal, once, again))
    assert not all(map(np.array_equal, once, other))


def test_iid_refuses_more_clients_than_examples():
    with pytest.raises(InputError, match=r"partition\.clients is 4, but there are only 3 examples.*3 or less"):
        split(Iid(clients=4), LABELS[:3])


def test_iid_draws_so_many_for_each_client_from_all_when_told():
    held = split(Iid(clients=7, examples_per_client=50))
    assert [len(one) for one in held] == [50] * 7
    assert len(set(np.concatenate(held))) == 350
    assert max(np.concatenate(held)) > 900  # not the first of the file


def test_iid_refuses_to_draw_more_than_there_are():
    with pytest.raises(InputError, match=r"examples_per_client is 143, so 7 clients need 1,001.*lower it to 142"):
        split(Iid(clients=7, examples_per_client=143))


def test_by_label_gives_client_i_the_first_examples_of_label_i_in_file_order():
    held = split(ByLabel(clients=3, examples_per_client=4))
    assert [list(examples) for examples in held] == [[0, 10, 20, 30], [1, 11, 21, 31], [2, 12, 22, 32]]


def test_by_label_without_a_number_gives_all_of_a_label():
    assert [len(held) for held in split(ByLabel(clients=10))] == [100] * 10


def test_by_label_refuses_more_clients_than_labels():
    with pytest.raises(InputError, match=r"partition\.clients is 11.*10 labels.*10 or less"):
        split(ByLabel(clients=11))


def test_by_label_says_which_label_has_too_few_examples_and_how_many_would_do():
    with pytest.raises(InputError, match=r"examples_per_client is 99, but label 1 has 98 examples; lower it to 98"):
        split(ByLabel(clients=2, examples_per_client=99), np.repeat([0, 1], [100, 98]))


def test_by_label_never_advises_to_give_a_client_nothing():
    with pytest.raises(InputError, match="label 3") as refused:
        split(ByLabel(clients=5), LABELS[LABELS != 3])
    assert "lower it to 0" not in str(refused.value)


def test_a_small_alpha_skews_the_labels_and_a_large_one_does_not():
    skewed = label_share(split(Dirichlet(clients=5, alpha=0.05, min_examples=10)))
    even = label_share(split(Dirichlet(clients=5, alpha=1000.0)))
    assert skewed.max() > 0.4
    assert np.abs(even - 0.1).max() < 0.04


def test_dirichlet_cuts_each_class_by_shares_of_its_own_stream():
    stream = Stream(0, "partition")
    held = Dirichlet(clients=4, alpha=2.0).split(Examples(LABELS, 10), stream)
    for label in range(10):
        shares = stream.child("attempt", 0).child("shares", label).dirichlet(2.0, 4)
        ends = [0, *(int(end * 100) for end in np.cumsum(shares)[:-1]), 100]
        assert [int((LABELS[examples] == label).sum()) for examples in held] == list(np.diff(ends))


def test_dirichlet_gives_a_client_no_run_of_a_class_but_a_draw_of_it():
    for seed in range(3):
        members = np.flatnonzero(LABELS == 4)
        shares = [np.flatnonzero(np.isin(members, held)) for held in split(Dirichlet(clients=4, alpha=10.0), seed=seed)]
        assert all(len(share) > 1 and np.diff(share).max() > 1 for share in shares)


def test_dirichlet_draws_again_until_every_client_holds_enough():
    partitioner = Dirichlet(clients=20, alpha=0.3, min_examples=20)
    first_draw = partitioner.model_copy(update={"min_examples": 1})
    assert min(map(len, split(partitioner))) >= 20 > min(map(len, split(first_draw)))


def test_dirichlet_gives_up_with_the_numbers_as_soon_as_it_is_plain_that_no_draw_will_do():
    with pytest.raises(InputError) as refused:
        split(Dirichlet(clients=100, alpha=0.001, min_examples=5))
    assert "alpha 0.001 × 100 clients × min_examples 5 is infeasible: in 2 draws the smallest" in str(refused.value)
    assert re.search(r"held 0\.0 examples on average, and 8\d\.\d of 100 clients held fewer than 5", str(refused.value))
    assert "raise alpha, or lower clients or min_examples" in str(refused.value)


def test_dirichlet_goes_on_drawing_while_there_is_hope():
    with pytest.raises(InputError, match="in 100 draws the smallest client held"):
        split(Dirichlet(clients=12, alpha=0.2, min_examples=70))


def test_dirichlet_refuses_what_no_draw_could_give():
    with pytest.raises(InputError, match="101 clients of at least 10 examples need 1010, but there are 1000"):
        split(Dirichlet(clients=101, alpha=1.0, min_examples=10))


def test_a_class_without_examples_is_no_obstacle():
    held = split(Dirichlet(clients=3, alpha=1.0), LABELS[LABELS != 4])
    assert sum(map(len, held)) == 900


# ------------------------------------------------------------------------------------------------------------ dealing


@pytest.mark.parametrize(
    ("shares", "total", "sizes"),
    [
        ([1, 1, 1], 10, [4, 3, 3]),
        ([0.5, 0.3, 0.2], 9, [4, 3, 2]),  # 4.5, 2.7, 1.8: the largest remainders are 0.8 and 0.7
        ([1, 0, 3], 4, [1, 0, 3]),
        ([1e-300, 1.0], 5, [0, 5]),
        ([0.1, 0.2, 0.7], 10, [1, 2, 7]),  # 0.7 × 10 is a hair less than 7
    ],
)
def test_whole_numbers_are_in_proportion_by_largest_remainder(shares, total, sizes):
    assert apportion(np.array(shares, float), total).tolist() == sizes


@pytest.mark.parametrize("num_clients", [3, 70_000])
def test_owners_become_holdings_in_file_order_and_nobody_s_are_left_out(num_clients):
    held = held_by(np.array([2, -1, 0, 2, 0, -1, 1]), num_clients)
    assert [one.tolist() for one in held[:3]] == [[2, 4], [6], [0, 3]]
    assert len(held) == num_clients
    assert all(not len(one) for one in held[3:])


def test_groups_are_numbered_as_they_first_appear_and_the_missing_are_one():
    groups = group_by(np.array(["b", "", "a", "b", ""]))
    assert (groups.of.tolist(), groups.values.tolist(), groups.sizes.tolist()) == (
        [0, 1, 2, 0, 1],
        ["b", "", "a"],
        [2, 2, 1],
    )
    assert group_by(np.array([np.nan, 3.0, np.nan])).of.tolist() == [0, 1, 0]


def test_a_table_of_clients_by_classes_that_would_not_fit_is_refused():
    many = Examples(np.arange(40_000) % 10, 10, {"image": np.arange(40_000)})
    with pytest.raises(InputError, match=r"10,000 clients by 40,000 classes are 400,000,000 shares"):
        Dirichlet(clients=10_000, alpha=1.0, column="image").split(many, Stream(0))
