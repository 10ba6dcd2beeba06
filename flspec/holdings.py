"""What each client holds: any partitioner held to what it promises, and what a client keeps to be evaluated on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flspec.data import Examples
from flspec.errors import InputError
from flspec.partitioners import Holdings, Partitioner
from flspec.randomness import Stream

__all__ = ["hold_examples"]


def hold_examples(partitioner: Partitioner, examples: Examples, root: Stream) -> tuple[Holdings, Holdings]:
    """What each client trains on, and what it is evaluated on, which is nothing unless `held_out` is set.

    Raises InputError when the examples cannot be split so.
    """
    holdings = partitioner.split(examples, root.child("partition"))
    _check(partitioner, holdings, len(examples))
    if not partitioner.held_out:
        return holdings, []
    parts = [
        _part(partitioner, examples, held, client, root.child("held_out", client))
        for client, held in enumerate(holdings)
    ]
    return [kept for kept, _ in parts], [held_out for _, held_out in parts]


def _part(
    partitioner: Partitioner, examples: Examples, held: NDArray[np.int64], client: int, stream: Stream
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """One client's examples in two, in the order held: groups in random order go to the second until it is full."""
    column = partitioner.held_out_by
    groups = np.arange(len(held)) if column is None else _codes(examples.column(column, "partition.held_out_by")[held])
    sizes = np.bincount(groups)
    order = stream.permutation(len(sizes))
    # A group goes where the share it makes up comes nearest to what is asked.
    wanted = partitioner.held_out * len(held)
    filled = np.cumsum(sizes[order])
    num_groups = int(np.argmin(np.abs(np.concatenate([[0], filled]) - wanted)))
    if num_groups == len(sizes):
        num_groups -= 1
    if num_groups <= 0:
        of = "examples" if column is None else f"values of {column}"
        raise InputError(
            f"partition.held_out is {partitioner.held_out:g}, but client {client} has {len(held)} examples of "
            f"{len(sizes)} {of}, of which that would hold out none or leave none; raise it or give clients more"
        )
    is_out = np.isin(groups, order[:num_groups])
    return held[~is_out], held[is_out]


def _codes(values: NDArray[Any]) -> NDArray[np.int64]:
    return np.unique(values, return_inverse=True)[1].astype(np.int64)


def _check(partitioner: Partitioner, holdings: Sequence[NDArray[np.int64]], num_examples: int) -> None:
    """Hold any partitioner, whoever wrote it, to what it promises."""
    held = np.concatenate([*holdings, np.empty(0, np.int64)])
    broken = None
    if not holdings:
        broken = "made no clients"
    elif partitioner.num_clients is not None and len(holdings) != partitioner.num_clients:
        broken = f"made {len(holdings)} clients instead of {partitioner.num_clients}"
    elif min(map(len, holdings)) == 0:
        broken = f"left client {next(c for c, examples in enumerate(holdings) if not len(examples))} without examples"
    elif held.min() < 0 or held.max() >= num_examples:
        broken = f"gave out example {held.max() if held.min() >= 0 else held.min()} of {num_examples}"
    elif len(np.unique(held)) < len(held):
        broken = "gave one example to two clients, or to one twice"
    if broken:
        raise InputError(f"partition: {type(partitioner).__name__} {broken}; this is a defect of the partitioner")
