"""The ClientApp: trains the task that a message names, on the plan's data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from numpy.typing import NDArray

from flspec.execution.noise_key import with_noise_key
from flspec.execution.server_step import sent_with_weights
from flspec.protocol.backend import Job
from flspec.protocol.devices import Device
from flspec.protocol.named_records import Records, flatten, unflatten
from flspec.protocol.plan import Plan
from flspec.protocol.state import ServerState
from flspec.protocol.updates import ClientUpdate

if TYPE_CHECKING:
    from flspec_torch.training import Trainer

Record = ArrayRecord | MetricRecord | ConfigRecord
Pack = Callable[[list[NDArray[Any]]], ArrayRecord]  # how arrays become a record of a message

app = ClientApp()


@app.query()
def prepare(message: Message, context: Context) -> Message:
    """Load everything that training needs and reply with the plan's digest. Round 1 then measures training alone."""
    trainer = _trainer(*_places(message))
    _ = trainer.data, trainer.step
    return Message(RecordDict({"plan": ConfigRecord({"digest": trainer.plan.digest})}), reply_to=message)


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train on one planned task, from the weights in the message."""
    import torch

    torch.set_num_threads(1)
    task: Any = message.content["task"]
    trainer = _trainer(*_places(message))
    arrays = message.content.array_records["weights"].to_numpy_ndarrays()
    weights = dict(zip(trainer.plan.weights, arrays, strict=True))
    planned = trainer.plan.task(int(task["round"]), int(task["position"]))
    update = trainer.train(
        planned, weights, _read_records(message.content, "client_state"), _read_records(message.content, "server")
    )
    return Message(_encode(update), reply_to=message)


def records_of_round(plan: Plan, state: ServerState, pack: Pack) -> dict[str, Record]:
    """Convert what all clients of the next round are sent, once for all of them."""
    return {
        "weights": pack(list(state.weights.values())),
        **_write_arrays("server", flatten(sent_with_weights(plan, state)), pack),
    }


def task_message(
    state: ServerState, client: int, job: Job, position: int, node: int, sent: Mapping[str, Record]
) -> Message:
    """Build the message that asks `node` to be `client`, for the task at `position` of the next round's cohort.

    What all clients are `sent` comes from `records_of_round`. The client state is sent beside it, in its own record. A
    simulated node ends with its run, but a run must be resumed and followed. In a deployment, client state would be on
    the client's own disk.
    """
    content: dict[str, Record] = {
        **sent,
        "task": ConfigRecord({**_told(job), "round": state.round + 1, "position": position}),
        **_write_records("client_state", state.clients.get(client, {})),
    }
    return Message(RecordDict(content), dst_node_id=node, message_type="train")


def prepare_message(job: Job, node: int) -> Message:
    """Build the message that asks `node` to load the plan."""
    content = RecordDict({"task": ConfigRecord({**_told(job)})})
    return Message(content, dst_node_id=node, message_type="query")


def read_reply(reply: Message, plan: Plan) -> ClientUpdate:
    """Read the client update in a reply."""
    metrics: Any = reply.content["update"]
    sums: Any = reply.content["sums"]
    numbers: Any = reply.content.get("numbers", {})
    payload = _read_arrays(reply.content, "payload")
    sent_whole = [name for name in plan.weights if not payload or name in plan.statistics]
    delta = dict(zip(sent_whole, reply.content.array_records["delta"].to_numpy_ndarrays(), strict=True))
    return ClientUpdate(
        client=int(metrics["client"]),
        repeat=int(metrics["repeat"]),
        delta=delta,
        weight=float(metrics["weight"]),
        num_trained=int(metrics["num_trained"]),
        sums={name: float(value) for name, value in sums.items()},
        client_state=_read_records(reply.content, "client_state"),
        sent=_read_records(reply.content, "sent"),
        numbers={name: float(value) for name, value in numbers.items()},
        payload=payload,
        seconds=float(metrics["seconds"]),
    )


def _encode(update: ClientUpdate) -> RecordDict:
    metrics = ("client", "repeat", "weight", "num_trained", "seconds")
    content: dict[str, Record] = {
        "delta": ArrayRecord(list(update.delta.values())),
        "update": MetricRecord({name: getattr(update, name) for name in metrics}),
        "sums": MetricRecord({**update.sums}),
        **_write_records("client_state", update.client_state),
        **_write_records("sent", update.sent),
        **_write_arrays("payload", update.payload),
        **({"numbers": MetricRecord({**update.numbers})} if update.numbers else {}),
    }
    return RecordDict(content)


def _write_records(key: str, records: Records) -> dict[str, Record]:
    """Convert flspec's named records to records of a message; none if there are none."""
    return _write_arrays(key, flatten(records))


def _read_records(content: RecordDict, key: str) -> Records:
    return unflatten(_read_arrays(content, key))


def _write_arrays(key: str, arrays: Mapping[str, NDArray[Any]], pack: Pack = ArrayRecord) -> dict[str, Record]:
    """Convert named arrays to a record of a message and one of their names; none if there are none."""
    if not arrays:
        return {}
    return {key: pack(list(arrays.values())), f"{key}_names": ConfigRecord({"names": list(arrays)})}


def _read_arrays(content: RecordDict, key: str) -> dict[str, NDArray[Any]]:
    if key not in content:
        return {}
    names: Any = content.config_records[f"{key}_names"]["names"]
    return dict(zip(names, content.array_records[key].to_numpy_ndarrays(), strict=True))


def _told(job: Job) -> dict[str, str]:
    """Return where a client finds the plan, and the device that it trains on."""
    return {"plan": str(job.folder / "plan"), "device": job.device.name, "card": job.device.card}


def _places(message: Message) -> tuple[str, Device]:
    told = message.content.config_records["task"]
    return str(told["plan"]), Device(str(told["device"]), str(told["card"]))


@lru_cache(maxsize=2)
def _trainer(plan_folder: str, device: Device) -> Trainer:
    """Load the plan once in each process. Flower sends the ClientApp's code with every message but keeps processes."""
    from flspec_torch.devices import open_device
    from flspec_torch.training import Trainer  # not in the process of the ServerApp, which needs no torch

    folder = Path(plan_folder)
    return Trainer(with_noise_key(Plan.load(folder), folder.parent), device=open_device(device))
