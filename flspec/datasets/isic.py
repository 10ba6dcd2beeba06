"""ISIC: pictures of moles and melanomas, from the 2020 challenge and later (Rotemberg et al., Scientific Data 2021)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from flspec.core.locations import Location, locate
from flspec.core.randomness import Stream
from flspec.data.examples import Data
from flspec.data.image_metadata import Row, find, plain_name, read_table
from flspec.data.image_store import Listing, Pictures, open_images
from flspec.data.images import ImageFile
from flspec.data.synthetic.twins import TwinSize
from flspec.datasets.pictures import PictureDataset, Size, missing_pictures
from flspec.errors import InputError, shorten

_METADATA = "train_concat.csv"
_FOLDERS = ("train/train", "train")
_PUBLISHED = 37_648
_NO_PATIENT = "nan"  # all pictures without a patient are one group
_OPTIONAL = ("sex", "age_approx", "anatom_site_general_challenge")
_AGE = re.compile(r"([0-9]{1,3}(\.[0-9]{0,6})?)?")
_MISSING = {"", "nan", "NaN", "NA"}


class Isic(PictureDataset):
    """37,648 pictures of moles, 256 by 256 pixels, of which some are melanomas.

    Reads `train_concat.csv` and `train/train/IMAGE_NAME.jpg`. Columns: `patient_id`, the natural client, which is `nan`
    for all pictures without one; `image_name`; `patient_has_benign`, 1 unless all pictures of the patient, train and
    test, are melanomas; and `sex`, `age_approx` (NaN if unknown) and `anatom_site_general_challenge`, if the file has
    them.
    """

    kind: Literal["isic"] = "isic"
    size: Size = 256
    test_metadata: Annotated[
        Location | None,
        Field(description="a second CSV file, of pictures for evaluation, found as `folder` is; replaces holdout"),
    ] = None
    holdout: Annotated[float, Field(gt=0, lt=1, description="share of the pictures for evaluation")] = 0.2
    split_by: Annotated[
        Literal["image", "patient"],
        Field(
            description="image: stratified by class, drawn by scikit-learn's train_test_split; "
            "patient: all pictures of a patient are in one split"
        ),
    ] = "image"
    split_seed: Annotated[
        int, Field(ge=0, lt=2**32, description="seed of the draw; not the experiment's, so its seeds share a test")
    ] = 42

    def read(self, root: Path, stream: Stream) -> Data:
        places = self.places(root, self.folder)
        moles = _read_moles(find(places, (_METADATA,), _METADATA))
        parts = {"train": moles, "test": self._second(root, moles)} if self.test_metadata else self._shares(moles)
        benign = {mole.patient for part in parts.values() for mole in part if not mole.target}
        folder = self.pictures_folder(places, _FOLDERS)
        optional = [name for name in _OPTIONAL if all(name in part[0].known for part in parts.values())]
        splits = {split: _pictures(part, benign, optional, folder) for split, part in parts.items()}
        return open_images(Listing(folder, splits, self.decoding, 2, ("benign", "melanoma"), "patient_id"))

    def findings(self, root: Path) -> Sequence[str]:
        places = self.places(root, self.folder)
        try:
            moles = _read_moles(find(places, (_METADATA,), _METADATA))
        except InputError as error:
            return [str(error)]
        found = []
        if len(moles) != _PUBLISHED:
            found.append(f"{_METADATA}: {len(moles):,} pictures; {_PUBLISHED:,} were published")
        found += [f"{_METADATA}: no column {name}" for name in _OPTIONAL if name not in moles[0].known]
        try:
            folder = self.pictures_folder(places, _FOLDERS)
        except InputError as error:
            return [*found, str(error)]
        return [*found, *missing_pictures(folder, [f"{mole.name}.jpg" for mole in moles])]

    def complete(self, root: Path) -> str:
        return f"complete: {_PUBLISHED:,} pictures"

    @classmethod
    def write_twin(cls, folder: Path, size: TwinSize, stream: Stream) -> None:
        """Write moles of patients with very different numbers of pictures. Some patients have no metadata."""
        from flspec.data.synthetic.pictures import write_isic

        write_isic(folder, size, stream)

    def _second(self, root: Path, moles: Sequence[_Mole]) -> list[_Mole]:
        assert self.test_metadata is not None
        path = locate(self.test_metadata, root, "dataset.test_metadata")
        second = _read_moles(path)
        known = {mole.name for mole in moles}
        if both := [mole.name for mole in second if mole.name in known]:
            raise InputError(f"{path}: {both[0]} is also a training picture, with {len(both) - 1:,} more")
        return second

    def _shares(self, moles: Sequence[_Mole]) -> dict[str, list[_Mole]]:
        drawn = self._by_image(moles) if self.split_by == "image" else self._by_patient(moles)
        return {split: [moles[number] for number in part.tolist()] for split, part in drawn.items()}

    def _by_image(self, moles: Sequence[_Mole]) -> dict[str, NDArray[np.int64]]:
        from sklearn.model_selection import train_test_split

        targets = np.array([mole.target for mole in moles])
        try:
            train, test = train_test_split(
                np.arange(len(moles)), stratify=targets, test_size=self.holdout, random_state=self.split_seed
            )
        except ValueError as error:
            counts = ", ".join(f"{count:,} of class {target}" for target, count in sorted(Counter(targets).items()))
            raise InputError(f"dataset.holdout: {self.holdout:g} of {counts} cannot be drawn: {error}") from None
        return {"train": train, "test": test}

    def _by_patient(self, moles: Sequence[_Mole]) -> dict[str, NDArray[np.int64]]:
        """Draw test patients in random order, each that still fits, separately with and without benign pictures."""
        sizes = Counter(mole.patient for mole in moles)
        benign = {mole.patient for mole in moles if not mole.target}
        chosen: set[str] = set()
        for number, group in enumerate((sorted(benign), sorted(set(sizes) - benign))):
            left = self.holdout * sum(sizes[patient] for patient in group)
            for place in Stream(self.split_seed, "isic", "patients", number).permutation(len(group)):
                if sizes[group[place]] <= left:
                    chosen.add(group[place])
                    left -= sizes[group[place]]
        is_test = np.array([mole.patient in chosen for mole in moles])
        if not is_test.any():
            raise InputError(
                f"dataset.holdout: {self.holdout:g} of {len(moles):,} pictures is fewer than any of the "
                f"{len(sizes):,} patients has; raise it, or set split_by: image"
            )
        return {"train": np.flatnonzero(~is_test), "test": np.flatnonzero(is_test)}


@dataclass(frozen=True, slots=True)
class _Mole:
    """One line of the table."""

    name: str
    patient: str
    target: int
    known: Mapping[str, str | float]  # the optional columns


def _read_moles(path: Path) -> list[_Mole]:
    moles: dict[str, _Mole] = {}
    for row in read_table(path, ("image_name", "patient_id", "target")):
        mole = _read_mole(row)
        if mole.name in moles:
            raise InputError(f"{row.place}: image_name {mole.name} is in the file twice")
        moles[mole.name] = mole
    if not moles:
        raise InputError(f"{path}: lists no pictures")
    return list(moles.values())


def _read_mole(row: Row) -> _Mole:
    if row["target"] not in ("0", "1"):
        raise InputError(f"{row.place}: target should be 0 or 1, not {shorten(row['target'])!r}")
    patient = row["patient_id"].strip()
    return _Mole(
        plain_name(row["image_name"], f"{row.place}: image_name"),
        _NO_PATIENT if patient in _MISSING else patient,
        int(row["target"]),
        {name: _optional(row, name) for name in _OPTIONAL if name in row.cells},
    )


def _optional(row: Row, name: str) -> str | float:
    text = "" if (cell := row[name].strip()) in _MISSING else cell
    if name != "age_approx":
        return text
    if not _AGE.fullmatch(text):
        raise InputError(f"{row.place}: age_approx should be a number or nothing, not {shorten(text)!r}")
    return float(text or "nan")


def _pictures(moles: Sequence[_Mole], benign: set[str], optional: Sequence[str], folder: Path) -> Pictures:
    columns: dict[str, NDArray[Any]] = {
        "image_name": np.array([mole.name for mole in moles]),
        "patient_id": np.array([mole.patient for mole in moles]),
        "patient_has_benign": np.array([mole.patient in benign for mole in moles], np.int64),
    }
    columns |= {name: np.array([mole.known[name] for mole in moles]) for name in optional}
    return Pictures(
        [ImageFile(str(folder), f"{mole.name}.jpg") for mole in moles],
        np.array([mole.target for mole in moles], np.int64),
        columns,
    )
