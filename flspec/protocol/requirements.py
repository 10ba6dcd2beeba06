"""Declarations of what a backend needs: packages in flspec's own Python, or a Python environment of its own."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Environment", "Requirement", "module_names", "pip_command"]


@dataclass(frozen=True)
class Requirement:
    """A package that a backend needs in the Python that flspec runs in."""

    module: str  # top-level module, looked for without importing it
    pip: str  # argument of `pip install`: "flspec[flower]", "my-engine>=2"
    not_for: tuple[str, ...] = ()  # variants of the backend that do not need it


@dataclass(frozen=True)
class Environment:
    """A Python environment for one backend.

    `PACKAGE/requirements.txt` pins its packages and the hashes of their files, as `uv pip compile --generate-hashes`
    writes them. The pins are complete and include what flspec needs there, because they are installed without their
    dependencies.
    """

    name: str  # the backend's; argument of `flspec backends install`, and part of the folder's name
    title: str  # the engine's name in a sentence
    package: str  # the backend's own package, copied into the environment beside flspec
    python: tuple[int, int]  # the one version for which there are pins
    machine: tuple[str, str]  # likewise: platform.system(), platform.machine()
    engine: str  # the module whose import proves that the pins work
    gigabytes: float  # on disk, bytecode included


def module_names(requirements: Iterable[Requirement]) -> str:
    """Return the module names in a sentence: `flwr and ray`."""
    return " and ".join(one.module for one in requirements)


def pip_command(requirements: Iterable[Requirement], *options: str) -> str:
    """Return the shell command that installs them with pip."""
    return shlex.join(["pip", "install", *options, *dict.fromkeys(one.pip for one in requirements)])
