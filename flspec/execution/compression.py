"""The compression of updates, where a client's work ends, and their restoration, where the server's begins.

Only the change of learned weights is compressed. Statistics of batch norm go as they are, because a variance whose
change is rounded may come out below 0. So do the records and numbers that client algorithms send.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flspec.compressors import Compressor, Payload
from flspec.core.randomness import Stream
from flspec.errors import RunError
from flspec.execution.part_checks import PartCall, stream_for
from flspec.execution.parts import compressor_of, learned_weights, payload_bytes, remembers_updates
from flspec.protocol.named_records import Records, Weights
from flspec.protocol.plan import ClientTask, Plan
from flspec.protocol.updates import ClientUpdate

__all__ = ["compressed", "initial_memory", "restored"]

_MEMORY = "compression"  # the record of a client's state


def initial_memory(plan: Plan) -> Records:
    """Return the record of error feedback that a client has before its first round; none if the plan has none."""
    if not remembers_updates(plan):
        return {}
    return {_MEMORY: {name: np.zeros_like(weight) for name, weight in learned_weights(plan).items()}}


def compressed(plan: Plan, task: ClientTask, update: ClientUpdate, client_state: Records) -> ClientUpdate:
    """Return a task's update as it is sent: with a payload, and a delta that lacks what the payload stands for.

    `client_state` is that before the round. The stream is a child of the task's planned seed.
    """
    if (compressor := compressor_of(plan)) is None or not (like := learned_weights(plan)):
        return update
    whole = {name: np.asarray(update.delta[name], np.float32) for name in like}
    if compressor.error_feedback:
        whole = {name: value + client_state[_MEMORY][name] for name, value in whole.items()}
    payload = _payload(plan, compressor, whole, Stream(task.seed, "compression"))
    kept = dict(update.client_state)
    if compressor.error_feedback:
        arrived = _restored(compressor, payload, like)
        with np.errstate(invalid="ignore"):  # of an update that is not finite, which the server leaves out
            kept[_MEMORY] = {name: value - arrived[name] for name, value in whole.items()}
    rest = {name: value for name, value in update.delta.items() if name not in like}
    return replace(update, delta=rest, payload=payload, client_state=kept)


def restored(plan: Plan, updates: Sequence[ClientUpdate]) -> list[ClientUpdate]:
    """Return the updates with the deltas that the server takes from their payloads, all tensors in the plan's order.

    Raises RunError if an update was not compressed: the plan counts the bytes of one that is.
    """
    if (compressor := compressor_of(plan)) is None or not (like := learned_weights(plan)):
        return list(updates)
    return [_restored_update(plan, compressor, update, like) for update in updates]


def _restored_update(plan: Plan, compressor: Compressor, update: ClientUpdate, like: Weights) -> ClientUpdate:
    if not update.payload:
        raise RunError(f"compression: the backend gave an update of client {update.client} that is not compressed")
    delta = {**update.delta, **_restored(compressor, update.payload, like)}
    return replace(update, delta={name: delta[name] for name in plan.weights}, payload={})


def _payload(plan: Plan, compressor: Compressor, delta: Weights, stream: Stream) -> dict[str, NDArray[Any]]:
    """Return what is sent. Raises RunError if it is not arrays, or not as many bytes as the plan counts."""
    call = PartCall("compression", compressor, "compress")
    with call.guarded():
        given = compressor.compress(delta, stream_for(compressor.is_random, stream))
    if not isinstance(given, Mapping) or not all(
        isinstance(value, np.ndarray | np.generic) for value in given.values()
    ):
        raise call.error(f"gave {type(given).__name__}, not numpy arrays by name")
    if wrong := [name for name, value in given.items() if value.dtype.kind not in "biuf"]:
        raise call.error(f"gave {wrong[0]} of type {given[wrong[0]].dtype}, not of numbers")
    if (sent := sum(value.nbytes for value in given.values())) != (counted := payload_bytes(plan)):
        raise call.error(
            f"gave {sent:,} bytes, but {counted:,} of an update of zeros; the size may not depend on values"
        )
    return {name: np.asarray(value) for name, value in given.items()}


def _restored(compressor: Compressor, payload: Payload, like: Weights) -> dict[str, NDArray[Any]]:
    call = PartCall("compression", compressor, "restore")
    with call.guarded():
        given = compressor.restore(payload, like)
    return call.tensors(given, like, "update", np.float32)
