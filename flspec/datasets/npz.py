"""Arrays in one file of numpy's `savez`."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from flspec.core.locations import Location, locate_file
from flspec.core.randomness import Stream
from flspec.core.reading import read_arrays
from flspec.data.column_types import as_integers
from flspec.data.examples import Data
from flspec.data.readings import ColumnFacts, FileFacts, Reading, array_facts, count_endings
from flspec.data.synthetic.twins import TwinSize, class_images, held_labels
from flspec.data.tables import Rows, as_float32, check_text, combine
from flspec.datasets.base import ImageDataset, Twinned
from flspec.datasets.table import NamedClasses
from flspec.errors import InputError, shorten

_MOST_BYTES = 2**33  # 8 GiB over all arrays, unpacked
_MOST_ARRAYS = 1000
_TWIN_CLASSES = 4
_NEEDED = ("x_train", "y_train", "x_test", "y_test")


class NpzArrays(Twinned, NamedClasses, ImageDataset):
    """A file of `np.savez`, as Keras shares data: `x_train`, `y_train`, `x_test` and `y_test`, a row for each example.

    Further arrays `NAME_train` and `NAME_test` are columns; `client` is the natural client. Labels are whole
    numbers, or names. uint8 features stay uint8 and are divided by `divisor`; other numbers become float32. No array is
    read before all sizes have been checked. Pickled objects are refused.
    """

    copies_while_read: ClassVar[float] = 3.4  # numbers of eight bytes, and their float32
    kind: Literal["npz"] = "npz"
    file: Annotated[
        Location | None,
        Field(
            description="the file, below the data root, beside the spec, or absolute; "
            "if absent, the only .npz in npz/ or in the root; "
            "${env:NAME} is replaced when it is read"
        ),
    ] = None
    channels: Annotated[
        Literal["first", "last"] | None,
        Field(description="which axis of images [num, a, b, c] is colour; if absent, the one of size 1 or 3"),
    ] = None
    divisor: Annotated[float, Field(gt=0, le=1e9, description="divisor of uint8 features")] = 255.0

    def read(self, root: Path, stream: Stream) -> Data:
        path = locate_file(self.file, root, "dataset.file") if self.file else self._found(root)
        arrays = read_arrays(path, _MOST_BYTES, _MOST_ARRAYS)
        if absent := [name for name in _NEEDED if name not in arrays]:
            raise InputError(f"{path}: no array {absent[0]}; it holds {shorten(', '.join(sorted(arrays)) or 'none')}")
        parts = {split: [self._rows(path, arrays, split)] for split in ("train", "test")}
        if "x_validation" in arrays and "y_validation" in arrays:
            parts["validation"] = [self._rows(path, arrays, "validation")]
        return combine(parts, divisor=self.divisor, client_column="client", classes=self.known_classes)

    def reading(self, root: Path) -> Reading:
        path = locate_file(self.file, root, "dataset.file") if self.file else self._found(root)
        beside = path.parent.glob("*.npz") if self.file is None else ()
        columns = self.file_facts(path).columns
        return Reading(
            columns=tuple(one for one in columns if one.name.endswith("_train") or one.role == "left out"),
            files_left_out=count_endings(one for one in beside if one != path),
        )

    def as_read_from(self, path: Path) -> dict[str, Any]:
        return {"kind": self.kind, "file": str(path.absolute())} | self.model_dump(mode="json", exclude_unset=True)

    def file_facts(self, path: Path) -> FileFacts:
        arrays = read_arrays(path, _MOST_BYTES, _MOST_ARRAYS)
        labels = arrays.get("y_train")
        columns = [_array_facts(name, array) for name, array in arrays.items()]
        absent = [f"there is no array {name}" for name in _NEEDED if name not in arrays]
        numbered = None if labels is None else _column(labels, f"{path}: y_train", may_be_missing=True)
        return self.facts_of(path, len(arrays.get("x_train", ())), columns, numbered, absent)

    @classmethod
    def write_twin(cls, folder: Path, size: TwinSize, stream: Stream) -> None:
        """Write data.npz with clients' small grey images. Every fifth is for evaluation."""
        holders, labels = held_labels(size.clients, size.examples, _TWIN_CLASSES, stream)
        images = class_images(labels, _TWIN_CLASSES, (12, 12), stream, "all")
        is_test = np.arange(len(labels)) % 5 == 4
        arrays = {
            f"{name}_{split}": array[chosen]
            for split, chosen in (("train", ~is_test), ("test", is_test))
            for name, array in (("x", images), ("y", labels), ("client", holders))
        }
        with zipfile.ZipFile(folder / "data.npz", "w", zipfile.ZIP_DEFLATED) as archive:
            for name, array in arrays.items():  # not by np.savez, which writes the current time into the file
                with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w") as file:
                    np.lib.format.write_array(file, np.ascontiguousarray(array), allow_pickle=False)

    def _found(self, root: Path) -> Path:
        for folder in (places := self.places(root)):
            if len(every := sorted(folder.glob("*.npz"))) == 1 and every[0].is_file():
                return every[0]
        raise InputError(
            f"dataset: no single .npz is in {' or '.join(map(str, places))}; name the file with dataset.file, "
            "--data-root or FLSPEC_DATA"
        )

    def _rows(self, path: Path, arrays: Mapping[str, NDArray[Any]], split: str) -> Rows:
        features = self._features(arrays[f"x_{split}"], f"{path}: x_{split}")
        labels = _column(arrays[f"y_{split}"], f"{path}: y_{split}")
        columns = {
            stem: _column(array, f"{path}: {name}", may_be_missing=stem != "client")
            for name, array in sorted(arrays.items())
            for stem, _, of in [name.rpartition("_")]
            if of == split and stem not in ("x", "y", "")
        }
        for name, array in {"y": labels, **columns}.items():
            if len(array) != len(features):
                raise InputError(
                    f"{path}: {name}_{split} has {len(array):,} rows, but x_{split} has {len(features):,}; each is one "
                    "of an example"
                )
        return Rows(f"{path}: {split}", features, labels, columns)

    def _features(self, array: NDArray[Any], source: str) -> NDArray[np.uint8] | NDArray[np.float32]:
        """Convert features to the form in which they are stored: images with their channels first."""
        if array.ndim < 2 or not array.size:
            raise InputError(f"{source}: shape {list(array.shape)} has no rows of values; give it two or more axes")
        if array.dtype.kind not in "uif":
            raise InputError(f"{source}: {array.dtype} is not a type of numbers; save it as float32 or uint8")
        if array.ndim == 3:
            array = array[:, np.newaxis]
        elif array.ndim == 4 and self._channel_axis(array.shape, source) == 3:
            array = array.transpose(0, 3, 1, 2)
        if array.dtype == np.uint8:
            return np.ascontiguousarray(array, np.uint8)
        return np.ascontiguousarray(as_float32(array, (), source))

    def _channel_axis(self, shape: tuple[int, ...], source: str) -> int:
        if self.channels:
            return 1 if self.channels == "first" else 3
        fitting = [axis for axis in (1, 3) if shape[axis] in (1, 3)]
        if len(fitting) != 1:
            raise InputError(
                f"{source}: images of shape {list(shape[1:])} may have their channels first or last; say which with "
                "dataset.channels"
            )
        return fitting[0]


