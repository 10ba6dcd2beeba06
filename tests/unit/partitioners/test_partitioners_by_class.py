"""Partitioners that deal out classes: how much of which one each client holds."""

from __future__ import annotations

import json

import numpy as np
import pytest
from pydantic import ValidationError

from flspec.core.components import parse_component
from flspec.core.randomness import Stream
from flspec.data.examples import Examples
from flspec.errors import InputError
from flspec.partitioners import Partitioner
from flspec.partitioners.dirichlet import _shares_of
from flspec.partitioners.inner_dirichlet import _arrivals, _classes_drawn

LABELS = np.arange(1000) % 10
SITES = np.array(["north", "south", "south", "south"])[np.arange(1000) % 4]
KNOWN = Examples(LABELS, 10, {"site": SITES})


def split(known=KNOWN, seed=0, **document):
    return parse_component(Partitioner, document).split(known, Stream(seed, "partition"))


def counts(held, labels=LABELS):
    """[client, label]"""
    return np.array([np.bincount(labels[one], minlength=10) for one in held])


# ---------------------------------------------------------------------------------------------------------- dirichlet


def test_a_balanced_client_that_has_its_even_share_gets_no_more():
    for seed in range(20):
        table = counts(split(seed=seed, kind="dirichlet", clients=5, alpha=0.3, balanced=True))
        before = np.cumsum(table, axis=1) - table  # what each client holds when a label's turn comes
        assert not table[before >= 200].any()
    table = counts(split(kind="dirichlet", clients=5, alpha=0.3))
    assert table[np.cumsum(table, axis=1) - table >= 200].any()  # unbalanced ones get more


def test_shares_of_those_that_may_have_more_are_scaled_up_or_even():
    is_open = np.array([True, False, True])
    assert _shares_of(is_open, np.array([0.2, 0.5, 0.3])).tolist() == [0.4, 0.0, 0.6]
    assert _shares_of(is_open, np.array([0.0, 1.0, 0.0])).tolist() == [0.5, 0.0, 0.5]


def test_dirichlet_can_skew_by_a_column_instead_of_the_label():
    held = split(kind="dirichlet", clients=4, alpha=0.1, column="site", min_examples=20)
    north = np.array([(SITES[one] == "north").mean() for one in held])
    assert north.max() > 0.5
    assert north.min() < 0.1
    assert np.abs(counts(held) / counts(held).sum(axis=1, keepdims=True) - 0.1).max() < 0.2  # the labels are not


def test_a_column_that_is_not_there_is_told_with_those_that_are():
    with pytest.raises(InputError, match=r"partition\.column: unknown 'sit'; did you mean 'site'"):
        split(kind="dirichlet", clients=4, alpha=0.1, column="sit")


# ------------------------------------------------------------------------------------------------- extended dirichlet


def test_each_class_goes_to_the_clients_it_was_given_to_in_dirichlet_shares():
    held = split(kind="extended_dirichlet", clients=30, alpha=5.0, classes_per_client=3)
    table = counts(held)
    assert table.sum() == 1000
    assert (table > 0).sum(axis=1).max() == 3
    assert (table > 0).any(axis=0).all()


def test_classes_that_no_draw_gives_to_anybody_are_refused_with_how_many_are_expected():
    with pytest.raises(InputError, match=r"10 clients of 1 of 10 classes leave 3\.5 classes to nobody on average"):
        split(kind="extended_dirichlet", clients=10, alpha=1.0, classes_per_client=1)  # 10 × 0.9^10


@pytest.mark.parametrize(
    ("clients", "classes", "message"),
    [
        (4, 2, "4 clients of 2 classes hold 8 of 10 classes at most"),
        (4, 11, "but there are 10 classes; lower it to 10"),
    ],
)
def test_too_few_or_too_many_classes_a_client_are_refused(clients, classes, message):
    with pytest.raises(InputError, match=message):
        split(kind="extended_dirichlet", clients=clients, alpha=1.0, classes_per_client=classes)


# ---------------------------------------------------------------------------------------------------- inner dirichlet


def by_turns(priors, clients, stock, draws):
    """The process an example at a time; `draws` are the classes that each turn would draw, one after another."""
    left, taken = list(stock), []
    for client, wishes in zip(clients, draws, strict=True):
        label = next(label for label in wishes if left[label] and priors[client][label] > 0)
        left[label] -= 1
        taken.append(label)
    return taken


