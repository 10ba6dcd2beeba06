"""The aggregator has the updates that it needs, and combines them as what follows counts on."""

from __future__ import annotations

from collections.abc import Iterator

from flspec.aggregators import Aggregator
from flspec.partitioners import Partitioner
from flspec.postprocessors import Postprocessor
from flspec.samplers import Sampler
from flspec.spec.rules.base import Contradiction, rule

__all__ = ["too_few"]

_OF_ONE_SIZE = ("everybody", "fixed_size", "with_replacement")


@rule
def _enough_updates(
    aggregator: Aggregator, cohort: Sampler, partition: Partitioner, mode: str
) -> Iterator[Contradiction]:
    """Of cohorts that are all of one size; compilation counts every other."""
    if mode != "federated" or not (num_clients := partition.num_clients) or cohort.why_invalid(num_clients):
        return
    sampling = cohort.sampling(num_clients)
    if sampling.kind in _OF_ONE_SIZE:
        yield from too_few(aggregator, int(sampling.expected))


def too_few(aggregator: Aggregator, smallest: int) -> Iterator[Contradiction]:
    """Yield that the smallest cohort has too few clients for the aggregator, if it has."""
    if need := aggregator.unmet(smallest):
        kind = aggregator.kind  # type: ignore[attr-defined]
        message = (
            f"{kind} needs at least {need.least} updates a round ({need.formula}), but the smallest cohort has "
            f"{smallest}; lower {need.field}, or have more clients in a cohort"
        )
        yield Contradiction(("aggregator", need.field), ("cohort",), message)


@rule
def _of_a_mean(aggregator: Aggregator, postprocessors: tuple[Postprocessor, ...], mode: str) -> Iterator[Contradiction]:
    """What is scaled or noised as a mean must be one."""
    if mode != "federated" or aggregator.is_plain_mean:
        return
    for number, part in enumerate(postprocessors):
        if part.needs_mean:
            kind = part.kind  # type: ignore[attr-defined]
            message = f"{kind} needs the mean of updates, which this aggregator is not; choose fedavg or fedadam"
            yield Contradiction(("postprocessors", str(number)), ("aggregator",), message)
