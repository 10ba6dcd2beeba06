"""The TFF backend: a plan as TensorFlow Federated's own federated averaging, or as rounds that hand over updates.

This module imports no TensorFlow, because `unsupported` is called before anything starts.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Generator, Mapping
from importlib.metadata import version
from types import MappingProxyType
from typing import TYPE_CHECKING

from flspec.execution.rounds import drive_rounds
from flspec.protocol.backend import STAGES, Backend, Job
from flspec.protocol.events import Event
from flspec.protocol.native import definition_of, is_native
from flspec.protocol.plan import Plan
from flspec.protocol.requirements import Environment
from flspec_tff.aggregation import is_aggregated_by_tff
from flspec_tff.natives import NATIVES, unsupported_native
from flspec_tff.support import unsupported

if TYPE_CHECKING:
    from flspec_tff.rounds import FederatedAveraging
    from flspec_tff.separate_updates import SeparateUpdates

__all__ = ["TffBackend"]


class TffBackend(Backend):
    """`tff.learning.algorithms.build_weighted_fed_avg`, on TFF's native C++ worker.

    Clients whose steps have phases train by a loop of flspec's own inside that worker; all else is TFF's there, too.
    Where clients have a state or the server looks at single updates, TFF trains, and the server's step is flspec's.
    The worker also serves the next plans that this process executes, and ends with the process.
    """

    name = "tff"
    isolated = True
    offline = True
    environment = Environment(
        name="tff",
        title="TFF",
        package="flspec_tff",
        python=(3, 11),
        machine=("Linux", "x86_64"),
        engine="tensorflow_federated",
        gigabytes=2.0,
    )
    done_by = MappingProxyType(dict.fromkeys(STAGES, "TensorFlow Federated"))
    natives = NATIVES
    # Each by name, so that a feature that comes later is refused until it is translated.
    reads = frozenset(
        {
            "batch_rule",
            "clip",
            "client_algorithm",
            "client_rates",
            "compression",
            "constants",
            "epochs",
            "label_weights",
            "local",
            "loss",
            "min_clients",
            "networks",
            "optimizers",
            "phases",
            "postprocessors",
            "private_steps",
            "repeats",
            "secret_noise",
            "secure_aggregation",
            "server_rates",
            "state",
            "statistics",
            "task_faults",
            "task_seeds",
        }
    )

    def __init__(self, variant: str | None = None) -> None:
        super().__init__(variant)
        self._built: dict[tuple[str, bytes], FederatedAveraging | SeparateUpdates] = {}

    def unsupported(self, plan: Plan) -> list[str]:
        return [*unsupported_native(plan), *unsupported(plan)]

    def execute(self, plan: Plan, job: Job) -> Generator[Event, None, None]:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow reads it at import

        from flspec_tff.runtime import start_runtime, stop_runtime

        start_runtime(job.num_workers)
        try:
            yield from drive_rounds(plan, job, _versions(), *(one.run_round for one in self._built_for(plan)))
        except GeneratorExit:
            raise
        except BaseException:
            stop_runtime()  # it may still be working on the interrupted round
            raise

    def stages(self, plan: Plan) -> Mapping[str, str]:
        return self.done_by if is_aggregated_by_tff(plan) else {**self.done_by, "server step": "flspec"}

    def _built_for(self, plan: Plan) -> list[FederatedAveraging | SeparateUpdates]:
        """Return what executes the plan, and beside TFF's own algorithm what executes flspec's definition.

        It is reused for the same plan, because building it may take a minute. A certificate executes each plan twice.
        """
        from flspec_tff.rounds import FederatedAveraging
        from flspec_tff.separate_updates import SeparateUpdates

        plans = [plan, definition_of(plan)] if is_native(plan) else [plan]
        # A key belongs to one run: another run's noise would be known to whoever knows both.
        keyed = {(one.digest, one.noise_key): one for one in plans}
        build = FederatedAveraging if is_aggregated_by_tff(plan) else SeparateUpdates
        self._built = {key: self._built.get(key) or build(one) for key, one in keyed.items()}
        return list(self._built.values())


def _versions() -> dict[str, str]:
    import tensorflow as tf

    packages = {name: version(name.replace("_", "-")) for name in ("tensorflow_federated", "numpy")}
    return packages | {"tensorflow": tf.__version__, "python": platform.python_version()}
