"""Shards of examples with like labels.

McMahan et al. Communication-Efficient Learning of Deep Networks from Decentralized Data. AISTATS 2017.
https://arxiv.org/abs/1602.05629
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from flspec.core.randomness import Stream
from flspec.data.examples import Examples
from flspec.errors import InputError
from flspec.partitioners.base import ByClass, ClientIndices, Count
from flspec.partitioners.dealing import held_by


class Shards(ByClass):
    """Sort by label, cut into shards, deal each client some of them at random.

    In the paper: 60,000 images in 200 shards of 300, 2 shards to each of 100 clients. Without `shard_size`, all
    examples are cut into clients × shards_per_client shards whose sizes differ by at most one. With it, shards have
    that size, and examples in shards that are not dealt belong to no client. With `shards_per_client: null` all shards
    are dealt; the first clients get one more if they do not divide evenly.
    """

    kind: Literal["shards"] = "shards"
    shards_per_client: Annotated[
        Count | None, Field(description="shards that each client gets; null: all, dealt evenly")
    ] = 2
    shard_size: Annotated[Count | None, Field(description="examples a shard holds; all examples if absent")] = None
    keep_incomplete: Annotated[bool, Field(description="whether a last shard smaller than shard_size is dealt too")] = (
        False
    )

    @model_validator(mode="after")
    def _is_determined(self) -> Shards:
        if self.shards_per_client is None and self.shard_size is None:
            raise ValueError("shards_per_client is null, so shard_size is needed; give one of them")
        if self.keep_incomplete and self.shards_per_client is not None:
            raise ValueError("keep_incomplete is for shards_per_client: null alone; remove it")
        return self

    def split(self, examples: Examples, stream: Stream) -> ClientIndices:
        codes, _ = self.classes(examples)
        bounds = self._bounds(len(examples))
        num_shards = len(bounds) - 1
        dealt = stream.permutation(num_shards)
        if self.shards_per_client is not None:
            dealt = dealt[: self.clients * self.shards_per_client]
        owner_of_shard = np.full(num_shards, -1, np.int64)
        for client, hand in enumerate(np.array_split(dealt, self.clients)):
            owner_of_shard[hand] = client
        owners = np.full(len(examples), -1, np.int64)
        owners[np.argsort(codes, kind="stable")[: bounds[-1]]] = np.repeat(owner_of_shard, np.diff(bounds))
        return held_by(owners, self.clients)

    def _bounds(self, num_examples: int) -> np.ndarray:
        """Return where each shard begins in the examples sorted by label, and where the last ends."""
        wanted = self.clients * (self.shards_per_client or 1)
        if self.shard_size is None:
            if wanted > num_examples:
                raise InputError(
                    f"partition: {self.clients} clients of {self.shards_per_client} shards need {wanted:,} shards, but "
                    f"there are {num_examples:,} examples; lower clients or shards_per_client"
                )
            small, more = divmod(num_examples, wanted)
            return np.cumsum([0] + [small + 1] * more + [small] * (wanted - more))
        num_shards, rest = divmod(num_examples, self.shard_size)
        bounds = np.arange(num_shards + 1) * self.shard_size
        if rest and self.keep_incomplete:
            bounds = np.append(bounds, num_examples)
        if wanted > len(bounds) - 1:
            raise InputError(
                f"partition: {self.clients} clients of {self.shards_per_client or 'at least 1'} shards need {wanted:,} "
                f"shards, but {num_examples:,} examples make {len(bounds) - 1:,} of shard_size {self.shard_size:,}; "
                "lower shard_size, shards_per_client or clients"
            )
        return bounds
