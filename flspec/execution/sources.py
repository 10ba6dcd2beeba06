"""Copies of the running flspec for other Python environments.

Each version of the sources gets a small virtual environment, a layer, on top of the backend's environment. A layer is
named by a hash of its files and never changes. A worker therefore runs exactly the sources of the process that started
it, whatever versions of flspec other processes use with the same environment at the same time.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from flspec.core.cache import partial_folder
from flspec.errors import InputError
from flspec.protocol.registry import GROUP, installed_backends

__all__ = ["package_folder", "python_with_flspec"]

_DAYS_KEPT = 7.0  # since a layer was last used


def python_with_flspec(environment: Path, backend_package: str) -> Path:
    """Return an interpreter with this process's flspec and `backend_package`, and all else from `environment`."""
    files = _sources("flspec") | _sources(backend_package)
    files |= _metadata(backend_package, files)
    layer = environment / "flspec" / _digest(files)[:12]
    if layer.is_dir():
        os.utime(layer)
    else:
        _write_layer(environment, layer, files)
    return layer / "bin" / "python"


def package_folder(package: str) -> Path:
    """Return the folder of an installed package, without importing it. Raises InputError if it is missing."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise InputError(f"the package {package} is missing; install flspec again")
    return Path(spec.origin).parent


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


def _write_layer(environment: Path, layer: Path, files: Mapping[str, bytes]) -> None:
    """Write a layer, completely or not at all."""
    layer.parent.mkdir(exist_ok=True)
    _remove_old(layer.parent)
    (below,) = environment.glob("lib/python*/site-packages")
    library = below.relative_to(environment)
    with partial_folder(layer) as partial:
        for name, content in files.items():
            path = partial / library / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        search = f"import site, sys; site.addsitedir(sys.prefix + '/../../{library.as_posix()}')\n"
        (partial / library / "environment.pth").write_text(search, encoding="utf-8")
        shutil.copy(environment / "pyvenv.cfg", partial)
        (partial / "bin").mkdir()
        python = partial / "bin" / "python"
        python.symlink_to("../../../bin/python")
        subprocess.run([python, "-I", "-m", "compileall", "-qq", partial], stdin=subprocess.DEVNULL, check=False)


def _remove_old(folder: Path) -> None:
    oldest = time.time() - _DAYS_KEPT * 86400
    for path in folder.iterdir():
        with suppress(FileNotFoundError):  # another process has removed it
            if path.stat().st_mtime < oldest:
                shutil.rmtree(path, ignore_errors=True)
