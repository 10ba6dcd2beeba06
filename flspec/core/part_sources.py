"""The code of parts that come from other packages: what of it a plan's digest covers.

A part runs more than its own module. These count, as bytes, for each part that acts in a run:

1. all files of its package, that is of the outermost folder with an `__init__.py`, or of its module if that lies alone;
2. all files of the other packages and modules of the same installed distribution;
3. those of each package or module that an import statement anywhere in them names, if no installed distribution has it,
   as is so of what lies beside a script, or on PYTHONPATH.

Of what a spec's part files import, 3 counts, where everything that lies in no `site-packages` is nobody's: what an
editable installation has, too.

Data and compiled extensions count, too; `__pycache__` and names that begin with a dot do not. Other distributions that
a part imports, such as numpy, do not count, nor does what is imported by a computed name.
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from importlib.machinery import ModuleSpec
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from pathlib import Path
from typing import Any

from flspec.core.imports import imports_in
from flspec.core.reading import open_regular
from flspec.errors import InputError

__all__ = ["belongs_to_nobody", "loose_digest", "package_digest"]

_INSTALLED = {"site-packages", "dist-packages"}  # names of folders into which packages are installed
_MOST_FILES, _MOST_BYTES = 100_000, 2**31  # of one part's package


@cache  # once a process, because a process goes on with what it has imported
def package_digest(definition: Callable[..., Any]) -> str:
    """Return the SHA-256 of a class's or function's name and of all code of its package, as this module's text says.

    Raises InputError if the package is too large, or a file of it cannot be read.
    """
    sha = hashlib.sha256(f"{definition.__module__}:{definition.__qualname__}\n".encode())
    _check_size(f"{definition.__module__}.{definition.__qualname__}", files := _files(definition))
    _add(sha, files)
    return sha.hexdigest()


@cache
def loose_digest(module: str) -> str | None:
    """Return the SHA-256 of all code of a module that is imported, and of what that imports, which is not installed.

    None if it is installed, comes with Python or flspec, or cannot be found. Raises as `package_digest` does.
    """
    found, waiting, seen = dict[str, Path](), [module], set[str]()
    while waiting:
        if (unit := _loose_unit(waiting.pop())) and unit not in seen:
            seen.add(unit)
            more = _files_of(unit)
            found |= more
            waiting += _imported(more.values())
    if not found:
        return None
    sha = hashlib.sha256(f"{module}\n".encode())
    _check_size(module, found)
    _add(sha, found)
    return sha.hexdigest()


def _loose_unit(module: str) -> str | None:
    """Return the package or module around a module, if it is in no place where packages are installed."""
    package = module.partition(".")[0]
    if package in sys.stdlib_module_names or package in _flspecs_own() or (unit := _unit(module)) is None:
        return None
    spec = _spec(unit)
    assert spec is not None
    assert spec.origin is not None
    return None if _INSTALLED.intersection(Path(spec.origin).parts) else unit


def _add(sha: Any, files: dict[str, Path]) -> None:
    for name, path in sorted(files.items()):
        with open_regular(path, _MOST_BYTES) as file:
            sha.update(f"{name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode(errors="surrogateescape"))


def _files(definition: Callable[..., Any]) -> dict[str, Path]:
    """Return the files that count, by name."""
    owned, unit = _Owned(definition.__module__.partition(".")[0]), _unit(definition.__module__)
    found = _files_of(unit) if unit else _own_file(definition)
    waiting, seen = [*owned.others, *_imported(found.values())], {unit}
    while waiting:
        if (unit := _unit(name := waiting.pop())) and unit not in seen and owned.counts(name):
            more = _files_of(unit)
            found |= more
            waiting += _imported(more.values())
        seen.add(unit)
    return found


def belongs_to_nobody(package: str, owners: Mapping[str, list[str]]) -> bool:
    """Return whether a package or module is of no installed distribution, and neither Python's nor flspec's."""
    return package not in sys.stdlib_module_names and package not in _flspecs_own() and not owners.get(package)


def _own_file(definition: Callable[..., Any]) -> dict[str, Path]:
    """Return the file of a definition whose module cannot be found by its name, such as a script's."""
    try:
        path = Path(inspect.getfile(definition))
    except (TypeError, OSError):
        raise InputError(
            f"{definition.__qualname__} is defined in no file, so no digest can cover it; put it into a module"
        ) from None
    return {path.name: path}


class _Owned:
    """What the distribution of a package has beside it, and which imports of it are nobody's."""

    def __init__(self, package: str) -> None:
        self._owners = packages_distributions()
        self._ours = set(self._owners.get(package, ()))
        self.others = [name for name, owners in self._owners.items() if self._ours.intersection(owners)]

    def counts(self, module: str) -> bool:
        """Return whether an imported module is the same distribution's, or none's."""
        package = module.partition(".")[0]
        if package in sys.stdlib_module_names or package in _flspecs_own():
            return False
        owners = self._owners.get(package)
        return not owners or bool(self._ours.intersection(owners))


@cache
def _flspecs_own() -> set[str]:
    try:
        return {"flspec", *(entry.module.partition(".")[0] for entry in distribution("flspec").entry_points)}
    except PackageNotFoundError:  # run from its sources
        return {"flspec"}


def _unit(module: str) -> str | None:
    """Return the outermost package around a module that is no namespace, or the module; None if it cannot be found."""
    parts = module.split(".")
    for length in range(1, len(parts) + 1):
        name = ".".join(parts[:length])
        if (spec := _spec(name)) is None:
            return None
        if spec.has_location:
            return name
    return None


def _spec(name: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(name)
    except (ImportError, ValueError, AttributeError):  # of what is no package, or was made without a file
        return None


def _files_of(unit: str) -> dict[str, Path]:
    """Return the files of a package, or the file of a module."""
    spec = _spec(unit)
    assert spec is not None
    assert spec.origin is not None
    if spec.submodule_search_locations is None:
        return {Path(spec.origin).name: Path(spec.origin)}
    if packed := [folder for folder in spec.submodule_search_locations if not os.path.isdir(folder)]:
        raise InputError(
            f"{unit} is in {packed[0]}, which is no folder, so no digest can cover it; install it unpacked"
        )
    return {
        Path(unit, path.relative_to(folder)).as_posix(): path
        for folder in spec.submodule_search_locations
        for path in _walk(folder)
    }


def _walk(folder: str) -> Iterator[Path]:
    for here, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name != "__pycache__" and not name.startswith(".")]
        for path in (Path(here, name) for name in names if not name.startswith(".")):
            if stat.S_ISREG(path.stat().st_mode):
                yield path


def _imported(paths: Iterable[Path]) -> list[str]:
    """Return the modules that import statements in some files name, without relative ones."""
    files = (path for path in paths if path.suffix == ".py")
    return [name for file in files for name in imports_in(file.read_bytes()) if not name.startswith(".")]


def _check_size(name: str, found: dict[str, Path]) -> None:
    size = sum(path.stat().st_size for path in found.values())
    if len(found) > _MOST_FILES or size > _MOST_BYTES:
        raise InputError(
            f"{name}: its package has {len(found):,} files of "
            f"{size / 2**30:.1f} GiB, too many to be covered by a plan's digest; put it into a package of its own"
        )
