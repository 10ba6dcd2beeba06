"""The device on which a run trains and evaluates. It is no part of a plan: the last bits of sums depend on it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from flspec.errors import InputError, shorten

__all__ = ["CPU", "Device", "device_kind"]

_NAMES = re.compile(r"auto|cpu|mps|cuda(:[0-9]{1,4})?")


@dataclass(frozen=True)
class Device:
    """A device of this machine."""

    name: str = "cpu"  # as torch has it: cpu, cuda:0, mps
    card: str = ""  # what its maker calls it

    def __str__(self) -> str:
        return f"{self.name} ({self.card})" if self.card else self.name


CPU = Device()


def device_kind(asked: str) -> str:
    """Return cpu, cuda, mps or auto. Raises InputError if a device cannot be called so."""
    if not _NAMES.fullmatch(asked):
        raise InputError(f"device: {shorten(asked)} is none; choose cpu, cuda, cuda:N, mps or auto")
    return asked.partition(":")[0]
