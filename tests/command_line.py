"""The command line, called in the process of the tests, which saves a second a call, or in one of its own."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

import pytest

from flspec.cli import consoles, main, output

__all__ = ["flspec", "flspec_apart"]

_SIGNALS = (signal.SIGTERM, signal.SIGHUP)  # for which `main` sets handlers


def flspec(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Call the entry point of the command in `folder`, not on a terminal, with these variables changed.

    Returns its exit code and what it printed, as of a process. What would be a traceback is raised.
    """
    out, err = io.StringIO(), io.StringIO()
    printed = redirect_stdout(out), redirect_stderr(err)
    with _as_a_process(folder, arguments, environment), printed[0], printed[1], pytest.raises(SystemExit) as exit:
        main()
    return subprocess.CompletedProcess(arguments, _status(exit.value), out.getvalue(), err.getvalue())


@contextmanager
def _as_a_process(folder: Path, arguments: tuple[str, ...], environment: dict[str, str]) -> Iterator[None]:
    """What a process has for itself and a function shares: arguments, folder, environment, signals, what was told."""
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    with pytest.MonkeyPatch.context() as patch, mock.patch.object(sys, "stdin", io.StringIO()):
        patch.setattr(sys, "argv", ["flspec", *arguments])
        patch.chdir(folder)
        for name, value in environment.items():
            patch.setenv(name, value)
        patch.setattr(output, "_wants_json", False)
        patch.setattr(output, "_wants_tracebacks", False)
        patch.setattr(output, "_told_interrupted", False)
        for console in (consoles.console, consoles.progress_console):
            patch.setattr(console, "_width", None)  # rich keeps what COLUMNS was when the console was made
        try:
            yield
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)


def _status(exit: SystemExit) -> int:
    return exit.code if isinstance(exit.code, int) else int(exit.code is not None)


def flspec_apart(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command as it is installed, in a process of its own."""
    return subprocess.run(
        [str(Path(sys.executable).with_name("flspec")), *arguments],
        cwd=folder,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
