"""What the phases of a step cost: multiplications, and values that must be there at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from flspec.layers import Network, count_multiply_adds, count_values_made
from flspec.phases.documents import Call, Phase

__all__ = ["count_step_multiply_adds", "count_step_values"]

Networks = Mapping[str, Network]


def count_step_multiply_adds(phases: Sequence[Phase], networks: Networks) -> int:
    """Count the multiplications of all forward passes of a step in which every phase takes place, for one example."""
    return sum(count_multiply_adds(networks[call.network]) for phase in phases for call in phase.calls)


def count_step_values(phases: Sequence[Phase], networks: Networks) -> int:
    """Count the most values of one example that gradients need at once: those of one phase's calls, and of the earlier
    calls that these are derived from.
    """
    calls: dict[str, Call] = {}
    most = 0
    for phase in phases:
        calls |= {call.value: call for call in phase.calls}
        needed = _derived_from(calls, [call.value for call in phase.calls])
        most = max(most, sum(count_values_made(networks[calls[value].network]) for value in needed))
    return most


def _derived_from(calls: Mapping[str, Call], values: Sequence[str]) -> set[str]:
    """Return the values, and those that they are derived from."""
    found, left = set[str](), list(values)
    while left:
        value = left.pop()
        if value in calls and value not in found:
            found.add(value)
            left += calls[value].inputs.values()
    return found
