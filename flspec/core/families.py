"""The folders of families, and what installed packages offer to them. A module is imported when it is first needed.

A member's module is named for its kind. Of a kind that has no such module, all modules of the folder are imported.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Iterable
from functools import cache, lru_cache
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from typing import Any, cast

from flspec.errors import InputError

__all__ = ["load_folder", "load_installed", "load_module", "offered_to", "register_family"]

_folders: dict[str, tuple[str, ...]] = {}  # by package: the folders of families
_complete: set[str] = set()  # families whose folder has been imported
_unloaded: set[str] = set()  # families whose installed parts have not been imported
_loading: set[str] = set()  # and those whose installed parts are being imported


def register_family(package: str, path: Iterable[str]) -> None:
    """Record that a package is the folder of a family. Its modules, and what installed packages offer, come later.

    Not at once, because a spec names few kinds, and because a package with parts of several families imports these, and
    would find them half imported.
    """
    _folders[package] = tuple(path)
    _unloaded.add(package)


def load_module(package: str, kind: str) -> None:
    """Import the module of a family's folder that is named for a kind, if there is one."""
    if kind in _modules(package):
        importlib.import_module(f"{package}.{kind}")


def load_folder(package: str) -> None:
    """Import all modules of a family's folder."""
    if package not in _complete:
        for name in _modules(package):
            importlib.import_module(f"{package}.{name}")
        _complete.add(package)


@cache
def _modules(package: str) -> tuple[str, ...]:
    return tuple(module.name for module in pkgutil.iter_modules(_folders.get(package, ())))


def load_installed(package: str) -> list[tuple[str, Any]]:
    """Import what installed packages offer to a family, once; returns what was imported, by the entry point's name.

    Raises InputError if a part cannot be imported.
    """
    if package not in _unloaded or package in _loading:
        return []
    _loading.add(package)
    try:
        offered = [(entry.name, _load(package, entry)) for entry in offered_to(package)]
        _unloaded.discard(package)
    finally:
        _loading.discard(package)
    if offered:
        load_folder(package)  # so that one that has the kind of another is found
    return offered


def offered_to(group: str) -> EntryPoints:
    """Return what installed packages offer in an entry point group."""
    return _all_offered(tuple(sys.path)).select(group=group)


@lru_cache(maxsize=1)  # reading what is installed takes longer than most questions about it
def _all_offered(search_path: tuple[str, ...]) -> EntryPoints:
    return cast(EntryPoints, entry_points())  # before Python 3.12 another class with the same `select`


def _load(package: str, entry: EntryPoint) -> Any:
    try:
        return entry.load()
    except Exception as error:
        offered_by = entry.dist.name if entry.dist else "an installed package"
        raise InputError(
            f"{package}: kind {entry.name!r}, offered by {offered_by}, cannot be imported: {error!r}; "
            f"repair or uninstall {offered_by}"
        ) from error
