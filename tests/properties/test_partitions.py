"""Whatever the labels and the seed: clients are disjoint, cover what was promised, and hold something."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from flspec.data import Examples
from flspec.errors import InputError
from flspec.partitioners.by_label import ByLabel
from flspec.partitioners.dirichlet import Dirichlet
from flspec.partitioners.iid import Iid
from flspec.randomness import Stream

NUM_CLASSES = 5
every_label = list(range(NUM_CLASSES))
labels = st.lists(st.sampled_from(every_label), max_size=200).map(lambda more: np.array(every_label + more))
seeds = st.integers(0, 2**63 - 1)
clients = st.integers(1, 40)
COVERING = {
    "iid": st.builds(Iid, clients=clients),
    "dirichlet": st.builds(Dirichlet, clients=clients, alpha=st.floats(1e-6, 1e6), min_examples=st.integers(1, 5)),
}
PARTIAL = {
    "by_label": st.builds(
        ByLabel, clients=st.integers(1, NUM_CLASSES), examples_per_client=st.none() | st.integers(1, 4)
    ),
}


def split(partitioner, labels, seed):
    """The clients, or a discarded example where the partitioner says that it cannot be done."""
    try:
        return partitioner.split(Examples(labels, NUM_CLASSES), Stream(seed, "partition"))
    except InputError:
        assume(False)


def faults(partitioner, held, num_examples) -> list[str]:
    """What is wrong with a partition."""
    together = np.concatenate(held)
    return [
        fault
        for fault, found in {
            "another number of clients": len(held) != partitioner.clients,
            "a client without examples": min(map(len, held)) == 0,
            "an example of two clients": len(set(together)) < len(together),
            "no such example": bool(((together < 0) | (together >= num_examples)).any()),
            "an example of nobody": partitioner.kind in COVERING and len(set(together)) < num_examples,
        }.items()
        if found
    ]


@pytest.mark.parametrize("kind", COVERING | PARTIAL)
@settings(max_examples=150)
@given(data=st.data(), labels=labels, seed=seeds)
def test_clients_are_disjoint_cover_what_was_promised_and_hold_something(kind, data, labels, seed):
    partitioner = data.draw((COVERING | PARTIAL)[kind])
    assert faults(partitioner, split(partitioner, labels, seed), len(labels)) == []


@settings(max_examples=100)
@given(partitioner=PARTIAL["by_label"], labels=labels)
def test_a_partial_partitioner_leaves_out_what_it_declares(partitioner, labels):
    for label, examples in enumerate(split(partitioner, labels, 0)):
        of_label = np.flatnonzero(labels == label)
        assert list(examples) == list(of_label[: partitioner.examples_per_client])


@settings(max_examples=100)
@given(data=st.data(), labels=labels, seed=seeds)
def test_dirichlet_keeps_its_promise_of_a_smallest_client(data, labels, seed):
    partitioner = data.draw(COVERING["dirichlet"])
    assert min(map(len, split(partitioner, labels, seed))) >= partitioner.min_examples


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
    assert faults(Iid(clients=2), [np.array(client, int) for client in held], 5) == fault
