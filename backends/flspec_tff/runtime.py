"""TensorFlow Federated's C++ worker, started without delay and never left behind.

TFF can start this worker itself. But it checks only once a second whether the worker is ready, restarts it as long as
it dies, and leaves it running when this process is killed. This module starts the same program and builds the same
execution context from TFF's public parts.
"""

from __future__ import annotations

import atexit
import os
import socket
import subprocess
import sys
import threading
import time
import warnings
from concurrent.futures import Future
from pathlib import Path

import grpc
import tensorflow as tf
import tensorflow_federated as tff

from flspec.errors import BackendError, RunWarning
from flspec.execution.own_network import why_shared

__all__ = ["start_runtime", "stop_runtime"]

# TFF's worker has no option to listen on one address alone, nor to ask who is calling.
_OPEN = (
    "its worker listens on port {port} of every network address, and whoever reaches that can have TensorFlow compute, "
    "read and write files as you, because it cannot have a network of its own here ({reason}); block the port by a "
    "firewall, allow this user network namespaces, or use another backend"
)
_START_SECONDS = 60.0  # a worker that has not answered by then will not start

# Makes the kernel kill the worker when its parent ends, however that ends. It must be set between fork and exec, where
# a process with threads may run no Python code. So a small program sets it and then becomes the worker.
_DIE_WITH_PARENT = """
import ctypes, os, signal, sys
PR_SET_PDEATHSIG = 1
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""


class _Worker:
    """One worker process and the channel to it."""

    def __init__(self, max_concurrent: int) -> None:
        self.max_concurrent = max_concurrent
        self.port = _free_port()
        binary = Path(tff.__file__).parent / "data" / "worker_binary"
        limits = f"--max_concurrent_computation_calls={max_concurrent}"
        self._process = _start_owned([str(binary), f"--port={self.port}", limits])
        atexit.register(self.stop)
        self._stub = self._connect()
        self.context = tff.framework.SyncExecutionContext(
            executor_fn=tff.framework.ResourceManagingExecutorFactory(self._executor),
            compiler_fn=_compile,
            transform_args=tff.tensorflow.transform_args,
            transform_result=tff.tensorflow.transform_result,
        )

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        atexit.unregister(self.stop)

    def _executor(self, cardinalities: dict[tff.framework.PlacementLiteral, int]) -> tff.framework.RemoteExecutor:
        """Create an executor. TFF calls this for each number of clients."""
        if not self.is_alive():
            raise BackendError(
                f"TensorFlow Federated's worker ended with status {self._process.returncode} (-9 is often a lack of "
                "memory: train fewer clients at once)"
            )
        # Values are freed one by one. TFF's default keeps the data of the last few rounds.
        executor = tff.framework.RemoteExecutor(self._stub, dispose_batch_size=1)
        executor.set_cardinalities({tff.CLIENTS: 0} | cardinalities)
        return executor

    def _connect(self) -> tff.framework.RemoteExecutorGrpcStub:
        options = [
            *((f"grpc.max_{way}_message_length", -1) for way in ("send", "receive")),  # no limit
            *((f"grpc.{which}_reconnect_backoff_ms", 50) for which in ("initial", "min", "max")),
            ("grpc.enable_http_proxy", 0),
        ]
        stub = tff.framework.RemoteExecutorGrpcStub(grpc.insecure_channel(f"localhost:{self.port}", options))
        deadline = time.monotonic() + _START_SECONDS
        while not stub.is_ready:
            if not self.is_alive() or time.monotonic() > deadline:
                self.stop()
                raise BackendError("TensorFlow Federated's worker did not start")
            time.sleep(0.01)
        return stub


def _compile(computation: tff.framework.ConcreteComputation) -> tff.framework.ConcreteComputation:
    """Compile as `tff.backends.native.desugar_and_transform_to_native` does, but without constant folding.

    Constant folding takes ten seconds in a graph of fifty convolutions, and makes no round faster.
    """
    config = tf.compat.v1.ConfigProto()
    options = config.graph_options.rewrite_options
    options.constant_folding = options.OFF
    for rewriting in ("memory", "arithmetic", "loop", "function"):
        setattr(options, f"{rewriting}_optimization", options.AGGRESSIVE)
    desugared, _ = tff.tensorflow.replace_intrinsics_with_bodies(computation.to_building_block())
    whole = tff.framework.ConcreteComputation(
        computation_proto=desugared.proto, context_stack=tff.framework.get_context_stack()
    )
    return tff.backends.native.transform_to_native_form(whole, grappler_config=config)


_worker: _Worker | None = None


def start_runtime(max_concurrent: int) -> None:
    """Run TFF's computations on a worker that trains at most `max_concurrent` clients at once.

    A running worker with the same limit is used again. A RunWarning says so if others can reach it.
    """
    global _worker  # noqa: PLW0603
    if not (_worker and _worker.is_alive() and _worker.max_concurrent == max_concurrent):
        stop_runtime()
        _worker = _Worker(max_concurrent)
    if reason := why_shared():
        warnings.warn(_OPEN.format(port=_worker.port, reason=reason), RunWarning, stacklevel=2)
    tff.framework.set_default_context(_worker.context)  # each thread has its own default


def stop_runtime() -> None:
    """End the worker, even while it is working."""
    global _worker  # noqa: PLW0603
    if _worker:
        _worker.stop()
    _worker = None


def _start_owned(command: list[str]) -> subprocess.Popen[bytes]:
    """Start a program that ends when this process ends."""
    started: Future[subprocess.Popen[bytes]] = Future()

    # For the kernel, the parent is the thread that started the program, so that thread must stay.
    def own() -> None:
        try:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _DIE_WITH_PARENT, str(os.getpid()), *command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                # Clients run in parallel, their operations do not, so sums have the same order on every machine.
                env=os.environ | {"TF_NUM_INTRAOP_THREADS": "1"},
            )
        except BaseException as error:
            started.set_exception(error)
            return
        started.set_result(process)
        process.wait()

    threading.Thread(target=own, name="tff-worker", daemon=True).start()
    return started.result()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return int(probe.getsockname()[1])
