"""What a backend declares that it needs: packages in flspec's own Python, or a Python environment of its own."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Environment", "Requirement", "module_names", "pip_command"]


@dataclass(frozen=True)
class Requirement:
    """A package that a backend needs in the Python that flspec runs in."""

    module: str  # its top-level module, which is looked for without importing it
    pip: str  # as `pip install` takes it: "flspec[flower]", "my-engine>=2"
    not_for: tuple[str, ...] = ()  # variants of the backend that do without it


@dataclass(frozen=True)
class Environment:
    """A Python environment of a backend's own; its pins stand in `PACKAGE/requirements.txt`, as `name==version`.

    They are complete, what flspec needs there included: they are installed without looking for dependencies.
    """

    name: str  # the backend's; what `flspec backends install` is given, and its folder is called by
    title: str  # the engine's name in a sentence
    package: str  # the backend's own, copied into the environment beside flspec
    python: tuple[int, int]  # the one version that the pins exist for
    machine: tuple[str, str]  # likewise: platform.system(), platform.machine()
    engine: str  # the module whose import proves that the pins work
    gigabytes: float  # on disk, bytecode included


def module_names(requirements: Iterable[Requirement]) -> str:
    """`flwr and ray`."""
    return " and ".join(one.module for one in requirements)


def pip_command(requirements: Iterable[Requirement], *options: str) -> str:
    """The command by which pip installs them, for a shell."""
    return shlex.join(["pip", "install", *options, *dict.fromkeys(one.pip for one in requirements)])
