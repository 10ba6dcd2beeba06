"""Files of Python that a spec names as `parts`: their code, and which of it a spec or a plan may use.

The text of the files is kept, not their place: a plan holds it, its digest covers it, and each process imports that
text, whatever has become of the files since. Modules are imported below a package named by the hash of all texts, so
the files of two specs can define the same name in one process. What a file imports from its own folder is looked for in
the same texts and never on the disk.

Classes and metrics of such files count only while the files are in use, by `using`.
"""

from __future__ import annotations

import ast
import builtins
import hashlib
import importlib
import importlib.abc
import importlib.util
import json
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property
from importlib.machinery import ModuleSpec
from pathlib import PurePosixPath
from types import CodeType, ModuleType
from typing import Any

from flspec.core.origins import EXTRACT, codes_of, line_in_origin
from flspec.core.tracebacks import PART_FILES, place_of
from flspec.errors import FlspecError, InputError

__all__ = [
    "PartFiles",
    "imported_from",
    "is_from_part_file",
    "is_in_use",
    "known_files",
    "load_in_use",
    "part_files_in_use",
    "using",
]


@dataclass(frozen=True)
class PartFiles:
    """The files that a spec names, and those that they import from their folders. Equal ones have equal texts."""

    files: tuple[str, ...]  # those that are named, by their path from the spec's folder, with slashes
    sources: Mapping[str, str]  # the text of each file
    folder: str = field(default="", compare=False)  # how messages name the spec's folder
    given: Mapping[str, str] = field(default_factory=dict, compare=False)  # those of `sources` that lie in no folder

    def __hash__(self) -> int:
        return hash(self.package)

    @cached_property
    def package(self) -> str:
        """The package below which the modules are imported."""
        content = json.dumps([self.files, dict(self.sources)], sort_keys=True)
        return PART_FILES + hashlib.sha256(content.encode()).hexdigest()[:16]

    def shown(self, path: str) -> str:
        """Return how messages name a file."""
        return f"{self.folder}/{path}" if self.folder not in ("", ".") else path

    def path_of(self, module: str) -> str | None:
        """Return the file of a module, named from the spec's folder; None if it is a folder, or nothing."""
        base = module.replace(".", "/")
        return next((path for path in (f"{base}.py", f"{base}/__init__.py") if path in self.sources), None)

    def has(self, module: str) -> bool:
        """Return whether a module, named from the spec's folder, is one of the files, or a folder of them."""
        start = module.replace(".", "/") + "/"
        return self.path_of(module) is not None or any(path.startswith(start) for path in self.sources)

    def seen_from(self, path: str, name: str) -> str | None:
        """Return the module, named from the spec's folder, that the file `path` means by the top-level name `name`."""
        folder = ".".join(PurePosixPath(path).parent.parts)
        places = [f"{folder}.{name}", name] if folder else [name]
        return next((place for place in places if self.has(place)), None)

    def line_of(self, qualified: str, module: str) -> str:
        """Return `FILE:LINE` of a class or function."""
        path = self.path_of(module.removeprefix(f"{self.package}."))
        if path is None:
            return qualified
        name = qualified.rpartition(".")[2]
        nodes = ast.walk(ast.parse(self.sources[path]))
        defined = (ast.ClassDef, ast.FunctionDef)
        lines = [node.lineno for node in nodes if isinstance(node, defined) and node.name == name]
        line = lines[0] if lines else 1
        origin = line_in_origin(self.sources[path], line) if path == EXTRACT else None
        return origin or f"{self.shown(path)}:{line}"


_in_use: ContextVar[PartFiles | None] = ContextVar("part_files", default=None)
_known: dict[str, PartFiles] = {}  # by package: what the finder finds
_failed: dict[str, InputError] = {}
_loaded: set[str] = set()
_lock = threading.RLock()
_loading = threading.local()


@contextmanager
def using(files: PartFiles | None) -> Iterator[None]:
    """Have the parts of these files, and of no others, count: in families, metrics and plans."""
    token = _in_use.set(files)
    try:
        yield
    finally:
        _in_use.reset(token)


def part_files_in_use() -> PartFiles | None:
    """Return the files whose parts count at this moment."""
    return _in_use.get()


def is_from_part_file(module: str) -> bool:
    """Return whether a module is one of some spec's part files."""
    return module.startswith(PART_FILES)


def known_files(module: str) -> PartFiles | None:
    """Return the part files that a module is of, in use or not."""
    return _known.get(module.partition(".")[0])


