"""Python environments of backends that cannot share flspec's own: creation, lookup and removal.

CACHE/environments/
    .tff-1a2b3c4d5e6f.lock     locked while the environment is being made
    tff-1a2b3c4d5e6f/          named by a hash of its pins
        bin/  lib/             a virtual environment of exactly these pins
        install.log
        complete               written last; a folder without it is incomplete and unused
        flspec/0f1e2d3c4b5a/   one version of flspec, with the interpreter that a worker runs; see sources.py
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from flspec.core.cache import cache_folder
from flspec.core.files import locked
from flspec.core.ownership import make_own, require_own
from flspec.errors import BackendError, InputError
from flspec.execution import installed_files, sources
from flspec.execution.pins import read_pins, why_refused
from flspec.protocol.registry import find_backend, installed_backends
from flspec.protocol.requirements import Environment

__all__ = [
    "current_environments",
    "environment_folder",
    "environment_python",
    "find_environment",
    "install_environment",
    "is_installed",
    "remove_environment",
    "remove_folder",
    "why_damaged",
    "why_unavailable",
    "why_untrusted",
]

Progress = Callable[[str], None]

# Only files with a pinned hash, and no source archives, whose installation would run code of theirs. Bytecode is
# compiled afterwards, on all cores; pip would use one.
_PIP_OPTIONS = ("--no-deps", "--require-hashes", "--only-binary=:all:", "--no-input", "--no-compile")
_PIP_INSTALL = ("-I", "-m", "pip", "install", *_PIP_OPTIONS, "-r")


def environment_folder(environment: Environment) -> Path:
    """Return the environment's folder, whether or not it is installed."""
    digest = hashlib.sha256("\n".join(read_pins(environment)).encode()).hexdigest()
    return cache_folder() / "environments" / f"{environment.name}-{digest[:12]}"


def is_installed(environment: Environment) -> bool:
    """Return whether the environment is completely installed."""
    folder = environment_folder(environment)
    # The interpreter is a link, which is broken once the Python it was made from has been removed.
    return (folder / "complete").exists() and (folder / "bin" / "python").exists()


def why_unavailable(environment: Environment) -> str | None:
    """Return why this machine cannot have the environment, or None if it can."""
    here = (platform.system(), platform.machine())
    if here == environment.machine:
        return None
    return f"{environment.title} runs on {' '.join(environment.machine)} only, this is {' '.join(here)}"


def find_environment(name: str) -> Environment:
    """Return the environment of that name, or of the backend `name`. Raises InputError, naming those there are."""
    declared: dict[str, Environment] = {}
    for backend in installed_backends():
        try:
            environment = find_backend(backend).environment
        except InputError:
            if backend == name:
                raise
            continue  # a package that cannot be imported does not affect the others
        if environment is not None:
            declared |= {environment.name: environment, backend: environment}
    if name not in declared:
        known = ", ".join(declared) or "none"
        raise InputError(f"backend: {name!r} has no environment of its own; those that have: {known}")
    return declared[name]


def environment_python(environment: Environment) -> Path:
    """Return an interpreter that has the backend's engine and this process's version of flspec.

    Raises InputError if the environment is not installed.
    """
    if not is_installed(environment):
        _refuse_elsewhere(environment)
        name = environment.name
        raise InputError(
            f"backend: {name} is not installed; run 'flspec backends install {name}' "
            f"(about {environment.gigabytes:g} GB, minutes), or use one of: {_others(name)}"
        )
    if why := why_untrusted(environment):
        raise InputError(f"backend: {why}; run 'flspec backends install {environment.name}', which writes it again")
    with _usable(environment):
        return sources.python_with_flspec(environment_folder(environment), environment.package)


def why_untrusted(environment: Environment) -> str | None:
    """Return which of flspec's files beside an installed environment somebody has changed; None if nobody has.

    Raises InputError if somebody else could change the environment itself, whose own files are not looked at.
    """
    folder = environment_folder(environment)
    again = f"run 'flspec backends remove {environment.name}' and install it again"
    require_own(folder / "flspec", again)
    with _usable(environment):
        return sources.why_altered(folder, environment.package)


