"""A Flower Grid that runs ClientApps on threads of this process: no Ray, no network, no polling.

The ServerApp, the ClientApp and the messages are Flower's own. Only their transport differs.
"""

from __future__ import annotations

import copy
import traceback
import uuid
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.constant import SUPERLINK_NODE_ID
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

_RUN_ID = 1
_CLIENT_RAISED = 2  # ErrorCode.CLIENT_APP_RAISED_EXCEPTION


class InProcessGrid(Grid):
    """A Grid of `num_nodes` nodes on a thread pool. Replies come in the order of the requests."""

    def __init__(self, client_app: ClientApp, num_nodes: int, pool: ThreadPoolExecutor) -> None:
        # Messages read the identity of the task that creates them from these class attributes.
        TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, _RUN_ID, SUPERLINK_NODE_ID
        self._client_app, self._pool = client_app, pool
        self._contexts = {
            number + 1: Context(
                run_id=_RUN_ID,
                node_id=number + 1,
                node_config={"partition-id": number, "num-partitions": num_nodes},
                state=RecordDict(),
                run_config={},
            )
            for number in range(num_nodes)
        }

    def set_run(self, run: Run) -> None:
        """Do nothing: there is only one run."""

    @property
    def run(self) -> Run:
        return Run.create_empty(run_id=_RUN_ID)

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        return list(self._contexts)

    def get_nodes(self) -> Iterable[Any]:
        return []

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        raise NotImplementedError("this Grid answers at once; use send_and_receive")

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        raise NotImplementedError("this Grid answers at once; use send_and_receive")

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        return list(self._pool.map(self._handle, messages, timeout=timeout))

    def _handle(self, message: Message) -> Message:
        message = _posted(message)
        try:
            reply = self._client_app(message, self._contexts[message.metadata.dst_node_id])
        except Exception as error:
            traceback.print_exc()  # to the worker's log; the reply carries one line
            reply = Message(Error(_CLIENT_RAISED, f"{type(error).__name__}: {error}"), reply_to=message)
        return _posted(reply)


def _posted(message: Message) -> Message:
    """Return the message as a receiver gets it: with an id, and sharing no record with the sender's."""
    message.metadata.__dict__["_message_id"] = str(uuid.uuid4())  # as in Flower's own in-memory Grid
    return copy.deepcopy(message)
