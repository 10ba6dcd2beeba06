"""The part of a script or notebook that one of its classes or functions needs, as a text that can be imported.

Taken are the statement that defines it and, again and again, those that give the names that it uses their values:
imports, definitions, constants. All else in the script is left out, so that it is not run again by whoever imports the
text, and an edit elsewhere changes nothing.

A name whose value is a literal (a number, text, None, a list of such, ...) or a short numpy array is written by the
value that it has now, however it came to it. Other constants are written as their statement, if that calls nothing but
what gives the same value everywhere. What cannot be told by a text is refused by its name.
"""

from __future__ import annotations

import ast
import symtable
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from types import ModuleType
from typing import Any

from flspec.core.literals import calls_are_pure, literal
from flspec.core.origins import first_line, remember
from flspec.core.top_level import Statement, TopLevel, bound_names, value_of_import
from flspec.errors import InputError

__all__ = ["Chunk", "chunks_of", "extracted", "text_of"]

_MOST_TOLD = 3  # in one error
_FUTURE = "from __future__ import annotations"
_OWN_IN_EVERY_MODULE = {"__name__", "__doc__", "__package__", "__builtins__", "__annotations__"}


@dataclass(frozen=True)
class Chunk:
    """A statement at the top level of a text."""

    text: str
    is_future: bool = field(default=False, compare=False)  # whether annotations are not evaluated where it stands

    @cached_property
    def node(self) -> ast.stmt:
        return ast.parse(self.text).body[0]

    @cached_property
    def names(self) -> frozenset[str]:
        """The names that it gives a value."""
        return frozenset(bound_names(self.node))

    @cached_property
    def needs(self) -> frozenset[str]:
        """The names of the module's that it, or what it defines, looks up at any time."""
        return frozenset(_looked_up(symtable.symtable(self.text, "part", "exec"))) | _forward_references(self.node)

    @property
    def is_import(self) -> bool:
        return isinstance(self.node, ast.Import | ast.ImportFrom)

    @property
    def is_definition(self) -> bool:
        return isinstance(self.node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)

    @cached_property
    def needs_at_once(self) -> frozenset[str]:
        """Those that are looked up while it is carried out: not in the bodies of functions."""
        return frozenset(node.id for node in _at_once(self.node, self.is_future) if isinstance(node, ast.Name))


def extracted(module: ModuleType, name: str) -> list[Chunk]:
    """Return what a module needs to define `name`, in no order. Raises InputError with what cannot be extracted."""
    top, found, waiting, wrong = TopLevel(module), dict[str, tuple[Chunk, ...]](), [(name, name)], list[str]()
    while waiting:
        wanted, user = waiting.pop()
        if wanted in found:
            continue
        found[wanted] = ()
        try:
            found[wanted] = _chunks_for(wanted, top)
        except InputError as error:
            wrong.append(f"{wanted}{'' if user == wanted else f', which {user} uses,'} {error}")
        waiting += [(need, wanted) for chunk in found[wanted] for need in sorted(chunk.needs - found.keys())]
    if wrong:
        raise InputError("; ".join(wrong[:_MOST_TOLD]))
    return list(dict.fromkeys(chunk for chunks in found.values() for chunk in chunks))


def chunks_of(text: str) -> list[Chunk]:
    """Return the statements of a text that `text_of` made."""
    nodes = [node for node in ast.parse(text).body if not _is_future(node)]
    is_future = _FUTURE in text.splitlines()
    return [Chunk(Statement.of(node, text).text, is_future) for node in nodes]


def text_of(chunks: Iterable[Chunk], heading: str) -> str:
    """Return a text that carries out the chunks: imports, constants, definitions, each after those it needs at once.

    It is the same in whatever order they come.
    """
    every = sorted(set(chunks), key=lambda chunk: (chunk.is_definition, sorted(chunk.names)))
    imports = sorted({chunk.text for chunk in every if chunk.is_import})
    parts = [f"# {heading}", _FUTURE] if any(chunk.is_future for chunk in every) else [f"# {heading}"]
    rest = [chunk.text for chunk in _in_order([chunk for chunk in every if not chunk.is_import])]
    return "\n\n".join([*parts, *(["\n".join(imports)] if imports else []), *rest]) + "\n"


def _in_order(chunks: list[Chunk]) -> list[Chunk]:
    """Return the chunks as they are, but each after those that it needs at once."""
    of = {name: chunk for chunk in chunks for name in chunk.names}
    done: dict[Chunk, None] = {}
    entered: set[Chunk] = set()

    def place(chunk: Chunk) -> None:
        if chunk in entered:
            return
        entered.add(chunk)
        for name in sorted(chunk.needs_at_once & of.keys()):
            place(of[name])
        done[chunk] = None

    for chunk in chunks:
        place(chunk)
    return list(done)