def is_in_use(module: str) -> bool:
    """Return whether what a module defines counts: it is of no part file, or of one in use."""
    files = _in_use.get()
    return not is_from_part_file(module) or (files is not None and module.partition(".")[0] == files.package)


def load_in_use() -> PartFiles | None:
    """Import the files in use, once in a process, and return them; None also while they are being imported.

    Raises InputError, with the line, if one cannot be imported.
    """
    files = _in_use.get()
    if files is None or getattr(_loading, "package", None) == files.package:
        return None
    with _lock:
        if files.package in _failed:
            raise InputError(*_failed[files.package].args)
        if files.package not in _loaded:
            _load(files)
    return files


def imported_from(name: str) -> ModuleType:
    """Return the module of that name among the files in use, as a spec's `my_parts:Net` names it.

    Raises InputError if there is none.
    """
    files = load_in_use()
    if files is None or not files.has(name):
        have = ", ".join(files.files) if files else "none"
        raise InputError(f"there is no {name} among the files of parts ({have}); add its file there")
    return importlib.import_module(f"{files.package}.{name}")


def _load(files: PartFiles) -> None:
    _known.setdefault(files.package, files)
    before, _loading.package = getattr(_loading, "package", None), files.package
    try:
        for path in files.files:
            importlib.import_module(f"{files.package}.{module_name(path)}")
    except (Exception, SystemExit) as error:
        _failed[files.package] = InputError(_why_not(files, error))
        raise _failed[files.package] from error
    finally:
        _loading.package = before
    _loaded.add(files.package)


def module_name(path: str) -> str:
    """Return the module, from the spec's folder, of a file there: `below/my_parts.py` is `below.my_parts`."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _why_not(files: PartFiles, error: BaseException) -> str:
    """Return why files cannot be imported, with the place first."""
    what = " ".join(f"{type(error).__name__}: {error}".split())
    place = place_of(error, files.package, only=True) or ", ".join(map(files.shown, files.files))
    if isinstance(error, SyntaxError) and error.filename:
        place, what = f"{error.filename}:{error.lineno}", f"{type(error).__name__}: {error.msg}"
    if isinstance(error, FlspecError):
        what = str(error)
    return f"{place}: {what.removesuffix('; repair it')}; repair it"


# ----------------------------------------------------------------------------------------------------------- importing


class _Finder(importlib.abc.MetaPathFinder):
    """A finder of the modules of part files, by their whole names."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        package, _, inner = name.partition(".")
        files = _known.get(package)
        if files is None or not (inner == "" or files.has(inner)):
            return None
        found = files.path_of(inner) if inner else None
        is_package = found is None or found.endswith("/__init__.py")
        origin = files.shown(found) if found else None
        return importlib.util.spec_from_loader(name, _Loader(files, found), origin=origin, is_package=is_package)


@dataclass(frozen=True)
class _Loader(importlib.abc.InspectLoader):
    """A loader of one text; of a folder, whose module is empty, if there is none."""

    files: PartFiles
    path: str | None

    def is_package(self, name: str) -> bool:
        return self.path is None or self.path.endswith("/__init__.py")

    def get_source(self, name: str) -> str:
        return self.files.sources[self.path] if self.path else ""

    def get_code(self, name: str) -> CodeType:
        shown = self.files.shown(self.path) if self.path else name
        return builtins.compile(self.get_source(name), shown, "exec", dont_inherit=True)

    def exec_module(self, module: ModuleType) -> None:
        if self.path is None:
            return
        module.__file__ = self.files.shown(self.path)
        module.__dict__["__builtins__"] = {**vars(builtins), "__import__": _importing(self.files, self.path)}
        text, shown = self.files.sources[self.path], self.files.shown(self.path)
        for code in codes_of(text, shown) if self.path == EXTRACT else [self.get_code(module.__name__)]:
            exec(code, module.__dict__)


def _importing(files: PartFiles, path: str) -> Any:
    """Return `__import__` for the code of one file: what lies beside it is taken from the same texts."""

    def import_(
        name: str,
        globals: Mapping[str, object] | None = None,
        locals: Mapping[str, object] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        top, _, rest = name.partition(".")
        own = files.seen_from(path, top) if level == 0 else None
        if own is None:
            return builtins.__import__(name, globals, locals, fromlist or (), level)
        whole = f"{files.package}.{own}" + (f".{rest}" if rest else "")
        importlib.import_module(whole)
        if fromlist:
            return builtins.__import__(whole, globals, locals, fromlist, 0)
        return sys.modules[f"{files.package}.{own}"]

    return import_


sys.meta_path.append(_Finder())
