"""Where Flower Datasets has the same partitioner, both must split alike: to the example, or in distribution.

It cannot be installed beside flspec's pinned versions (it needs an older fsspec), so a process in an environment of its
own answers what it makes of the same examples; `make flwr-datasets` makes that.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from flspec.core.components import parse_component
from flspec.core.randomness import Stream
from flspec.data.examples import Examples
from flspec.partitioners import Partitioner
from tests.conformance.harness import absent
from tests.flower_datasets.environment import ENVIRONMENT

LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(5), [120, 150, 180, 200, 250]))
USERS = np.array([f"user {i * i % 37:02d}" for i in range(900)])
AGES = np.linspace(0.0, 1.0, 900) ** 2
KNOWN = Examples(LABELS, 5, {"user": USERS, "age": AGES}, "user")
COLUMNS = {"label": LABELS.tolist(), "user": USERS.tolist(), "age": AGES.tolist(), "index": list(range(900))}
ANSWERS = Path(__file__).parents[1] / "flower_datasets" / "answers.py"
SEEDS = range(40)
DIFFERENT = 1e-3  # a p-value; all seeds are fixed, so what passes once passes always


pytestmark = pytest.mark.release("needs an environment of its own, and hundreds of partitions by Flower")


@pytest.fixture(scope="session")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[dict[str, Any]], dict[str, Any]]]:
    """Puts a question to Flower Datasets; see tests/flower_datasets/answers.py."""
    if (python := ENVIRONMENT.find_python()) is None:
        absent("flwr-datasets", "its environment is not installed; make flwr-datasets")
    columns = tmp_path_factory.mktemp("flower") / "columns.json"
    columns.write_text(json.dumps(COLUMNS))
    with subprocess.Popen(
        [python, ANSWERS, columns], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as flower:
        assert flower.stdin
        assert flower.stdout
        asked, told = flower.stdin, flower.stdout

        def put(question: dict[str, Any]) -> dict[str, Any]:
            print(json.dumps(question), file=asked, flush=True)
            answer: dict[str, Any] = json.loads(told.readline())
            return answer

        yield put


@pytest.fixture
def theirs(ask: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[..., list[np.ndarray]]:
    """What each of Flower's clients holds, by index; raises ValueError with Flower's own words."""

    def split(name: str, **parameters: Any) -> list[np.ndarray]:
        answer = ask({"name": name, "parameters": parameters})
        if "error" in answer:
            raise ValueError(answer["error"])
        return [np.array(indices, np.int64) for indices in answer["partitions"]]

    return split


def ours(seed: int = 0, **document: Any) -> list[np.ndarray]:
    return list(parse_component(Partitioner, document).split(KNOWN, Stream(seed, "partition")))


def sets(held: list[np.ndarray]) -> list[list[int]]:
    return [sorted(one.tolist()) for one in held]


def counts(held: list[np.ndarray]) -> np.ndarray:
    """[num_clients, num_classes]"""
    return np.array([np.bincount(LABELS[one], minlength=5) for one in held])


def sizes(held: list[np.ndarray]) -> np.ndarray:
    return np.asarray(np.sum(counts(held), axis=1))


def late_share(held: list[np.ndarray]) -> np.ndarray:
    """The part of the last label that clients hold who had their even share of everything before it."""
    table = counts(held)
    is_full = table[:, :-1].sum(axis=1) > len(LABELS) / len(held)
    return np.array([table[is_full, -1].sum() / table[:, -1].sum()])


def top_share(held: list[np.ndarray]) -> np.ndarray:
    """The part of each client's most frequent label."""
    return np.asarray(np.divide(counts(held).max(axis=1), sizes(held)))


def spread(held: list[np.ndarray]) -> np.ndarray:
    """How many clients hold each label."""
    return np.asarray(np.sum(counts(held) > 0, axis=0))


def mean_age(held: list[np.ndarray]) -> np.ndarray:
    return np.array([AGES[one].mean() for one in held])


def p_value(one: list[np.ndarray], other: list[np.ndarray]) -> float:
    """That two samples are of one distribution (Kolmogorov and Smirnov)."""
    return float(stats.ks_2samp(np.concatenate(one), np.concatenate(other)).pvalue)


# ------------------------------------------------------------------------------------------------ alike to the example


