"""Flower's own simulation on Ray: a ClientApp with a torch loop, and its FedAvg, as its tutorials have them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.peers.base import Absent, Simulator, client_arrays, plan_folder
from flspec.protocol.plan import Plan


class FlowerApp(Simulator):
    """One client for each core at once; each keeps its examples between rounds; no evaluation."""

    name = "flower"
    title = "Flower 1.41, its simulation and FedAvg"

    def python(self) -> Path:
        if find_spec("flwr") is None or find_spec("ray") is None:
            raise Absent("not installed; pip install '.[flower]' has it")
        return Path(sys.executable)

    def run(self, plan: Plan, rounds: int, after_round: Callable[[], None]) -> None:
        from flspec_flower.ray_access import LOCAL_ONLY, close_ray

        close_ray()  # to everybody else on the machine
        from flwr.app import ArrayRecord, ConfigRecord
        from flwr.serverapp import Grid, ServerApp
        from flwr.serverapp.strategy import FedAvg
        from flwr.simulation import run_simulation

        folder, server = str(plan_folder()), ServerApp()

        @server.main()
        def main(grid: Grid, _: Any) -> None:
            FedAvg(fraction_evaluate=0.0, min_available_nodes=len(plan.participants)).start(
                grid,
                ArrayRecord(_module(folder).state_dict()),
                rounds,
                train_config=ConfigRecord({"plan": folder}),
                evaluate_fn=lambda number, _: after_round() if number else None,
            )

        cores = os.cpu_count() or 1
        run_simulation(
            server,
            _client_app(),
            num_supernodes=len(plan.participants),
            backend_config={
                "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
                "init_args": LOCAL_ONLY | {"num_cpus": cores},
            },
        )


def _client_app() -> Any:
    from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
    from flwr.clientapp import ClientApp

    client = ClientApp()

    @client.train()
    def train(message: Message, context: Any) -> Message:
        import torch
        import torch.nn.functional as F  # noqa: N812

        torch.set_num_threads(1)
        folder = str(message.content["config"]["plan"])
        plan, model = _plan(folder), _module(folder)
        model.load_state_dict(message.content.array_records["arrays"].to_torch_state_dict())
        x, y = (torch.from_numpy(part) for part in _clients(folder)[int(context.node_config["partition-id"])])
        optimizer = torch.optim.SGD(model.parameters(), lr=plan.settings.client_optimizer["learning_rate"])
        batch, loss_sum = max(plan.batch_sizes), 0.0
        for start in range(0, len(y), batch):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x[start : start + batch]), y[start : start + batch])
            loss.backward()
            optimizer.step()
            loss_sum += loss.item()
        metrics = MetricRecord({"train_loss": loss_sum, "num-examples": len(y)})
        content = RecordDict({"arrays": ArrayRecord(model.state_dict()), "metrics": metrics})
        return Message(content=content, reply_to=message)

    return client


@lru_cache(maxsize=1)
def _plan(folder: str) -> Plan:
    return Plan.load(Path(folder))


@lru_cache(maxsize=1)
def _clients(folder: str) -> Any:
    return client_arrays(_plan(folder))


@lru_cache(maxsize=1)
def _module(folder: str) -> Any:
    from benchmarks.floor_models import module_of
    from flspec.execution.parts import network_of

    return module_of(network_of(_plan(folder))).train()
