"""The two engines that run the apps on one machine: Flower's Ray simulation, and a Grid in this process."""

from __future__ import annotations

import importlib
import os
import queue
import sys
import tempfile
import threading
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

# flwr and Ray read these variables at import. They turn off all reporting of usage.
os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
os.environ["FLWR_DISABLE_UPDATE_CHECK"] = "1"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"

from flwr.app import ArrayRecord, Context, RecordDict
from flwr.serverapp import ServerApp

from flspec.analysis.memory_estimate import kept_bytes
from flspec.protocol.backend import Job
from flspec.protocol.events import Event, Workers
from flspec.protocol.plan import Plan
from flspec_flower.client import Pack
from flspec_flower.client import app as client_app
from flspec_flower.inprocess import InProcessGrid
from flspec_flower.server import most_tasks, num_nodes, server_app

_SMALLEST_STORE = 128 * 2**20  # least size of Ray's object store in shared memory, in bytes
_WARNINGS = 30  # the level of messages from which Ray prints them


def run_in_process(plan: Plan, job: Job, versions: Mapping[str, str]) -> Generator[Event, None, None]:
    """Run the apps on threads of this process."""
    import flspec_torch.training  # noqa: F401 # once, before threads do

    workers = _workers("threads", plan, job)

    def engine(app: ServerApp) -> None:
        with ThreadPoolExecutor(workers.number, thread_name_prefix="supernode") as pool:
            grid = InProcessGrid(client_app, num_nodes(plan, workers), pool)
            app(grid, Context(run_id=1, node_id=0, node_config={}, state=RecordDict(), run_config={}))

    yield from _stream(plan, job, versions, workers, ArrayRecord, engine)


def run_on_ray(plan: Plan, job: Job, versions: Mapping[str, str]) -> Generator[Event, None, None]:
    """Run the apps on Flower's simulation engine, with one Ray actor for each worker."""
    from flspec_flower.ray_access import close_ray

    close_ray()
    from flspec_flower.object_store import in_store

    workers = _workers("processes", plan, job)

    def engine(app: ServerApp) -> None:
        meanwhile = threading.Thread(target=importlib.import_module, args=("flwr.simulation",))  # it takes a second
        meanwhile.start()
        _start_ray(plan, workers.number)  # not in another thread, with which Ray's processes would end
        meanwhile.join()
        from flwr.simulation import run_simulation

        run_simulation(
            app,
            client_app,
            num_supernodes=num_nodes(plan, workers),
            backend_config={"client_resources": {"num_cpus": 1, "num_gpus": 0.0}},
        )

    yield from _stream(plan, job, versions, workers, in_store, engine)


def _start_ray(plan: Plan, num_workers: int) -> None:
    """Start the Ray that Flower's simulation finds, and ends.

    Flower would start it with an environment for workers, which those that Ray starts beforehand lack: twice as many.
    """
    import ray

    from flspec_flower.ray_access import LOCAL_ONLY

    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    # Room for everything in transit at once: the weights and client state, to and from each worker.
    sent = sum(weight.nbytes for weight in plan.weights.values()) + kept_bytes(plan)
    ray.init(
        **LOCAL_ONLY,
        num_cpus=num_workers,
        object_store_memory=max(_SMALLEST_STORE, 8 * num_workers * sent),
        logging_level=_WARNINGS,
        log_to_driver=True,
        _temp_dir=str(Path(tempfile.gettempdir()) / "ray"),
    )


def _workers(kind: Literal["threads", "processes"], plan: Plan, job: Job) -> Workers:
    """Return who trains: no more than the most clients that a round has."""
    if job.num_workers > (most := most_tasks(plan)):
        return Workers(kind=kind, number=most, why="no round has more clients")
    return Workers(kind=kind, number=job.num_workers, why="as selected" if job.workers else "one for each core")


def _stream(
    plan: Plan,
    job: Job,
    versions: Mapping[str, str],
    workers: Workers,
    pack: Pack,
    engine: Callable[[ServerApp], None],
) -> Generator[Event, None, None]:
    """Run an engine on a thread, and yield its ServerApp's events at once. Raises what the engine raises."""
    events: queue.SimpleQueue[Event | BaseException | None] = queue.SimpleQueue()
    stop = threading.Event()
    app = server_app(plan, job, versions, workers, pack, events.put, stop)

    def run() -> None:
        try:
            engine(app)
            events.put(None)
        except BaseException as error:
            events.put(error)

    thread = threading.Thread(target=run, name="flower", daemon=True)
    thread.start()
    try:
        while (event := events.get()) is not None:
            if isinstance(event, BaseException):
                raise event
            yield event
    finally:
        stop.set()
    thread.join()
