"""A Plan: everything a backend needs to run one experiment, with nothing left to decide.

A plan says what is computed, never how. Two backends given the same plan train the same clients on the same
batches, in the same order, from the same weights. It is written as `plan.json` and `arrays.npz`, so a process in
another Python environment reads it with `json` and `numpy` alone; this module imports nothing heavier.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flspec.errors import InputError
from flspec.protocol.settings import PlanSettings, read_settings, write_settings

__all__ = ["FEATURES", "FORMAT", "ClientTask", "Plan"]

FORMAT = 1  # raised whenever an old reader would misread a new plan
# What not every plan has, mostly by its key in settings or arrays, and what in a spec asks for it. Whoever does not
# read one of them would carry out another experiment without noticing; see `flspec.protocol.backend.Backend.reads`.
FEATURES = {
    "clip": "client.clip",
    "label_weights": "client.label_weights",
    "epochs": "client.optimizer.schedule",
    "client_rates": "client.optimizer.schedule",
    "server_rates": "aggregator.schedule",
    "loss": "client.loss",
    "state": "client.optimizer.state",
    "task_seeds": "model or dataset: dropout, or random transforms",
    "constants": "model: tensors that never change",
    "statistics": "model: statistics that training keeps",
    "local": "model: tensors that stay with each client",
    "client_algorithm": "client.algorithm",
    "objective": "client.objective",
    "postprocessors": "postprocessors",
}

Indices = NDArray[np.int32]
_NONE: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, eq=False)
class ClientTask:
    """One client's work in one round."""

    client: int
    weight: int  # its share of the mean, before normalising
    batches: tuple[NDArray[np.integer[Any]], ...]  # each [batch_size], of the training set, in order
    seed: int = 0  # from which random transforms of its examples and dropout follow, where there are any
    rate: float = 1.0  # what the optimizer's learning rate is multiplied by in this round

    @property
    def num_trained(self) -> int:
        """Examples it trains on, counted each time."""
        return sum(map(len, self.batches))

    @property
    def num_examples(self) -> int:
        """Examples it trains on, counted once."""
        return len(np.unique(np.concatenate(self.batches)))


