"""Places of what is found wrong with a spec after it was read: by its data, its arithmetic or its privacy."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from flspec.errors import InputError, Problem, SpecError
from flspec.spec.overlays import Draft
from flspec.spec.spec import Spec

__all__ = ["naming_places"]

# Parts begin what they raise with the field: `model: does not fit`, `partition.clients is 10, but`.
_FIELD_FIRST = re.compile(r"(?P<path>[a-z_]+(\.\w+)*)(: |(?<=\w)(?= is ))(?P<message>.+)")


@contextmanager
def naming_places(draft: Draft | None) -> Iterator[None]:
    """Raise errors about fields with the places where these were written; as they are without a draft."""
    try:
        yield
    except InputError as error:
        problems = error.problems if isinstance(error, SpecError) else _problems_of(str(error))
        if draft is None or not problems:
            raise
        raise SpecError([_placed(draft, problem) for problem in problems]) from error


def _problems_of(text: str) -> list[Problem]:
    """Return what a message says of a field; nothing if it begins with none."""
    found = _FIELD_FIRST.fullmatch(text)
    if found is None or found["path"].split(".")[0] not in Spec.model_fields:
        return []
    return [Problem(found["message"].strip(), found["path"])]


def _placed(draft: Draft, problem: Problem) -> Problem:
    if problem.file or not problem.path:
        return problem
    path = tuple(int(part) if part.isdigit() else part for part in problem.path.split("."))
    return draft.problem(path, problem.message)
