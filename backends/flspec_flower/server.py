"""The ServerApp: sends each round's planned tasks to nodes and finishes the round from their replies.

Flower's own strategies draw each cohort at random and sum replies as they arrive. A plan has decided both. This
ServerApp therefore sends the planned tasks, to one SuperNode for each client, and passes the replies to
`flspec.execution.server_step`, which passes them on to a strategy of Flower's where the plan asks for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from threading import Event as Flag

from flwr.app import Context, Message
from flwr.serverapp import Grid, ServerApp

from flspec.errors import BackendError
from flspec.execution.rounds import RoundResult, drive_rounds, round_result, timed
from flspec.execution.server_step import finish_round
from flspec.protocol.backend import Job
from flspec.protocol.events import Event, Workers
from flspec.protocol.native import definition_of
from flspec.protocol.plan import Plan
from flspec.protocol.state import ServerState
from flspec.protocol.updates import ClientUpdate
from flspec_flower.client import prepare_message, read_reply, task_message
from flspec_flower.strategies import strategy_step


def server_app(
    plan: Plan, job: Job, versions: Mapping[str, str], workers: Workers, emit: Callable[[Event], None], stop: Flag
) -> ServerApp:
    """Build an app that runs the plan's rounds over a Grid, and emits an event after each, until `stop` is set."""
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        nodes = assign_nodes(grid, plan, stop)
        prepare_clients(grid, list(nodes.values())[: workers.number], plan, job)

        def rounds_of(plan: Plan) -> Callable[[int, ServerState], RoundResult]:
            step = strategy_step(plan)

            def run_round(number: int, state: ServerState) -> RoundResult:
                lap = timed()
                updates = train_cohort(grid, nodes, plan, job, number, state)
                train_seconds = lap()
                outcome = finish_round(plan, state, updates, step)
                return round_result(outcome, updates, {"train": train_seconds, "aggregate": lap()}, workers)

            return run_round

        for event in drive_rounds(plan, job, versions, rounds_of(plan), rounds_of(definition_of(plan))):
            emit(event)
            if stop.is_set():
                return

    return app


def assign_nodes(grid: Grid, plan: Plan, stop: Flag) -> dict[int, int]:
    """Wait for nodes to join, and assign one to every client. Returns the node of each client."""
    clients = plan.participants
    while len(nodes := sorted(grid.get_node_ids())) < len(clients):
        if stop.is_set():
            raise BackendError("flower: stopped while waiting for its nodes")
        time.sleep(0.02)
    return dict(zip(clients, nodes, strict=False))


def prepare_clients(grid: Grid, nodes: list[int], plan: Plan, job: Job) -> None:
    """Start every worker before round 1, and check that it reads the same plan as this server."""
    for reply in grid.send_and_receive([prepare_message(job.folder / "plan", node) for node in nodes]):
        if reply.has_error():
            raise BackendError(f"flower: a ClientApp could not start: {reply.error.reason}")
        if (found := str(reply.content.config_records["plan"]["digest"])) != plan.digest:
            raise BackendError(f"flower: a ClientApp read plan {found[:12]} instead of {plan.digest[:12]}")


def train_cohort(
    grid: Grid, nodes: Mapping[int, int], plan: Plan, job: Job, number: int, state: ServerState
) -> list[ClientUpdate]:
    """Train every client of a round. Raises BackendError, with the reason, if one fails."""
    tasks = plan.cohort(number)
    clients = {nodes[task.client]: task.client for task in tasks}
    messages = [
        task_message(plan, state, task.client, job.folder / "plan", position, nodes[task.client])
        for position, task in enumerate(tasks)
    ]
    replies: list[Message] = list(grid.send_and_receive(messages))
    for reply in replies:
        if reply.has_error():
            client = clients.get(reply.metadata.src_node_id, "unknown")
            raise BackendError(f"flower: client {client} failed in round {number}: {reply.error.reason}")
    return [read_reply(reply, plan) for reply in replies]
