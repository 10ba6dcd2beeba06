"""How backends are found."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

from flspec.errors import InputError, choose
from flspec.protocol.backend import Backend

__all__ = ["GROUP", "REFERENCE", "find_backend", "installed_backends"]

GROUP = "flspec.backends"
REFERENCE = "local"  # scores every backend's models, and is what the doctor holds others against


def installed_backends() -> dict[str, EntryPoint]:
    """The backends that installed packages offer, by name."""
    return {entry.name: entry for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name)}


def find_backend(selection: str) -> Backend:
    """The backend that `NAME` or `NAME:VARIANT` asks for; raises InputError with the known ones."""
    name, _, variant = selection.partition(":")
    known = installed_backends()
    if name not in known:
        raise InputError(f"backend: {choose(name, known)}")
    try:
        backend_class: type[Backend] = known[name].load()
    except Exception as error:  # whatever an installed package does when it is imported
        raise InputError(f"backend: {name!r} is installed but cannot be loaded: {error!r}") from error
    if variant and variant not in backend_class.variants:
        choices = ", ".join(f"{name}:{choice}" for choice in backend_class.variants) or f"{name} alone"
        raise InputError(f"backend: {name!r} has no variant {variant!r}; choose {choices}")
    return backend_class(variant or None)
