"""Whatever the examples and the seed: clients are disjoint, hold something, and what their kind promises."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from flspec.analysis.skew import count_labels, measure_skew
from flspec.compiler.client_data import assign_examples
from flspec.core.components import parse_component
from flspec.core.randomness import Stream
from flspec.data.examples import Examples
from flspec.errors import InputError
from flspec.partitioners import Partitioner
from flspec.partitioners.iid import Iid
from flspec.partitioners.sizes import Sizes
from tests.properties import partition_cases as cases

GOLDEN = Path(__file__).parent / "partitions.json"
every_kind = pytest.mark.parametrize("kind", cases.KINDS)


def made(document: dict[str, Any]) -> Partitioner:
    return parse_component(Partitioner, document)


def split(partitioner: Partitioner, known: Examples, seed: int) -> list[np.ndarray]:
    """The clients, or a discarded example where the partitioner says, naming the field, that it cannot be done."""
    try:
        return list(partitioner.split(known, Stream(seed, "partition")))
    except InputError as error:
        refusal = str(error)
    assert refusal.startswith("partition")
    return assume(False)


def test_every_kind_has_a_case():
    assert sorted(cases.CASES) == cases.KINDS


@every_kind
@settings(max_examples=80)
@given(data=st.data(), known=cases.examples(), seed=st.integers(0, 2**63 - 1))
def test_a_partition_is_what_it_promises_or_refused(kind, data, known, seed):
    partitioner = data.draw(cases.CASES[kind])
    held = split(partitioner, known, seed)
    assert cases.faults(partitioner, held, known) == []
    assert cases.broken_promises(partitioner, held, known) == []
    assign_examples(partitioner, known, Stream(seed))  # the check in every compilation finds nothing either


@every_kind
@settings(max_examples=10)
@given(data=st.data(), known=cases.examples(), seed=st.integers(0, 2**63 - 1))
def test_a_partition_follows_from_the_seed(kind, data, known, seed):
    partitioner = data.draw(cases.CASES[kind])
    once, again = (split(partitioner, known, seed) for _ in range(2))
    assert all(map(np.array_equal, once, again))


@pytest.mark.parametrize(
    ("held", "fault"),
    [
        ([[0, 1], [2, 3, 4]], []),
        ([[0, 1], [1, 2, 3, 4]], ["an example of two clients"]),
        ([[0, 1], [2, 3]], ["an example of nobody"]),
        ([[0, 1, 2, 3, 4], []], ["a client without examples"]),
        ([[0, 1], [2, 3, 4, 5]], ["no such example"]),
        ([[0, 1, 2, 3, 4]], ["another number of clients"]),
    ],
)
def test_every_fault_of_a_partition_is_found(held, fault):
    assert (
        cases.faults(Iid(clients=2), [np.array(client, int) for client in held], Examples(np.zeros(5, np.int64), 1))
        == fault
    )


BROKEN: list[Any] = [
    ({"kind": "iid", "clients": 2}, [[0], [1, 2, 3]], "sizes that differ"),
    ({"kind": "iid", "clients": 2, "examples_per_client": 1}, [[0, 1], [2, 3]], "another size"),
    ({"kind": "by_label", "clients": 2}, [[0, 2], [3, 1]], "others than the first of its label"),
    ({"kind": "dirichlet", "clients": 2, "alpha": 1, "min_examples": 2}, [[0], [1, 2]], "fewer than min_examples"),
    ({"kind": "pathological", "clients": 1, "classes_per_client": 1}, [[0, 1]], "too many classes"),
    ({"kind": "pathological", "clients": 1, "classes_per_client": 2}, [[0, 2]], "too few classes"),
    ({"kind": "sizes", "sizes": [1, 2]}, [[0, 1], [2]], "other sizes"),
    ({"kind": "shards", "clients": 1, "shard_size": 2}, [[0, 1, 2]], "other than whole shards"),
    ({"kind": "size_ladder", "clients": 2, "growth": "square"}, [[0, 1], [2]], "a smaller client after a larger one"),
    ({"kind": "natural"}, [[0, 2], [1, 3]], "a user on two clients"),
    ({"kind": "natural"}, [[0, 2]], "several users"),
    ({"kind": "natural", "max_examples": 1}, [[0, 1], [2]], "too many examples"),
    ({"kind": "natural", "absent_from_test": True}, [[2, 3]], "a user of the test set"),
    ({"kind": "grouped_natural", "ids_per_client": 2}, [[0, 1], [2, 3]], "other than ids_per_client users"),
    ({"kind": "group_sizes", "sizes": [1]}, [[0, 1, 2]], "further off than the tolerance"),
    (
        {"kind": "mixed", "iid_clients": 2, "rest": {"kind": "natural"}},
        [[0], [1, 2, 3]],
        "sizes that differ among those alike",
    ),
    ({"kind": "slices", "clients": 1, "slices": [[[0, 1]]]}, [[0, 1]], "other than its slice"),
    (cases.with_file([0, 0, 1]).model_dump(), [[0], [1, 2]], "others than the file says"),
]


@pytest.mark.parametrize(("document", "held", "promise"), BROKEN, ids=lambda value: str(value)[:30])
def test_every_broken_promise_is_found(document, held, promise):
    user = np.array(["a", "a", "user 2", "user 2"])
    known = Examples(np.array([0, 1, 0, 1]), 2, {"user": user}, "user")
    assert promise in cases.broken_promises(made(document), [np.array(client) for client in held], known)


def test_every_promise_is_shown_to_be_able_to_break():
    shown = {promise for *_, promise in BROKEN}
    assert {what for _, what, _ in cases.PROMISES} == shown


# -------------------------------------------------------------------------------------------------------------- skew

LABELS = np.repeat(np.arange(10), 200)
KNOWN = Examples(LABELS, 10, {"age": np.sin(np.arange(2000.0)), "user": np.arange(2000) // 9}, "user")


def skew_of(held, measure):
    sizes = np.array([len(one) for one in held])
    skew = measure_skew(count_labels(np.concatenate(held), np.cumsum(sizes), LABELS, 10))
    means = np.array([KNOWN.columns["age"][one].mean() for one in held])
    return {"labels": skew.emd.mean, "sizes": skew.size_gini, "age": float(means.std())}[measure]


# A kind, its other parameters, the one that is turned, from even to skewed, and what of the clients it sets apart.
DIALS = [
    ("dirichlet", {"clients": 20}, "alpha", [100.0, 1.0, 0.1], "labels"),
    ("dirichlet", {"clients": 20}, "alpha", [100.0, 1.0, 0.2], "sizes"),
    ("extended_dirichlet", {"clients": 20, "alpha": 10.0}, "classes_per_client", [9, 4, 2], "labels"),
    ("extended_dirichlet", {"clients": 20, "classes_per_client": 6}, "alpha", [100.0, 1.0, 0.3], "sizes"),
    ("inner_dirichlet", {"clients": 20}, "alpha", [100.0, 1.0, 0.1], "labels"),
    ("pathological", {"clients": 20}, "classes_per_client", [8, 4, 2], "labels"),
    ("shards", {"clients": 20}, "shards_per_client", [20, 5, 1], "labels"),
    ("power_law", {"clients": 20}, "sigma", [0.0, 1.0, 3.0], "sizes"),
    ("power_law", {"clients": 20}, "classes_per_client", [8, 4, 1], "labels"),
    ("size_ladder", {"clients": 6}, "growth", ["linear", "square", "exponential"], "sizes"),
    ("log_normal", {"clients": 20}, "sigma", [0.0, 0.7, 2.0], "sizes"),
    ("dirichlet_sizes", {"clients": 20}, "alpha", [100.0, 1.0, 0.1], "sizes"),
    ("continuous", {"clients": 20, "column": "age"}, "strictness", [0.0, 0.5, 1.0], "age"),
    (
        "mixed",
        {"rest": {"kind": "shards", "clients": 10, "shards_per_client": 1}},
        "iid_clients",
        [40, 10, 2],
        "labels",
    ),
]
# Whose clients are made by nature, by a list, or alike.
WITHOUT = {
    "by_label",
    "deal",
    "distribution",
    "explicit",
    "group_sizes",
    "grouped_natural",
    "iid",
    "natural",
    "sizes",
    "slices",
}


def test_every_kind_that_has_a_dial_is_turned():
    assert sorted({kind for kind, *_ in DIALS} | WITHOUT) == cases.KINDS


def readings(kind, others, dial, values, measure):
    """The mean skew at each setting of a dial."""
    return [
        np.mean(
            [
                skew_of(made({"kind": kind, dial: value} | others).split(KNOWN, Stream(seed)), measure)
                for seed in range(4)
            ]
        )
        for value in values
    ]


@pytest.mark.parametrize(("kind", "others", "dial", "values", "measure"), DIALS, ids=lambda value: str(value)[:20])
def test_a_dial_turned_up_skews_more(kind, others, dial, values, measure):
    assert is_turned_up(readings(kind, others, dial, values, measure))


def is_turned_up(read):
    return np.diff(read).min() > 0.02


def test_a_dial_that_does_nothing_is_seen():
    assert not is_turned_up(readings("iid", {"clients": 20}, "holdout", [0.0, 0.1, 0.2], "labels"))
    assert not is_turned_up(readings("dirichlet", {"clients": 20}, "alpha", [0.1, 1.0, 100.0], "labels"))


def test_a_mix_of_labels_is_as_even_as_its_alpha_says_to_the_digit():
    """E|p - 1/C| of Beta(a, 9a): Dirichlet's shares are what they are said to be, not merely skewed."""
    from scipy import stats

    alpha, held = 0.5, made({"kind": "inner_dirichlet", "clients": 40, "alpha": 0.5, "sizes": [25] * 40})
    shares = [
        np.bincount(LABELS[one], minlength=10) / len(one)
        for seed in range(10)
        for one in held.split(KNOWN, Stream(seed))
    ]
    # Of 25 examples the variance is the shares' own and that of drawing from them.
    beta = stats.beta(alpha, 9 * alpha)
    expected = beta.var() + (0.1 * 0.9 - beta.var()) / 25
    assert np.var(shares) == pytest.approx(expected, rel=0.05)