def why_damaged(environment: Environment) -> str | None:
    """Return which file of an installed environment's packages is not as pip installed it; None if all are. Slow."""
    with _usable(environment):
        (library,) = environment_folder(environment).glob("lib/python*/site-packages")
        return installed_files.why_damaged(library)


def install_environment(name: str, progress: Progress | None = None) -> Path:
    """Install the environment if it is missing, and return its folder.

    `progress` is called with short lines to show. Several processes may call this at once: one works, the others wait.
    An interrupted installation never counts as installed. Raises InputError if this machine cannot have the
    environment, and BackendError, which names the log, if a step fails.
    """
    environment, report = find_environment(name), progress or (lambda line: None)
    _refuse_elsewhere(environment)
    folder = environment_folder(environment)
    with _usable(environment):
        if not is_installed(environment):
            python = _find_python(environment)
            make_own(folder.parent)
            with _locked(folder, report) as lock:
                if not is_installed(environment):
                    _make(environment, python, lock, report)
        if sources.why_altered(folder, environment.package):
            sources.discard(folder, environment.package)
        sources.python_with_flspec(folder, environment.package)
    return folder


def remove_environment(name: str) -> list[Path]:
    """Remove every environment of this name, also those with other pins. Returns the removed folders."""
    named = re.compile(re.escape(find_environment(name).name) + "-[0-9a-f]{12}")
    folders = [path for path in cache_folder().glob("environments/*") if named.fullmatch(path.name) and path.is_dir()]
    for folder in folders:
        remove_folder(folder)
    return folders


def remove_folder(folder: Path) -> None:
    """Remove an environment by its folder; another process that installs it is waited for."""
    with _locked(folder, lambda line: None):
        _clear(folder)
        shutil.rmtree(folder)


def current_environments() -> list[Path]:
    """Return the folders, whether or not they are there, of the environments that installed backends have today."""
    folders: list[Path] = []
    for name in installed_backends():
        with suppress(InputError):  # it has none, or cannot be loaded
            folders.append(environment_folder(find_environment(name)))
    return folders


def _refuse_elsewhere(environment: Environment) -> None:
    if reason := why_unavailable(environment):
        raise InputError(f"backend: {reason}; use one of: {_others(environment.name)}")


def _others(name: str) -> str:
    return ", ".join(other for other in installed_backends() if other != name) or "none"


@contextmanager
def _usable(environment: Environment) -> Iterator[None]:
    """Turn an error of the operating system, such as a full disk, into a BackendError that says what to do."""
    try:
        yield
    except OSError as error:
        raise BackendError(
            f"{environment.title} cannot be stored in {environment_folder(environment)}: {error.strerror or error}; "
            "correct that or set FLSPEC_CACHE to another folder, and run again"
        ) from error


# Finding an interpreter


def _find_python(environment: Environment) -> Path:
    """Find an interpreter of the required version that can create virtual environments."""
    wanted = environment.python
    version = ".".join(map(str, wanted))
    for candidate in _candidates(version):
        if _python_version(candidate) == wanted:
            return candidate
    raise InputError(
        f"{environment.title} needs Python {version}, not found; install it (e.g. apt install python{version} "
        f"python{version}-venv, pyenv install {version} or uv python install {version}) and run again"
    )


def _candidates(version: str) -> Iterator[Path]:
    yield Path(sys.executable)
    for folder in os.get_exec_path():
        yield Path(folder, f"python{version}")
    home = Path(os.path.expanduser("~"))  # Path.home() raises if there is no home folder
    pyenv = Path(os.environ.get("PYENV_ROOT") or home / ".pyenv")
    yield from sorted(pyenv.glob(f"versions/{version}*/bin/python"))
    data = Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share")
    uv = Path(os.environ.get("UV_PYTHON_INSTALL_DIR") or data / "uv" / "python")
    yield from sorted(uv.glob(f"cpython-{version}*/bin/python{version}"))


def _python_version(python: Path) -> tuple[int, ...] | None:
    """Ask an interpreter for its version. None if it does not run or cannot create virtual environments.

    The file's existence is not enough: a pyenv shim may have no Python behind it, and Debian's lacks ensurepip.
    """
    if not os.access(python, os.X_OK):
        return None
    question = "import ensurepip, sys, venv; print(*sys.version_info[:2])"
    try:
        answer = subprocess.run(
            [python, "-I", "-c", question], capture_output=True, text=True, timeout=60, check=False
        ).stdout
        return tuple(map(int, answer.split())) or None
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None


