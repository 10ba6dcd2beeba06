"""The ClientApp: carries out the task that a message names, on the plan's data."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from flspec.protocol.plan import Plan
from flspec.protocol.state import ServerState, Weights
from flspec.protocol.updates import ClientUpdate
from flspec_torch.training import Trainer

app = ClientApp()


@app.query()
def prepare(message: Message, context: Context) -> Message:
    """Load what training needs and say which plan was found, so that round 1 times training and nothing else."""
    trainer = _trainer(str(message.content["task"]["plan"]))
    _ = trainer.data, trainer.forward
    return Message(RecordDict({"plan": ConfigRecord({"digest": trainer.plan.digest})}), reply_to=message)


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train on one planned task, from the weights in the message."""
    torch.set_num_threads(1)
    task = message.content["task"]
    trainer = _trainer(str(task["plan"]))
    weights = dict(zip(trainer.plan.weights, message.content["weights"].to_numpy_ndarrays(), strict=True))
    planned = trainer.plan.cohort(int(task["round"]))[int(task["position"])]
    update = trainer.train(planned, weights, _read_kept(message.content))
    return Message(_encode(update), reply_to=message)


def task_message(
    state: ServerState, client: int, plan_folder: Path, round_number: int, position: int, node: int
) -> Message:
    """The message that asks `node`, which is `client`, for the task at `position` of a round's cohort.

    What the client keeps to itself travels beside the weights, in a record of its own, because a simulated node does
    not outlive its run and a run must be resumed and followed. In the field it would lie on the client's own disk.
    """
    content = RecordDict(
        {
            "weights": ArrayRecord(list(state.weights.values())),
            "task": ConfigRecord({"plan": str(plan_folder), "round": round_number, "position": position}),
        }
        | _kept_records(state.clients.get(client, {}))
    )
    return Message(content, dst_node_id=node, message_type="train")


def prepare_message(plan_folder: Path, node: int) -> Message:
    """The message that asks `node` to load the plan."""
    content = RecordDict({"task": ConfigRecord({"plan": str(plan_folder)})})
    return Message(content, dst_node_id=node, message_type="query")


def read_reply(reply: Message, plan: Plan) -> ClientUpdate:
    """What a client answered."""
    metrics = reply.content["update"]
    delta = dict(zip(plan.weights, reply.content["delta"].to_numpy_ndarrays(), strict=True))
    return ClientUpdate(
        client=int(metrics["client"]),
        delta=delta,
        weight=float(metrics["weight"]),
        num_trained=int(metrics["num_trained"]),
        loss_sum=float(metrics["loss_sum"]),
        num_correct=float(metrics["num_correct"]),
        kept=_read_kept(reply.content),
    )


def _encode(update: ClientUpdate) -> RecordDict:
    metrics = {name: value for name, value in vars(update).items() if name not in ("delta", "kept")}
    return RecordDict(
        {"delta": ArrayRecord(list(update.delta.values())), "update": MetricRecord(metrics)}
        | _kept_records(update.kept)
    )


def _kept_records(kept: Weights) -> dict[str, ArrayRecord | ConfigRecord]:
    """What a client keeps to itself, as the records of a message; none if that is nothing."""
    if not kept:
        return {}
    return {"kept": ArrayRecord(list(kept.values())), "kept_names": ConfigRecord({"names": list(kept)})}


def _read_kept(content: RecordDict) -> Weights:
    if "kept" not in content:
        return {}
    return dict(zip(content["kept_names"]["names"], content["kept"].to_numpy_ndarrays(), strict=True))


@lru_cache(maxsize=2)
def _trainer(plan_folder: str) -> Trainer:
    """Flower sends the ClientApp's code with every message but keeps the process: load the plan once in each."""
    return Trainer(Plan.load(Path(plan_folder)))
