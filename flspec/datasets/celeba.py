"""CelebA: faces with forty attributes and the person they show (Liu et al., ICCV 2015)."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from flspec.core.randomness import Stream
from flspec.data.celeba_attributes import ATTRIBUTES
from flspec.data.examples import Data
from flspec.data.image_metadata import find, plain_name
from flspec.data.image_store import Listing, Pictures, open_images
from flspec.data.images import ImageFile
from flspec.data.synthetic.twins import TwinSize
from flspec.data.text_files import read_lines
from flspec.datasets.pictures import PictureDataset, Size, missing_pictures
from flspec.errors import InputError, choose, shorten

_PUBLISHED = (202_599, 10_177)  # pictures, people
_PUBLISHED_SPLIT = {"train": 162_770, "validation": 19_867, "test": 19_962}
_NUMBERS = {"train": 0, "validation": 1, "test": 2}  # in list_eval_partition.txt
_FOLDERS = ("img_align_celeba", "Img/img_align_celeba", "img_align_celeba/img_align_celeba")
_IDENTITIES, _ATTRIBUTES, _PARTITION = "identity_CelebA.txt", "list_attr_celeba.txt", "list_eval_partition.txt"
_CHALLENGE_SEED, _CHALLENGE_SHARE = 42, 0.999


class CelebA(PictureDataset):
    """CelebA: 202,599 pictures of the faces of 10,177 people. One of forty attributes is learned.

    Reads `img_align_celeba/`, `identity_CelebA.txt` and `list_attr_celeba.txt`, and for the published split
    `list_eval_partition.txt`. Columns: `identity`, the natural client; every attribute by its name, 0 or 1; `file`;
    `identity_in_test`, 1 if the same person is also in the test split; and `identity_order`, the position, from 0, of
    the person's first line in the identity file.

    The split `challenge` divides pictures, not people. All file names, in alphabetical order, are shuffled by Python's
    `random.Random(42)`. The first 99.9 % are for training, in that order, and the rest for evaluation. To make clients
    in the order of the identity file, as the challenge does, use a partition with `order_by: identity_order`.
    """

    kind: Literal["celeba"] = "celeba"
    size: Size = 64
    target: Annotated[str, Field(description="the attribute to learn", examples=["Smiling"])] = "Smiling"
    split: Annotated[
        Literal["published", "challenge"],
        Field(description="published: by list_eval_partition.txt; challenge: 99.9 % of all shuffled pictures"),
    ] = "published"

    @field_validator("target")
    @classmethod
    def _is_an_attribute(cls, target: str) -> str:
        if target not in ATTRIBUTES:
            raise ValueError(choose(target, ATTRIBUTES))
        return target

    def read(self, root: Path, stream: Stream) -> Data:
        places = self.places(root, self.folder)
        faces = _read_faces(places)
        members = self._members(places, faces)
        folder = self.pictures_folder(places, _FOLDERS)
        in_test = np.isin(faces.people, faces.people[members["test"]]).astype(np.int64)
        splits = {
            split: self._pictures(faces, in_test, chosen, folder) for split, chosen in members.items() if len(chosen)
        }
        names = (f"not {self.target}", self.target)
        return open_images(Listing(folder, splits, self.decoding, 2, names, "identity"))

    def findings(self, root: Path) -> Sequence[str]:
        places = self.places(root, self.folder)
        try:
            faces = _read_faces(places)
        except InputError as error:
            return [str(error)]
        found = list(_count_differences(faces))
        try:
            members = _published(places, faces)
        except InputError as error:
            found.append(str(error))
        else:
            found += [
                f"{split}: {len(members[split]):,} pictures; {due:,} were published"
                for split, due in _PUBLISHED_SPLIT.items()
                if len(members[split]) != due
            ]
        try:
            return [*found, *missing_pictures(self.pictures_folder(places, _FOLDERS), faces.files)]
        except InputError as error:
            return [*found, str(error)]

    def complete(self, root: Path) -> str:
        pictures = " + ".join(f"{num:,}" for num in _PUBLISHED_SPLIT.values())
        return f"complete: {pictures} pictures of {_PUBLISHED[1]:,} people"

    @classmethod
    def write_twin(cls, folder: Path, size: TwinSize, stream: Stream) -> None:
        """Write faces with a few visible attributes, of people with very different numbers of pictures."""
        from flspec.data.synthetic.pictures import write_celeba

        write_celeba(folder, size, stream)

    def _members(self, places: Sequence[Path], faces: _Faces) -> dict[str, NDArray[np.int64]]:
        """Return the pictures of each split, by their number in file order."""
        members = _published(places, faces) if self.split == "published" else _challenge(faces)
        for split in ("train", "test"):
            if not len(members[split]):
                raise InputError(f"dataset.split: {self.split} leaves no pictures to {split}; are the files complete?")
        return members

    def _pictures(self, faces: _Faces, in_test: NDArray[np.int64], chosen: NDArray[np.int64], folder: Path) -> Pictures:
        files = [faces.files[number] for number in chosen.tolist()]
        columns: dict[str, NDArray[Any]] = {
            name: faces.attributes[chosen, number].astype(np.int64) for number, name in enumerate(ATTRIBUTES)
        }
        columns |= {
            "identity": faces.people[chosen],
            "identity_in_test": in_test[chosen],
            "identity_order": faces.order[chosen],
            "file": np.array(files),
        }
        return Pictures([ImageFile(str(folder), file) for file in files], columns[self.target], columns)


@dataclass(frozen=True, eq=False)
class _Faces:
    """Content of the text files."""

    files: list[str]  # in the order of the attributes' file
    attributes: NDArray[np.uint8]  # [num_files, 40], 0 or 1, in the order of ATTRIBUTES
    people: NDArray[np.int64]  # [num_files]
    order: NDArray[np.int64]  # [num_files], position of the person's first line in the identity file


def _read_faces(places: Sequence[Path]) -> _Faces:
    files, attributes = _read_attributes(find(places, (_ATTRIBUTES, f"Anno/{_ATTRIBUTES}"), _ATTRIBUTES))
    people = _read_numbers(find(places, (_IDENTITIES, f"Anno/{_IDENTITIES}"), _IDENTITIES), files)
    first = {person: number for number, person in enumerate(dict.fromkeys(people.values()))}
    return _Faces(
        files,
        attributes,
        np.array([people[file] for file in files], np.int64),
        np.array([first[people[file]] for file in files], np.int64),
    )


def _read_attributes(path: Path) -> tuple[list[str], NDArray[np.uint8]]:
    """Read file names and attributes, uint8 [num_files, 40]: a count, the header, then lines of a name and 40 signs."""
    lines = read_lines(path)
    if len(lines) < 3 or not lines[0].strip().isdecimal():
        raise InputError(f"{path}:1: should be the number of pictures, with the names of attributes below it")
    if tuple(header := lines[1].split()) != ATTRIBUTES:
        missing = [name for name in ATTRIBUTES if name not in header]
        what = f"{missing[0]} is missing" if missing else "they are in another order"
        raise InputError(f"{path}:2: should name CelebA's {len(ATTRIBUTES)} attributes, but {what}")
    files: dict[str, None] = {}
    values = bytearray()
    for number, line in enumerate(lines[2:], start=3):
        name, *signs = line.split() or [""]
        if len(signs) != len(ATTRIBUTES) or not set(signs) <= {"-1", "1"}:
            raise InputError(
                f"{path}:{number}: should be a file and {len(ATTRIBUTES)} times -1 or 1, not {_quote(line)}"
            )
        if plain_name(name, f"{path}:{number}") in files:
            raise InputError(f"{path}:{number}: {name} is in the file twice")
        files[name] = None
        values += bytes([sign == "1" for sign in signs])
    if len(files) != int(lines[0]):
        raise InputError(f"{path}: says it has {int(lines[0]):,} pictures, but lists {len(files):,}; download it again")
    return list(files), np.frombuffer(bytes(values), np.uint8).reshape(len(files), len(ATTRIBUTES))


def _read_numbers(path: Path, files: Sequence[str]) -> dict[str, int]:
    """Read lines `file number`: a number for each file, in their order. Raises InputError unless each has one."""
    known = set(files)
    numbers: dict[str, int] = {}
    for number, line in enumerate(read_lines(path), start=1):
        match line.split():
            case [name, value] if value.isascii() and value.isdecimal() and len(value) < 19:
                if name not in known:
                    raise InputError(f"{path}:{number}: {shorten(name)} is not among the files of {_ATTRIBUTES}")
                if name in numbers:
                    raise InputError(f"{path}:{number}: {name} is in the file twice")
                numbers[name] = int(value)
            case _:
                raise InputError(f"{path}:{number}: should be a file and a number, not {_quote(line)}")
    if missing := [name for name in files if name not in numbers]:
        raise InputError(f"{path}: has no line for {len(missing):,} of {len(files):,} files, such as {missing[0]}")
    return numbers


def _published(places: Sequence[Path], faces: _Faces) -> dict[str, NDArray[np.int64]]:
    path = find(
        places, (_PARTITION, f"Eval/{_PARTITION}"), f"{_PARTITION} (without it, only split: challenge can be read)"
    )
    numbers = _read_numbers(path, faces.files)
    parts = np.array([numbers[file] for file in faces.files])
    if parts.max(initial=0) > max(_NUMBERS.values()):
        wrong = int(parts.argmax())
        raise InputError(f"{path}: {faces.files[wrong]} is in part {parts[wrong]}; there are 0, 1 and 2")
    return {split: np.flatnonzero(parts == number) for split, number in _NUMBERS.items()}


def _challenge(faces: _Faces) -> dict[str, NDArray[np.int64]]:
    """Return the split of a published challenge. Python has shuffled a seed in the same way since 3.2."""
    names = sorted(faces.files)
    random.Random(_CHALLENGE_SEED).shuffle(names)
    number = {file: position for position, file in enumerate(faces.files)}
    order = np.array([number[name] for name in names], np.int64)
    cut = int(len(names) * _CHALLENGE_SHARE)
    return {"train": order[:cut], "test": order[cut:]}


def _quote(line: str) -> str:
    return repr(shorten(line.strip(), 40))


def _count_differences(faces: _Faces) -> Iterator[str]:
    people = len(np.unique(faces.people))
    if (len(faces.files), people) != _PUBLISHED:
        pictures, published = _PUBLISHED
        yield (
            f"{len(faces.files):,} pictures of {people:,} people; {pictures:,} of {published:,} people were published"
        )
