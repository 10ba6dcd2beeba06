"""What a text of Python imports, as its statements say it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import lru_cache

__all__ = ["imports_in", "named_by_text"]


@lru_cache(maxsize=256)
def imports_in(source: str | bytes) -> tuple[str, ...]:
    """Return the modules that import statements name, with dots before relative ones; none if there is an error in it,
    which importing tells.
    """
    found: list[str] = []
    for node in _nodes(source):
        match node:
            case ast.Import():
                found += [alias.name for alias in node.names]
            case ast.ImportFrom():
                base = "." * node.level + (node.module or "")
                dot = "" if base.endswith(".") or not base else "."
                found += [base, *(f"{base}{dot}{alias.name}" for alias in node.names)]
    return tuple(dict.fromkeys(found))


def named_by_text(source: str) -> Iterator[tuple[int, str]]:
    """Yield the line and the module of each call of `import_module` or `__import__` with a text."""
    for node in _nodes(source):
        match node:
            case ast.Call(func=ast.Name(id="import_module" | "__import__"), args=[ast.Constant(value=str(name)), *_]):
                yield node.lineno, name
            case ast.Call(func=ast.Attribute(attr="import_module"), args=[ast.Constant(value=str(name)), *_]):
                yield node.lineno, name


def _nodes(source: str | bytes) -> Iterator[ast.AST]:
    try:
        yield from ast.walk(ast.parse(source))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
