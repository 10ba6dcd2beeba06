"""A fixed number of classes a client.

Li, Diao, Chen, He. Federated Learning on Non-IID Data Silos: An Experimental Study. ICDE 2022.
https://arxiv.org/abs/2102.02079
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from flspec.core.randomness import Stream
from flspec.data.examples import Examples
from flspec.errors import InputError
from flspec.partitioners.base import ByClass, ClientIndices, Count
from flspec.partitioners.dealing import apportion, check_classes, deal_classes, members_of, random_rows


class Pathological(ByClass):
    """Each client has a fixed number of classes; the clients that share a class have equal parts of it.

    `random`: random classes. `deterministic`: client i has classes i, i + 1, ..., modulo the number of classes.
    `first-deterministic`, as in the paper: client i has class i, modulo the number of classes, and others at random. A
    class that no client gets is left out.
    """

    kind: Literal["pathological"] = "pathological"
    classes_per_client: Annotated[Count, Field(description="how many classes each client has", examples=[2])]
    assignment: Annotated[
        Literal["random", "deterministic", "first-deterministic"],
        Field(description="classes of a client: random; those from its number on; one by its number, others random"),
    ] = "random"

    def split(self, examples: Examples, stream: Stream) -> ClientIndices:
        members = [of_class for of_class in members_of(*self.classes(examples)) if len(of_class)]
        check_classes(self.classes_per_client, len(members))
        given = self._given(len(members), stream.child("classes"))
        num_holders = np.bincount(given.ravel(), minlength=len(members))
        counts = np.zeros((self.clients, len(members)), np.int64)
        for label, of_class in enumerate(members):
            if num_holders[label] > len(of_class):
                raise InputError(
                    f"partition: class number {label} is given to {num_holders[label]} clients, but has "
                    f"{len(of_class)} examples; lower clients or classes_per_client"
                    + ("" if self.assignment == "deterministic" else ", or use assignment deterministic")
                )
            if num_holders[label]:
                holders = np.flatnonzero((given == label).any(axis=1))
                counts[holders, label] = apportion(np.ones(len(holders)), len(of_class))
        return deal_classes(members, counts, stream)

    def _given(self, num_classes: int, stream: Stream) -> NDArray[np.int64]:
        """Return the classes of each client: [clients, classes_per_client]."""
        if self.assignment == "random":
            return random_rows(self.clients, num_classes, self.classes_per_client, stream)
        first = np.arange(self.clients)[:, None] % num_classes
        if self.assignment == "deterministic":
            return (first + np.arange(self.classes_per_client)) % num_classes
        # Other classes are drawn as offsets 1, 2, ... from the first class, so the first cannot be drawn again.
        others = random_rows(self.clients, num_classes - 1, self.classes_per_client - 1, stream)
        return np.concatenate([first, (first + 1 + others) % num_classes], axis=1)
