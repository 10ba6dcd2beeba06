"""The part files that a plan holds, in use while it is carried out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

from flspec.core.part_files import PartFiles, using
from flspec.errors import InputError, shorten
from flspec.protocol.plan import Plan
from flspec.protocol.settings import PlanSettings

__all__ = ["part_files_of", "using_its_parts", "using_parts_of"]

_PATH = re.compile(r"(?:[^\W\d]\w*/)*[^\W\d]\w*\.py")  # of a file below the spec's folder, which can be imported

P = ParamSpec("P")
R = TypeVar("R")


def part_files_of(settings: PlanSettings) -> PartFiles | None:
    """Return the part files of a plan; raises InputError if they are not texts by path."""
    if settings.parts is None:
        return None
    files, sources = settings.parts.files, settings.parts.sources
    if not all(isinstance(text, str) for text in sources.values()) or not set(files) <= set(sources):
        raise InputError("the plan's parts are not texts of the files that it names; compile its spec again")
    if wrong := [path for path in sources if not _PATH.fullmatch(path)]:
        raise InputError(f"the plan's parts name a file {shorten(wrong[0])!r}; compile its spec again")
    return PartFiles(files, dict(sources))


@contextmanager
def using_parts_of(settings: PlanSettings) -> Iterator[None]:
    """Have the parts in a plan's files, and no other spec's, count."""
    with using(part_files_of(settings)):
        yield


def using_its_parts(function: Callable[Concatenate[Plan, P], R]) -> Callable[Concatenate[Plan, P], R]:
    """Have the parts of the plan that a function is given first count while it works."""

    @wraps(function)
    def with_parts(plan: Plan, *args: P.args, **kwargs: P.kwargs) -> R:
        with using_parts_of(plan.settings):
            return function(plan, *args, **kwargs)

    return with_parts  # type: ignore[return-value]  # mypy minds the name of its first argument
