"""Modules that no installed distribution has, such as files beside a script: their texts, with those they import."""

from __future__ import annotations

import importlib.util
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

from flspec.core.imports import imports_in
from flspec.core.part_sources import belongs_to_nobody
from flspec.core.reading import read_regular
from flspec.errors import InputError

__all__ = ["is_own_module", "path_of_module", "reached", "text_of_module", "with_own_imports"]

_MOST_BYTES, _MOST_FILES = 2**20, 200  # of one file; of all


def is_own_module(module: str) -> bool:
    """Return whether a module is a file of Python that no installed distribution has."""
    return _is_nobodys(module.partition(".")[0]) and _file(module) is not None


def path_of_module(module: str) -> str:
    """Return the path of a module's file from the folder in which its outermost package lies, with slashes."""
    file, path = _file(module), module.replace(".", "/")
    return f"{path}/__init__.py" if file is not None and file.name == "__init__.py" else f"{path}.py"


def text_of_module(module: str) -> str:
    """Return the text of a module's file. Raises InputError if it cannot be read."""
    file = _file(module)
    assert file is not None
    try:
        return read_regular(file, _MOST_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{file} is not UTF-8; save it as UTF-8") from None


def with_own_imports(texts: Mapping[str, str]) -> dict[str, str]:
    """Return texts by path with those of all modules of one's own that they import, by path from their packages.

    Raises InputError if one cannot be read, or there are too many.
    """
    found, waiting = dict(texts), list(texts)
    while waiting:
        path = waiting.pop()
        for module in _imports_in(found[path], path):
            if is_own_module(module) and (imported := path_of_module(module)) not in found:
                found[imported] = text_of_module(module)
                waiting.append(imported)
        if len(found) > _MOST_FILES:
            raise InputError(f"{path}: more than {_MOST_FILES} files; put what is shared into an installed package")
    return dict(sorted(found.items()))


def reached(texts: Mapping[str, str], paths: Iterable[str]) -> dict[str, str]:
    """Return the texts at these paths, with those that they import."""
    found, waiting = dict[str, str](), [path for path in paths if path in texts]
    while waiting:
        if (path := waiting.pop()) not in found:
            found[path] = texts[path]
            bases = [module.replace(".", "/") for module in _imports_in(texts[path], path)]
            files = [file for base in bases for file in (f"{base}.py", f"{base}/__init__.py")]
            waiting += [file for file in files if file in texts]
    return dict(sorted(found.items()))


@cache
def _is_nobodys(package: str) -> bool:
    """Return whether no distribution has a package. They are asked last, because that takes a second."""
    if package in ("", "__main__") or package in sys.stdlib_module_names or package.startswith("flspec"):
        return False
    file = _file(package)
    return file is not None and not _is_in_site_packages(file) and belongs_to_nobody(package, packages_distributions())


def _is_in_site_packages(file: Path) -> bool:
    return any(file.is_relative_to(sysconfig.get_path(name)) for name in ("purelib", "platlib"))


def _file(module: str) -> Path | None:
    known = sys.modules.get(module)
    try:
        spec = getattr(known, "__spec__", None) or importlib.util.find_spec(module)
    except (ImportError, ValueError, AttributeError):  # of what is no package, or was made without a file
        return None
    if spec is None or not spec.has_location or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    return Path(spec.origin)


def _imports_in(text: str, path: str) -> Iterator[str]:
    """Yield the modules that import statements may mean, with the packages around each."""
    for name in imports_in(text):
        level = len(name) - len(name.lstrip("."))
        parts = [*_around(path, level), *filter(None, name.lstrip(".").split("."))]
        yield from (".".join(parts[:length]) for length in range(1, len(parts) + 1))


def _around(path: str, level: int) -> list[str]:
    """Return the package that `level` dots mean in the file at `path`."""
    folders = path.split("/")[:-1]
    return folders[: len(folders) - level + 1] if level else []
