"""Values as a text of Python that gives them again anywhere."""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping
from typing import Any

__all__ = ["calls_are_pure", "literal"]

_MOST_CHARACTERS, _MOST_NUMBERS = 100_000, 1000  # of a literal; of an array
# What may be called to make a constant: it reads no file and no clock, and draws nothing.
_PURE_MODULES = {
    "collections", "decimal", "fractions", "functools", "logging", "math", "operator", "pathlib", "pydantic", "re",
    "string", "typing", "typing_extensions",
}  # fmt: skip
_PURE_BUILTINS = {
    "abs", "bool", "bytes", "complex", "dict", "divmod", "enumerate", "float", "frozenset", "int", "len", "list", "max",
    "min", "pow", "range", "reversed", "round", "set", "slice", "sorted", "str", "sum", "tuple", "zip",
}  # fmt: skip
_PURE_OTHERS = {("torch", "device"), ("numpy", "dtype")}


def literal(value: Any) -> str | None:
    """Return the expression that gives a value again: of literals, and of short arrays of numbers; None of others."""
    written = _literal(value)
    return written if written is not None and len(written) <= _MOST_CHARACTERS else None


def calls_are_pure(statement: ast.AST, values: Mapping[str, Any]) -> bool:
    """Return whether a statement calls only what gives the same value wherever it is carried out."""
    calls = (node.func for node in ast.walk(statement) if isinstance(node, ast.Call))
    waits = any(isinstance(node, ast.Await | ast.Yield | ast.YieldFrom) for node in ast.walk(statement))
    return not waits and all(_is_pure(function, values) for function in calls)


def _literal(value: Any) -> str | None:
    match value:
        case None | bool() | int() | str() | bytes() | complex() if type(value) in _PLAIN:
            return repr(value)
        case float() if type(value) is float:
            return repr(value) if math.isfinite(value) else f"float({str(value)!r})"
        case tuple() | list() | set() | frozenset() | dict() if type(value) in _COLLECTIONS:
            return _collection(value)
    if type(value).__module__ == "numpy" and getattr(value, "dtype", None) is not None:
        return _array(value)
    return None


_PLAIN = {type(None), bool, int, str, bytes, complex}
_COLLECTIONS = {tuple, list, set, frozenset, dict}


def _collection(value: Any) -> str | None:
    if len(value) > _MOST_CHARACTERS:
        return None
    if isinstance(value, dict):
        pairs = [(_literal(key), _literal(one)) for key, one in value.items()]
        if any(key is None or one is None for key, one in pairs):
            return None
        return "{" + ", ".join(f"{key}: {one}" for key, one in pairs) + "}"
    items = [_literal(one) for one in value]
    if any(one is None for one in items):
        return None
    if isinstance(value, set | frozenset):  # whose order differs from process to process
        return f"{type(value).__name__}([{', '.join(sorted(map(str, items)))}])"
    inner = ", ".join(map(str, items))
    if isinstance(value, tuple):
        return f"({inner},)" if len(items) == 1 else f"({inner})"
    return f"[{inner}]"


def _array(value: Any) -> str | None:
    """Return a short numpy array, or one of numpy's numbers, by its values."""
    if value.dtype.kind not in "biufU" or value.size > _MOST_NUMBERS:
        return None
    written = _literal(value.tolist())
    return written and f"__import__('numpy').array({written}, dtype={value.dtype.str!r}){'' if value.ndim else '[()]'}"


def _is_pure(function: ast.expr, values: Mapping[str, Any]) -> bool:
    if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Constant):
        return True  # "a b".split()
    try:
        called = _looked_up(function, values)
    except (AttributeError, KeyError, TypeError):
        return False
    module, name = str(getattr(called, "__module__", "")), str(getattr(called, "__name__", ""))
    if module == "builtins":
        return name in _PURE_BUILTINS
    return module.partition(".")[0] in _PURE_MODULES or (module, name) in _PURE_OTHERS


def _looked_up(function: ast.expr, values: Mapping[str, Any]) -> Any:
    match function:
        case ast.Name():
            return values[function.id] if function.id in values else vars(__import__("builtins"))[function.id]
        case ast.Attribute():
            return getattr(_looked_up(function.value, values), function.attr)
    raise TypeError("what is called is computed itself")
