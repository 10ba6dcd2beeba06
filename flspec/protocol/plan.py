"""The Plan: everything a backend needs to run one experiment, with nothing left to decide.

A plan says what is computed, never how. Two backends given the same plan train the same clients on the same batches,
in the same order, from the same weights. It is stored as `plan.json` and `arrays.npz`, so a process in another Python
environment can read it with `json` and `numpy` alone. This module imports nothing heavier.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flspec.core.files import partial_file, write_atomically
from flspec.core.ragged import Ragged
from flspec.core.reading import JSON_VALUE, read_arrays, read_json
from flspec.errors import InputError, RunError
from flspec.protocol.batch_rule import DrawnBatches
from flspec.protocol.packing import Indices, bounds, check_ends, num_used, pack, pack_rounds, part
from flspec.protocol.plan_features import FEATURES
from flspec.protocol.settings import PlanSettings, read_settings, write_settings

__all__ = ["FEATURES", "FORMAT", "ClientTask", "Plan"]

_MOST_ARRAY_BYTES, _MOST_ARRAYS = 2**34, 100_000  # of a plan that is read
FORMAT = 1  # raised whenever an old reader would misread a new plan

_NONE: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, eq=False)
class ClientTask:
    """One client's work in one round."""

    client: int
    weight: int  # weight in the mean, before normalising
    batches: Sequence[NDArray[np.integer[Any]]]  # each [batch_size]: indices into the training set, in order
    seed: int = 0  # of its random transforms and dropout; 0 if there are none
    rate: float = 1.0  # factor of the optimizer's learning rate in this round
    repeat: int = 0  # 1 for the second task of a client that is drawn several times in this round, and so on
    faults: int = 0  # the set of those of the plan's faults that change or lose its update: bit n is fault n

    @property
    def num_trained(self) -> int:
        """Number of examples trained on; an example counts once per use."""
        return sum(map(len, self.batches))

    @property
    def num_examples(self) -> int:
        """Number of different examples trained on."""
        return len(np.unique(np.concatenate(self.batches)))


