"""What a client algorithm counts on elsewhere in a spec."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from flspec.aggregators import Aggregator, MeanAggregator
from flspec.client_algorithms.base import Need
from flspec.client_optimizers.sgd import Sgd
from flspec.objectives.supervised import Supervised
from flspec.privacy import Privacy
from flspec.spec.rules.base import Contradiction, rule
from flspec.spec.spec import ClientWork

_ALGORITHM = ("client", "algorithm")
_OPTIMIZER, _CLIP, _AGGREGATOR = ("client", "optimizer"), ("client", "clip"), ("aggregator",)


def _is_planned(client: ClientWork) -> bool:
    return client.optimizer.schedule is None or client.optimizer.schedule.is_planned


def _is_sgd(client: ClientWork) -> bool:
    return type(client.optimizer) is Sgd and client.optimizer.state != "kept" and _is_planned(client)


def _is_plain_sgd(client: ClientWork) -> bool:
    return _is_sgd(client) and client.optimizer.momentum == 0  # type: ignore[attr-defined]


def _is_uniform_mean(rule: Aggregator) -> bool:
    return isinstance(rule, MeanAggregator) and rule.is_plain_mean and rule.weighting == "uniform"


# By need that a spec alone can show: whether a spec has it, where that is said, and what to do.
_NEEDS: dict[Need, tuple[Callable[[ClientWork, Aggregator], bool], tuple[str, ...], str]] = {
    "sgd": (
        lambda client, _: _is_sgd(client),
        _OPTIMIZER,
        "counts on how far steps of SGD go in a round; choose sgd, state: reset, and no schedule but by rounds",
    ),
    "plain_sgd": (
        lambda client, _: _is_plain_sgd(client),
        _OPTIMIZER,
        "counts on steps of learning_rate times the gradient; choose sgd without momentum, state: reset, and no "
        "schedule but by rounds",
    ),
    "no_clip": (
        lambda client, _: client.clip is None,
        _CLIP,
        "counts on steps that follow the gradient as it corrected it; remove client.clip",
    ),
    "mean": (
        lambda _, aggregator: aggregator.is_plain_mean,
        _AGGREGATOR,
        "works on the weighted mean of updates, which this aggregator does not give; choose one of a mean, such as "
        "fedavg",
    ),
    "uniform_mean": (
        lambda _, aggregator: _is_uniform_mean(aggregator),
        _AGGREGATOR,
        "is defined for a mean in which clients count alike; choose fedavg or another mean, with weighting: uniform",
    ),
    "fresh_optimizer": (
        lambda client, _: client.optimizer.state != "kept" and _is_planned(client),
        _OPTIMIZER,
        "trains with several optimizers one after the other; choose state: reset, and no schedule but by rounds",
    ),
}


@rule
def _what_the_algorithm_needs(client: ClientWork, aggregator: Aggregator, mode: str) -> Iterator[Contradiction]:
    if client.algorithm is None or mode != "federated":
        return
    for need, (is_met, where, message) in _NEEDS.items():
        if need in client.algorithm.needs and not is_met(client, aggregator):
            yield Contradiction(_ALGORITHM, where, message)
    if why := client.algorithm.why_invalid(client.epochs, client.steps):
        yield Contradiction(_ALGORITHM, ("client", "steps" if client.epochs is None else "epochs"), why)


@rule
def _public_steps(client: ClientWork, privacy: Privacy | None, mode: str) -> Iterator[Contradiction]:
    if client.algorithm is None or mode != "federated" or privacy is None or not privacy.in_training:
        return
    if "public_steps" in client.algorithm.needs:
        message = "takes steps that this privacy does not count; choose another algorithm, or privacy of clients"
        yield Contradiction(_ALGORITHM, ("privacy",), message)


@rule
def _measured_at_the_start(client: ClientWork, privacy: Privacy | None, mode: str) -> Iterator[Contradiction]:
    """What measures a client's examples outside of its steps."""
    if client.algorithm is None or mode != "federated" or not (measured := client.algorithm.measured_at_start):
        return
    what = f"measures the {' and the '.join(measured)} of a client's examples before its steps"
    if not isinstance(client.objective, Supervised):
        message = f"{what}, which is that of outputs and labels; choose objective: supervised"
        yield Contradiction(_ALGORITHM, ("client", "objective"), message)
    if client.label_weights is not None:
        yield Contradiction(_ALGORITHM, ("client", "label_weights"), f"{what}, which count alike; remove label_weights")
    if privacy is not None and privacy.in_training:
        yield Contradiction(_ALGORITHM, ("privacy",), f"{what}, which no noise hides; choose another algorithm")
