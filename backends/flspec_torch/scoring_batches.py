"""Size of the batches in which examples are scored."""

from __future__ import annotations

from flspec.layers import Network, count_values_at_once

__all__ = ["examples_at_once"]

_MOST_EXAMPLES = 500
_MOST_VALUES = 2**25  # float32 values of a batch that layers need at once


def examples_at_once(network: Network) -> int:
    """Return how many examples fit a bound on memory. The number does not change the scores."""
    return max(1, min(_MOST_EXAMPLES, _MOST_VALUES // count_values_at_once(network)))
