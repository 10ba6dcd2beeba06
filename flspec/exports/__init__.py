"""What `flspec export PATH… --to KIND` writes. Each module but `base` is a kind, with its class."""

from __future__ import annotations

import importlib
import inspect
import pkgutil

from flspec.errors import InputError, choose
from flspec.exports.base import Asked, Export

__all__ = ["Asked", "Export", "export_kinds", "find_export"]


def export_kinds() -> list[str]:
    """Return the kinds that there are."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name != "base")


def find_export(kind: str) -> Export:
    """Return the export of a kind; raises InputError for an unknown one."""
    if kind not in export_kinds():
        raise InputError(f"--to: {choose(kind, export_kinds())}")
    module = importlib.import_module(f"{__name__}.{kind}")
    (cls,) = (
        cls
        for _, cls in inspect.getmembers(module, inspect.isclass)
        if issubclass(cls, Export) and cls.__module__ == module.__name__
    )
    return cls()
