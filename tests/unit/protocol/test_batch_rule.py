"""What a rule says of its batches beforehand is what they are."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from flspec.core.randomness import Stream
from flspec.protocol.batch_rule import BatchRule, poisson_batch

amounts = st.fixed_dictionaries({"epochs": st.integers(1, 4)}, optional={"steps": st.integers(1, 30)}) | (
    st.fixed_dictionaries({"steps": st.integers(1, 30)})
)
flags: Any = st.fixed_dictionaries({"shuffle": st.booleans(), "batch_across_epochs": st.booleans()})
rules = st.builds(
    lambda size, most, amount, flag: BatchRule(size, 0, max_examples=most, **amount, **flag),
    st.integers(1, 12),
    st.none() | st.integers(1, 20),
    amounts,
    flags,
)


def faults(rule: BatchRule, said: BatchRule, num: int) -> list[str]:
    """What `said` says of the batches of `rule` and is not so, of a client with so many examples."""
    batches = list(rule.batches([np.arange(num)], Stream(0)))
    used = said.num_used(num)
    pairs = {
        "number of batches": (int(said.num_steps(used)), len(batches)),
        "examples": (int(said.most_trained(used)), sum(map(len, batches))),
        "sizes": (said.batch_sizes(int(used)), set(map(len, batches))),
    }
    return [what for what, (before, after) in pairs.items() if before != after]


@settings(max_examples=300, deadline=None)
@given(rule=rules, num=st.integers(1, 40))
def test_numbers_and_sizes_are_known_without_drawing(rule: BatchRule, num: int) -> None:
    assert faults(rule, rule, num) == []


def test_what_another_rule_says_is_found_wrong() -> None:
    rule = BatchRule(4, 0, epochs=2)
    assert faults(rule, replace(rule, epochs=3), 9) == ["number of batches", "examples"]
    assert faults(rule, replace(rule, batch_across_epochs=True), 9) == ["number of batches", "sizes"]
    assert faults(rule, replace(rule, max_examples=8), 9) == ["number of batches", "examples", "sizes"]


def test_batches_by_coins_hold_no_more_than_is_said() -> None:
    rule = BatchRule(9, 0, steps=400, by_coins=True)
    sizes = [len(batch) for batch in rule.batches([np.arange(300)], Stream(0))]
    assert len(sizes) == rule.num_steps(300) == 400
    assert set(sizes) <= rule.batch_sizes(300)
    assert sum(sizes) <= rule.most_trained(300)
    # The largest of 400 draws of a hundred times the probability is beyond the bound, so the bound is one.
    many = [len(poisson_batch(rule.most_by_coins, np.arange(300), Stream(0, n))) for n in range(400)]
    assert not set(many) <= rule.batch_sizes(300)
