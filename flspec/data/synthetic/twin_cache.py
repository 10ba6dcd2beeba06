"""Cache of the synthetic twins that experiments use. Each is made once and is always reported as a twin."""

from __future__ import annotations

import hashlib
import inspect
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from flspec.core.cache import cache_folder, partial_folder
from flspec.errors import InputError

if TYPE_CHECKING:
    from flspec.core.randomness import Stream
    from flspec.data.synthetic.twins import TwinSize

__all__ = ["PLACES", "cached_twin", "twin_in_words"]

_CHECK = "twin.sha256"  # a file with the checksum of all others
PLACES = (
    "folder",
    "file",
    "test_file",
    "test_metadata",
)  # fields with the location of files, which a twin does not use


class TwinMaker(Protocol):
    """A data set that can write a synthetic twin of itself."""

    @classmethod
    def write_twin(cls, folder: Path, size: TwinSize, stream: Stream) -> None:
        """Write the twin into an empty folder."""


def cached_twin(dataset: type[TwinMaker], kind: str, size: TwinSize, stream: Stream) -> Path:
    """Return a data root with the twin of a data set of some kind. The twin is made if it is missing.

    The folder's name has the kind, the size, the seed, and a hash of the stream's name and the code that makes twins,
    so a change of this code makes a new twin. So does damage of it. Raises InputError if the size is too small or the
    cache is not writable.
    """
    mark = hashlib.sha256(json.dumps([*stream.name, _code(dataset)]).encode()).hexdigest()[:12]
    folder = cache_folder() / "twins" / f"{kind}-{size.clients}-{size.examples}-{stream.seed}-{mark}"
    if folder.is_dir() and not _is_intact(folder):
        shutil.rmtree(folder, ignore_errors=True)
    if not folder.is_dir():
        with partial_folder(folder) as partial:
            (partial / kind).mkdir()
            try:
                dataset.write_twin(partial / kind, size, stream)
            except InputError as error:
                raise InputError(f"dataset.twin: {error}") from None
            (partial / _CHECK).write_text(_content(partial), encoding="utf-8")
    return folder


def _is_intact(folder: Path) -> bool:
    """Return whether all files of a twin are as they were written. All are read, because a twin is small."""
    try:
        return (folder / _CHECK).read_text(encoding="utf-8") == _content(folder)
    except (OSError, ValueError):
        return False


def _content(folder: Path) -> str:
    """Return the SHA-256 of the names and the content of all files below a folder, but for the check itself."""
    sha = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.name != _CHECK):
        content = path.read_bytes()
        sha.update(f"{path.relative_to(folder).as_posix()} {len(content)}\n".encode() + content)
    return sha.hexdigest()


def twin_in_words(spec: Mapping[str, Any]) -> str | None:
    """Describe the twin that a resolved spec uses in place of published data; None if it uses no twin."""
    dataset = spec.get("dataset", {})
    if (size := dataset.get("twin")) is None:
        return None
    unread = [f"dataset.{name}" for name in PLACES if dataset.get(name) is not None]
    note = f"; {' and '.join(unread)} {'are' if len(unread) > 1 else 'is'} not read" if unread else ""
    return f"synthetic twin of {dataset['kind']}, {size['clients']:,} clients, {size['examples']:,} examples{note}"


def _code(dataset: type[TwinMaker]) -> str:
    """Return the SHA-256 of the sources that determine a twin's content."""
    from flspec.core import randomness
    from flspec.data.synthetic import painting, pictures, twins

    sha = hashlib.sha256()
    for module in (twins, pictures, painting, randomness, inspect.getmodule(dataset.write_twin)):
        sha.update(Path(str(inspect.getsourcefile(module))).read_bytes())  # type: ignore[arg-type]
    return sha.hexdigest()
