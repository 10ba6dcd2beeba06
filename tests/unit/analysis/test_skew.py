"""The measures of skew, against numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flspec.analysis.skew import count_labels, gini, label_distances, label_entropies, measure_skew
from flspec.core.randomness import Stream
from flspec.data.examples import Examples
from flspec.partitioners.by_label import ByLabel
from flspec.partitioners.iid import Iid


def test_labels_are_counted_by_the_client_that_holds_them():
    labels = np.array([0, 0, 1, 2, 2, 2])
    counts = count_labels(np.array([5, 0, 2, 1, 3], np.int32), np.array([3, 4, 5]), labels, num_classes=4)
    assert counts.tolist() == [[1, 1, 1, 0], [1, 0, 0, 0], [0, 0, 1, 0]]  # example 4 is held by nobody


@pytest.mark.parametrize(
    ("counts", "nats"),
    [
        ([8, 0, 0, 0], 0.0),
        ([3, 3, 3, 3], math.log(4)),
        ([5, 5, 0, 0], math.log(2)),
        ([2, 1, 1, 0], 0.5 * math.log(2) + 0.5 * math.log(4)),
    ],
)
def test_label_entropy_is_in_nats(counts, nats):
    assert label_entropies(np.array([counts])) == pytest.approx([nats], abs=1e-15)


def test_label_distance_is_from_what_all_clients_hold_together():
    # Together (6, 2): 3/4 and 1/4. The first client has 1 and 0, the second 1/2 and 1/2.
    assert label_distances(np.array([[4, 0], [2, 2]])) == pytest.approx([1 / 4 + 1 / 4, 1 / 4 + 1 / 4])
    # Together (9, 1): a client that holds only the rare label is as far as 9/10 + 9/10.
    assert label_distances(np.array([[9, 0], [0, 1]])) == pytest.approx([0.2, 1.8])


@pytest.mark.parametrize(
    ("sizes", "coefficient"),
    [([7, 7, 7], 0.0), ([0, 0, 0, 12], 3 / 4), ([1, 3], 1 / 4), ([3, 1], 1 / 4), ([1, 2, 3], 2 / 9), ([5], 0.0)],
)
def test_gini_is_half_the_mean_difference_over_the_mean(sizes, coefficient):
    assert gini(np.array(sizes)) == pytest.approx(coefficient, abs=1e-15)


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=30).filter(any))
def test_gini_by_rank_is_the_sum_over_pairs(sizes):
    values = np.array(sizes)
    pairs = np.abs(values[:, None] - values[None, :]).sum()
    assert gini(values) == pytest.approx(pairs / (2 * len(values) ** 2 * values.mean()), abs=1e-12)


def test_means_count_each_client_the_same_whatever_it_holds():
    skew = measure_skew(np.array([[1, 0], [500, 500]]))
    assert skew.label_entropy.mean == pytest.approx(math.log(2) / 2)
    assert skew.label_entropy.min == 0.0
    assert skew.label_entropy.max == pytest.approx(math.log(2))
    assert skew.emd.mean == pytest.approx((skew.emd.max + label_distances(np.array([[1, 0], [500, 500]]))[1]) / 2)


@given(clients=st.integers(2, 10), each=st.integers(1, 20), seed=st.integers(0, 2**32))
def test_iid_and_by_label_are_the_extremes(clients, each, seed):
    labels = np.arange(clients * each * 10) % clients
    alike, apart = (
        measure_skew(counts_of(partitioner, labels, clients, seed))
        for partitioner in (Iid(clients=clients), ByLabel(clients=clients))
    )
    assert apart.label_entropy.max == 0.0
    assert apart.emd.mean == pytest.approx(2 * (1 - 1 / clients))  # the farthest from equal shares that there is
    assert apart.size_gini == pytest.approx(0.0, abs=1e-12)
    assert alike.size_gini == pytest.approx(0.0, abs=1e-12)
    assert 0 < alike.label_entropy.min <= alike.label_entropy.mean <= alike.label_entropy.max
    assert alike.label_entropy.max <= alike.label_entropy.greatest + 1e-12
    assert alike.emd.max < apart.emd.mean


def counts_of(partitioner, labels, num_classes, seed):
    held = partitioner.split(Examples(labels, num_classes), Stream(seed, "partition"))
    return count_labels(np.concatenate(held), np.cumsum([len(part) for part in held]), labels, num_classes)
