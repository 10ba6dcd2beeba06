"""Flower's own strategies, and what each of them has of an aggregator's fields. Imports nothing of Flower."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from flspec.protocol.native import Native
from flspec.protocol.plan import Plan
from flspec.protocol.settings import ComponentDocument
from flspec.server_optimizers.sgd import Sgd

__all__ = ["NATIVES", "OwnStrategy", "unsupported_native"]

Arguments = Callable[[ComponentDocument, int], dict[str, Any]]  # of an aggregator, and of a round's number of updates


@dataclass(frozen=True)
class OwnStrategy(Native):
    """A strategy of `flwr.serverapp.strategy`."""

    name: str = ""  # of its class
    arguments: Arguments = lambda aggregator, num_updates: {}
    # By slot of the definition's server optimizer: the attribute that has it, and its sign there.
    slots: Mapping[str, tuple[str, int]] = field(default_factory=dict)


def _strategy(
    name: str, arguments: Arguments | Mapping[str, str], only: Mapping[str, Any], **slots: Any
) -> OwnStrategy:
    """Return the declaration of a strategy; `arguments` may be the name of each field's argument."""
    names = arguments if isinstance(arguments, Mapping) else {}
    given = _named(names) if isinstance(arguments, Mapping) else arguments
    return OwnStrategy(f"Flower's {name}", only, False, name, given, slots)


def _named(names: Mapping[str, str]) -> Arguments:
    return lambda aggregator, num_updates: {argument: aggregator[name] for name, argument in names.items()}


def _trimmed(aggregator: ComponentDocument, num_updates: int) -> dict[str, Any]:
    """Return the share of which Flower cuts int(share * num_updates) at each end: f, whatever rounding does."""
    return {"beta": (aggregator["f"] + 0.25) / num_updates}


_MEAN = {"weighting": "examples"}
_RULE = {"server_optimizer": Sgd().model_dump(mode="json")}
_MOMENTS = {"learning_rate": "eta", "beta_1": "beta_1", "beta_2": "beta_2", "epsilon": "tau"}
_FROM_ZERO = {**_MEAN, "initial_accumulator": 0.0}
_IN_SLOTS = {"first_moment": ("m_t", 1), "second_moment": ("v_t", 1)}

NATIVES: Mapping[str, OwnStrategy] = MappingProxyType(
    {
        "fedavg": _strategy("FedAvg", {}, {**_MEAN, "learning_rate": 1.0}),
        "fedavgm": _strategy(
            "FedAvgM",
            {"learning_rate": "server_learning_rate", "momentum": "server_momentum"},
            _MEAN,
            momentum=("momentum_vector", -1),
        ),
        # Its bias is corrected as in Kingma and Ba's second form, which is epsilon_hat.
        "fedadam": _strategy(
            "FedAdam", _MOMENTS, {**_FROM_ZERO, "bias_correction": True, "epsilon_hat": True}, **_IN_SLOTS
        ),
        "fedyogi": _strategy(
            "FedYogi", _MOMENTS, {**_FROM_ZERO, "bias_correction": False, "epsilon_hat": None}, **_IN_SLOTS
        ),
        "fedadagrad": _strategy(
            "FedAdagrad", {"learning_rate": "eta", "epsilon": "tau"}, _FROM_ZERO, accumulator=("v_t", 1)
        ),
        "median": _strategy("FedMedian", {}, _RULE),
        "trimmed_mean": _strategy("FedTrimmedAvg", _trimmed, _RULE),
        "krum": _strategy("Krum", {"f": "num_malicious_nodes"}, _RULE),
        "multi_krum": _strategy("MultiKrum", {"f": "num_malicious_nodes", "m": "num_nodes_to_select"}, _RULE),
        "bulyan": _strategy("Bulyan", {"f": "num_malicious_nodes"}, _RULE),
    }
)


def unsupported_native(plan: Plan) -> list[str]:
    """Return why Flower's own strategy does not know what a plan has, if it has one for the plan."""
    strategy = NATIVES.get(plan.settings.aggregator["kind"])
    if not (strategy and strategy.slots and plan.statistics):
        return []
    return [
        f"model.batch_norm: running statistics are no weights, but {strategy.title} steps all tensors alike; choose "
        "frozen or local, or remove aggregator.implementation: native"
    ]
