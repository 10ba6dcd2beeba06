"""Server state: what the server carries from one round to the next, and the file that stores it.

A state is one safetensors file. It has the server's tensors as `RECORD/NAME`, where the weights are the record
`weights`, and each client's as `clients/CLIENT/RECORD/NAME`; those of a run beside it have `definition/` in front. Its
header has the round, the plan's digest and a SHA-256 of everything, because safetensors does not detect changed bits. A
file is complete or does not exist.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flspec.core.files import write_atomically
from flspec.core.reading import JSON_VALUE, check_json, read_regular
from flspec.errors import InputError
from flspec.protocol.named_records import Records, Weights, flatten, unflatten

__all__ = [
    "OptimizerState",
    "ServerState",
    "Weights",
    "load_state",
    "load_weights",
    "save_state",
    "save_weights",
    "state_file",
]

_MOST_BYTES = 2**35  # of the file of a state
_OPTIMIZER = "optimizer/"  # prefix of the server optimizer's records: `optimizer/SLOT`
_CLIENTS = "clients/"  # prefix of client state: `clients/CLIENT/RECORD/NAME`
_DEFINITION = "definition/"  # prefix of all of the state that flspec's definition has beside a native run's
_RESERVED = ("weights", "optimizer", "clients", "definition")  # record names that no algorithm may use


@dataclass(frozen=True, eq=False)
class OptimizerState:
    """State of a server optimizer. It is float32, so that every engine can hold it exactly."""

    step: int = 0  # updates applied so far
    slots: Mapping[str, Weights] = field(default_factory=dict)  # e.g. "momentum" -> one tensor for each weight


@dataclass(frozen=True, eq=False)
class ServerState:
    """The server after `round` rounds. Round 0 is the plan's initial state.

    `records` is what else the server carries, such as a client algorithm's control variate. `clients` is the client
    state: for each client that has taken part the record `weights` of its local tensors, and `optimizer` and
    `optimizer/SLOT` of an optimizer that continues from round to round. Client state is neither sent nor aggregated. It
    is part of the server state so that a run can be resumed, followed in lockstep and compared completely. `definition`
    is the state that flspec's definition has reached by itself, where an engine's own algorithm makes the rounds.
    """

    round: int
    weights: Weights
    optimizer: OptimizerState = field(default_factory=OptimizerState)
    records: Records = field(default_factory=dict)
    clients: Mapping[int, Records] = field(default_factory=dict)
    definition: ServerState | None = None

    @property
    def carried(self) -> dict[str, Weights]:
        """The server's weights, optimizer slots and other records, all as named records."""
        slots = {f"{_OPTIMIZER}{slot}": values for slot, values in self.optimizer.slots.items()}
        return {"weights": self.weights, **slots, **self.records}


def state_file(folder: Path, round_number: int) -> Path:
    """Return the file in `folder` for the state after a round."""
    return folder / f"round_{round_number:07d}.safetensors"


def save_state(path: Path, state: ServerState, plan_digest: str) -> str:
    """Write `state` so that it survives a crash, and return the SHA-256 of the file."""
    tensors = _tensors_of(state)
    header = {"round": state.round, "step": state.optimizer.step, "plan_digest": plan_digest}
    if beside := state.definition:
        tensors |= {f"{_DEFINITION}{place}": value for place, value in _tensors_of(beside).items()}
        header["definition_step"] = beside.optimizer.step
    return _save(path, tensors, header)


def _tensors_of(state: ServerState) -> dict[str, NDArray[np.float32]]:
    assert not any(name.split("/")[0] in _RESERVED for name in state.records), f"a record is named {[*state.records]}"
    tensors = flatten(state.carried)
    for client, records in state.clients.items():
        tensors |= {f"{_CLIENTS}{client}/{path}": value for path, value in flatten(records).items()}
    return tensors


