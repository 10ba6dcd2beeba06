"""The statements at the top level of a running script or notebook, and which of them gives a name its value.

The source of a script is its file. The cells of a notebook are where IPython puts them for tracebacks: in `linecache`,
in the order in which they were run.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import linecache
import os
import sys
import textwrap
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import CodeType, FunctionType, ModuleType
from typing import Any

from flspec.core.origins import first_line, statement_text
from flspec.errors import InputError

__all__ = ["Import", "Statement", "TopLevel", "bound_names", "value_of_import"]

_FUTURE_ANNOTATIONS = 0x1000000  # of a code object's flags: `from __future__ import annotations`
_Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, eq=False)
class Statement:
    """A statement as it was written."""

    node: ast.stmt
    text: str
    file: str
    shown: str = ""

    @classmethod
    def of(cls, node: ast.stmt, source: str, file: str = "", shown: str = "") -> Statement:
        return cls(node, textwrap.dedent(statement_text(node, source)), file, shown)

    @property
    def place(self) -> str:
        """Its file or cell, and line, as messages name them."""
        return f"{self.shown}:{self.node.lineno}"

    def has(self, code: CodeType) -> bool:
        """Return whether some code was compiled from it."""
        return code.co_filename == self.file and first_line(self.node) <= code.co_firstlineno <= (
            self.node.end_lineno or 0
        )


@dataclass(frozen=True)
class Import:
    """An import of one name, and what it gives in this process."""

    text: str
    gives: Any
    is_one_of_several: bool = False  # `import a.b` and `import a.c` both give `a`


class TopLevel:
    """What a running module says at its top level."""

    def __init__(self, module: ModuleType) -> None:
        self.values: Mapping[str, Any] = vars(module)
        self.package = str(self.values.get("__package__") or "")
        self._file = self.values.get("__file__")

    @cached_property
    def bound(self) -> Mapping[str, list[Statement]]:
        """The statements that give each name a value, in the order in which they were run."""
        found: dict[str, list[Statement]] = defaultdict(list)
        for statement in self._statements:
            for name in bound_names(statement.node):
                found[name].append(statement)
        return found

    @cached_property
    def stars(self) -> list[Statement]:
        """Imports of all names of a module."""
        return [one for one in self._statements if _is_of_all_names(one.node)]

    def definition(self, name: str, value: Any) -> Statement | None:
        """Return the class or function statement that made a value, or something decorated; None if there is none.

        Raises InputError if its file says something else by now.
        """
        found = [one for one in self.bound.get(name, ()) if isinstance(one.node, _Definition)]
        codes = _codes_of(value)
        made = [one for one in found if any(map(one.has, codes))]
        if codes and not made:
            return None
        for one in made[-1:]:
            self._check_unchanged(one, codes)
        last = (made or found)[-1] if found and self.bound[name][-1] in found else None
        # What a decorator gives may be anything; else a class or a function is what its statement makes.
        return last if made or isinstance(value, type) or getattr(last and last.node, "decorator_list", None) else None

    def is_future(self, statement: Statement) -> bool:
        """Return whether annotations are not evaluated where a statement stands."""
        said = (one for one in self.bound.get("annotations", ()) if isinstance(one.node, ast.ImportFrom))
        if any(one.file == statement.file for one in said):
            return True
        codes = (code for value in list(self.values.values()) for code in _codes_of(value))
        return any(one.co_flags & _FUTURE_ANNOTATIONS for one in codes if one.co_filename == statement.file)

    def _check_unchanged(self, statement: Statement, codes: list[CodeType]) -> None:
        if statement.file != self._file:
            return  # a cell stays as it was run
        compiled = {code.co_qualname: code for code in _inner_codes(self._compiled)}
        if any(statement.has(code) and compiled.get(code.co_qualname) != code for code in codes):
            raise InputError(f"({statement.place}) is not what its file says by now; start the script again")

    @cached_property
    def _compiled(self) -> CodeType:
        assert self._file
        return builtins.compile(dict(self._texts)[self._file], self._file, "exec", dont_inherit=True)

    @cached_property
    def _statements(self) -> list[Statement]:
        return [
            Statement.of(node, text, file, _shown(file, self.values))
            for file, text in self._texts
            for node in _without_blocks(_parsed(text))
        ]

    @cached_property
    def _texts(self) -> list[tuple[str, str]]:
        cells = [
            (name, "".join(entry[2]))
            for name, entry in list(linecache.cache.items())
            if len(entry) == 4 and entry[1] is None and name != self._file and not name.startswith("<attrs ")
        ]
        if not self._file:
            return cells
        linecache.checkcache(self._file)
        return [(self._file, "".join(linecache.getlines(self._file))), *cells]


def bound_names(node: ast.stmt) -> Iterator[str]:
    """Yield the names of the module that a statement gives a value."""
    match node:
        case ast.Import() | ast.ImportFrom():
            yield from (alias.asname or alias.name.partition(".")[0] for alias in node.names)
        case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
            yield node.name
        case _:
            stored = (one for one in ast.walk(node) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store))
            yield from (one.id for one in stored)


def value_of_import(node: ast.Import | ast.ImportFrom, name: str, package: str) -> Iterator[Import]:
    """Yield the imports in a statement that give `name`, each by itself, without dots before it."""
    for alias in node.names:
        given = alias.asname or alias.name
        as_name = f" as {alias.asname}" if alias.asname else ""
        if isinstance(node, ast.ImportFrom):
            if (given if alias.name != "*" else name) != name:
                continue
            module, inner = _absolute(node, package), name if alias.name == "*" else alias.name
            value = getattr(sys.modules.get(module), inner, sys.modules.get(f"{module}.{inner}"))
            yield Import(f"from {module} import {inner}{as_name}", value)
        elif alias.asname == name:
            yield Import(f"import {alias.name}{as_name}", sys.modules.get(alias.name))
        elif not alias.asname and given.partition(".")[0] == name:
            yield Import(f"import {alias.name}", sys.modules.get(name), is_one_of_several=True)


def _is_of_all_names(node: ast.stmt) -> bool:
    return isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names)


def _absolute(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ""
    start = package.rsplit(".", node.level - 1)[0]
    return f"{start}.{node.module}" if node.module else start


def _shown(file: str, values: Mapping[str, Any]) -> str:
    """Return how messages name a file: a notebook's cell as In[3], another from the working folder if it is there."""
    try:
        return f"In[{values['get_ipython']().compile._filename_map[file]}]"
    except Exception:  # whatever a user has called get_ipython
        shown = os.path.relpath(file)
        return file if shown.startswith("..") else shown


