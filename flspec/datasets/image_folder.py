"""Pictures in a folder for each class."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from flspec.core.locations import Location, locate_file, searching_beside
from flspec.core.randomness import Stream
from flspec.core.text import join_some
from flspec.data.column_types import Cells, type_cells
from flspec.data.examples import Data
from flspec.data.image_metadata import Row, read_table
from flspec.data.image_store import Listing, Pictures, open_images
from flspec.data.images import ImageFile, archives
from flspec.data.readings import ColumnFacts, Reading, count_endings
from flspec.data.synthetic.twins import TwinSize
from flspec.datasets.pictures import PictureDataset, Size
from flspec.errors import InputError, choose, shorten

_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm"}
_FILE_COLUMNS = ("file", "file_name")


class ImageFolder(PictureDataset):
    """A folder for each class below `train/`, `test/` and `val/`; or folders of classes, split by `holdout`.

    Without `test/`, `val/` is the test set. Classes are numbered in the alphabetical order of the training folders, and
    pictures are in the alphabetical order of their names. Files of other types, and files whose name begins with a
    dot, are ignored. `metadata` names a CSV file with a line for each picture: `file`, its path below the folder
    (`train/cat/1.jpg`), and columns for partitions. Column: `file`.
    """

    kind: Literal["image_folder"] = "image_folder"
    size: Size = 64
    holdout: Annotated[
        float | None,
        Field(gt=0, lt=1, description="share of each class for evaluation, if there is neither test/ nor val/"),
    ] = None
    split_seed: Annotated[int, Field(ge=0, lt=2**32, description="seed of the draw of that share")] = 0
    metadata: Annotated[
        Location | None, Field(description="CSV file below the folder with a line for each picture")
    ] = None
    client_column: Annotated[
        str | None, Field(min_length=1, description="column of the metadata with the client of each picture")
    ] = None

    @model_validator(mode="after")
    def _clients_are_in_the_metadata(self) -> ImageFolder:
        if self.client_column and not self.metadata:
            raise ValueError("client_column is a column of the metadata file; set metadata")
        return self

    def read(self, root: Path, stream: Stream) -> Data:
        folder = self._root(root)
        found = self._found(folder)
        classes = _classes(folder, found)
        about = self._metadata(folder, found)
        splits = {
            split: Pictures(
                [ImageFile(str(folder), picture.file) for picture in pictures],
                np.array([classes.index(picture.label) for picture in pictures], np.int64),
                {"file": np.array([picture.file for picture in pictures])} | about[split],
            )
            for split, pictures in found.items()
        }
        return open_images(Listing(folder, splits, self.decoding, len(classes), tuple(classes), self.client_column))

    def reading(self, root: Path) -> Reading:
        folder = self._root(root)
        found = self._found(folder)
        columns = self._metadata(folder, found)["train"]
        roles = {name: "client" if name == self.client_column else "column" for name in ("file", *columns)}
        tops = [top for name in ("train", "test", "val") if (top := folder / name).is_dir()] or [folder]
        others = (file for top in tops for file in _others(top))
        return Reading(
            columns=tuple(ColumnFacts(name=name, role=role) for name, role in roles.items()),
            files_left_out=count_endings(others),
        )

    def findings(self, root: Path) -> Sequence[str]:
        """Report why the pictures cannot be listed. There is no published data set to compare with."""
        try:
            folder = self._root(root)
            found = self._found(folder)
            _classes(folder, found)
            self._metadata(folder, found)
        except InputError as error:
            return [str(error)]
        return ()

    def complete(self, root: Path) -> str:
        counts = " + ".join(f"{len(pictures):,}" for pictures in self._found(self._root(root)).values())
        return f"readable: {counts} pictures, not decoded yet; there is no published data set to compare them with"

    @classmethod
    def write_twin(cls, folder: Path, size: TwinSize, stream: Stream) -> None:
        """Write shapes of four classes, and `metadata.csv` with the column `client`."""
        from flspec.data.synthetic.pictures import write_image_folder

        write_image_folder(folder, size, stream)

    def _root(self, root: Path) -> Path:
        for place in (places := self.places(root, self.folder)):
            if place.is_dir():
                return place
        where = " or ".join(map(str, places))
        raise InputError(f"dataset: no folder {where}; name it with dataset.folder, --data-root or FLSPEC_DATA")

    def _found(self, folder: Path) -> dict[str, list[_Picture]]:
        tops = {name: folder / name for name in ("train", "test", "val") if (folder / name).is_dir()}
        if "train" in tops and len(tops) > 1:
            if "test" not in tops:
                tops["test"] = tops.pop("val")
            found = {name: list(_pictures(top, folder)) for name, top in tops.items()}
            found = {{"val": "validation"}.get(name, name): pictures for name, pictures in found.items()}
        else:
            found = self._shares(list(_pictures(tops.get("train", folder), folder)), folder)
        for split, pictures in found.items():
            if not pictures:
                raise InputError(f"{folder}: no pictures for {split}; put them in a folder for each class")
        return found

    def _shares(self, pictures: Sequence[_Picture], folder: Path) -> dict[str, list[_Picture]]:
        """Draw from each class the share for evaluation, rounded up but never the whole class."""
        if self.holdout is None:
            raise InputError(f"{folder}: neither test/ nor val/ beside train/; set holdout, the share for evaluation")
        test: set[str] = set()
        for label in sorted({picture.label for picture in pictures}):
            files = [picture.file for picture in pictures if picture.label == label]
            count = min(-int(-self.holdout * len(files) // 1), len(files) - 1)
            drawn = Stream(self.split_seed, "image_folder", label).choice(len(files), count)
            test |= {files[number] for number in drawn}
        return {
            "train": [picture for picture in pictures if picture.file not in test],
            "test": [picture for picture in pictures if picture.file in test],
        }

    def _metadata(self, folder: Path, found: dict[str, list[_Picture]]) -> dict[str, dict[str, NDArray[Any]]]:
        """Read the columns of each split, in its order."""
        if self.metadata is None:
            return {split: {} for split in found}
        with searching_beside(()):  # it belongs to the pictures
            path = locate_file(self.metadata, folder, "dataset.metadata")
        rows = _rows_by_file(path, {picture.file for pictures in found.values() for picture in pictures})
        names = [name for name in next(iter(rows.values())).cells if name not in _FILE_COLUMNS]
        if self.client_column and self.client_column not in names:
            problem = choose(self.client_column, names)
            raise InputError(f"dataset.client_column: {problem}; these are the columns of {path}")
        columns: dict[str, dict[str, NDArray[Any]]] = {split: {} for split in found}
        for name in names:
            cells = [Cells.of([rows[picture.file][name] for picture in pictures]) for pictures in found.values()]
            for split, values in zip(found, type_cells(cells), strict=True):
                columns[split][name] = values
        return columns


@dataclass(frozen=True, slots=True)
class _Picture:
    file: str  # below the data set's folder, with forward slashes
    label: str


def _classes(folder: Path, found: Mapping[str, Sequence[_Picture]]) -> list[str]:
    """Return the classes in the order of their numbers. Raises InputError for a class without training pictures."""
    classes = sorted({picture.label for picture in found["train"]})
    if len(classes) < 2:
        raise InputError(f"{folder}: pictures of {len(classes)} class; there should be a folder for each of several")
    for split, pictures in found.items():
        if strange := [picture for picture in pictures if picture.label not in classes]:
            raise InputError(f"{folder}: {split} has {strange[0].file}, but its class has no training pictures")
    return classes


def _pictures(top: Path, folder: Path) -> Iterator[_Picture]:
    """Yield every picture of every class, in alphabetical order."""
    if packed := archives(top):
        raise InputError(f"{top}: extract {join_some(packed)}, which flspec does not, and move it elsewhere")
    for place in sorted(top.iterdir()):
        if not place.is_dir() or place.name.startswith("."):
            continue
        files = sorted(file for file in place.iterdir() if not file.name.startswith("."))
        if deeper := [file for file in files if file.is_dir()]:
            raise InputError(f"{deeper[0]}: a folder in the folder of a class; pictures should be directly in {place}")
        chosen = list(filter(is_picture, files))
        if not chosen:
            raise InputError(f"{place}: no pictures ({', '.join(sorted(_SUFFIXES))}); remove it, or fill it")
        for file in chosen:
            yield _Picture(file.relative_to(folder).as_posix(), place.name)


def _others(top: Path) -> Iterator[Path]:
    """Yield the files in folders of classes that are not read."""
    for place in top.iterdir():
        if place.is_dir() and not place.name.startswith("."):
            yield from (file for file in place.iterdir() if not is_picture(file))


def is_picture(file: Path) -> bool:
    return not file.name.startswith(".") and file.suffix.lower() in _SUFFIXES


def _rows_by_file(path: Path, files: set[str]) -> dict[str, Row]:
    """Return the line of every picture. Raises InputError for a picture without a line or a line without a picture."""
    rows: dict[str, Row] = {}
    for row in read_table(path, ()):
        column = next((name for name in _FILE_COLUMNS if name in row.cells), None)
        if column is None:
            raise InputError(f"{path}:1: no column file; it should hold paths such as {min(files)}")
        file = row[column]
        if PurePosixPath(file).is_absolute() or ".." in PurePosixPath(file).parts:
            raise InputError(f"{row.place}: {shorten(file)!r} leads out of {path.parent}")
        if file not in files:
            raise InputError(f"{row.place}: there is no picture {shorten(file)!r} in {path.parent}")
        if file in rows:
            raise InputError(f"{row.place}: {file} is in the file twice")
        rows[file] = row
    if without := sorted(files - set(rows)):
        raise InputError(f"{path}: no line for {len(without):,} of {len(files):,} pictures: {join_some(without)}")
    return rows