# ------------------------------------------------------------------------------------------------------------ golden


def small() -> Examples:
    numbers = np.arange(120)
    columns = {"user": np.array([f"u{i * i % 23}" for i in numbers]), "age": (numbers * 7 % 50).astype(float)}
    return Examples(numbers * 3 % 7 % 5, 5, columns, "user", {"user": np.array(["u1"])})


SMALL: dict[str, dict[str, Any]] = {
    "by_label": {"clients": 5},
    "continuous": {"clients": 6, "column": "age", "strictness": 0.5},
    "deal": {"clients": 6, "among": {"min_examples": 5}},
    "dirichlet": {"clients": 6, "alpha": 0.5},
    "dirichlet_sizes": {"clients": 6, "alpha": 0.5},
    "distribution": {"clients": 5, "weights": [[1, 2], [2, 1], [3, 1], [1, 1], [1, 5]], "min_per_class": 1},
    "explicit": {"file": "split.csv"},
    "extended_dirichlet": {"clients": 6, "alpha": 1.0, "classes_per_client": 2},
    "group_sizes": {"sizes": [20, 40, 30], "tolerance": 0.2},
    "grouped_natural": {"ids_per_client": 3, "order": "random"},
    "iid": {"clients": 6},
    "inner_dirichlet": {"clients": 6, "alpha": 0.3},
    "log_normal": {"clients": 6, "sigma": 1.0},
    "mixed": {"iid_clients": 3, "rest": {"kind": "dirichlet", "clients": 3, "alpha": 0.5}},
    "natural": {"order": "random", "max_examples": 6},
    "pathological": {"clients": 6, "classes_per_client": 2},
    "power_law": {"clients": 5, "min_per_class": 1},
    "shards": {"clients": 6},
    "size_ladder": {"clients": 6, "growth": "square"},
    "sizes": {"sizes": [10, 20, 30]},
    "slices": {"clients": 6, "order": "stratified"},
}


@every_kind
def test_a_split_does_not_move(kind, tmp_path):
    """Not with numpy, SciPy or the machine; FLSPEC_WRITE_GOLDEN=1 writes it anew, and a commit says why."""
    (tmp_path / "split.csv").write_text("client,example\nb,3\na,0\nb,7\n")
    known = small()
    known = Examples(known.labels, 5, known.columns, "user", known.test_columns, tmp_path)
    held = [one.tolist() for one in made({"kind": kind} | SMALL[kind]).split(known, Stream(7, "partition"))]
    digest = hashlib.sha256(json.dumps(held).encode()).hexdigest()[:16]
    golden = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    if os.environ.get("FLSPEC_WRITE_GOLDEN"):
        golden[kind] = digest
        GOLDEN.write_text(json.dumps(dict(sorted(golden.items())), indent=2) + "\n")
    assert digest == golden[kind]


def test_the_digest_of_another_seed_differs():
    one, other = (Sizes(sizes=(10, 20)).split(small(), Stream(seed)) for seed in (0, 1))
    assert [held.tolist() for held in one] != [held.tolist() for held in other]
