"""What the texts of part files import from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping

from flspec.core.imports import imports_in
from flspec.core.part_files import PartFiles
from flspec.core.part_sources import loose_digest

__all__ = ["loose_digests"]


def loose_digests(files: PartFiles) -> Mapping[str, str]:
    """Return, by package or module, the SHA-256 of the code that part files import and that is neither among their
    texts nor installed: what lies on PYTHONPATH, beside a script, or is installed for editing.
    """
    tops = {
        name.partition(".")[0]
        for path, source in files.sources.items()
        for name in imports_in(source)
        if not name.startswith(".") and files.seen_from(path, name.partition(".")[0]) is None
    }
    digests = {name: loose_digest(name) for name in sorted(tops)}
    return {name: digest for name, digest in digests.items() if digest is not None}