def test_steps_that_come_too_late_for_a_class_draw_again_and_others_keep_theirs():
    priors = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    clients = np.array([0, 1, 0, 0, 1, 0])
    steps = _classes_drawn(priors, clients, [2, 1, 3], Stream(0))
    # Client 0 wants label 0 four times and gets it twice; client 1 wants label 1 twice and gets it once; what there
    # still is, is label 2.
    assert [one.tolist() for one in steps] == [[0, 2], [1], [3, 4, 5]]
    wishes = [[0, 2], [1, 2], [0, 2], [0, 2], [1, 2], [0, 2]]
    anyone = np.ones((2, 3))
    assert by_turns(anyone, clients, [2, 1, 3], wishes) == [0, 1, 0, 2, 2, 2]


def test_classes_run_out_in_the_same_way_as_an_example_at_a_time():
    """Against a sequential simulation of the same process: the mean counts of 400 runs agree."""
    priors, sizes, stock = np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1]]), np.array([12, 8]), [6, 6, 8]
    ours, theirs = np.zeros((2, 3)), np.zeros((2, 3))
    rng = np.random.default_rng(0)
    for run in range(400):
        clients = _arrivals(sizes, Stream(run, "arrivals"))
        for label, steps in enumerate(_classes_drawn(priors, clients, stock, Stream(run, "draws"))):
            ours[:, label] += np.bincount(clients[steps], minlength=2)
        left, room = np.array(stock), sizes.copy()
        while room.any():
            client = rng.choice(np.flatnonzero(room))
            shares = np.where(left > 0, priors[client], 0)
            label = rng.choice(3, p=shares / shares.sum())
            left[label] -= 1
            room[client] -= 1
            theirs[client, label] += 1
    assert np.abs(ours - theirs).max() / 400 < 0.25
    assert ours.sum(axis=1).tolist() == [4800, 3200]


def test_each_client_that_is_not_full_is_as_likely_to_be_next():
    first = [_arrivals(np.array([1, 9]), Stream(seed))[0] for seed in range(600)]
    assert np.mean(first) == pytest.approx(0.5, abs=0.06)  # and not 0.9, as if places were shuffled


def test_inner_dirichlet_is_never_undefined():
    held = split(kind="inner_dirichlet", clients=10, alpha=1e-6)
    assert [len(one) for one in held] == [100] * 10


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ([500, 501], "partition.sizes sum to 1,001, but there are 1,000 examples"),
        ([5], "partition.sizes has 1 sizes for 2 clients"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(sizes, message):
    with pytest.raises(InputError, match=message):
        split(kind="inner_dirichlet", clients=2, alpha=1.0, sizes=sizes)


# ------------------------------------------------------------------------------------------------------------- shards


def test_the_shards_of_the_paper():
    """60,000 sorted by label in 200 shards of 300, 2 to each of 100 clients (McMahan et al., Section 3)."""
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(10), 6000))
    held = split(Examples(labels, 10), kind="shards", clients=100)
    assert {len(one) for one in held} == {600}
    table = counts(held, labels)
    assert set(table.ravel()) == {0, 300, 600}
    assert (table > 0).sum(axis=1).max() == 2


def test_shards_that_do_not_divide_differ_by_one_and_lose_nothing():
    held = split(kind="shards", clients=7, shards_per_client=2)
    assert sum(map(len, held)) == 1000
    assert {len(one) for one in held} <= {142, 143, 144}  # two of 71 or 72


def test_shards_of_a_given_size_leave_the_rest_to_nobody_or_to_those_before():
    assert [len(one) for one in split(kind="shards", clients=3, shard_size=100)] == [200] * 3
    every = split(kind="shards", clients=3, shard_size=150, shards_per_client=None)
    assert [len(one) for one in every] == [300] * 3  # six whole shards
    last = split(kind="shards", clients=3, shard_size=150, shards_per_client=None, keep_incomplete=True)
    assert sum(map(len, last)) == 1000


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"clients": 501}, "501 clients of 2 shards need 1,002 shards, but there are 1,000 examples"),
        ({"clients": 4, "shard_size": 200}, "need 8 shards, but 1,000 examples make 5 of shard_size 200"),
        ({"clients": 6, "shard_size": 200, "shards_per_client": None}, "at least 1 shards need 6 shards"),
    ],
)
def test_shards_that_are_too_few_are_refused_with_how_many_there_are(document, message):
    with pytest.raises(InputError, match=message):
        split(kind="shards", **document)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"shards_per_client": None}, "shard_size is needed"),
        ({"keep_incomplete": True}, "keep_incomplete is for shards_per_client: null alone"),
    ],
)
def test_shards_that_are_not_determined_are_refused(document, message):
    with pytest.raises(ValidationError, match=message):
        split(kind="shards", clients=2, **document)


# ------------------------------------------------------------------------------------------------------- pathological


