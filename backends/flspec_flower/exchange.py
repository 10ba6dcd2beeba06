"""Messages to nodes and their replies, some at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from flwr.app import Message
from flwr.serverapp import Grid

from flspec.errors import BackendError

__all__ = ["exchange"]

_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.002, 0.1  # seconds; the longest is that of Flower's own Grid
_PAUSE = 0.05  # share of the time since the last reply


def exchange(
    grid: Grid, nodes: Sequence[int], number: int, build: Callable[[int, int], Message]
) -> Iterator[tuple[int, Message]]:
    """Have so many messages answered: yield the number of each, from 0, and its reply, as they come.

    `build(number, node)` makes a message when a node is free for it, so no node has two at once, and no more messages
    exist than nodes. A Grid is asked for replies, and asked again after a pause if it had none: a short one while
    replies come fast, so that short rounds do not wait, and a longer one while clients train long.
    """
    free, waiting, sent = list(nodes), dict[str, tuple[int, int]](), 0
    last = time.monotonic()
    while sent < number or waiting:
        numbers = range(sent, min(number, sent + len(free)))
        pairs = [(one, free.pop()) for one in numbers]
        built = [build(one, node) for one, node in pairs]
        accepted = set(grid.push_messages(built))
        if not accepted >= (ids := {message.metadata.message_id for message in built}):
            raise BackendError(f"flower: its Grid did not take {len(ids - accepted)} of {len(ids)} messages")
        waiting |= {message.metadata.message_id: pair for message, pair in zip(built, pairs, strict=True)}
        sent += len(built)
        replies = list(grid.pull_messages(list(waiting)))
        for reply in replies:
            one, node = waiting.pop(reply.metadata.reply_to_message_id)
            free.append(node)
            yield one, reply
        if replies:
            last = time.monotonic()
        else:
            time.sleep(min(_LONGEST_PAUSE, max(_SHORTEST_PAUSE, _PAUSE * (time.monotonic() - last))))
