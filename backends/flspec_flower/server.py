"""The ServerApp: sends each round's planned tasks to nodes and finishes the round from their replies.

Flower's own strategies draw each cohort at random and sum replies as they arrive. A plan has decided both. This
ServerApp therefore sends the planned tasks, each to a SuperNode that is free, and passes the replies to
`flspec.execution.server_step`, which passes them on to a strategy of Flower's where the plan asks for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from threading import Event as Flag

import numpy as np
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
from flspec_flower.client import Pack, prepare_message, read_reply, records_of_round, task_message
from flspec_flower.exchange import exchange
from flspec_flower.strategies import strategy_step

_MOST_NODES = 64


def num_nodes(plan: Plan, workers: Workers) -> int:
    """Return how many nodes a run has: one for each task of a round, but no more than keep its workers busy.

    A node is each client in turn: what a client keeps travels in its messages. Flower looks for messages to each node
    among all that are on their way, ten times a second, so nodes cost by their square.
    """
    return min(most_tasks(plan), max(_MOST_NODES, 2 * workers.number))


def most_tasks(plan: Plan) -> int:
    """Return the largest number of tasks that a round has, at least 1."""
    return max(1, int(np.diff(plan.arrays["round_task_ends"], prepend=0).max(initial=1)))


def server_app(
    plan: Plan,
    job: Job,
    versions: Mapping[str, str],
    workers: Workers,
    pack: Pack,
    emit: Callable[[Event], None],
    stop: Flag,
) -> ServerApp:
    """Build an app that runs the plan's rounds over a Grid, and emits an event after each, until `stop` is set."""
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        nodes = wait_for_nodes(grid, num_nodes(plan, workers), stop)
        prepare_clients(grid, nodes[: workers.number], plan, job)

        def rounds_of(plan: Plan) -> Callable[[int, ServerState], RoundResult]:
            step = strategy_step(plan)

            def run_round(number: int, state: ServerState) -> RoundResult:
                lap = timed()
                updates = train_cohort(grid, nodes, plan, job, number, state, pack)
                train_seconds = lap()
                outcome = finish_round(plan, state, updates, step)
                return round_result(outcome, updates, {"train": train_seconds, "aggregate": lap()}, workers)

            return run_round

        for event in drive_rounds(plan, job, versions, rounds_of(plan), rounds_of(definition_of(plan))):
            emit(event)
            if stop.is_set():
                return

    return app


def wait_for_nodes(grid: Grid, number: int, stop: Flag) -> list[int]:
    """Wait for so many nodes to join, and return them."""
    while len(nodes := sorted(grid.get_node_ids())) < number:
        if stop.is_set():
            raise BackendError("flower: stopped while waiting for its nodes")
        time.sleep(0.02)
    return nodes[:number]


def prepare_clients(grid: Grid, nodes: Sequence[int], plan: Plan, job: Job) -> None:
    """Start every worker before round 1, and check that it reads the same plan as this server."""
    for _, reply in exchange(grid, nodes, len(nodes), lambda _, node: prepare_message(job, node)):
        if reply.has_error():
            raise BackendError(f"flower: a ClientApp could not start: {reply.error.reason}")
        if (found := str(reply.content.config_records["plan"]["digest"])) != plan.digest:
            raise BackendError(f"flower: a ClientApp read plan {found[:12]} instead of {plan.digest[:12]}")


def train_cohort(
    grid: Grid, nodes: Sequence[int], plan: Plan, job: Job, number: int, state: ServerState, pack: Pack
) -> list[ClientUpdate]:
    """Train every client of a round. Raises BackendError, with the reason, if one fails."""
    tasks, sent, updates = plan.cohort(number), records_of_round(plan, state, pack), list[ClientUpdate]()

    def ask(position: int, node: int) -> Message:
        return task_message(state, tasks[position].client, job, position, node, sent)

    for position, reply in exchange(grid, nodes, len(tasks), ask):
        if reply.has_error():
            client = tasks[position].client
            raise BackendError(f"flower: client {client} failed in round {number}: {reply.error.reason}")
        updates.append(read_reply(reply, plan))
    return updates
