"""The Flower backend: a ServerApp that follows the plan, ClientApps that train."""

from __future__ import annotations

import platform
from collections.abc import Generator, Mapping
from types import MappingProxyType

from flspec.protocol.backend import Job
from flspec.protocol.events import Event
from flspec.protocol.native import is_native
from flspec.protocol.plan import FEATURES, Plan
from flspec.protocol.requirements import Requirement
from flspec_flower.natives import NATIVES, unsupported_native
from flspec_flower.ray_access import why_open
from flspec_torch import OnTorch, unsupported_training

__all__ = ["FlowerBackend"]


class FlowerBackend(OnTorch):
    """Flower's own apps and messages, on its Ray simulation (the default) or on a Grid in this process."""

    name = "flower"
    requirements = (
        Requirement("flwr", "flspec[flower]"),
        Requirement("ray", "flspec[flower]", not_for=("inprocess",)),
    )
    variants = ("ray", "inprocess")
    isolated = True
    packages = ("flspec_torch",)
    offline = True
    reads = frozenset(FEATURES)
    natives = NATIVES
    done_by = MappingProxyType({"client training": "flspec_torch", "transport": "Flower", "server step": "flspec"})

    def stages(self, plan: Plan) -> Mapping[str, str]:
        return {**self.done_by, **({"server step": "Flower"} if is_native(plan) else {})}

    def unsupported(self, plan: Plan) -> list[str]:
        is_open = None if self.variant == "inprocess" else why_open()
        own = unsupported_native(plan) if is_native(plan) else ()
        return [*filter(None, [is_open]), *own, *unsupported_training(plan)]

    def execute(self, plan: Plan, job: Job) -> Generator[Event, None, None]:
        from flspec_flower.simulation import run_in_process, run_on_ray

        folder = job.folder / "plan"
        if not (folder / "plan.json").exists():
            plan.save(folder)  # ClientApps read their tasks there
        engine = run_in_process if self.variant == "inprocess" else run_on_ray
        yield from engine(plan, job, _versions(self.variant))


def _versions(variant: str | None) -> dict[str, str]:
    from importlib.metadata import version

    packages = ("flwr", "torch") if variant == "inprocess" else ("flwr", "ray", "torch")
    return {package: version(package) for package in packages} | {"python": platform.python_version()}
