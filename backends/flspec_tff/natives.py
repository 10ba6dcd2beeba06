"""TFF's own server optimizers, and what each of them has of an aggregator's fields. Imports nothing of TFF.

TFF weighs clients alike or by their examples, and its learning rates may change from round to round, so that
`weighting` and `schedule` are free. Its Adagrad adds epsilon inside of the root; as no field says where, that is no
setting that it lacks but a deviation, which a run states.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from flspec.protocol.native import Native, is_native
from flspec.protocol.plan import Plan
from flspec_tff.aggregation import is_aggregated_by_tff

__all__ = ["NATIVES", "unsupported_native"]

_CORRECTED = {"bias_correction": True, "epsilon_hat": True}

NATIVES: Mapping[str, Native] = MappingProxyType(
    {
        "fedavg": Native("TFF's mean and SGD"),
        "fedavgm": Native("TFF's mean and SGD with momentum"),
        "fedadam": Native("TFF's Adam", {**_CORRECTED, "initial_accumulator": 0.0}),
        "fedyogi": Native("TFF's Yogi", _CORRECTED),
        "fedadagrad": Native("TFF's Adagrad"),
    }
)


def unsupported_native(plan: Plan) -> list[str]:
    """Return why none of TFF's own processes has a plan that asks for its algorithm, if it has one for the kind."""
    if not is_native(plan) or plan.settings.aggregator["kind"] not in NATIVES or is_aggregated_by_tff(plan):
        return []
    return [
        "aggregator.implementation: native, but TFF's own processes have no client algorithms, no state of clients, no "
        "compression, no faults and no min_clients; remove these, or implementation: native"
    ]