@dataclass(frozen=True, eq=False)  # arrays have no single ==; compare digests
class Plan:
    """One experiment, decided.

    `settings` are what was not drawn. `arrays` holds the tensors that the server starts with (`weights/NAME`), those
    that never change (`constants/NAME`), those that each client starts with for itself (`local/NAME`), each client's
    examples and every batch. Both are covered by the digest; `spec`, the resolved document it was compiled from, is for
    the reader.
    """

    settings: PlanSettings
    arrays: Mapping[str, NDArray[Any]]
    spec: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def build(
        cls,
        settings: PlanSettings,
        weights: Mapping[str, NDArray[np.float32]],
        clients: Sequence[NDArray[np.integer[Any]]],
        rounds: Sequence[Sequence[ClientTask]],
        spec: Mapping[str, Any],
        holdout: Sequence[NDArray[np.integer[Any]]] = (),
        constants: Mapping[str, NDArray[np.float32]] = _NONE,
        local: Mapping[str, NDArray[np.float32]] = _NONE,
        rates: Mapping[str, Sequence[float]] = _NONE,
        round_seeds: Sequence[int] = (),
    ) -> Plan:
        """Pack what compile decided.

        `holdout` is what each client is evaluated on, where that is planned, in a pooled plan each of those whose
        examples the one client has; `rates` are the factors of the learning rates of `client` and `server` in each
        round, where they change; `round_seeds` is what the server draws from, if it does.
        """
        tasks = [task for cohort in rounds for task in cohort]
        batches = [batch for task in tasks for batch in task.batches]
        arrays: dict[str, NDArray[Any]] = {f"weights/{name}": value for name, value in weights.items()}
        arrays["client_examples"], arrays["client_ends"] = _pack(clients)
        arrays["batches"], arrays["batch_ends"] = _pack(batches)
        arrays["task_batch_ends"] = np.cumsum([len(task.batches) for task in tasks], dtype=np.int64)
        arrays["task_clients"] = np.array([task.client for task in tasks], np.int32)
        arrays["task_weights"] = np.array([task.weight for task in tasks], np.int64)
        arrays["round_task_ends"] = np.cumsum([len(cohort) for cohort in rounds], dtype=np.int64)
        if any(task.seed for task in tasks):
            arrays["task_seeds"] = np.array([task.seed for task in tasks], np.int64)
        if holdout:
            arrays["held_out_examples"], arrays["held_out_ends"] = _pack(holdout)
        for placement, tensors in (("constants", constants), ("local", local)):
            arrays |= {f"{placement}/{name}": value for name, value in tensors.items()}
        arrays |= {"round_seeds": np.array(round_seeds, np.int64)} if round_seeds else {}
        arrays |= {f"{who}_rates": np.array(factors, np.float64) for who, factors in rates.items()}
        named = replace(settings, weights=tuple(weights), constants=tuple(constants), local=tuple(local))
        return cls(named, arrays, spec)

    @cached_property
    def document(self) -> dict[str, Any]:
        """The settings as JSON."""
        return write_settings(self.settings)

    @property
    def features(self) -> list[str]:
        """Those of `FEATURES` that this plan has."""
        has = {"loss": self.settings.loss != "cross_entropy"}
        has["state"] = self.settings.client_optimizer.get("state") == "kept"
        return [key for key in FEATURES if has.get(key, key in self.document or key in self.arrays)]

    @property
    def num_rounds(self) -> int:
        return len(self.arrays["round_task_ends"])

    @property
    def num_clients(self) -> int:
        return len(self.arrays["client_ends"])

    @cached_property
    def weights(self) -> dict[str, NDArray[np.float32]]:
        """What the server starts with and sends: float32 by tensor name."""
        return {name: self.arrays[f"weights/{name}"] for name in self.settings.weights}

    @cached_property
    def constants(self) -> dict[str, NDArray[np.float32]]:
        """The model's tensors that never change and are never sent."""
        return {name: self.arrays[f"constants/{name}"] for name in self.settings.constants}

    @cached_property
    def local(self) -> dict[str, NDArray[np.float32]]:
        """The model's tensors that each client has for itself, as all of them start."""
        return {name: self.arrays[f"local/{name}"] for name in self.settings.local}

    @cached_property
    def statistics(self) -> frozenset[str]:
        """Of the tensors with the server or with clients, those that training keeps without learning them."""
        return frozenset(self.settings.statistics)

    @cached_property
    def participants(self) -> list[int]:
        """The clients that take part in at least one round, ascending."""
        return [int(client) for client in np.unique(self.arrays["task_clients"])]

    @cached_property
    def holdout(self) -> list[Indices]:
        """The training set's examples that each client is evaluated on instead; an empty list unless that is planned.

        In a pooled plan, where one client has what several held, there is an item for each of these.
        """
        if "held_out_ends" not in self.arrays:
            return []
        return np.split(self.arrays["held_out_examples"], self.arrays["held_out_ends"][:-1])

    def client_rate(self, round_number: int) -> float:
        """What the client optimizer's learning rate is multiplied by in a round, from 1."""
        return self._rate("client", round_number)

    def server_rate(self, round_number: int) -> float:
        """What the server optimizer's learning rate is multiplied by in a round, from 1."""
        return self._rate("server", round_number)

    def round_seed(self, round_number: int) -> int:
        """From which the server's draws of a round follow, from 1; 0 where it draws nothing."""
        return int(self.arrays["round_seeds"][round_number - 1]) if "round_seeds" in self.arrays else 0

    def client_examples(self, client: int) -> Indices:
        """The training examples that a client holds."""
        return _part(self.arrays["client_examples"], self.arrays["client_ends"], client)

    def holdout_examples(self, client: int) -> Indices:
        """What a client is evaluated on; of one that has what several held, all that they hold out."""
        if not self.holdout:
            return np.empty(0, np.int32)
        return np.concatenate(self.holdout) if self.num_clients == 1 else self.holdout[client]

    def cohort(self, round_number: int) -> tuple[ClientTask, ...]:
        """The tasks of a round, from 1, in client order."""
        assert 1 <= round_number <= self.num_rounds, round_number
        start, end = _bounds(self.arrays["round_task_ends"], round_number - 1)
        rate = self.client_rate(round_number)
        return tuple(self._task(position, rate) for position in range(start, end))

    def keeps(self, round_number: int) -> bool:
        """Whether the state after this round is kept and evaluated; the last always is."""
        return round_number == self.num_rounds or round_number % self.settings.evaluation.every == 0

    def _rate(self, who: str, round_number: int) -> float:
        rates = self.arrays.get(f"{who}_rates")
        return 1.0 if rates is None else float(rates[round_number - 1])

    def _task(self, position: int, rate: float) -> ClientTask:
        start, end = _bounds(self.arrays["task_batch_ends"], position)
        return ClientTask(
            client=int(self.arrays["task_clients"][position]),
            weight=int(self.arrays["task_weights"][position]),
            seed=int(self.arrays["task_seeds"][position]) if "task_seeds" in self.arrays else 0,
            rate=rate,
            batches=tuple(
                _part(self.arrays["batches"], self.arrays["batch_ends"], batch) for batch in range(start, end)
            ),
        )

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the content; equal digests mean equal experiments."""
        sha = hashlib.sha256(json.dumps([FORMAT, self.document], sort_keys=True).encode())
        for name in sorted(self.arrays):
            array = self.arrays[name]
            sha.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
            sha.update(array.tobytes())
        return sha.hexdigest()

    def save(self, folder: Path) -> None:
        """Write the plan into `folder`, `plan.json` last."""
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "arrays.npz.partial").open("wb") as file:
            # Numbers alone, so nothing is pickled; numpy before 2.1 would take an option for one more array.
            np.savez(file, **dict(self.arrays))  # type: ignore[arg-type]
        (folder / "arrays.npz.partial").replace(folder / "arrays.npz")
        document = {"format": FORMAT, "digest": self.digest, "settings": self.document, "spec": self.spec}
        (folder / "plan.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Plan:
        """Read a plan back; raises InputError if it is missing, damaged or of another format."""
        try:
            document = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
            if document["format"] != FORMAT:
                raise InputError(
                    f"{folder} holds a plan of format {document['format']}, this flspec reads format {FORMAT}; "
                    "compile its spec again"
                )
            with np.load(folder / "arrays.npz", allow_pickle=False) as saved:
                arrays = {name: saved[name] for name in saved.files}
            plan = cls(read_settings(PlanSettings, document["settings"]), arrays, document["spec"])
            stated = document["digest"]
        except InputError:
            raise
        except FileNotFoundError:
            raise InputError(f"{folder} holds no plan") from None
        except Exception as error:  # a damaged file can make its readers raise anything
            raise InputError(f"{folder} does not hold a readable plan: {error}") from None
        if plan.digest != stated:
            raise InputError(f"{folder} is damaged: its plan does not have the digest it states")
        return plan


def _pack(parts: Sequence[NDArray[np.integer[Any]]]) -> tuple[Indices, NDArray[np.int64]]:
    """Arrays of different lengths as one, and where each ends."""
    ends = np.cumsum([len(part) for part in parts], dtype=np.int64)
    return np.concatenate(parts).astype(np.int32), ends


def _bounds(ends: NDArray[np.int64], position: int) -> tuple[int, int]:
    return (int(ends[position - 1]) if position else 0), int(ends[position])


def _part(values: Indices, ends: NDArray[np.int64], position: int) -> Indices:
    start, end = _bounds(ends, position)
    return values[start:end]
