"""Copies of the running flspec for other Python environments.

Each version of the sources gets a small virtual environment, a layer, on top of the backend's environment. A layer is
named by a hash of its files and never changes. A worker therefore runs exactly the sources of the process that started
it, whatever versions of flspec other processes use with the same environment at the same time.

    environment/flspec/0f1e2d3c4b5a/
        bin/python  pyvenv.cfg  lib/        sources, and what makes Python find them and the environment below
        compiled.json                       the hash of each file of bytecode, which stands for its source
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import os
import shutil
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from flspec.core.cache import partial_folder
from flspec.core.ownership import make_own
from flspec.errors import InputError
from flspec.protocol.registry import GROUP, installed_backends

__all__ = ["discard", "package_folder", "python_with_flspec", "why_altered"]

_DAYS_KEPT = 7.0  # since a layer was last used
_PYTHON, _PYTHON_BELOW = "bin/python", "../../../bin/python"
_COMPILED = "compiled.json"


def python_with_flspec(environment: Path, backend_package: str) -> Path:
    """Return an interpreter with this process's flspec and `backend_package`, and all else from `environment`."""
    layer, files = _layer(environment, backend_package)
    if layer.is_dir():
        os.utime(layer)
    else:
        _write_layer(layer, files)
    return layer / _PYTHON


def why_altered(environment: Path, backend_package: str) -> str | None:
    """Return which file of the layer is not as flspec wrote it, in a sentence; None if all are, or none is written."""
    layer, files = _layer(environment, backend_package)
    if not layer.is_dir():
        return None
    found = {path.relative_to(layer).as_posix() for path in layer.rglob("*") if path.is_symlink() or not path.is_dir()}
    compiled = _read_hashes(layer)
    for name in (_COMPILED, _PYTHON, *sorted({*files, *compiled, *found})):
        if name not in found:
            return f"{layer / name} is missing"
        if not _is_as_written(layer, name, files, compiled):
            return f"{layer / name} was changed since flspec wrote it"
    return None


def _is_as_written(layer: Path, name: str, files: Mapping[str, bytes], compiled: Mapping[str, str]) -> bool:
    path = layer / name
    if name == _PYTHON:
        return path.is_symlink() and os.readlink(path) == _PYTHON_BELOW
    if name in files:
        return path.is_file() and path.read_bytes() == files[name]
    return name == _COMPILED or (path.is_file() and compiled.get(name) == _sha256(path))


def discard(environment: Path, backend_package: str) -> None:
    """Remove the layer, so that it is written again."""
    shutil.rmtree(_layer(environment, backend_package)[0])


def package_folder(package: str) -> Path:
    """Return the folder of an installed package, without importing it. Raises InputError if it is missing."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise InputError(f"the package {package} is missing; install flspec again")
    return Path(spec.origin).parent


def _layer(environment: Path, backend_package: str) -> tuple[Path, dict[str, bytes]]:
    """Return the folder of the layer for these sources, and each of its files but bytecode, by its path there."""
    sources = _sources("flspec") | _sources(backend_package)
    sources |= _metadata(backend_package, sources)
    (below,) = environment.glob("lib/python*/site-packages")
    library = below.relative_to(environment).as_posix()
    files = {f"{library}/{name}": content for name, content in sources.items()}
    search = f"import site, sys; site.addsitedir(sys.prefix + '/../../{library}')\n"
    files[f"{library}/environment.pth"] = search.encode()
    files["pyvenv.cfg"] = (environment / "pyvenv.cfg").read_bytes()
    return environment / "flspec" / _digest(files)[:12], files


def _sources(package: str) -> dict[str, bytes]:
    """Read the files of a package, by their path in site-packages."""
    folder = package_folder(package)
    return {
        path.relative_to(folder.parent).as_posix(): path.read_bytes()
        for path in folder.rglob("[!.]*")
        if path.is_file() and path.parent.name != "__pycache__"
    }


def _metadata(backend_package: str, files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the files by which importlib.metadata finds flspec and the backends of this package, and no others."""
    version = importlib.metadata.version("flspec")
    offered = [entry for entry in installed_backends().values() if entry.module.split(".")[0] == backend_package]
    info = f"flspec-{version}.dist-info"
    texts = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: flspec\nVersion: {version}\n",
        f"{info}/entry_points.txt": f"[{GROUP}]\n" + "".join(f"{entry.name} = {entry.value}\n" for entry in offered),
    }
    texts[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in [*files, *texts, f"{info}/RECORD"])
    return {name: text.encode() for name, text in texts.items()}


def _digest(files: Mapping[str, bytes]) -> str:
    sha = hashlib.sha256()
    for name, content in sorted(files.items()):
        sha.update(f"{name} {len(content)}\n".encode() + content)
    return sha.hexdigest()


def _write_layer(layer: Path, files: Mapping[str, bytes]) -> None:
    """Write a layer, completely or not at all."""
    make_own(layer.parent)
    _remove_old(layer.parent)
    with partial_folder(layer) as partial:
        for name, content in files.items():
            path = partial / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        python = partial / _PYTHON
        python.parent.mkdir()
        python.symlink_to(_PYTHON_BELOW)
        # Hashes say that the sources are those that were compiled, so Python need not look at them, nor compile again.
        options = ("-qq", "--invalidation-mode", "unchecked-hash")
        subprocess.run([python, "-I", "-m", "compileall", *options, partial], stdin=subprocess.DEVNULL, check=False)
        hashes = {path.relative_to(partial).as_posix(): _sha256(path) for path in partial.rglob("*.pyc")}
        (partial / _COMPILED).write_text(json.dumps(hashes), encoding="utf-8")


def _read_hashes(layer: Path) -> dict[str, str]:
    try:
        return dict(json.loads((layer / _COMPILED).read_bytes()))
    except (OSError, ValueError, TypeError):  # missing or damaged, so that all bytecode counts as changed
        return {}


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _remove_old(folder: Path) -> None:
    oldest = time.time() - _DAYS_KEPT * 86400
    for path in folder.iterdir():
        with suppress(FileNotFoundError):  # another process has removed it
            if path.stat().st_mtime < oldest:
                shutil.rmtree(path, ignore_errors=True)