def test_deterministic_classes_are_those_after_the_client_s_number():
    table = counts(split(kind="pathological", clients=12, classes_per_client=3, assignment="deterministic"))
    assert [np.flatnonzero(row).tolist() for row in table[[0, 8, 9, 11]]] == [
        [0, 1, 2],
        [0, 8, 9],
        [0, 1, 9],
        [1, 2, 3],
    ]


def test_first_deterministic_classes_begin_with_the_client_s_number():
    table = counts(split(kind="pathological", clients=20, classes_per_client=2, assignment="first-deterministic"))
    assert all(row[client % 10] > 0 for client, row in enumerate(table))
    assert ((table > 0).sum(axis=1) == 2).all()
    others = {(np.flatnonzero(row) - client).tolist()[-1] % 10 for client, row in enumerate(table)}
    assert len(others) > 3  # drawn


def test_clients_that_share_a_class_hold_equal_parts_of_it():
    table = counts(split(kind="pathological", clients=15, classes_per_client=2))
    assert all(np.ptp(column[column > 0]) <= 1 for column in table.T if column.any())


def test_a_class_that_is_given_to_more_clients_than_it_has_examples_is_told():
    few = Examples(np.array([0] * 50 + [1]), 2)
    with pytest.raises(InputError, match="class number 1 is given to 3 clients, but has 1 examples"):
        split(few, kind="pathological", clients=3, classes_per_client=2)


# --------------------------------------------------------------------------------------- power law, given distribution


def test_a_power_law_gives_each_client_its_classes_and_their_minimum():
    table = counts(split(kind="power_law", clients=20, sigma=3.0))
    assert [np.flatnonzero(row).tolist() for row in table[[0, 3, 9, 19]]] == [[0, 1], [3, 4], [0, 9], [0, 9]]
    assert table[table > 0].min() >= 5
    assert table.sum() == 1000
    assert table.max() > 40  # of 25 in equal parts


def test_a_power_law_s_amounts_are_log_normal():
    """The logarithms of what is beyond the minimum, of clients that share a class, deviate by sigma."""
    labels = np.repeat(np.arange(2), 10**6)
    held = split(Examples(labels, 2), kind="power_law", clients=400, classes_per_client=1, sigma=1.5, min_per_class=0)
    logs = np.log([len(one) for one in held])
    assert logs[::2].std() == pytest.approx(1.5, abs=0.2)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"clients": 200}, r"40 clients with min_per_class 5 need 200 examples of class number 0, but there are 100"),
        ({"clients": 4, "classes_per_client": 11}, "but there are 10 classes"),
        (
            {"clients": 200, "min_per_class": 0, "sigma": 9.0},
            "hold nothing, as client .*raise min_per_class to 1",
        ),
    ],
)
def test_a_power_law_that_cannot_be_is_refused(document, message):
    with pytest.raises(InputError, match=message):
        split(kind="power_law", **document)


def test_a_given_distribution_is_shared_in_proportion_to_its_rows():
    """With 10 classes and 20 clients of 2, row 0 is of clients 0, 9, 10 and 19."""
    weights = [[1, 2, 3, 4]] * 10
    table = counts(split(kind="distribution", clients=20, weights=weights, min_per_class=0))
    assert {client: int(num) for client, num in enumerate(table[:, 0]) if num} == {0: 10, 9: 20, 10: 30, 19: 40}
    table = counts(split(kind="distribution", clients=20, weights=weights, min_per_class=5))
    assert table[[0, 9, 10, 19], 0].tolist() == [5 + 8, 5 + 16, 5 + 24, 5 + 32]
    table = counts(split(kind="distribution", clients=20, weights=weights, rescale=False))
    assert table[[0, 9, 10, 19], 0].tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("weights", "more", "message"),
    [
        ([[1, 1]], {}, "weights has 1 rows, but there are 10 classes"),
        ([[1, 1]] * 9 + [[1]], {}, "row 9 has 1 entries, but 2 of 10 clients have class number 9"),
        ([[0, 0]] + [[1, 1]] * 9, {}, "row 0 is all 0"),
        ([[0.5, 1]] + [[1, 1]] * 9, {"rescale": False}, "row 0 has a fraction"),
        ([[100, 1]] + [[1, 1]] * 9, {"rescale": False}, "row 0 sums to 101, but class number 0 has 100 examples"),
        ([[0, 0]] * 10, {"rescale": False}, "10 of 10 clients would hold nothing, as client 0; raise its entries"),
    ],
)
def test_a_table_that_does_not_fit_is_refused_by_its_row(weights, more, message):
    with pytest.raises(InputError, match=message):
        split(kind="distribution", clients=10, weights=json.loads(json.dumps(weights)), **more)
