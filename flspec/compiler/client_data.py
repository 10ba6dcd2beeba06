"""Each client's examples and holdout, with a check of what every partitioner promises."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import count

import numpy as np
from numpy.typing import NDArray

from flspec.core.components import named_part
from flspec.core.ragged import Ragged
from flspec.core.randomness import Stream
from flspec.core.text import and_more
from flspec.data.client_names import natural_name
from flspec.data.examples import Examples
from flspec.errors import InputError
from flspec.partitioners import ClientIndices, Partitioner

__all__ = ["assign_examples", "owners_of"]

Integers = NDArray[np.int64]


def assign_examples(partitioner: Partitioner, examples: Examples, root: Stream) -> tuple[Ragged, ClientIndices]:
    """Return each client's training examples and each client's holdout; the latter is empty unless `holdout` is set.

    Raises InputError if the examples cannot be split in this way.
    """
    if partitioner.holdout_by is not None and not partitioner.holdout:
        raise InputError(
            f"partition.holdout_by is {partitioner.holdout_by}, but holdout is 0, so no example is in a holdout; "
            "set holdout, or remove holdout_by"
        )
    client_indices = _checked(partitioner, partitioner.split(examples, root.child("partition")), examples)
    if not partitioner.holdout:
        return client_indices, []
    # The stream keeps the key's old name, because the draws, and so every digest, depend on it.
    return _split_holdout(partitioner, client_indices, examples, root.child("held_out"))


def owners_of(client_indices: Sequence[NDArray[np.integer]], num_examples: int) -> Integers:
    """Return the client that has each example, [num_examples]; -1 if none has it."""
    owners = np.full(num_examples, -1, np.int64)
    every = Ragged.of(client_indices)
    owners[every.values] = np.repeat(np.arange(len(every)), every.sizes)
    return owners


def _split_holdout(
    partitioner: Partitioner, client_indices: Ragged, examples: Examples, stream: Stream
) -> tuple[Ragged, ClientIndices]:
    """Split each client's examples, in their order, into training examples and holdout."""
    groups: Sequence[Integers] | None = None  # each example is a group
    share, streams = partitioner.holdout, map(stream.child, count())
    if partitioner.holdout_by is not None:
        column = examples.column(partitioner.holdout_by, "partition.holdout_by")
        codes = np.unique(column, return_inverse=True)[1].astype(np.int64)
        groups = [codes[own] for own in client_indices]
        is_out = [_is_in_holdout(share, own, of_client) for own, of_client in zip(groups, streams, strict=False)]
    else:
        sizes = client_indices.sizes.tolist()
        is_out = [_is_alone_in_holdout(share, num, of_client) for num, of_client in zip(sizes, streams, strict=False)]
    if failed := [client for client, out in enumerate(is_out) if out is None]:
        groups = groups or [np.arange(len(own)) for own in client_indices]
        name = natural_name(
            partitioner.model_dump(), examples.columns, examples.client_column, client_indices[failed[0]]
        )
        _refuse(partitioner, groups, failed, name)
    drawn = np.concatenate([out for out in is_out if out is not None])
    kept, held = (
        Ragged.cut(client_indices.values[mask], np.add.reduceat(mask, client_indices.ends - client_indices.sizes))
        for mask in (~drawn, drawn)
    )
    return kept, held


def _is_in_holdout(share: float, groups: Integers, stream: Stream) -> NDArray[np.bool_] | None:
    """Draw which of a client's examples are in its holdout, given the group of each. Groups stay whole.

    The number of groups makes the holdout's size come nearest to the share, and leaves at least one group for
    training. None if that would leave no group for the holdout.
    """
    _, own, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    order = stream.permutation(len(sizes))
    filled = np.concatenate([[0], np.cumsum(sizes[order])])
    num_groups = min(int(np.argmin(np.abs(filled - share * len(groups)))), len(sizes) - 1)
    if not num_groups:
        return None
    is_drawn = np.zeros(len(sizes), np.bool_)
    is_drawn[order[:num_groups]] = True
    return np.asarray(is_drawn[own])


def _is_alone_in_holdout(share: float, num: int, stream: Stream) -> NDArray[np.bool_] | None:
    """Draw as `_is_in_holdout` does where each of the client's examples is a group."""
    if not (num_drawn := _num_alone(share, num)):
        return None
    is_drawn = np.zeros(num, np.bool_)
    is_drawn[stream.permutation(num)[:num_drawn]] = True
    return is_drawn


@lru_cache(maxsize=2**12)  # of a million clients many have as many examples
def _num_alone(share: float, num: int) -> int:
    return min(int(np.argmin(np.abs(np.arange(num + 1) - share * num))), num - 1)


def _refuse(partitioner: Partitioner, groups: Sequence[Integers], failed: Sequence[int], name: str | None) -> None:
    client, called = failed[0], failed[0] if name is None else name
    num, share = len(groups[client]), partitioner.holdout
    num_groups = len(np.unique(groups[client]))
    of = f"{num} examples"
    if partitioner.holdout_by is not None:
        of += f" of {num_groups} value{'s' * (num_groups != 1)} of {partitioner.holdout_by}"
    others = and_more(len(failed) - 1, "clients likewise")
    raise InputError(
        f"partition.holdout is {share:g}, but client {called} has {of}, a holdout of {share * num:.2g} examples: "
        f"that leaves it or the training set empty{others and ', ' + others}; raise holdout, or give each client more"
    )


def _checked(partitioner: Partitioner, client_indices: ClientIndices, examples: Examples) -> Ragged:
    """Return what a partitioner split; raises InputError if it breaks what every partitioner promises."""
    if broken := _broken(partitioner, every := Ragged.of(client_indices), examples):
        raise InputError(f"partition: {named_part(partitioner, 'split')} {broken}; this is a defect of the partitioner")
    return every


def _broken(partitioner: Partitioner, client_indices: Ragged, examples: Examples) -> str | None:
    """Return how a partitioner broke its promise, or None."""
    if not len(client_indices):
        return "made no clients"
    if partitioner.num_clients is not None and len(client_indices) != partitioner.num_clients:
        return f"made {len(client_indices)} clients instead of {partitioner.num_clients}"
    if not (sizes := client_indices.sizes).all():
        return f"left client {int(np.argmin(sizes))} without examples"
    assigned = client_indices.values
    if assigned.min() < 0 or assigned.max() >= len(examples):
        return f"assigned example {assigned.max() if assigned.min() >= 0 else assigned.min()} of {len(examples)}"
    if np.bincount(assigned).max() > 1:
        return "gave one example to two clients, or twice to one client"
    return _torn(partitioner.whole(examples), client_indices, examples)


def _torn(column: str | None, client_indices: Ragged, examples: Examples) -> str | None:
    """Return which value of `column` a partitioner split between clients, though it promised not to; else None."""
    if column is None:
        return None
    owners = owners_of(client_indices, len(examples))
    values, codes = np.unique(examples.columns[column], return_inverse=True)
    # Unassigned examples do not count: one client may have a part of a group, if no other client has the rest.
    last = np.full(len(values), -1, np.int64)
    last[codes[owners >= 0]] = owners[owners >= 0]
    torn = (owners >= 0) & (owners != last[codes])
    if not torn.any():
        return None
    example = int(np.flatnonzero(torn)[0])
    value, clients = values[codes[example]], sorted({int(owners[example]), int(last[codes[example]])})
    return f"gave {column} {value} to client {clients[0]} and client {clients[1]}, which it promised to keep whole"
