"""Lookup of installed backends by name."""

from __future__ import annotations

from contextlib import suppress
from importlib.metadata import EntryPoint
from importlib.util import find_spec
from typing import TYPE_CHECKING

from flspec.core.families import offered_to
from flspec.errors import InputError, choose

if TYPE_CHECKING:
    from flspec.protocol.backend import Backend
    from flspec.protocol.native import Native

__all__ = ["GROUP", "REFERENCE", "find_backend", "installed_backends", "natives_of", "why_no_backend"]

GROUP = "flspec.backends"
REFERENCE = "local"  # scores every backend's models; the doctor compares other backends with it


def installed_backends() -> dict[str, EntryPoint]:
    """Return the entry points of all installed backends, by name."""
    return {entry.name: entry for entry in sorted(offered_to(GROUP), key=lambda entry: entry.name)}


def why_no_backend(selection: str) -> str | None:
    """Return why there is no such backend, or None. Its code is not imported where its name alone says so."""
    known = installed_backends()
    if selection in known and find_spec(known[selection].module) is not None:
        return None
    try:
        find_backend(selection)
    except InputError as error:
        return str(error)
    return None


def find_backend(selection: str) -> Backend:
    """Construct the backend that `NAME` or `NAME:VARIANT` selects. Raises InputError, naming those there are."""
    name, _, variant = selection.partition(":")
    known = installed_backends()
    if name not in known:
        raise InputError(f"backend: {choose(name, known)}")
    try:
        backend_class: type[Backend] = known[name].load()
    except Exception as error:  # an installed package may raise anything at import
        raise InputError(f"backend: {name!r} is installed but cannot be loaded: {error!r}") from error
    if variant and variant not in backend_class.variants:
        choices = ", ".join(f"{name}:{choice}" for choice in backend_class.variants) or f"{name} alone"
        raise InputError(f"backend: {name!r} has no variant {variant!r}; choose {choices}")
    return backend_class(variant or None)


def natives_of(kind: str) -> dict[str, Native]:
    """Return the backends that have an algorithm of their own for a kind of aggregator."""
    found: dict[str, Native] = {}
    for name in installed_backends():
        with suppress(InputError):  # a backend that cannot be loaded is told elsewhere
            if own := find_backend(name).natives.get(kind):
                found[name] = own
    return found
