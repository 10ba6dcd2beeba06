"""Imports without the search for garbage, which takes a tenth of their time: what an import makes stays."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["nothing_collected"]


@contextmanager
def nothing_collected() -> Iterator[None]:
    """Have the interpreter look for no cycles of garbage meanwhile; afterwards it does if it did before.

    What is there when something was imported, it then takes for no garbage ever. Where nothing was, as when a process
    does the same again, it does not.
    """
    was_enabled, num_modules = gc.isenabled(), len(sys.modules)
    gc.disable()
    try:
        yield
    finally:
        if len(sys.modules) > num_modules:
            gc.freeze()
        if was_enabled:
            gc.enable()
