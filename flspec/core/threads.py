"""Work of numpy on several cores: it lets go of the interpreter's lock, so threads are enough."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

__all__ = ["map_on_cores"]

T = TypeVar("T")
R = TypeVar("R")
_WORTH_THREADS = 2**22  # values in all: a few milliseconds of work, where to start threads takes a tenth of one


def map_on_cores(function: Callable[[T], R], items: Iterable[T], num_values: int) -> list[R]:
    """Return what `function` makes of each item, in order; one after the other where all have few values together."""
    cores = os.cpu_count() or 1
    if cores == 1 or num_values < _WORTH_THREADS:
        return list(map(function, items))
    with ThreadPoolExecutor(cores, thread_name_prefix="numpy") as pool:
        return list(pool.map(function, items))
