"""Round-robin."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from flspec.core.randomness import Stream
from flspec.data.examples import Examples
from flspec.errors import InputError
from flspec.partitioners.base import ClientIndices, Counted
from flspec.partitioners.dealing import held_by
from flspec.partitioners.natural import NaturalClients


class Deal(Counted):
    """Deal the examples out one by one, in turn; client sizes differ by one at most.

    With `among`, only the examples of some natural clients are dealt. For instance, the images of 50 identities of
    CelebA are pooled, shuffled and dealt to 50 clients: the i.i.d. counterpart of one client for each of these
    identities.
    """

    kind: Literal["deal"] = "deal"
    shuffle: Annotated[bool, Field(description="whether they are dealt in random order, or as in the file")] = True
    among: Annotated[NaturalClients | None, Field(description="whose examples are dealt; everybody's if absent")] = None

    def split(self, examples: Examples, stream: Stream) -> ClientIndices:
        pool = np.arange(len(examples))
        if self.among is not None:
            pool = np.sort(np.concatenate(self.among.client_indices(examples, stream.child("among"))))
        if self.clients > len(pool):
            raise InputError(
                f"partition.clients is {self.clients}, but there are only {len(pool)} examples to deal; "
                f"lower it to {len(pool)} or less"
            )
        if self.shuffle:
            pool = pool[stream.child("order").permutation(len(pool))]
        owners = np.full(len(examples), -1, np.int64)
        owners[pool] = np.arange(len(pool)) % self.clients
        return held_by(owners, self.clients)
