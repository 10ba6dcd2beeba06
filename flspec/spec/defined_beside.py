"""Where a file beside a spec defines a name that the spec does not know: the way out of most mistakes with `parts`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from flspec.core.reading import read_regular
from flspec.errors import InputError
from flspec.spec.overlays import Draft

__all__ = ["defined_beside"]

_MOST_FILES, _MOST_BYTES = 50, 2**18


def defined_beside(name: object, draft: Draft) -> str | None:
    """Return where `name` is defined, with what is to be done there or in the spec; None if it is nowhere."""
    if not isinstance(name, str) or not name.isidentifier():
        return None
    pattern = re.compile(rf"(?P<function>def {name}\()|[ \t]+kind\b[^=\n]*=[ \t]*[\"']{name}[\"']", re.MULTILINE)
    said = draft.value.get("parts")
    listed = said if isinstance(said, list) else []
    for file, text in _texts(draft):
        for found in pattern.finditer(text):
            place = f"{file}:{text.count(chr(10), 0, found.start()) + 1}"
            if text.rfind("\n", 0, found.start()) + 1 != found.start():  # not at the beginning of a line
                continue
            if file not in listed:
                return f"{place} has one; name the file in the spec: parts: [{', '.join([*map(str, listed), file])}]"
            if found["function"]:
                return f"{place} is a function and no metric; put @flspec.metrics.metric(...) above it"
    return None


def _texts(draft: Draft) -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each file of Python in the spec's folder."""
    for folder in draft.folders[:1]:
        for path in sorted(Path(folder).glob("*.py"))[:_MOST_FILES]:
            try:
                yield path.name, read_regular(path, _MOST_BYTES).decode(errors="replace")
            except InputError:
                continue
