"""Store of decoded pictures. A data set's pictures are decoded once; later uses map the pixels into memory.

The store holds `Data` like any other: folders of arrays named by content (`store.py`). Beside them an index records the
pictures and settings that the arrays were made from: name and stamp of each file (`images.file_stamp`). A second
compile therefore opens the arrays without reading a picture, and notices a changed file. If the same pixels are stored
with other labels, they are linked and not decoded again.

Several threads decode pictures, which are written in order as they finish, so a data set may be larger than memory. To
show the progress, call within `reporting(callback)`.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from flspec.core.cache import cache_folder, workplace
from flspec.core.ownership import make_own
from flspec.core.text import join_some
from flspec.data.examples import Data, Split
from flspec.data.images import Decoding, Source, UnreadableImage, archives, decode, read_as, silence_decoder
from flspec.data.store import filling, open_data, stored
from flspec.errors import InputError, printable
from flspec.protocol.settings import DataSettings, read_settings, write_settings

__all__ = ["Listing", "Pictures", "Progress", "open_images", "reporting"]

_LAYOUT = 1  # raised when the meaning of stored arrays changes
_DIVISOR = 255.0
_CHUNK_BYTES = 2**22  # of pixels that one thread decodes at a time
_THREADS = min(16, os.cpu_count() or 1)

_Decoded = tuple[NDArray[np.uint8], list[tuple[str, str]]]  # pixels, and the name and reason of each failed picture


@dataclass(frozen=True, eq=False)
class Pictures:
    """The pictures of one split in order, with their labels and columns."""

    sources: Sequence[Source]
    labels: NDArray[np.int64] | Sequence[Sequence[int]]  # one class each, or several labels each
    columns: Mapping[str, NDArray[Any]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Listing:
    """A data set whose pictures have not been read yet."""

    folder: Path  # of the pictures, for messages
    splits: Mapping[str, Pictures]  # by "train", "test", "validation"; the same columns in each
    decoding: Decoding
    num_classes: int
    label_names: tuple[str, ...] = ()
    client_column: str | None = None


@dataclass(frozen=True)
class Progress:
    """Progress of decoding, in pictures."""

    folder: str
    done: int
    total: int


_reporter: ContextVar[Callable[[Progress], None] | None] = ContextVar("reporter", default=None)


@contextmanager
def reporting(callback: Callable[[Progress], None]) -> Iterator[None]:
    """Call `callback`, in the calling thread, each time that some more pictures have been decoded."""
    token = _reporter.set(callback)
    try:
        yield
    finally:
        _reporter.reset(token)


def open_images(listing: Listing) -> Data:
    """Return the data of a listing, mapped into memory. Decodes the pictures that are not in the store.

    Raises InputError, which names the pictures, if some are missing, cannot be read or change meanwhile.
    """
    stamps = _stamps(listing)
    keys = {name: _pixel_key(listing, name, stamps[name]) for name in listing.splits}
    key = _data_key(listing, keys)
    if found := _recall(key):
        return found[0]
    with workplace(cache_folder() / "data") as folder:
        _write_pixels(listing, keys, folder)
        if _stamps(listing) != stamps:
            raise InputError(f"pictures in {listing.folder} changed while they were read; try again when they are done")
        data = _settle(listing, folder)
    _remember(key, data)
    for name, pixel_key in keys.items():
        _remember(pixel_key, data, name)
    return data


# ------------------------------------------------------------------------------------------------------------ index


def _stamps(listing: Listing) -> dict[str, list[str]]:
    """Return a stamp of each picture, which changes when the picture does. Raises InputError if some are missing."""
    missing: list[str] = []

    def stamp(source: Source) -> str:
        try:
            return source.stamp()
        except OSError:
            missing.append(source.name)
            return ""

    stamps = {name: [stamp(source) for source in pictures.sources] for name, pictures in listing.splits.items()}
    if not missing:
        return stamps
    packed = archives(listing.folder)
    way_out = f"extract {join_some(packed)} there, which flspec does not" if packed else "download them again"
    raise InputError(
        f"{listing.folder}: {len(missing):,} of {sum(map(len, stamps.values())):,} pictures are missing: "
        f"{join_some(sorted(missing))}; {way_out}"
    )


def _pixel_key(listing: Listing, split: str, stamps: Sequence[str]) -> str:
    """Return a key that is equal for pictures that decode to the same pixels."""
    sha = hashlib.sha256(f"{_LAYOUT} {listing.decoding} {read_as()}\n".encode())
    for source, stamp in zip(listing.splits[split].sources, stamps, strict=True):
        sha.update(f"{source.name!r} {stamp}\n".encode())
    return sha.hexdigest()


def _data_key(listing: Listing, pixel_keys: Mapping[str, str]) -> str:
    """Return a key that is equal for listings that give the same data."""
    about = [listing.num_classes, listing.label_names, listing.client_column, pixel_keys]
    sha = hashlib.sha256(json.dumps(about).encode())
    for pictures in listing.splits.values():
        labels = pictures.labels
        sha.update(labels.tobytes() if isinstance(labels, np.ndarray) else repr(list(labels)).encode())
        for name, column in sorted(pictures.columns.items()):
            sha.update(f"{name!r} {column.dtype.str} {column.shape}\n".encode() + column.tobytes())
    return sha.hexdigest()


def _entry(key: str) -> Path:
    return cache_folder() / "images" / f"{key}.json"


def _recall(key: str) -> tuple[Data, str] | None:
    """Return the data stored for a key and the split it is about; None if there are none or they are damaged."""
    try:
        entry = json.loads(_entry(key).read_text(encoding="utf-8"))
        if entry.pop("check") != _check(key, entry):
            return None
        settings = read_settings(DataSettings, entry["data"])
        return replace(open_data(settings, verify=True), known_digest=settings.digest), entry["split"]
    except (OSError, ValueError, LookupError, TypeError, AttributeError, InputError):  # damaged, or of another version
        return None


def _check(key: str, entry: Mapping[str, Any]) -> str:
    """Return the checksum of an entry: what it says of the arrays is in no digest of theirs."""
    return hashlib.sha256(json.dumps([key, entry], sort_keys=True).encode()).hexdigest()


def _remember(key: str, data: Data, split: str = "") -> None:
    """Add an entry to the index. Errors are ignored: without the entry pictures are only decoded again."""
    entry = {"data": write_settings(data.describe()), "split": split}
    text = json.dumps(entry | {"check": _check(key, entry)})
    with suppress(OSError):
        make_own(_entry(key).parent)
        partial = _entry(key).with_suffix(f".{os.getpid()}.partial")
        partial.write_text(text, encoding="utf-8")
        partial.replace(_entry(key))


# ---------------------------------------------------------------------------------------------------------- writing


def _write_pixels(listing: Listing, keys: Mapping[str, str], folder: Path) -> None:
    """Write `NAME_features.npy` for each split, or link it if the same pixels are stored already."""
    due = [name for name, key in keys.items() if not _link(key, folder / f"{name}_features.npy")]
    total = sum(len(listing.splits[name].sources) for name in due)
    _check_space(folder, total * int(np.prod(listing.decoding.shape)), listing)
    done = 0
    failures: list[tuple[str, str]] = []
    with silence_decoder(), ThreadPoolExecutor(_THREADS) as pool:
        for name in due:
            sources = listing.splits[name].sources
            with (folder / f"{name}_features.npy").open("wb") as file:
                _write_header(file, (len(sources), *listing.decoding.shape))
                for pixels, failed in _decoded(sources, listing.decoding, pool):
                    # Written, not mapped: a full disk then raises an error, and finished pixels leave memory.
                    file.write(pixels.data)
                    failures += failed
                    done += len(pixels)
                    _report(listing, done, total)
    if failures:
        raise InputError(_refusal(listing, failures, total))


def _link(key: str, file: Path) -> bool:
    """Link the stored pixels of a key to `file`. Returns whether that was possible."""
    found = _recall(key)
    if not found:
        return False
    data, split = found
    try:
        os.link(stored(data.digest) / f"{split}_features.npy", file)
    except OSError:  # a file system without links; a copy would save little time
        return False
    return True


def _check_space(folder: Path, needed: int, listing: Listing) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        size = f"{listing.decoding.height} by {listing.decoding.width} pixels"
        raise InputError(
            f"the pictures in {listing.folder} take {needed / 1e9:.1f} GB at {size}, but {folder.parent} has "
            f"{free / 1e9:.1f} GB left; lower dataset.size or set FLSPEC_CACHE to a larger disk"
        )


def _decoded(sources: Sequence[Source], decoding: Decoding, pool: ThreadPoolExecutor) -> Iterator[_Decoded]:
    """Yield pixels and failures, some pictures at a time and in order, while threads decode the following ones."""
    rows = max(1, _CHUNK_BYTES // int(np.prod(decoding.shape)))
    ahead: deque[Future[_Decoded]] = deque()
    for start in range(0, len(sources), rows):
        ahead.append(pool.submit(_decode_some, sources[start : start + rows], decoding))
        if len(ahead) > 2 * _THREADS:
            yield ahead.popleft().result()
    while ahead:
        yield ahead.popleft().result()


def _decode_some(sources: Sequence[Source], decoding: Decoding) -> _Decoded:
    pixels = np.zeros((len(sources), *decoding.shape), np.uint8)
    failed: list[tuple[str, str]] = []
    for place, source in zip(pixels, sources, strict=True):
        try:
            place[...] = decode(source.read(), decoding)
        except UnreadableImage as error:
            failed.append((source.name, str(error)))
        except OSError as error:
            failed.append((source.name, f"cannot be read ({error.strerror or error})"))
    return pixels, failed


def _refusal(listing: Listing, failures: Sequence[tuple[str, str]], total: int) -> str:
    (name, reason), *others = failures
    more = f"; {len(others):,} more of {total:,} cannot be used: {join_some([other for other, _ in others])}"
    return (
        f"{listing.folder}: {printable(name)} {printable(reason)}{more if others else ''}; "
        "download again or leave out what cannot be used"
    )


def _report(listing: Listing, done: int, total: int) -> None:
    if callback := _reporter.get():
        callback(Progress(str(listing.folder), done, total))


def _write_header(file: IO[bytes], shape: tuple[int, ...]) -> None:
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})


def _settle(listing: Listing, folder: Path) -> Data:
    """Move the pixels, with labels and columns, to their place in the store, which is named by content."""
    parts = {name: _split(listing, name, folder) for name in listing.splits}
    data = Data(
        parts["train"],
        parts["test"],
        listing.num_classes,
        validation=parts.get("validation"),
        label_names=listing.label_names,
        client_column=listing.client_column,
    )
    with suppress(InputError):
        return replace(open_data(data.describe(), verify=True), known_digest=data.digest)
    shutil.rmtree(stored(data.digest), ignore_errors=True)  # it is damaged, if it exists
    with filling(stored(data.digest)) as partial:
        for name, array in data.arrays().items():
            if (file := folder / f"{name}.npy").exists():
                file.rename(partial / file.name)
            else:
                np.save(partial / file.name, array, allow_pickle=False)
    return replace(open_data(data.describe()), known_digest=data.digest)


def _split(listing: Listing, name: str, folder: Path) -> Split:
    """Return a split whose pixels are mapped from a folder, and whose labels are too if an example may have several."""
    pictures = listing.splits[name]
    pixels = np.load(folder / f"{name}_features.npy", mmap_mode="r")
    if isinstance(pictures.labels, np.ndarray):
        return Split(pixels, pictures.labels, _DIVISOR, columns=pictures.columns)
    file = folder / f"{name}_labels.npy"
    _write_marks(file, pictures.labels, listing.num_classes)
    return Split(pixels, np.load(file, mmap_mode="r"), _DIVISOR, columns=pictures.columns)


def _write_marks(path: Path, labels: Sequence[Sequence[int]], num_classes: int) -> None:
    """Write the labels as 0 and 1, row by row: for FLAIR's fine labels the array has half a gigabyte."""
    with path.open("wb") as file:
        _write_header(file, (len(labels), num_classes))
        for marks in labels:
            row = np.zeros(num_classes, np.uint8)
            row[list(marks)] = 1
            file.write(row.data)
