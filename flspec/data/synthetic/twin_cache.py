"""Synthetic twins that experiments ask for: made once, kept in the cache, and always called what they are."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from flspec.core.cache import cache_folder, partial_folder
from flspec.errors import InputError

if TYPE_CHECKING:
    from flspec.core.randomness import Stream
    from flspec.data.synthetic.twins import TwinSize

__all__ = ["PLACES", "cached_twin", "twin_in_words"]

PLACES = (
    "folder",
    "file",
    "test_file",
    "test_metadata",
)  # fields that say where files are, of which a twin has its own


class TwinMaker(Protocol):
    """A data set that can write a synthetic twin of itself."""

    @classmethod
    def write_twin(cls, folder: Path, size: TwinSize, stream: Stream) -> None:
        """Write the twin into an empty folder."""


def cached_twin(dataset: type[TwinMaker], kind: str, size: TwinSize, stream: Stream) -> Path:
    """A data root that holds the twin of a data set of some kind, which is made unless it is there.

    Its name has the kind, the size, the seed, and a mark of the stream and of the code that makes it, so that a twin is
    never older than its maker. Raises InputError if the size does not do, or the cache cannot be written to.
    """
    mark = hashlib.sha256(json.dumps([*stream.name, _code(dataset)]).encode()).hexdigest()[:12]
    folder = cache_folder() / "twins" / f"{kind}-{size.clients}-{size.examples}-{stream.seed}-{mark}"
    if not folder.is_dir():
        with partial_folder(folder) as partial:
            (partial / kind).mkdir()
            try:
                dataset.write_twin(partial / kind, size, stream)
            except InputError as error:
                raise InputError(f"dataset.twin: {error}") from None
    return folder


def twin_in_words(spec: Mapping[str, Any]) -> str | None:
    """What to say of the data of a resolved spec where they are not what their kind says; None where they are."""
    dataset = spec.get("dataset", {})
    if (size := dataset.get("twin")) is None:
        return None
    unread = [f"dataset.{name}" for name in PLACES if dataset.get(name) is not None]
    told = f"; {' and '.join(unread)} {'are' if len(unread) > 1 else 'is'} not read" if unread else ""
    return f"synthetic twin of {dataset['kind']}, {size['clients']:,} clients, {size['examples']:,} examples{told}"


def _code(dataset: type[TwinMaker]) -> str:
    """SHA-256 of the sources that decide what is in a twin."""
    from flspec.core import randomness
    from flspec.data.synthetic import painting, pictures, twins

    sha = hashlib.sha256()
    for module in (twins, pictures, painting, randomness, inspect.getmodule(dataset.write_twin)):
        sha.update(Path(str(inspect.getsourcefile(module))).read_bytes())  # type: ignore[arg-type]
    return sha.hexdigest()
