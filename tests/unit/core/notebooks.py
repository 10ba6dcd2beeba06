"""A notebook without IPython: cells that are run in one module, with their source where IPython puts it."""

from __future__ import annotations

import itertools
import linecache
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

_numbers = itertools.count(1)


def run_cell(module: ModuleType, text: str) -> str:
    """Run a cell in a module, and return the name under which its source is known."""
    name = f"<ipython-input-{next(_numbers)}-cell>"
    lines = [f"{line}\n" for line in text.splitlines()]
    linecache.cache[name] = (len(text), None, lines, name)
    exec(compile(text, name, "exec", dont_inherit=True), vars(module))
    return name


def notebook(*cells: str) -> ModuleType:
    """A module of cells, which no `sys.modules` knows yet."""
    module = ModuleType("__main__")
    for text in cells:
        run_cell(module, text)
    return module


@contextmanager
def as_main(*cells: str) -> Iterator[ModuleType]:
    """Have a notebook be what runs, as in IPython's kernel."""
    before, module = sys.modules["__main__"], ModuleType("__main__")
    sys.modules["__main__"] = module
    try:
        for text in cells:
            run_cell(module, text)
        yield module
    finally:
        sys.modules["__main__"] = before
