"""Where an exception comes from: the line of somebody else's code that a message should name."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from types import TracebackType

from flspec.errors import FlspecError

__all__ = ["PART_FILES", "is_from_elsewhere", "place_of", "raised_in"]

PART_FILES = "spec_parts_"  # what the names of packages begin with that are a spec's part files


def is_from_elsewhere(error: BaseException) -> bool:
    """Return whether an exception, or what caused it, is not one that flspec raises on purpose."""
    return any(not isinstance(one, FlspecError) for one in _causes(error))


def place_of(error: BaseException, package: str | None = None, only: bool = False) -> str | None:
    """Return `FILE:LINE` of the innermost code that is not flspec's; None if all of it is.

    Code of `package`, if there is any in the traceback, is preferred to that of what it calls; `only` it is looked for.
    Of flspec's own packages, which may have called a part, that of part files is preferred, as of `PART_FILES`.
    """
    frames = [frame for one in _causes(error) for frame in _frames(one.__traceback__)]
    if package and (_is_own(package) or package == PART_FILES):
        of_package = [place for name, place in frames if name.startswith(PART_FILES)]
    else:
        of_package = [place for name, place in frames if package and name == package]
    elsewhere = [place for name, place in frames if not _is_own(name)]
    return next(reversed(of_package if only else of_package or elsewhere), None)


def raised_in(error: BaseException, package: str) -> bool:
    """Return whether somebody else's package, or a part file, raised an exception, if only by the standard library.

    False for what a signal's handler raises, flspec's or a caller's, at whatever line it arrives.
    """
    names = [name for name, _ in _frames(error.__traceback__) if name not in sys.stdlib_module_names]
    return bool(names) and (names[-1].startswith(PART_FILES) or (names[-1] == package and not _is_own(package)))


def _causes(error: BaseException) -> Iterator[BaseException]:
    one: BaseException | None = error
    while one is not None:
        yield one
        one = one.__cause__


def _frames(trace: TracebackType | None) -> Iterator[tuple[str, str]]:
    """Yield the top-level package and the place of each frame, the innermost last."""
    for frame, line in traceback.walk_tb(trace):
        yield str(frame.f_globals.get("__name__", "")).partition(".")[0], f"{frame.f_code.co_filename}:{line}"


def _is_own(package: str) -> bool:
    return package == "flspec" or package.startswith("flspec_")