def _parsed(text: str) -> list[ast.stmt]:
    try:
        return ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # a cell of another language
        return []


def _without_blocks(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield statements, in place of `if`, `try` and `with` what stands in them."""
    for node in body:
        match node:
            case ast.If() | ast.Try() | ast.With():
                inner = [getattr(node, part, []) for part in ("body", "orelse", "finalbody")]
                handlers = [handler.body for handler in getattr(node, "handlers", [])]
                for block in (inner[0], *handlers, *inner[1:]):
                    yield from _without_blocks(block)
            case _:
                yield node


def _codes_of(value: Any) -> list[CodeType]:
    """Return the code of a function, decorated or not, or of a class's methods; none of what is no definition."""
    if isinstance(value, type):
        return [
            one.__code__
            for name, member in list(vars(value).items())
            if not name.startswith("__pydantic_")  # which would be built by being looked at
            and isinstance(
                one := _unwrapped(getattr(member, "fget", None) or getattr(member, "__func__", member)), FunctionType
            )
            and one.__qualname__.startswith(f"{value.__qualname__}.")
            and one.__module__ == value.__module__
            and not one.__code__.co_filename.startswith("<string>")
        ]
    function = _unwrapped(getattr(value, "of", value))  # `of` is a metric's
    return [function.__code__] if isinstance(function, FunctionType) else []


def _unwrapped(value: Any) -> Any:
    try:
        return inspect.unwrap(value)
    except ValueError:
        return value


def _inner_codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for one in code.co_consts:
        if isinstance(one, CodeType):
            yield from _inner_codes(one)
