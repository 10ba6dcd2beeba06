"""The models that a run stored: after its last round, after its best one, and after those whose states it keeps."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flspec.core.reading import read_regular
from flspec.errors import InputError, choose
from flspec.protocol.backend import CHECKPOINTS, kept_state
from flspec.protocol.named_records import unflatten
from flspec.protocol.plan import Plan
from flspec.protocol.records import Result, WeightsFile
from flspec.protocol.state import load_state, load_weights
from flspec.runs.own_models import first_own_tensors, own_records, own_tensors

__all__ = ["StoredModel", "kept_rounds", "stored_model"]

_CLIENTS = {"weights.safetensors": "clients.safetensors", "best.safetensors": "best_clients.safetensors"}
_MOST_BYTES = 2**35  # of a file of weights

Tensors = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class StoredModel:
    """The tensors after a round, without the plan's constants, which never change."""

    round: int  # 0: before the first
    shared: Tensors  # the server's
    of_clients: Mapping[int, Tensors]  # each client's own, of those that took part

    def of_client(self, plan: Plan, client: int | None) -> dict[str, NDArray[np.float32]]:
        """Return one client's model; one that never took part has the plan's initial tensors as its own."""
        own = self.of_clients.get(client, first_own_tensors(plan)) if client is not None else {}
        return {**self.shared, **own}


def stored_model(folder: Path, plan: Plan, result: Result, which: str | int = "last") -> StoredModel:
    """Return the model after the `last` round, the `best`, or the round of a number.

    Raises InputError if the run has no such model, or its files are not what the run wrote.
    """
    if isinstance(which, int) and not isinstance(which, bool):
        return _of_round(folder, plan, which)
    if which not in ("last", "best"):
        raise InputError(f"which: {choose(which, ['last', 'best'])}, or the number of a round")
    if which == "last":
        number = result.stopped.round if result.stopped else plan.num_rounds
        return _of_file(folder, plan, result.weights, number, _no_last(folder, result))
    best = result.best
    file, number = (best.weights, best.round) if best else (None, 0)
    return _of_file(folder, plan, file, number, _no_best(folder, result))


def kept_rounds(folder: Path) -> list[int]:
    """Return the rounds whose states are in a run's folder."""
    names = (path.stem.removeprefix("round_") for path in (folder / CHECKPOINTS).glob("round_*.safetensors"))
    return sorted(int(name) for name in names if name.isdecimal())


def _of_round(folder: Path, plan: Plan, number: int) -> StoredModel:
    if number == 0:
        return _checked(folder, plan, StoredModel(0, plan.weights, {}))
    if number not in (kept := kept_rounds(folder)):
        raise InputError(f"which: {folder} keeps no state after round {number}{_some_of(kept)}")
    state = load_state(kept_state(folder, number), plan.digest)
    of_clients = {client: own_tensors(plan, records) for client, records in state.clients.items()}
    return _checked(folder, plan, StoredModel(number, state.weights, of_clients))


def _of_file(folder: Path, plan: Plan, file: WeightsFile | None, number: int, without: str) -> StoredModel:
    if file is None:
        raise InputError(without)
    path = folder / Path(file.path).name  # a result from elsewhere must not have other files read
    if hashlib.sha256(read_regular(path, _MOST_BYTES)).hexdigest() != file.sha256:
        raise InputError(f"{path} is not the file that the run's result names; run it again")
    shared = {name: value for name, value in load_weights(path).items() if name not in plan.constants}
    beside = path.with_name(_CLIENTS.get(path.name, path.name))
    of_clients = _of_clients(plan, beside) if own_records(plan) and beside.exists() else {}
    return _checked(folder, plan, StoredModel(number, shared, of_clients))


def _of_clients(plan: Plan, path: Path) -> dict[int, Tensors]:
    """Return each client's own tensors; the file has all that clients keep: `CLIENT/RECORD/NAME`."""
    of_clients: dict[int, dict[str, Any]] = {}
    for place, tensors in unflatten(load_weights(path)).items():
        client, _, record = place.partition("/")
        if client.isdecimal():
            of_clients.setdefault(int(client), {})[record] = tensors
    return {client: own_tensors(plan, records) for client, records in of_clients.items()}


def _checked(folder: Path, plan: Plan, model: StoredModel) -> StoredModel:
    """Raise InputError unless the tensors are those of the plan's model."""
    every = [(model.shared, plan.weights), *((own, first_own_tensors(plan)) for own in model.of_clients.values())]
    for found, planned in every:
        shapes = {name: value.shape for name, value in planned.items()}
        if {name: value.shape for name, value in found.items()} != shapes:
            raise InputError(f"{folder}: its weights are not those of its plan's model; run it again")
    return model


def _no_last(folder: Path, result: Result) -> str:
    kept = _some_of(kept_rounds(folder))
    return f"which: {folder} was {result.status}, so it has no last model; go on with it (resume=True){kept}"


def _no_best(folder: Path, result: Result) -> str:
    if result.best:
        return f"which: the state of the best round of {folder} could not be read; run it again, or take the last"
    return f"which: {folder} has no best round; ask for it in the spec with evaluation.best, or take the last"


def _some_of(kept: list[int]) -> str:
    return f"; those after rounds {', '.join(map(str, kept[-6:]))} are kept" if kept else "; none is kept"
