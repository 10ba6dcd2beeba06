"""FLAIR: pictures of 51,414 Flickr users, each with several labels (Song et al., NeurIPS Datasets 2022)."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from pydantic import Field

from flspec.core.randomness import Stream
from flspec.core.reading import JSON_VALUE, check_json
from flspec.core.text import join_some
from flspec.data.examples import Data
from flspec.data.image_metadata import find, plain_name
from flspec.data.image_store import Listing, Pictures, open_images
from flspec.data.images import ImageFile
from flspec.data.synthetic.twins import TwinSize
from flspec.data.text_files import read_lines, read_text
from flspec.datasets.pictures import PictureDataset, Size, missing_pictures
from flspec.errors import InputError, choose, shorten

_COARSE = (
    "animal",
    "art",
    "celebration",
    "equipment",
    "fire",
    "food",
    "games",
    "interior_room",
    "light",
    "liquid",
    "material",
    "music",
    "outdoor",
    "plant",
    "recreation",
    "religion",
    "structure",
)
_SPLITS = {"train": "train", "test": "test", "validation": "val"}  # FLAIR's names
_PUBLISHED = {"train": (345_879, 41_131), "val": (39_239, 5_141), "test": (43_960, 5_142)}  # pictures, users
_PUBLISHED_FINE = 1_628
_METADATA, _RELATIONSHIP = "labels_and_metadata.json", "label_relationship.txt"
_FOLDERS = ("small_images", "images/small/small_images", "images/small")


class Flair(PictureDataset):
    """FLAIR: 345,879 pictures of 41,131 users for training, 39,239 for validation and 43,960 for test, of other users.

    Reads `labels_and_metadata.json` and `small_images/` (or `images/small/`). Labels are multi-hot: 17 `coarse`
    ones, in alphabetical order; or `fine` ones, in the alphabetical order of all names in the file, of which the
    published one has 1,628. Columns: `user_id`, the natural client, and `image_id`.
    """

    kind: Literal["flair"] = "flair"
    size: Size = 256
    labels: Annotated[Literal["coarse", "fine"], Field(description="coarse: 17 labels; fine: 1,628 narrower ones")] = (
        "coarse"
    )
    binary_label: Annotated[
        str | None,
        Field(min_length=1, description="learn only whether a picture has this label: classes 0 and 1"),
    ] = None

    def read(self, root: Path, stream: Stream) -> Data:
        places = self.places(root, self.folder)
        path = find(places, (_METADATA, f"labels/{_METADATA}"), _METADATA)
        entries = _read_entries(path, self.labels)
        names = self._names(entries, path)
        folder = self.pictures_folder(places, _FOLDERS)
        parts: dict[str, list[_Entry]] = {name: [] for name in _SPLITS.values()}
        for entry in entries:
            parts[entry.partition].append(entry)
        for name in ("train", "test"):
            if not parts[name]:
                raise InputError(f"{path}: no picture has partition {name!r}; is the file complete?")
        splits = {split: self._pictures(parts[name], names, folder) for split, name in _SPLITS.items() if parts[name]}
        return open_images(Listing(folder, splits, self.decoding, len(names), names, "user_id"))

    def findings(self, root: Path) -> Sequence[str]:
        places = self.places(root, self.folder)
        try:
            path = find(places, (_METADATA, f"labels/{_METADATA}"), _METADATA)
            entries = _read_entries(path, "fine")
        except InputError as error:
            return [str(error)]
        found = [*_count_differences(entries), *self._relationship_findings(places, entries)]
        try:
            folder = self.pictures_folder(places, _FOLDERS)
        except InputError as error:
            return [*found, str(error)]
        return [*found, *missing_pictures(folder, [f"{entry.image}.jpg" for entry in entries])]

    def complete(self, root: Path) -> str:
        return f"complete: {' + '.join(f'{pictures:,}' for pictures, _ in _PUBLISHED.values())} pictures"

    @classmethod
    def write_twin(cls, folder: Path, size: TwinSize, stream: Stream) -> None:
        """Write users with very different numbers of pictures and preferences. Splits are 8 : 1 : 1 of users."""
        from flspec.data.synthetic.pictures import write_flair

        write_flair(folder, size, stream)

    def _names(self, entries: Sequence[_Entry], path: Path) -> tuple[str, ...]:
        """Return the names of the labels in the order of their numbers."""
        names = _COARSE if self.labels == "coarse" else tuple(sorted({n for entry in entries for n in entry.labels}))
        if self.binary_label is None:
            return names
        if self.binary_label not in names:
            problem = choose(self.binary_label, names if len(names) <= len(_COARSE) else names[:8])
            raise InputError(f"dataset.binary_label: {problem}; these are {self.labels} labels in {path}")
        return f"no {self.binary_label}", self.binary_label

    def _pictures(self, entries: Sequence[_Entry], names: Sequence[str], folder: Path) -> Pictures:
        number = {name: position for position, name in enumerate(names)}
        labels = (
            [sorted({number[name] for name in entry.labels}) for entry in entries]
            if self.binary_label is None
            else np.array([self.binary_label in entry.labels for entry in entries], np.int64)
        )
        return Pictures(
            [ImageFile(str(folder), f"{entry.image}.jpg") for entry in entries],
            labels,
            {
                "user_id": np.array([entry.user for entry in entries]),
                "image_id": np.array([entry.image for entry in entries]),
            },
        )

    def _relationship_findings(self, places: Sequence[Path], entries: Iterable[_Entry]) -> Iterator[str]:
        """Report labels without a wider label in the file, whose lines are `narrower -> wider`."""
        try:
            lines = read_lines(find(places, (_RELATIONSHIP, f"labels/{_RELATIONSHIP}"), _RELATIONSHIP))
        except InputError as error:
            yield str(error)
            return
        known = {line.split("->")[0].strip() for line in lines} | set(_COARSE)
        if unknown := sorted({name for entry in entries for name in entry.labels} - known):
            yield f"{_RELATIONSHIP}: no line for {len(unknown):,} labels: {join_some(unknown)}"


class _Entry(NamedTuple):
    """Metadata of one picture, small enough to hold for all pictures in memory."""

    user: str
    image: str
    partition: str
    labels: tuple[str, ...]


def _read_entries(path: Path, labels: str) -> list[_Entry]:
    """Read one entry for each picture, in file order. Raises InputError, which names the wrong line or picture."""
    key = {"coarse": "labels", "fine": "fine_grained_labels"}[labels]
    seen: set[str] = set()

    def read(document: Mapping[str, Any]) -> _Entry:
        # Converted as soon as it is parsed, because all entries as dictionaries take ten times the memory.
        try:
            entry = _entry(document, key)
            if entry.image in seen:
                raise InputError(f"image_id {entry.image!r} is in the file twice")
        except InputError as error:
            raise InputError(f"{path}: entry {len(seen) + 1}: {error}") from None
        seen.add(entry.image)
        return entry

    try:
        check_json(text := read_text(path), path, JSON_VALUE)
        entries = json.loads(text, object_hook=read)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}:{error.lineno}:{error.colno}: not JSON ({error.msg}); download it again") from None
    except RecursionError:
        raise InputError(f"{path}: nested too deeply; it should be a list of pictures") from None
    if not isinstance(entries, list) or not all(isinstance(entry, _Entry) for entry in entries) or not entries:
        raise InputError(f"{path}: should be a list with an entry for each picture")
    return entries


def _entry(document: Mapping[str, Any], key: str) -> _Entry:
    user, image, partition, labels = map(document.get, ("user_id", "image_id", "partition", key))
    if not isinstance(user, str) or not user or not isinstance(image, str):
        raise InputError(f"user_id and image_id should be text, not {shorten(repr(user))} and {shorten(repr(image))}")
    plain_name(image, "image_id")
    if partition not in _SPLITS.values():
        raise InputError(f"partition: {choose(shorten(str(partition)), _SPLITS.values())}")
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels) or "" in labels:
        raise InputError(f"{key} should be a list of names, not {shorten(repr(labels))}")
    if key == "labels" and (unknown := set(labels).difference(_COARSE)):
        raise InputError(f"{key}: {choose(min(unknown), _COARSE)}")
    return _Entry(sys.intern(user), image, sys.intern(str(partition)), tuple(map(sys.intern, labels)))


def _count_differences(entries: Sequence[_Entry]) -> Iterator[str]:
    owner: dict[str, str] = {}
    for entry in entries:
        if owner.setdefault(entry.user, entry.partition) != entry.partition:
            yield f"user {entry.user} has pictures in {owner[entry.user]} and in {entry.partition}"
            break
    for name, (pictures, users) in _PUBLISHED.items():
        found = [entry.user for entry in entries if entry.partition == name]
        if (len(found), len(set(found))) != (pictures, users):
            yield (
                f"{name}: {len(found):,} pictures of {len(set(found)):,} users; "
                f"{pictures:,} of {users:,} were published"
            )
    if (fine := len({label for entry in entries for label in entry.labels})) != _PUBLISHED_FINE:
        yield f"{fine:,} fine labels occur; {_PUBLISHED_FINE:,} were published"
