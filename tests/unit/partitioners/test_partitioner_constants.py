"""The rules and numbers by which papers and Flower Datasets split examples, each from its source, on small cases."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from flspec.core.components import parse_component
from flspec.core.randomness import Stream
from flspec.data.examples import Examples
from flspec.partitioners import Partitioner
from tests.by_hand import draws

LABELS = np.array([number % 4 for number in range(120)])


def split(document, labels=LABELS, stream=None, **columns):
    examples = Examples(labels, int(labels.max()) + 1, columns)
    return parse_component(Partitioner, document).split(examples, stream or Stream(0, "partition"))


@pytest.mark.parametrize(
    ("document", "published"),
    [
        # Li et al., MLSys 2020, and its code for MNIST: two classes, lognormal(0, 2), at least 5 of each
        ({"kind": "power_law", "clients": 9}, {"classes_per_client": 2, "min_per_class": 5, "sigma": 2.0}),
        ({"kind": "shards", "clients": 9}, {"shards_per_client": 2}),  # McMahan et al. 2017, Section 3: "2 shards"
        ({"kind": "dirichlet", "clients": 9, "alpha": 1}, {"min_examples": 1, "balanced": False}),
        ({"kind": "grouped_natural"}, {"ids_per_client": 10, "remainder": "smaller"}),
        ({"kind": "group_sizes", "sizes": [1]}, {"tolerance": 0.05}),
    ],
    ids=lambda value: value.get("kind", ""),
)
def test_a_partitioners_defaults_are_published(document, published):
    part = parse_component(Partitioner, document)
    assert {name: getattr(part, name) for name in published} == published


def test_dirichlet_spreads_each_class_over_clients_by_shares_from_its_own_words():
    """Hsu, Qi and Brown 2019, as implemented: cuts at floor(n cumsum(p)), p from Gamma(alpha) by inversion."""
    from scipy.stats import gamma

    got = split({"kind": "dirichlet", "clients": 3, "alpha": 0.7})
    for label in range(4):
        gammas = np.asarray(gamma.ppf(draws.uniforms(3, 0, "partition", "attempt", 0, "shares", label), 0.7))
        ends = [int(30 * share) for share in np.cumsum(gammas / gammas.sum())[:2]]
        sizes = np.diff([0, *ends, 30])
        assert [Counter(LABELS[own].tolist())[label] for own in got] == sizes.tolist()
        order = [
            np.flatnonzero(label == LABELS)[i] for i in draws.order(30, 0, "partition", "attempt", 0, "order", label)
        ]
        assert sorted(order[: sizes[0]]) == [int(e) for e in got[0] if LABELS[e] == label]


def test_a_balanced_dirichlet_closes_clients_that_have_an_even_share():
    """Li et al., ICDE 2022, and their code: p * (len(own) < N / n_parties), then normalised."""
    sizes = [len(own) for own in split({"kind": "dirichlet", "clients": 3, "alpha": 0.1, "balanced": True})]
    assert sum(sizes) == 120
    assert max(sizes) < 40 + 30  # never a whole class more after the even share of 40 is reached


def test_two_shards_a_client_are_two_stretches_of_the_examples_by_label():
    shards = np.array_split(np.argsort(LABELS, kind="stable"), 20)  # 10 clients of 2
    order = draws.order(20, 0, "partition")
    for client, own in enumerate(split({"kind": "shards", "clients": 10})):
        wanted = np.concatenate([shards[order[2 * client]], shards[order[2 * client + 1]]])
        assert sorted(wanted) == own.tolist()


def test_the_clients_of_a_power_law_have_the_next_classes_round_and_the_minimum_first():
    got = split({"kind": "power_law", "clients": 4, "min_per_class": 3})
    for client, own in enumerate(got):
        held = Counter(LABELS[own].tolist())
        assert set(held) == {client, (client + 1) % 4}
        assert min(held.values()) >= 3
    for label in range(4):
        weights = np.exp(2.0 * _normals(2, "weights", label))
        holders = sorted([label, (label - 1) % 4])
        extra = [Counter(LABELS[got[client]].tolist())[label] - 3 for client in holders]
        assert extra == pytest.approx(24 * weights / weights.sum(), abs=1.0)


def test_log_normal_sizes_are_those_of_the_planned_draws():
    got = split({"kind": "log_normal", "clients": 3, "sigma": 1.5, "min_examples": 10})
    weights = np.exp(1.5 * _normals(3, "sizes"))
    assert [len(own) - 10 for own in got] == pytest.approx(90 * weights / weights.sum(), abs=1.0)


def test_a_continuous_split_sorts_the_standardised_column_and_noise():
    """Flower Datasets' ContinuousPartitioner: b = strictness z + (1 - strictness) e, e ~ N(0, 1), sorted and cut."""
    values = np.array([3.0, 1.0, 4.0, 1.5, 9.0, 2.6])
    got = split({"kind": "continuous", "clients": 2, "column": "v", "strictness": 0.3}, np.zeros(6, np.int64), v=values)
    blend = 0.3 * (values - values.mean()) / values.std() + 0.7 * _normals(6, "noise")
    assert [sorted(part) for part in np.split(np.argsort(blend), 2)] == [own.tolist() for own in got]


def test_iid_deals_a_random_order_into_equal_stretches():
    order = draws.order(120, 0, "partition")
    assert [own.tolist() for own in split({"kind": "iid", "clients": 3})] == [order[:40], order[40:80], order[80:]]


def test_growing_sizes_follow_linear_square_and_exponential_rules():
    """Flower Datasets' Linear-, Square- and ExponentialPartitioner: i, i^2, e^i; the last takes the rest."""
    sizes = {
        growth: [len(own) for own in split({"kind": "size_ladder", "clients": 3, "growth": growth})]
        for growth in ("linear", "square", "exponential")
    }
    assert sizes == {"linear": [20, 40, 60], "square": [8, 34, 78], "exponential": [10, 29, 81]}


def _normals(number, *name):
    from scipy.stats import norm

    return norm.ppf(draws.uniforms(number, 0, "partition", *name))