# ------------------------------------------------------------------------------------------------- what gives a name


def _chunks_for(name: str, top: TopLevel) -> tuple[Chunk, ...]:
    """Return the statements that give a name its value; none if it is a builtin's, or has none."""
    if name in _OWN_IN_EVERY_MODULE or name not in top.values:
        return ()
    if name == "__file__":
        raise InputError("is another file's once this is imported elsewhere; give the path as a parameter")
    value = top.values[name]
    if (written := literal(value)) is not None:
        return (Chunk(f"{name} = {written}"),)
    statements = top.bound.get(name, [])
    imports = [one for one in statements if isinstance(one.node, ast.Import | ast.ImportFrom)]
    if found := _imports(name, value, imports + top.stars, top.package):
        return found
    if defined := top.definition(name, value):
        return (_taken(defined, top),)
    if not statements:
        return _import_by_value(name, value)
    return (_constant(name, value, statements, top),)


def _constant(name: str, value: Any, statements: list[Statement], top: TopLevel) -> Chunk:
    """Return the assignment of a constant that is no literal."""
    is_a = f"is a {type(value).__name__}"
    last = statements[-1]
    if isinstance(last.node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef | ast.Import | ast.ImportFrom):
        raise InputError(f"({last.place}) {is_a}, and no longer what that line made; start anew, or put it into a file")
    is_simple = isinstance(last.node, ast.Assign | ast.AnnAssign) and calls_are_pure(last.node, top.values)
    if not is_simple or len({one.text for one in statements}) > 1:
        raise InputError(
            f"({last.place}) {is_a} that only this process has; give what is needed of it as a parameter, or put all "
            "of it into a file of parts"
        )
    return _taken(last, top)


def _taken(statement: Statement, top: TopLevel) -> Chunk:
    remember(statement.text, statement.shown, first_line(statement.node))
    return Chunk(statement.text, top.is_future(statement))


def _imports(name: str, value: Any, statements: list[Statement], package: str) -> tuple[Chunk, ...]:
    """Return imports that give a name this value, each of one name."""
    chunks: list[Chunk] = []
    for statement in statements:
        assert isinstance(statement.node, ast.Import | ast.ImportFrom)
        for node in value_of_import(statement.node, name, package):
            if node.gives is value:
                chunks.append(Chunk(node.text))
                if not node.is_one_of_several:
                    return (chunks[-1],)
    return tuple(dict.fromkeys(chunks))


def _import_by_value(name: str, value: Any) -> tuple[Chunk, ...]:
    """Return an import for what no statement gives, as what a notebook's magic has imported."""
    if isinstance(value, ModuleType):
        return (Chunk(f"import {value.__name__} as {name}"),)
    module, qualname = getattr(value, "__module__", None), getattr(value, "__qualname__", "")
    if module in sys.modules and module != "__main__" and getattr(sys.modules[module], qualname, None) is value:
        return (Chunk(f"from {module} import {qualname} as {name}"),)
    raise InputError(
        f"is a {type(value).__name__} that only this process has; give it as a parameter, or put all of it into a file "
        "of parts"
    )


# --------------------------------------------------------------------------------------------- what a statement uses


def _looked_up(table: symtable.SymbolTable) -> Iterator[str]:
    at_top = table.get_type() == "module"
    for symbol in table.get_symbols():
        if symbol.is_referenced() if at_top else symbol.is_global():
            yield symbol.get_name()
    for inner in table.get_children():
        yield from _looked_up(inner)


def _forward_references(node: ast.AST) -> frozenset[str]:
    """Return the names in annotations that are written as text."""
    found: set[str] = set()
    for one in ast.walk(node):
        annotation = getattr(one, "annotation", None) or getattr(one, "returns", None)
        if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
            try:
                inner = ast.parse(annotation.value, mode="eval")
            except SyntaxError:
                continue
            found |= {part.id for part in ast.walk(inner) if isinstance(part, ast.Name)}
    return frozenset(found)


def _at_once(node: ast.AST, is_future: bool) -> Iterator[ast.AST]:
    """Yield what is evaluated when a statement is carried out."""
    yield node
    for name, child in ast.iter_fields(node):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) and name == "body":
            continue
        if is_future and name in ("annotation", "returns") and not isinstance(node, ast.AnnAssign):
            continue
        for one in child if isinstance(child, list) else [child]:
            if isinstance(one, ast.AST):
                yield from _at_once(one, is_future)


def _is_future(node: ast.stmt) -> bool:
    return isinstance(node, ast.ImportFrom) and node.module == "__future__"
