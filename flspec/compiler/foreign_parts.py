"""Mistakes of somebody else's parts while a spec is compiled: told by the spec's field and the line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from flspec.core.components import Component, Document, comes_with_flspec, full_name
from flspec.core.tracebacks import PART_FILES, place_of, raised_in
from flspec.errors import FlspecError, InputError, SpecError
from flspec.spec.spec import Spec

__all__ = ["naming_parts"]


@contextmanager
def naming_parts(spec: Spec) -> Iterator[None]:
    """Raise InputError in place of what a part raises that does not come with flspec."""
    try:
        yield
    except SpecError:
        raise
    except InputError as error:
        if (place := place_of(error, PART_FILES, only=True)) and place not in str(error):
            raise InputError(f"{error}; in {place}") from error
        raise
    except FlspecError:
        raise
    except (Exception, SystemExit) as error:
        for field, part in _foreign(spec, ""):
            package = type(part).__module__.partition(".")[0]
            if isinstance(error, SystemExit) and not raised_in(error, package):
                continue  # a signal, which may arrive at any moment
            if place := place_of(error, package, only=True):
                name = f"{getattr(part, 'kind', '')} ({full_name(type(part))})"
                what = " ".join(f"{type(error).__name__}: {error}".split())
                raise InputError(f"{field}: {name} raised {what} in {place}; repair it, or choose another") from error
        raise


def _foreign(value: Any, field: str) -> Iterator[tuple[str, Component]]:
    """Yield the components within a value that do not come with flspec, the innermost first, by their fields."""
    if isinstance(value, Document):
        for name, inner in value:
            yield from _foreign(inner, f"{field}.{name}".lstrip("."))
    if isinstance(value, tuple | Mapping):
        for key, inner in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from _foreign(inner, f"{field}.{key}")
    if isinstance(value, Component) and not comes_with_flspec(value):
        yield field, value
