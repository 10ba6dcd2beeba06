"""Faults are of clients and rounds that there are, and stand beside nothing that counts on all updates."""

from __future__ import annotations

from collections.abc import Iterator

from flspec.faults import ExampleFault, Fault
from flspec.partitioners import Partitioner
from flspec.privacy import Privacy
from flspec.spec.rules.base import Contradiction, rule
from flspec.spec.spec import ClientWork

__all__ = ["MIN_CLIENTS_OF_PRIVACY", "NO_LABELS"]

MIN_CLIENTS_OF_PRIVACY = (
    "has rounds change nothing by who took part, which tells of clients without noise; remove min_clients or privacy"
)
NO_LABELS = "changes labels, which an objective that makes pictures does not read; remove it"


@rule
def _accounted_for_as_drawn(
    privacy: Privacy | None, faults: tuple[Fault, ...], min_clients: int
) -> Iterator[Contradiction]:
    if privacy is None:
        return
    if faults:
        message = "change and lose updates that privacy is accounted for; remove faults or privacy"
        yield Contradiction(("faults",), ("privacy",), message)
    if min_clients > 1:
        yield Contradiction(("min_clients",), ("privacy",), MIN_CLIENTS_OF_PRIVACY)


@rule
def _of_clients_that_there_are(
    faults: tuple[Fault, ...], partition: Partitioner, rounds: int, mode: str
) -> Iterator[Contradiction]:
    """Where the partition says how many there are; compilation counts every other."""
    if mode != "federated" or not (num_clients := partition.num_clients):
        return
    for number, fault in enumerate(faults):
        for field, message in fault.why_invalid(num_clients, rounds):
            yield Contradiction(("faults", str(number), field), None, message)


@rule
def _labels_that_are_read(client: ClientWork, faults: tuple[Fault, ...]) -> Iterator[Contradiction]:
    for number, fault in enumerate(faults):
        if isinstance(fault, ExampleFault) and client.objective.is_generative:
            yield Contradiction(("faults", str(number)), ("client", "objective"), NO_LABELS)
