"""Whatever the client is asked to do: each pass goes once over what it holds, and nothing else is trained on."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

SGD = {"kind": "sgd", "learning_rate": 0.1}
works = st.fixed_dictionaries(
    {"batch_size": st.integers(1, 30)}, optional={"shuffle": st.booleans(), "batch_across_epochs": st.booleans()}
)
amounts = st.sampled_from(["epochs", "steps"]).flatmap(
    lambda unit: st.fixed_dictionaries({unit: st.integers(1, 5 if unit == "epochs" else 40)})
)
partitions = st.builds(lambda clients: {"kind": "iid", "clients": clients}, st.integers(1, 60)) | st.builds(
    lambda clients, alpha: {"kind": "dirichlet", "clients": clients, "alpha": alpha},
    st.integers(1, 5),
    st.sampled_from([0.5, 5.0]),
)


def faults(held, batches, work) -> list[str]:
    """What is wrong with one client's batches of one round."""
    found = []
    if not all(len(batch) for batch in batches):
        found.append("an empty batch")
    seen = list(itertools.chain(*batches))
    passes = [seen[start : start + len(held)] for start in range(0, len(seen), len(held))]
    *whole, last = passes
    if any(sorted(order) != sorted(held) for order in whole):
        found.append("a pass that is no permutation of what the client holds")
    if len(set(last)) < len(last) or not set(last) <= set(held):
        found.append("a last pass with an example twice or of somebody else")
    if not work.get("shuffle", True) and any(order != held[: len(order)] for order in passes):
        found.append("another order although nothing is shuffled")
    if [len(batch) for batch in batches] != sizes_of(len(held), work):
        found.append("batches of another number or size")
    return found


def sizes_of(num_held: int, work) -> list[int]:
    """Of each batch: full ones, then what is left of a pass, or of all passes where batches run on."""
    size = work["batch_size"]
    if "steps" in work and work.get("batch_across_epochs"):
        return [size] * work["steps"]
    num_runs, length = work.get("epochs"), num_held
    if work.get("batch_across_epochs"):
        num_runs, length = 1, num_held * work["epochs"]
    a_run = [size] * (length // size) + [length % size] * (length % size > 0)
    return a_run * num_runs if num_runs else list(itertools.islice(itertools.cycle(a_run), work["steps"]))


@settings(max_examples=150)
@given(work=works, amount=amounts, partition=partitions, seed=st.integers(0, 2**63 - 1))
def test_every_pass_is_a_permutation_of_what_the_client_holds(make_plan, work, amount, partition, seed):
    work = work | amount
    plan = make_plan(rounds=2, seed=seed, partition=partition, cohort={"kind": "all"}, client=work | {"optimizer": SGD})
    for number in (1, 2):
        for task in plan.cohort(number):
            held = plan.client_examples(task.client).tolist()
            assert faults(held, [batch.tolist() for batch in task.batches], work) == []


EPOCH = {"batch_size": 2, "epochs": 1}


@pytest.mark.parametrize(
    ("batches", "work", "fault"),
    [
        ([[2, 1], [3]], EPOCH, ""),
        ([[2, 1], [3], [3, 1], [2]], EPOCH | {"epochs": 2}, ""),
        ([[2, 1], [1]], EPOCH, "an example twice"),
        ([[2, 1], [4]], EPOCH, "of somebody else"),
        ([[2, 1], [1], [1, 2], [3]], EPOCH | {"epochs": 2}, "no permutation"),
        ([[2, 1]], EPOCH, "another number or size"),
        ([[2], [1, 3]], EPOCH, "another number or size"),
        ([[2, 1], [3]], EPOCH | {"shuffle": False}, "another order"),
        ([[2, 1], [3], []], EPOCH, "an empty batch"),
        ([[2, 1], [3, 3], [1, 2]], EPOCH | {"epochs": 2, "batch_across_epochs": True}, ""),
        ([[2, 1], [3], [3, 1], [2]], EPOCH | {"epochs": 2, "batch_across_epochs": True}, "another number or size"),
        ([[2, 1], [3, 3], [1, 2]], EPOCH | {"epochs": 2}, "another number or size"),
    ],
)
def test_every_fault_of_batches_is_found(batches, work, fault):
    found = "; ".join(faults([1, 2, 3], batches, work))
    assert fault in found
    assert bool(fault) == bool(found)
