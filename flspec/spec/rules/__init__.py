"""Rules between the sections of a spec. A new one is a function with `@rule` in a module of this folder."""

import importlib
import pkgutil

from flspec.spec.rules.base import Contradiction, contradictions

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = ["Contradiction", "contradictions"]
