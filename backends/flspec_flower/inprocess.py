"""A Flower Grid that runs ClientApps on threads of this process: no Ray, no network, no polling.

The ServerApp, the ClientApp and the messages are Flower's own. Only their transport differs.
"""

from __future__ import annotations

import copy
import traceback
import uuid
from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
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
    """A Grid of `num_nodes` nodes on a thread pool. Whoever pulls replies waits until there is one."""

    def __init__(self, client_app: ClientApp, num_nodes: int, pool: ThreadPoolExecutor) -> None:
        # Messages read the identity of the task that creates them from these class attributes.
        TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, _RUN_ID, SUPERLINK_NODE_ID
        self._client_app, self._pool = client_app, pool
        self._handled: dict[str, Future[Message]] = {}  # by the id of the message that is answered
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
        posted = [_posted(message) for message in messages]
        sent = {message.metadata.message_id: self._pool.submit(self._handle, message) for message in posted}
        self._handled |= sent
        return list(sent)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        handled = {self._handled[number]: number for number in message_ids}
        done, _ = wait(handled, return_when=FIRST_COMPLETED)
        return [self._handled.pop(handled[future]).result() for future in done]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        raise NotImplementedError("push messages, and pull the replies")

    def _handle(self, message: Message) -> Message:
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
