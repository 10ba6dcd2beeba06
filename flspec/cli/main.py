"""The entry point: it turns errors and signals into one line and an exit code.

0 done; 1 the run failed, or backends differ; 2 the input is wrong and nothing was written; 130 interrupted, 143
terminated.
"""

from __future__ import annotations

import atexit
import gc
import os
import re
import signal
import sys
import warnings
from types import FrameType

import typer

from flspec.cli.app import app
from flspec.cli.output import print_error, print_in_any_encoding, print_warnings, tell_interrupted, use_json
from flspec.errors import FlspecError, InputError, printable, shorten

try:
    from typer import TyperException as UsageError  # type: ignore[attr-defined]
except ImportError:  # typer before 0.26 stands on click, and its errors are click's
    from click import ClickException as UsageError

__all__ = ["main"]


# What is left at the end needs no search for cycles, which is a fifth of the time that a spec takes to be validated.
atexit.register(gc.freeze)


def main() -> None:
    """Run the command line and exit."""
    print_in_any_encoding()
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name) and signal.getsignal(getattr(signal, name)) is signal.SIG_DFL:  # else nohup's
            signal.signal(getattr(signal, name), _terminate)
    sys.exit(_run())


def _run() -> int:
    try:
        with warnings.catch_warnings():
            print_warnings()
            code = int(app(standalone_mode=False) or 0)
        if code == 130:  # typer's exit code for Ctrl-C
            tell_interrupted()
        return code
    except FlspecError as error:
        print_error(error)
        return error.exit_code
    except UsageError as error:
        if "--json" in sys.argv:  # the option itself may not have been reached
            use_json(True)
        if message := _in_one_line(error):
            print_error(InputError(message))
        return 2
    except (KeyboardInterrupt, typer.Abort):
        tell_interrupted()
        return 130
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the remaining output cannot be printed
        if isinstance(error, BrokenPipeError):  # the reader of the output is gone
            return 0
        print(printable(f"flspec: {error}"), file=sys.stderr)
        return 1


def _in_one_line(error: UsageError) -> str:
    """Return a usage error in words; empty if help was printed instead."""
    from pydantic import ValidationError

    sentences = re.findall(r".+?[.?](?= |$)|.+", error.format_message())
    message = " ".join(dict.fromkeys(map(str.strip, sentences)))  # typer and click may make the same suggestion
    if isinstance(cause := error.__cause__, ValidationError):  # newer versions of typer leave out the given value
        message += f", got {shorten(repr(cause.errors()[0]['input']))}"
    return message


def _terminate(number: int, frame: FrameType | None) -> None:
    """Clean up as for Ctrl-C, and exit as a shell expects."""
    raise SystemExit(128 + number)
