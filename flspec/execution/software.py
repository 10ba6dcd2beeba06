"""What carries out a run beside its plan: versions of packages, and the code of flspec and its backends.

A version is not enough to tell one flspec from another, since whoever develops it changes the code and not the version.
"""

from __future__ import annotations

import hashlib
import importlib.util
import platform
import re
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from flspec.execution.environments import environment_folder
from flspec.protocol.backend import Backend
from flspec.protocol.devices import CPU, Device
from flspec.protocol.events import Software
from flspec.protocol.registry import REFERENCE, find_backend

__all__ = ["software_differences", "software_of"]

_CODE = {".py", ".so", ".pyd"}  # suffixes of files
_HASH_LENGTH = 16  # hex digits of a digest that are recorded


def software_of(*backends: Backend, device: Device = CPU) -> Software:
    """Return what a run on these backends is carried out by: they, flspec, and the backend that scores models."""
    declared = tuple((backend.declaration, backend.variant) for backend in (find_backend(REFERENCE), *backends))
    return _software_of(declared).model_copy(update={"device": str(device)})


@lru_cache
def _software_of(declared: tuple[tuple[type[Backend], str | None], ...]) -> Software:
    versions = {"flspec": version("flspec"), "python": platform.python_version(), "numpy": version("numpy")}
    packages = ["flspec"]
    for cls, variant in declared:
        versions |= _engine_versions(cls, variant)
        packages += _packages(cls)
    digests = {name: code_digest(name) for name in packages}
    return Software(versions=versions, sources={name: digest for name, digest in digests.items() if digest})


def software_differences(before: Software | None, now: Software | None) -> list[str]:
    """Return what differs of what both name: `torch 2.4.0 and 2.5.1`, `code of flspec_torch 0f1e2d3c and 4b5a6978`."""
    then, today = _named(before), _named(now)
    return [f"{name} {then[name]} and {today[name]}" for name in then if today.get(name, then[name]) != then[name]]


def _named(software: Software | None) -> dict[str, str]:
    if software is None:
        return {}
    device = {"device": software.device} if software.device else {}
    return device | software.versions | {f"code of {name}": digest[:8] for name, digest in software.sources.items()}


@lru_cache
def code_digest(package: str) -> str | None:
    """Return a digest of the files of code of a package, as they were when it was first asked for; None if it has none.

    Cached, because a process goes on with the code that it has imported.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.origin or spec.origin in ("built-in", "frozen"):
        return None
    root = Path(spec.origin)
    files = [root] if spec.submodule_search_locations is None else sorted(root.parent.rglob("[!.]*"))
    sha = hashlib.sha256()
    for path in files:
        if path.suffix in _CODE and path.is_file():
            content = path.read_bytes()
            sha.update(f"{path.relative_to(root.parent).as_posix()} {len(content)}\n".encode() + content)
    return sha.hexdigest()[:_HASH_LENGTH]


def _packages(backend: type[Backend]) -> list[str]:
    own = backend.__module__.partition(".")[0]
    return [*([] if own == "__main__" else [own]), *backend.packages]


def _engine_versions(backend: type[Backend], variant: str | None) -> dict[str, str]:
    """Return the versions of what a backend requires; for one with an environment of its own, its name."""
    if (environment := backend.environment) is not None:
        return {"environment": environment_folder(environment).name}  # named by a hash of all that is pinned there
    needed = [one for one in backend.requirements if variant not in one.not_for]
    versions = {one.module: _version(one.module, one.pip) for one in needed}
    return {module: found for module, found in versions.items() if found}


def _version(module: str, pip: str) -> str | None:
    """Return the version of the distribution that has a module: it is called like the module, or as pip is told."""
    for name in (module, re.split(r"[^A-Za-z0-9._-]", pip, maxsplit=1)[0]):
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return None