@dataclass(frozen=True, eq=False)  # arrays have no single ==; compare digests
class Plan:
    """One experiment with every decision made.

    `settings` is what needs no random draw. `arrays` holds the server's initial weights (`weights/NAME`), the tensors
    that never change (`constants/NAME`), the initial tensors that stay with each client (`local/NAME`), those of the
    layers that pictures are compared by (`features/NAME`), each client's examples and every batch. A plan of very many
    batches has the rule by which they follow from all else instead, `settings.batch_rule`; `cohort` and `task` give
    them all the same. The digest covers settings and arrays. `spec`, the resolved document that was compiled, is for
    human readers and not covered.
    """

    settings: PlanSettings
    arrays: Mapping[str, NDArray[Any]]
    spec: Mapping[str, Any] = field(default_factory=dict)
    noise_key: bytes = field(default=b"", repr=False)  # of one run with secret noise; neither stored nor in the digest

    @classmethod
    def build(
        cls,
        settings: PlanSettings,
        weights: Mapping[str, NDArray[np.float32]],
        clients: Sequence[NDArray[np.integer[Any]]],
        rounds: Iterable[Sequence[ClientTask]],
        spec: Mapping[str, Any],
        holdout: Sequence[NDArray[np.integer[Any]]] = (),
        constants: Mapping[str, NDArray[np.float32]] = _NONE,
        local: Mapping[str, NDArray[np.float32]] = _NONE,
        rates: Mapping[str, Sequence[float]] = _NONE,
        round_seeds: Sequence[int] = (),
        features: Mapping[str, NDArray[np.float32]] = _NONE,
        pooled: NDArray[np.int64] | None = None,
    ) -> Plan:
        """Pack what compile decided, each round as it comes: a million rounds of task objects take gigabytes.

        `holdout` has each client's holdout examples, if the plan has holdouts. In a pooled plan it has one item for
        each client whose examples were pooled. `rates` has the learning rate factors of `client` and `server` in each
        round, if they change. `round_seeds` has the seeds of the server's random draws, if there are any. `features`
        has the tensors of the layers that pictures are compared by. `pooled` has the ends of the pooled clients'
        examples, in a plan with a batch rule. Batches are held if there is none.
        """
        arrays: dict[str, NDArray[Any]] = {f"weights/{name}": value for name, value in weights.items()}
        arrays["client_examples"], arrays["client_ends"] = pack(clients)
        arrays |= pack_rounds(rounds, holds_batches=settings.batch_rule is None)
        arrays |= {} if pooled is None else {"pooled_ends": pooled}
        if holdout:
            arrays["held_out_examples"], arrays["held_out_ends"] = pack(holdout)
        for placement, tensors in (("constants", constants), ("local", local), ("features", features)):
            arrays |= {f"{placement}/{name}": value for name, value in tensors.items()}
        arrays |= {"round_seeds": np.array(round_seeds, np.int64)} if round_seeds else {}
        arrays |= {f"{who}_rates": np.array(factors, np.float64) for who, factors in rates.items()}
        named = replace(settings, weights=tuple(weights), constants=tuple(constants), local=tuple(local))
        return cls(named, arrays, spec).with_first_batches()

    def with_first_batches(self) -> Plan:
        """Return this plan with the digest of its first task's batches in its batch rule, if it has one."""
        if (rule := self.settings.batch_rule) is None:
            return self
        return replace(self, settings=replace(self.settings, batch_rule=replace(rule, first=self._first_batches)))

    @property
    def _first_batches(self) -> str:
        batches = self.first_cohort[0].batches if self.first_cohort else ()
        return hashlib.sha256(b"".join(batch.astype("<i4").tobytes() + b"," for batch in batches)).hexdigest()

    @cached_property
    def document(self) -> dict[str, Any]:
        """The settings as plain JSON values."""
        return write_settings(self.settings)

    @property
    def features(self) -> list[str]:
        """Keys of `FEATURES` that this plan has."""
        has = {"loss": self.settings.loss not in (None, "cross_entropy")}
        has["secret_noise"], has["repeats"] = self.is_noise_secret, self._has_repeats
        has["state"] = self.settings.client_optimizer.get("state") == "kept"
        return [key for key in FEATURES if has.get(key, key in self.document or key in self.arrays)]

    @cached_property
    def _has_repeats(self) -> bool:
        """Whether a client has several tasks in a round. Tasks are in client order, so these are neighbours."""
        is_next_round = np.zeros(len(self.arrays["task_clients"]) + 1, bool)
        is_next_round[self.arrays["round_task_ends"]] = True
        return bool(((np.diff(self.arrays["task_clients"]) == 0) & ~is_next_round[1:-1]).any())

    @property
    def num_rounds(self) -> int:
        return len(self.arrays["round_task_ends"])

    @property
    def num_clients(self) -> int:
        return len(self.arrays["client_ends"])

    @cached_property
    def weights(self) -> dict[str, NDArray[np.float32]]:
        """Initial weights of the server, which it sends to clients: float32 by tensor name."""
        return {name: self.arrays[f"weights/{name}"] for name in self.settings.weights}

    @cached_property
    def constants(self) -> dict[str, NDArray[np.float32]]:
        """The model's tensors that never change and are never sent."""
        return {name: self.arrays[f"constants/{name}"] for name in self.settings.constants}

    @cached_property
    def local(self) -> dict[str, NDArray[np.float32]]:
        """The model's tensors that stay with each client, at their initial values, the same for all clients."""
        return {name: self.arrays[f"local/{name}"] for name in self.settings.local}

    @cached_property
    def feature_tensors(self) -> dict[str, NDArray[np.float32]]:
        """The tensors of the layers that pictures are compared by; empty if the model makes no pictures."""
        pictures = self.settings.evaluation.pictures
        return {name: self.arrays[f"features/{name}"] for name in (pictures.features.tensors if pictures else ())}

    @cached_property
    def statistics(self) -> frozenset[str]:
        """Names of `weights` and `local` tensors that training updates without gradients, such as running means."""
        return frozenset(self.settings.statistics)

    @cached_property
    def participants(self) -> list[int]:
        """The clients that take part in at least one round, ascending."""
        return [int(client) for client in np.unique(self.arrays["task_clients"])]

    @cached_property
    def batch_sizes(self) -> frozenset[int]:
        """The numbers of examples that batches of the plan have; where coins draw them later, those they may have."""
        if (rule := self.settings.batch_rule) is None:
            return frozenset(np.unique(np.diff(self.arrays["batch_ends"], prepend=0)).tolist())
        used = np.unique(self._num_used[self.participants]).tolist()
        return frozenset(size for num in used for size in rule.batch_sizes(num))

    @property
    def largest_batch(self) -> int:
        return max(self.batch_sizes, default=0)

    @cached_property
    def num_trained(self) -> NDArray[np.int64]:
        """[tasks]: how many examples the batches of each task have together; where coins draw them later, at most."""
        if (rule := self.settings.batch_rule) is not None:
            return np.asarray(rule.most_trained(self._num_used)[self.arrays["task_clients"]])
        ends = np.append(0, self.arrays["batch_ends"])[self.arrays["task_batch_ends"]]
        return np.asarray(np.diff(ends, prepend=0))

    @cached_property
    def _num_used(self) -> NDArray[np.int64]:
        """[clients]: how many of its examples a task of each uses, in a plan with a batch rule."""
        assert self.settings.batch_rule is not None
        return num_used(self.arrays, self.settings.batch_rule)

    @cached_property
    def clients(self) -> Ragged:
        """Each client's examples, which are training set indices."""
        return Ragged(self.arrays["client_examples"], self.arrays["client_ends"])

    @cached_property
    def holdout(self) -> Ragged:
        """Each client's holdout: training set indices that it is evaluated on, not trained on. Empty without holdouts.

        In a pooled plan there is one item for each client whose examples were pooled.
        """
        if "held_out_ends" not in self.arrays:
            return Ragged.of([])
        return Ragged(self.arrays["held_out_examples"], self.arrays["held_out_ends"])

    def client_rate(self, round_number: int) -> float:
        """Return the factor of the client optimizer's learning rate in a round, counted from 1."""
        return self._rate("client", round_number)

    def server_rate(self, round_number: int) -> float:
        """Return the factor of the server optimizer's learning rate in a round, counted from 1."""
        return self._rate("server", round_number)

    def round_seed(self, round_number: int) -> int:
        """Return the seed of the server's draws in a round, counted from 1; 0 if it draws nothing."""
        return self.noise_seed(int(self.arrays["round_seeds"][round_number - 1])) if "round_seeds" in self.arrays else 0

    @property
    def is_noise_secret(self) -> bool:
        """Whether noise follows from a key of each run's own, and not from this plan alone."""
        return self.settings.privacy is not None and self.settings.privacy.secret

    def noise_seed(self, planned: int) -> int:
        """Return the seed of noise: the planned one, or where noise is secret one that only the run's key leads to.

        Raises RunError if noise is secret and this plan has no key: nothing may be released with known noise then.
        """
        if not self.is_noise_secret:
            return planned
        if not self.noise_key:
            raise RunError("privacy.seed: secret, but this backend draws noise without the run's key; choose another")
        return int.from_bytes(hmac.digest(self.noise_key, str(planned).encode(), "sha256"), "big")

    def client_examples(self, client: int) -> Indices:
        """Return the training set indices of a client's examples."""
        return self.clients[client]

    def holdout_examples(self, client: int) -> Indices:
        """Return a client's holdout; for the one client of a pooled plan, the holdouts of all pooled clients."""
        if not self.holdout:
            return np.empty(0, np.int32)
        return self.holdout.values if self.num_clients == 1 else self.holdout[client]

    def cohort(self, round_number: int) -> tuple[ClientTask, ...]:
        """Return the tasks of a round, counted from 1, in client order."""
        assert 1 <= round_number <= self.num_rounds, round_number
        known = self._last_cohort  # threads may ask for other rounds meanwhile
        if round_number not in known:
            start, end = bounds(self.arrays["round_task_ends"], round_number - 1)
            rate = self.client_rate(round_number)
            cohort = tuple(self._task(index, round_number, rate, start) for index in range(start, end))
            known = self.__dict__["_last_cohort"] = {round_number: cohort}
        return known[round_number]

    @cached_property
    def _last_cohort(self) -> dict[int, tuple[ClientTask, ...]]:
        """The cohort that was asked for last, by its round: engines and the server ask for the same one in turn."""
        return {}

    @property
    def first_cohort(self) -> tuple[ClientTask, ...]:
        """The tasks of the first round that has any; a cohort that is drawn by coins may be empty."""
        return next((self.cohort(number) for number in range(1, self.num_rounds + 1) if self._size(number)), ())

    def _size(self, round_number: int) -> int:
        start, end = bounds(self.arrays["round_task_ends"], round_number - 1)
        return end - start

    def task(self, round_number: int, position: int) -> ClientTask:
        """Return one task of a round's cohort, at a cost that does not depend on the cohort's size."""
        start, end = bounds(self.arrays["round_task_ends"], round_number - 1)
        assert 0 <= position < end - start, position
        return self._task(start + position, round_number, self.client_rate(round_number), start)

    def faults_in(self, round_number: int) -> Indices:
        """Return [num, 2]: each client that a fault hits in a round, counted from 1, and the number of the fault."""
        log: Indices = self.arrays.get("fault_log", np.empty((0, 3), np.int32))
        start, end = np.searchsorted(log[:, 0], [round_number, round_number + 1])
        return log[start:end, 1:]

    def keeps(self, round_number: int) -> bool:
        """Return whether the state after this round is saved and evaluated. The last one always is."""
        return round_number == self.num_rounds or round_number % self.settings.evaluation.every == 0

    def _rate(self, who: str, round_number: int) -> float:
        rates = self.arrays.get(f"{who}_rates")
        return 1.0 if rates is None else float(rates[round_number - 1])

    def _task(self, index: int, round_number: int, rate: float, of_round: int) -> ClientTask:
        """Return a task of the round whose tasks, in client order, start at `of_round`."""
        clients = self.arrays["task_clients"]
        client = int(clients[index])
        repeat = index - of_round - int(np.searchsorted(clients[of_round:index], client))
        return ClientTask(
            client=client,
            weight=int(self.arrays["task_weights"][index]),
            seed=int(self.arrays["task_seeds"][index]) if "task_seeds" in self.arrays else 0,
            rate=rate,
            faults=int(self.arrays["task_faults"][index]) if "task_faults" in self.arrays else 0,
            repeat=repeat,
            batches=self._batches(index, (round_number, client, repeat)),
        )

    def _batches(self, index: int, task: tuple[int, int, int]) -> Sequence[NDArray[np.integer[Any]]]:
        """Return the batches of a task: of a round, a client and a repeat."""
        start, end = bounds(self.arrays["task_batch_ends"], index)
        if (rule := self.settings.batch_rule) is None:
            return tuple(part(self.arrays["batches"], self.arrays["batch_ends"], batch) for batch in range(start, end))
        own = self.client_examples(task[1])
        parts = Ragged(own, self.arrays["pooled_ends"]) if "pooled_ends" in self.arrays else (own,)
        return DrawnBatches(rule, parts, task, end - start)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of settings and arrays. Equal digests mean equal experiments."""
        sha = hashlib.sha256(json.dumps([FORMAT, self.document], sort_keys=True).encode())
        for name in sorted(self.arrays):
            values = self.arrays[name]
            sha.update(f"{name} {values.dtype.str} {values.shape}\n".encode())
            sha.update(values.tobytes())
        return sha.hexdigest()

    def save(self, folder: Path) -> None:
        """Write the plan into `folder`, with `plan.json` last."""
        folder.mkdir(parents=True, exist_ok=True)
        with partial_file(folder / "arrays.npz") as file:
            # All arrays are numeric, so nothing is pickled. numpy before 2.1 takes `allow_pickle` for another array.
            np.savez(file, **dict(self.arrays))  # type: ignore[arg-type]
        document = {"format": FORMAT, "digest": self.digest, "settings": self.document, "spec": self.spec}
        write_atomically(folder / "plan.json", (json.dumps(document, indent=2) + "\n").encode())

    @classmethod
    def load(cls, folder: Path) -> Plan:
        """Read a plan back; raises InputError if it is missing, damaged or of another format."""
        if not all((folder / name).exists() for name in ("plan.json", "arrays.npz")):
            raise InputError(f"{folder} holds no plan")
        try:
            document = json.loads(read_json(folder / "plan.json", JSON_VALUE))
            if document["format"] != FORMAT:
                raise InputError(
                    f"{folder} holds a plan of format {document['format']}, this flspec reads format {FORMAT}; "
                    "compile its spec again"
                )
            arrays = read_arrays(folder / "arrays.npz", _MOST_ARRAY_BYTES, _MOST_ARRAYS, stored=True)
            plan = cls(read_settings(PlanSettings, document["settings"]), arrays, dict(document["spec"]))
            _ = plan.weights, plan.constants, plan.local, plan.feature_tensors  # a KeyError names what is missing
            check_ends(arrays, plan.settings.batch_rule)
            if (rule := plan.settings.batch_rule) is not None and rule.first != plan._first_batches:
                raise InputError(f"{folder}: this flspec draws other batches than the plan's; compile its spec again")
            stated = document["digest"]
        except InputError:
            raise
        except Exception as error:  # a damaged file can make its readers raise anything
            raise InputError(f"{folder} does not hold a readable plan: {error}") from None
        if plan.digest != stated:
            raise InputError(f"{folder} is damaged: its plan does not have the digest it states")
        return plan
