"""What privacy cannot be promised with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from flspec.aggregators import Aggregator, WeightedAggregator
from flspec.client_algorithms import ClientAlgorithm
from flspec.models import Model
from flspec.objectives.supervised import Supervised
from flspec.partitioners import Partitioner
from flspec.postprocessors import Postprocessor
from flspec.privacy import Privacy, Refusal
from flspec.samplers import Sampler
from flspec.spec.rules.base import Contradiction, rule
from flspec.spec.spec import ClientWork

__all__ = ["MIXES_EXAMPLES", "SENDS_STATISTICS"]


MIXES_EXAMPLES = (
    "has every example of a batch change the others' outputs, so no gradient is of one example alone; with privacy of "
    "examples choose frozen, or group norm"
)
SENDS_STATISTICS = (
    "averaged would have clients send statistics of their pictures, which no step has bounded; privacy needs frozen or "
    "local, or group norm"
)


@rule
def _promise_in_itself(privacy: Privacy | None) -> Iterator[Contradiction]:
    yield from _refused(privacy.refusals(None, None) if privacy else ())


@rule
def _promise_to_these_clients(
    privacy: Privacy | None, partition: Partitioner, cohort: Sampler, mode: str
) -> Iterator[Contradiction]:
    if privacy is None or mode != "federated" or not (num_clients := partition.num_clients):
        return
    if cohort.why_invalid(num_clients) is None:
        yield from _refused(privacy.refusals(num_clients, cohort.sampling(num_clients)))


def _refused(refusals: Iterable[Refusal]) -> Iterator[Contradiction]:
    for field, message in refusals:
        yield Contradiction(("privacy", field) if field else ("privacy",), None, message)


@rule
def _statistics_of_examples(privacy: Privacy | None, model: Model) -> Iterator[Contradiction]:
    policy = getattr(model, "batch_norm", None)  # of models that have batch norm; compilation looks at every model
    if privacy is None or policy in (None, "frozen"):
        return
    if privacy.in_training:
        yield Contradiction(("model", "batch_norm"), ("privacy",), MIXES_EXAMPLES)
    elif policy == "averaged":
        yield Contradiction(("model", "batch_norm"), ("privacy",), SENDS_STATISTICS)


@rule
def _bounded_influence(privacy: Privacy | None, aggregator: Aggregator, client: ClientWork) -> Iterator[Contradiction]:
    """What would let a client change a private mean by more than its clipped update, or tell of it before the noise."""
    if privacy is None or privacy.in_training:
        return
    if not aggregator.is_plain_mean:
        message = (
            "is not the plain mean of updates, so that what one client changes has no bound; privacy needs a mean, "
            "such as fedavg or fedadam"
        )
        yield Contradiction(("aggregator",), ("privacy",), message)
    elif isinstance(aggregator, WeightedAggregator) and aggregator.weighting != "uniform":
        message = (
            "weighs by examples, so one client could be most of the mean; privacy needs aggregator.weighting: uniform"
        )
        yield Contradiction(("aggregator",), ("privacy",), message)
    if client.algorithm is not None and not _works_with_clients_alone(client.algorithm):
        message = (
            "sends records, or has the server work on the mean before noise is on it, which privacy does not cover; "
            "remove client.algorithm or privacy"
        )
        yield Contradiction(("client", "algorithm"), ("privacy",), message)


def _works_with_clients_alone(algorithm: ClientAlgorithm) -> bool:
    """Whether the server sees of it what plain training would have sent, and does with that what it otherwise does."""
    has_own_combine = type(algorithm).combine is not ClientAlgorithm.combine
    return not (algorithm.sends or algorithm.sends_numbers or algorithm.server_slots or has_own_combine)


@rule
def _private_together(privacy: Privacy | None, mode: str) -> Iterator[Contradiction]:
    if privacy is not None and not privacy.in_training and mode != "federated":
        message = f"{mode} has no cohorts to hide a client in and would run without privacy; remove mode or privacy"
        yield Contradiction(("mode",), ("privacy",), message)


@rule
def _private_alone(privacy: Privacy | None, postprocessors: tuple[Postprocessor, ...]) -> Iterator[Contradiction]:
    if privacy is not None and not privacy.in_training and postprocessors:
        message = (
            "work on updates beside privacy, which bounds and noises them by itself; remove postprocessors or privacy"
        )
        yield Contradiction(("postprocessors",), ("privacy",), message)


@rule
def _steps_of_single_examples(privacy: Privacy | None, client: ClientWork) -> Iterator[Contradiction]:
    """What would let an example change a private step by more than its clipped gradient, or the accounting be wrong."""
    if privacy is None or not privacy.in_training:
        return
    wrong = {
        "clip": client.clip is not None and "bounds a whole batch, privacy each example; remove client.clip",
        "batch_across_epochs": client.batch_across_epochs
        and "deals examples out; with privacy of examples each is in a batch by a coin of its own; remove it",
        "shuffle": not client.shuffle
        and "keeps an order; with privacy of examples each is in a batch by a coin of its own; remove it",
        "max_examples": client.max_examples is not None
        and "chooses examples in a way that privacy does not account for; remove it",
        "objective": not isinstance(client.objective, Supervised)
        and "may mix the examples of a batch, so no gradient is of one alone; privacy of examples needs supervised",
    }
    for field, message in wrong.items():
        if message:
            yield Contradiction(("client", field), ("privacy",), message)
    if (schedule := client.optimizer.schedule) and not schedule.is_planned:
        message = "follows what is measured on a client's examples without noise; with privacy use a schedule by rounds"
        yield Contradiction(("client", "optimizer", "schedule"), ("privacy",), message)