def _array_facts(name: str, array: NDArray[Any]) -> ColumnFacts:
    """Return as what an array is taken, by its name."""
    stem, _, split = name.rpartition("_")
    if not stem or split not in ("train", "test", "validation"):
        why = "its name does not end in _train, _test or _validation"
        return array_facts(name, "left out", array, why)
    facts = array_facts(name, {"x": "feature", "y": "label", "client": "client"}.get(stem, "column"), array)
    shape = " × ".join(map(str, array.shape[1:]))
    return facts.model_copy(update={"holds": f"{array.dtype}, {shape}"}) if shape else facts


def _column(array: NDArray[Any], source: str, may_be_missing: bool = False) -> NDArray[Any]:
    """Convert an array of one value for each example to a type that is stored; a missing value is NaN."""
    if array.ndim == 2 and array.shape[1] == 1:  # the shape of CIFAR's labels in Keras
        array = array[:, 0]
    if array.ndim != 1:
        raise InputError(f"{source}: shape {list(array.shape)} is not one value for each example")
    match array.dtype.kind:
        case "u" | "i" | "b":
            return as_integers(array)
        case "f":
            if (wrong := ~np.isfinite(array) & ~(np.isnan(array) & may_be_missing)).any():
                raise InputError(f"{source}: row {int(wrong.argmax()) + 1}: not a finite number")
            return array.astype(np.float64)
        case "U":
            for text in np.unique(array).tolist():
                check_text(text, source)
            return np.array(array.tolist(), dtype=np.str_)  # in this machine's byte order, as short as possible
    raise InputError(f"{source}: {array.dtype} is neither numbers nor text; save it as one of them")