@pytest.mark.parametrize("growth", ["linear", "square", "exponential"])
@pytest.mark.parametrize("clients", [1, 3, 7])
def test_sizes_grow_as_flower_s(growth, clients, theirs):
    held = ours(kind="size_ladder", growth=growth, clients=clients, shuffle=False)
    assert sets(held) == sets(theirs(f"{growth.capitalize()}Partitioner", num_partitions=clients))


def test_sizes_are_flower_s(theirs):
    assert sets(ours(kind="sizes", sizes=[100, 50, 300], shuffle=False)) == sets(
        theirs("SizePartitioner", partition_sizes=[100, 50, 300])
    )


def test_natural_clients_are_flower_s_but_in_the_order_in_which_they_appear(theirs):
    held, flower_s = sets(ours(kind="natural")), sets(theirs("NaturalIdPartitioner", partition_by="user"))
    assert sorted(held) == sorted(flower_s)
    assert held == sorted(held)  # by the first example of each


@pytest.mark.parametrize(
    ("remainder", "mode"),
    [("smaller", "allow-smaller"), ("larger", "allow-bigger"), ("drop", "drop-reminder")],
)
@pytest.mark.parametrize("in_order", [False, True])
def test_groups_of_natural_clients_are_flower_s(remainder, mode, in_order, theirs):
    held = ours(kind="grouped_natural", ids_per_client=4, remainder=remainder, order="sorted" if in_order else "first")
    flower_s = theirs(
        "GroupedNaturalIdPartitioner", partition_by="user", group_size=4, mode=mode, sort_unique_ids=in_order
    )
    assert sets(held) == sets(flower_s)


def test_a_strict_order_by_a_covariate_is_flower_s(theirs):
    held = ours(kind="continuous", column="age", strictness=1.0, clients=7)
    assert sets(held) == sets(theirs("ContinuousPartitioner", partition_by="age", strictness=1.0, num_partitions=7))


def test_deterministic_pathological_clients_hold_as_many_of_each_label_as_flower_s(theirs):
    held = ours(kind="pathological", clients=7, classes_per_client=2, assignment="deterministic")
    flower_s = theirs(
        "PathologicalPartitioner", num_partitions=7, partition_by="label", num_classes_per_partition=2,
        class_assignment_mode="deterministic",
    )  # fmt: skip
    assert counts(held).tolist() == counts(flower_s).tolist()


@pytest.mark.parametrize("rescale", [True, False])
def test_a_given_distribution_is_flower_s_but_for_what_rounding_leaves(rescale, theirs):
    table = np.arange(1, 21).reshape(5, 4)
    held = ours(
        kind="distribution", clients=10, weights=table.tolist(), classes_per_client=2, min_per_class=3, rescale=rescale
    )
    flower_s = theirs(
        "DistributionPartitioner", distribution_array=table.tolist(), num_partitions=10, partition_by="label",
        num_unique_labels_per_partition=2, preassigned_num_samples_per_label=3, rescale=rescale,
    )  # fmt: skip
    # Flower gives all that rounding leaves of a label, less than one for each of its 4 clients, to one of them.
    assert np.abs(counts(held) - counts(flower_s)).max() <= (3 if rescale else 0)
    assert (counts(held) > 0).tolist() == (counts(flower_s) > 0).tolist()


@pytest.mark.parametrize(
    ("mine", "flower_s"),
    [
        ({"shards_per_client": 2, "shard_size": 50}, {"num_shards_per_partition": 2, "shard_size": 50}),
        ({"shards_per_client": None, "shard_size": 70}, {"shard_size": 70}),
        (
            {"shards_per_client": None, "shard_size": 70, "keep_incomplete": True},
            {"shard_size": 70, "keep_incomplete_shard": True},
        ),
        ({"shards_per_client": 3}, {"num_shards_per_partition": 3}),
    ],
)
def test_shards_make_clients_as_large_and_as_mixed_as_flower_s(mine, flower_s, theirs):
    held = [ours(seed, kind="shards", clients=6, **mine) for seed in SEEDS]
    their = [
        theirs("ShardPartitioner", num_partitions=6, partition_by="label", seed=seed, **flower_s) for seed in SEEDS
    ]
    if "keep_incomplete" not in mine:  # then one client, whichever, gets the shard that is smaller
        assert [sizes(one).tolist() for one in held] == [sizes(one).tolist() for one in their]
    assert sum(map(len, held[0])) == sum(map(len, their[0]))
    assert p_value([top_share(one) for one in held], [top_share(one) for one in their]) > DIFFERENT


