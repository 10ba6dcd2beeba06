"""The TFF backend: a plan as TensorFlow Federated's own federated averaging.

This module imports no TensorFlow: it is asked what TFF can do here before anything starts.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Generator
from importlib.metadata import version

from flspec.backend import Backend, Job, drive_rounds
from flspec.events import Event
from flspec.plan import Plan
from flspec_tff.support import unsupported

__all__ = ["TffBackend"]


class TffBackend(Backend):
    """`tff.learning.algorithms.build_weighted_fed_avg`, on TFF's native C++ worker.

    The worker stays for the next plan that this process executes and ends with the process.
    """

    name = "tff"
    isolated = True
    environment = "tff"

    def unsupported(self, plan: Plan) -> list[str]:
        return unsupported(plan)

    def execute(self, plan: Plan, job: Job) -> Generator[Event, None, None]:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # read once, when TensorFlow is imported

        from flspec_tff.rounds import FederatedAveraging
        from flspec_tff.runtime import start_runtime, stop_runtime

        start_runtime(job.num_workers)
        try:
            yield from drive_rounds(plan, job, _versions(), FederatedAveraging(plan).run_round)
        except GeneratorExit:
            raise
        except BaseException:
            stop_runtime()  # it may still be at work on the round that was broken off
            raise


def _versions() -> dict[str, str]:
    import tensorflow as tf

    packages = {name: version(name.replace("_", "-")) for name in ("tensorflow_federated", "numpy")}
    return packages | {"tensorflow": tf.__version__, "python": platform.python_version()}
