"""A round has the updates that are asked for, and the aggregator combines them as what follows counts on."""

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
    aggregator: Aggregator, cohort: Sampler, partition: Partitioner, mode: str, min_clients: int
) -> Iterator[Contradiction]:
    """Of cohorts that are all of one size; compilation counts every other."""
    if mode != "federated" or not (num_clients := partition.num_clients) or cohort.why_invalid(num_clients):
        return
    sampling = cohort.sampling(num_clients)
    if sampling.kind in _OF_ONE_SIZE:
        num, way_out = int(sampling.expected), "or have more clients in a cohort"
        yield from too_few(aggregator, num, f"the smallest cohort has {num}", way_out)
        if num < min_clients:
            message = f"is {min_clients}, but every cohort has {num}, so no round would count; lower it, {way_out}"
            yield Contradiction(("min_clients",), ("cohort",), message)


def too_few(aggregator: Aggregator, num_updates: int, what_has: str, way_out: str = "") -> Iterator[Contradiction]:
    """Yield that so many updates are too few for the aggregator, if they are; `what_has` says what has so many."""
    if need := aggregator.unmet(num_updates):
        kind = aggregator.kind  # type: ignore[attr-defined]
        leave_out = f"have more clients in a cohort, or set min_clients: {need.least}, which leaves such rounds out"
        message = (
            f"{kind} needs at least {need.least} updates a round ({need.formula}), but {what_has}; "
            f"lower {need.field}, {way_out or leave_out}"
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
