"""The lines of a script or notebook from which statements of a text were taken, for messages of this process.

They are no part of the text, so that a line that moves changes no digest.
"""

from __future__ import annotations
import __future__

import ast
from types import CodeType

__all__ = ["EXTRACT", "codes_of", "first_line", "line_in_origin", "remember", "statement_text"]

EXTRACT = "from_python.py"  # the path of the text that is taken out of a script or notebook

_places: dict[str, tuple[str, int]] = {}  # by a statement's text: how messages name its file, and its first line


def remember(statement: str, file: str, line: int) -> None:
    """Remember from where a statement was taken."""
    _places[statement] = (file, line)


def codes_of(text: str, shown: str) -> list[CodeType]:
    """Return the code of each statement of a text, compiled as if it stood where it was taken from."""
    body = ast.parse(text, shown).body
    flags = 0
    if any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in body):
        flags = __future__.annotations.compiler_flag
    codes: list[CodeType] = []
    for node in body:
        file, line = _places.get(statement_text(node, text), (shown, first_line(node)))
        ast.increment_lineno(node, line - first_line(node))
        codes.append(compile(ast.Module([node], []), file, "exec", flags=flags, dont_inherit=True))
    return codes


def line_in_origin(text: str, line: int) -> str | None:
    """Return `FILE:LINE` of the place that a line of a text was taken from, if this process has taken it."""
    for node in ast.parse(text).body:
        first = first_line(node)
        if first <= line <= (node.end_lineno or 0) and (place := _places.get(statement_text(node, text))):
            return f"{place[0]}:{place[1] + line - first}"
    return None


def statement_text(node: ast.stmt, source: str) -> str:
    """Return the lines of a statement, its decorators included."""
    return "".join(source.splitlines(keepends=True)[first_line(node) - 1 : node.end_lineno]).rstrip()


def first_line(node: ast.stmt) -> int:
    """Return the first line of a statement, its decorators included."""
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(one.lineno for one in decorators)])