# Installation


def _locked(folder: Path, report: Progress) -> AbstractContextManager[int]:
    """Hold the folder's lock and yield its file descriptor. Waits while another process holds it."""
    lock = folder.with_name(f".{folder.name}.lock")
    return locked(lock, lambda: report(f"waiting for another process that is working on {folder}"))


def _make(environment: Environment, base: Path, lock: int, report: Progress) -> None:
    """Create the environment from scratch. After a failure only its log is left."""
    folder, pins = environment_folder(environment), read_pins(environment)
    folder.mkdir(exist_ok=True)
    _clear(folder)
    (folder / "install.log").unlink(missing_ok=True)
    scratch = folder / "tmp"  # pip unpacks here, so leftovers of an interruption are removed with the folder
    scratch.mkdir()
    (scratch / "requirements.txt").write_text("\n".join(pins) + "\n", encoding="utf-8")
    python = folder / "bin" / "python"
    log = _Log(folder / "install.log", lock)
    try:
        report(f"creating {folder}, about {environment.gigabytes:g} GB")
        log.run([base, "-I", "-m", "venv", folder])
        report(f"downloading and installing {len(pins)} packages")
        log.run([python, *_PIP_INSTALL, scratch / "requirements.txt"], _count(len(pins), report))
        report("compiling bytecode")  # without it TFF takes 3.6 times as long to import
        log.run([python, "-I", "-m", "compileall", "-qq", "-j", "0", folder / "lib"], check=False)
        report(f"importing {environment.engine}")
        log.run([python, "-I", "-c", f"import {environment.engine}"])
        shutil.rmtree(scratch)
        (folder / "complete").touch()
    except BaseException:
        _clear(folder)
        raise


def _count(total: int, report: Progress) -> Progress:
    """Return a reader of pip's output that reports each package it names."""
    number = 0

    def read(line: str) -> None:
        nonlocal number
        if found := re.match(r"(?:Collecting|Processing|Requirement already satisfied:) ([^\s=]+)", line):
            number += 1
            package = Path(found[1]).name  # a name, or a local wheel's path
            report(f"downloading {number} of {total}: {package.split('-')[0] if '.whl' in package else package}")
        elif line.startswith("Installing collected packages"):
            report(f"installing {total} packages")

    return read


@dataclass(frozen=True)
class _Log:
    """A log file, and a runner of commands that writes their output to it."""

    path: Path
    lock: int

    def run(self, command: list[str | Path], read: Progress = lambda line: None, check: bool = True) -> None:
        """Run a command, passing each line of its output to `read`. Raises BackendError if it fails."""
        environ = os.environ | {"TMPDIR": str(self.path.parent / "tmp"), "PIP_USER": "0"}
        with (
            self.path.open("a", encoding="utf-8") as log,
            subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                encoding="utf-8",
                errors="replace",
                env=environ,
                start_new_session=True,
                pass_fds=[self.lock],  # if this process is killed, the child still holds the lock
            ) as process,
        ):
            assert process.stdout is not None
            try:
                for line in process.stdout:
                    log.write(line)
                    read(line)
            except BaseException:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                raise
        if check and process.returncode:
            raise BackendError(f"installation failed: {self._reason(process.returncode)}; see {self.path}")

    def _reason(self, status: int) -> str:
        if status < 0:
            return f"killed by {signal.Signals(-status).name}"
        text = self.path.read_text(encoding="utf-8")
        if refused := why_refused(text):
            return refused
        lines = [line.strip() for line in text.splitlines()]
        said = [line for line in lines if line and not line.startswith(("WARNING:", "[notice]"))]
        errors = [line.removeprefix("ERROR: ") for line in said if line.startswith("ERROR: ")]
        return (errors or said or [f"exit status {status}"])[-1]


def _clear(folder: Path) -> None:
    """Remove everything in an environment except its log, beginning with the mark `complete`."""
    (folder / "complete").unlink(missing_ok=True)
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != "install.log":
            path.unlink()
