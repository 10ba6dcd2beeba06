"""What the text of a part file imports: from its own folder, or from elsewhere."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from functools import lru_cache

from flspec.core.part_files import PartFiles
from flspec.core.part_sources import loose_digest

__all__ = ["imports_in", "loose_digests", "named_by_text"]


@lru_cache(maxsize=256)
def imports_in(source: str) -> tuple[str, ...]:
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


def _nodes(source: str) -> Iterator[ast.AST]:
    try:
        yield from ast.walk(ast.parse(source))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return


def loose_digests(files: PartFiles) -> Mapping[str, str]:
    """Return, by package or module, the SHA-256 of the code that part files import and that is neither among their
    texts nor installed: what lies on PYTHONPATH, beside a script, or is installed for editing.
    """
    tops = {
        name.partition(".")[0]
        for path, source in files.sources.items()
        for name in imports_in(source)
        if not name.startswith(".") and files.seen_from(path, name.partition(".")[0]) is None
    }
    digests = {name: loose_digest(name) for name in sorted(tops)}
    return {name: digest for name, digest in digests.items() if digest is not None}