# ---------------------------------------------------------------------------------------------- alike in distribution

ALIKE: list[Any] = [
    # what of the clients, ours, a wrong one of ours, Flower's
    (
        sizes,
        {"kind": "dirichlet", "clients": 6, "alpha": 0.5},
        {"alpha": 3.0},
        ("DirichletPartitioner", {"num_partitions": 6, "alpha": 0.5, "min_partition_size": 1}),
    ),
    (
        top_share,
        {"kind": "dirichlet", "clients": 6, "alpha": 0.5, "min_examples": 30},
        {"alpha": 1.5},
        ("DirichletPartitioner", {"num_partitions": 6, "alpha": 0.5, "min_partition_size": 30}),
    ),
    (
        late_share,
        {"kind": "dirichlet", "clients": 10, "alpha": 0.3, "balanced": True},
        {"balanced": False},
        ("DirichletPartitioner",
         {"num_partitions": 10, "alpha": 0.3, "min_partition_size": 1, "self_balancing": True}),
    ),
    (
        top_share,
        {"kind": "dirichlet", "clients": 10, "alpha": 0.3, "balanced": True},
        {"alpha": 3.0},
        ("DirichletPartitioner",
         {"num_partitions": 10, "alpha": 0.3, "min_partition_size": 1, "self_balancing": True}),
    ),
    (
        top_share,
        {"kind": "inner_dirichlet", "clients": 3, "alpha": 2.0, "sizes": [100, 200, 100]},
        {"alpha": 0.5},
        ("InnerDirichletPartitioner", {"partition_sizes": [100, 200, 100], "alpha": 2.0}),
    ),
    (  # with every example held, so that classes run out
        top_share,
        {"kind": "inner_dirichlet", "clients": 3, "alpha": 2.0, "sizes": [200, 300, 400]},
        {"sizes": [50, 50, 50]},
        ("InnerDirichletPartitioner", {"partition_sizes": [200, 300, 400], "alpha": 2.0}),
    ),
    (
        spread,
        {"kind": "pathological", "clients": 30, "classes_per_client": 2},
        {"assignment": "deterministic"},
        ("PathologicalPartitioner", {"num_partitions": 30, "num_classes_per_partition": 2}),
    ),
    (
        spread,
        {"kind": "pathological", "clients": 12, "classes_per_client": 2, "assignment": "first-deterministic"},
        {"classes_per_client": 3},
        ("PathologicalPartitioner",
         {"num_partitions": 12, "num_classes_per_partition": 2, "class_assignment_mode": "first-deterministic"}),
    ),
    (
        mean_age,
        {"kind": "continuous", "clients": 6, "column": "age", "strictness": 0.5},
        {"strictness": 0.3},
        ("ContinuousPartitioner", {"num_partitions": 6, "partition_by": "age", "strictness": 0.5}),
    ),
    (
        mean_age,
        {"kind": "continuous", "clients": 6, "column": "age", "strictness": 0.0},
        {"strictness": 0.3},
        ("ContinuousPartitioner", {"num_partitions": 6, "partition_by": "age", "strictness": 0.0}),
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("measure", "mine", "wrong", "flower_s"), ALIKE, ids=lambda value: getattr(value, "__name__", str(value)[:40])
)
def test_clients_are_distributed_as_flower_s(measure, mine, wrong, flower_s, theirs):
    name, parameters = flower_s
    their = [measure(theirs(name, **{"partition_by": "label", "seed": seed} | parameters)) for seed in SEEDS]
    assert p_value([measure(ours(seed, **mine)) for seed in SEEDS], their) > DIFFERENT
    assert p_value([measure(ours(seed, **mine | wrong)) for seed in SEEDS], their) < DIFFERENT


def test_a_client_whose_classes_have_run_out_makes_flower_fail_and_not_us(theirs):
    """flower#4377: all of a client's prior is on classes of which nothing is left, and the rest of it is 0 / 0."""
    alike: dict[str, Any] = {"alpha": 0.001}
    with pytest.raises(ValueError, match="NaN"):
        theirs("InnerDirichletPartitioner", partition_sizes=[300, 300, 300], partition_by="label", **alike)
    held = ours(kind="inner_dirichlet", clients=3, **alike)
    assert sizes(held).tolist() == [300, 300, 300]