def load_state(path: Path, plan_digest: str | None = None) -> ServerState:
    """Read a state. Raises InputError if the file is damaged or belongs to another plan."""
    tensors, header = _load(path)
    if "round" not in header:
        raise InputError(f"{path} holds only a model, not the state of a run; name one of a run's checkpoints")
    if plan_digest is not None and header.get("plan_digest") != plan_digest:
        raise InputError(
            f"{path} belongs to plan {str(header.get('plan_digest'))[:12]}, not {plan_digest[:12]}; "
            "use the spec that the plan was compiled from"
        )
    numbers = number, step, step_beside = header["round"], header.get("step", -1), header.get("definition_step", 0)
    if not all(isinstance(one, int) and one >= 0 for one in numbers):
        raise InputError(f"{path} states no round and step from 0; it is not a state that flspec wrote")
    beside = {place: value for place, value in tensors.items() if place.startswith(_DEFINITION)}
    state = _state_of(path, {place: value for place, value in tensors.items() if place not in beside}, number, step)
    if not beside:
        return state
    beside = {place.removeprefix(_DEFINITION): value for place, value in beside.items()}
    return replace(state, definition=_state_of(path, beside, number, step_beside))


def _state_of(path: Path, tensors: Weights, round_number: int, step: int) -> ServerState:
    of_clients: dict[int, dict[str, NDArray[np.float32]]] = {}
    of_server: dict[str, NDArray[np.float32]] = {}
    for place, value in tensors.items():
        if place.startswith(_CLIENTS):
            client, _, rest = place.removeprefix(_CLIENTS).partition("/")
            if not (client.isascii() and client.isdigit()):
                raise InputError(f"{path} has a tensor {place!r} of no client; it is not a state that flspec wrote")
            of_clients.setdefault(int(client), {})[rest] = value
        else:
            of_server[place] = value
    records = unflatten(of_server)
    weights = records.pop("weights", {})
    slots = {name.removeprefix(_OPTIMIZER): records.pop(name) for name in [*records] if name.startswith(_OPTIMIZER)}
    clients = {client: unflatten(owned) for client, owned in of_clients.items()}
    return ServerState(round_number, weights, OptimizerState(step, slots), records, clients)


def save_weights(path: Path, weights: Weights) -> str:
    """Write a model's weights, without any other record, and return the SHA-256 of the file.

    The file depends only on the weights, so equal models give equal files.
    """
    return _save(path, dict(weights), {})


def load_weights(path: Path) -> dict[str, NDArray[np.float32]]:
    """Read weights that `save_weights` wrote. Raises InputError if the file is damaged."""
    return _load(path)[0]


def _save(path: Path, tensors: dict[str, NDArray[np.float32]], header: dict[str, Any]) -> str:
    content = _encode(tensors, header)
    write_atomically(path, content)
    return hashlib.sha256(content).hexdigest()


def _encode(tensors: Mapping[str, NDArray[np.float32]], header: Mapping[str, Any]) -> bytes:
    from safetensors.numpy import save

    header = dict(header) | {"order": list(tensors)}
    header["sha256"] = _digest(tensors, header)
    # One metadata entry, because safetensors writes several in no fixed order and equal states must give equal files.
    metadata = {"flspec": json.dumps(header, sort_keys=True)}
    return bytes(save({name: np.asarray(value, order="C") for name, value in tensors.items()}, metadata))


def _load(path: Path) -> tuple[dict[str, NDArray[np.float32]], dict[str, Any]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        content = read_regular(path, _MOST_BYTES)
        described = content[8 : 8 + int.from_bytes(content[:8], "little")]
        check_json(described, path, JSON_VALUE)
        header = json.loads(json.loads(described)["__metadata__"]["flspec"])
        loaded = load(content)
        tensors = {name: loaded[name] for name in header.pop("order")}
        stated = header.pop("sha256")
    except InputError:
        raise
    except (SafetensorError, KeyError, TypeError, ValueError, AttributeError, OSError, RecursionError) as error:
        raise InputError(f"{path} is not a flspec weights file, or is cut short or damaged: {error}") from None
    if _digest(tensors, header | {"order": list(tensors)}) != stated or _encode(tensors, header) != content:
        raise InputError(f"{path} is damaged: it does not have the SHA-256 that it states")
    return tensors, header


def _digest(tensors: Mapping[str, NDArray[np.float32]], header: Mapping[str, Any]) -> str:
    sha = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name in sorted(tensors):
        sha.update(f"{name} {tensors[name].dtype.str} {tensors[name].shape}\n".encode())
        sha.update(tensors[name].tobytes())
    return sha.hexdigest()
