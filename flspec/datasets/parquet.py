"""Tables in Parquet files, in Hugging Face's layout of data sets."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from flspec.core.locations import Location, locate_file, searching_below
from flspec.core.randomness import Stream
from flspec.data.cell_numbers import way_out
from flspec.data.classes import Classes
from flspec.data.column_types import Cells
from flspec.data.examples import Data, as_numbers
from flspec.data.image_store import Listing, Pictures, open_images
from flspec.data.images import Decoding, UnreadableImage
from flspec.data.parquet_files import ImageFormat, ParquetFile, find_shards, image_format_of
from flspec.data.readings import ColumnFacts, FileFacts, Reading, array_facts, count_endings, num_words
from flspec.data.synthetic.twins import TwinSize, class_images, held_labels
from flspec.data.tables import Assembled, Rows, assemble, combine
from flspec.datasets.base import ImageDataset, Twinned
from flspec.datasets.encoded import RawFile
from flspec.datasets.table import TableColumns
from flspec.datasets.table_remarks import size_remarks, table_remarks
from flspec.datasets.text_remarks import remarks_on_column
from flspec.encodings import Column, Steps, takes_of
from flspec.encodings.table import refuse_all
from flspec.errors import InputError

__all__ = ["ParquetRows", "ParquetTable", "open_pictures", "shards_below", "write_pictures"]

_BELOW = ("", "data", "plain_text", "default")  # subfolders in which Hugging Face has shards
_IMAGE_COLUMNS = ("image", "img")
_TWIN_CLASSES = 4

Shards = dict[str, list[ParquetFile]]  # by split


class ParquetRows(TableColumns, ImageDataset, ABC):
    """Examples in Parquet files, a row each, wherever these are.

    A column of pictures is decoded from Hugging Face's form: bytes, or bytes with a path, which is not opened. Without
    one, all columns of numbers or lists of numbers are features, apart from an index of pandas.
    """

    copies_while_read: ClassVar[float] = 2.6  # the table, a column, and its parts once a test set is drawn
    image: Annotated[
        str | None, Field(min_length=1, description="column of pictures; if absent, `image` or `img` if there is one")
    ] = None
    size: Annotated[
        int | None,
        Field(ge=1, le=4096, description="height and width to scale pictures to; if absent, all must have one size"),
    ] = None
    fit: Annotated[
        Literal["crop", "stretch"],
        Field(description="for other aspect ratios: crop scales and cuts out the middle, stretch distorts"),
    ] = "crop"
    colour: Annotated[
        Literal["rgb", "grey"] | None, Field(description="three channels or one; if absent, as in the files, all alike")
    ] = None

    @model_validator(mode="after")
    def _one_input(self) -> ParquetRows:
        if self.image and self.features:
            raise ValueError("image and features both define a model's input; remove one")
        return self

    def read(self, root: Path, stream: Stream) -> Data:
        shards = self._shards(root)
        first = shards["train"][0]
        image = self._image_column(first)
        features: dict[str, Steps] = {} if image else self._features(first)
        for file in (file for files in shards.values() for file in files):
            needed = [*([image] if image else features), self.label, *self.kept(list(first.types))]
            self.check_names(list(file.types), str(file.path), needed)
        classes, client = self._classes(first), self.client_in(list(first.types))
        if image is None and self.is_encoded:
            none = np.empty((0, 0), np.float32)
            parts = {split: [self._rows(file, none) for file in files] for split, files in shards.items()}
            raw = {split: [_raw(file, features) for file in files] for split, files in shards.items()}
            with searching_below(root):
                return self.encoded(parts, raw, features, client, classes)
        if image is None:
            parts = {
                split: [self._rows(file, self._numbers(file, list(features))) for file in files]
                for split, files in shards.items()
            }
            data = combine(parts, self.draw, client_column=client, classes=classes)
            is_named = data.train.features.shape[1:] == (len(features),)  # and no column holds lists
            return replace(data, feature_names=tuple(features) if is_named else ())
        decoding, due = self._decoding(first, image)
        parts = {
            split: [self._rows(file, np.array(file.images(image, due), dtype=object)) for file in files]
            for split, files in shards.items()
        }
        return open_pictures(first.path.parent, assemble(parts, self.draw, classes=classes), decoding, client)

    def reading(self, root: Path) -> Reading:
        shards = self._shards(root)
        first = shards["train"][0]
        read = {file.path for files in shards.values() for file in files}
        return Reading(
            columns=tuple(self._column_facts(first)),
            files_left_out=count_endings(path for path in self.beside(first.path) if path not in read),
        )

    def remarks(self, data: Data) -> list[str]:
        return list(table_remarks(data, self.features))

    def urgent_remarks(self, data: Data) -> list[str]:
        return list(size_remarks(data, self.features))

    def as_read_from(self, path: Path) -> dict[str, Any]:
        return self.section_for(path)

    def file_facts(self, path: Path) -> FileFacts:
        file = ParquetFile(path)
        columns = [self._counted(file, column) for column in self._column_facts(file)]
        labels = file.column(self.label, may_be_empty=True) if self.label in file.types else None
        has_texts = self.text is not None and self.text[0] in file.types and file.in_words(self.text[0]) == "text"
        with searching_below(path.parent):
            remarks = list(remarks_on_column(self.text if has_texts else None, file.texts))
        return self.facts_of(path, file.num_rows, columns, labels, self.problems(columns, file.num_rows), remarks)

    @abstractmethod
    def paths(self, root: Path) -> dict[str, list[Path]]:
        """Return the files of each split, those of "train" first. Raises InputError if they are not there."""

    def beside(self, first: Path) -> Iterable[Path]:
        """Return the files among which those of `paths` were chosen."""
        return ()

    def _shards(self, root: Path) -> Shards:
        paths = self.paths(root)
        if self.holdout:
            paths.pop("test", None)
        elif not paths.get("test"):
            raise InputError(
                f"dataset: no test*.parquet beside {paths['train'][0]}; set the share of the rows for evaluation "
                "with dataset.holdout, e.g. 0.2"
            )
        return {split: [ParquetFile(path) for path in found] for split, found in paths.items() if found}

    def _image_column(self, file: ParquetFile) -> str | None:
        if self.features is not None:
            return None
        if self.image is None:
            return next((name for name in _IMAGE_COLUMNS if file.is_image(name)), None)
        self.check_names(list(file.types), str(file.path), [self.image])
        if not file.is_image(self.image):
            raise InputError(f"{file.path}: column {self.image} holds {file.in_words(self.image)}, not pictures")
        return self.image

    def _features(self, file: ParquetFile) -> dict[str, Steps]:
        """Return the feature columns: those named, or all columns of numbers without another role."""
        names = list(file.types)
        found = self.feature_columns(names, file.unfit())
        self.check_names(names, str(file.path), list(found))
        texts = [n for n, steps in found.items() if takes_of(steps) == "numbers" and not file.is_number(n)]
        wrong = [n for n, steps in found.items() if takes_of(steps) == "texts" and file.in_words(n) != "text"]
        refuse_all(
            [
                *(
                    f"{file.path}: column {name} holds {file.in_words(name)}, not numbers; "
                    + way_out(file.in_words(name), name, self.features is None)
                    for name in texts
                ),
                *(f"{file.path}: column {name} holds {file.in_words(name)}, not texts; name another" for name in wrong),
            ]
        )
        if not found:
            raise InputError(f"{file.path}: neither a column of pictures nor one of numbers is left for features")
        return found

    def _classes(self, file: ParquetFile) -> Classes | None:
        """Return the classes that the spec names, or those that Hugging Face's description of the file has."""
        names = file.label_names(self.label)
        return self.known_classes or (Classes(names, are_positions=True) if names else None)

    def _column_facts(self, file: ParquetFile) -> list[ColumnFacts]:
        """Return the role of each column, and what it holds, without reading its values."""
        names, image = list(file.types), self._image_column(file)
        if image is None:
            return [
                column.model_copy(update={"holds": file.in_words(column.name)})
                for column in self.column_facts(names, file.unfit())
            ]
        others = {self.label: "label"} | dict.fromkeys(self.kept(names), "column") | {self.client_in(names): "client"}
        facts = {
            name: ColumnFacts(name=name, role=others[name], holds=file.in_words(name))
            if name in others
            else ColumnFacts(name=name, role="left out", holds=file.in_words(name), why=f"the pictures are in {image}")
            for name in names
        }
        return list((facts | {image: ColumnFacts(name=image, role="feature", holds="pictures")}).values())

    def _counted(self, file: ParquetFile, column: ColumnFacts) -> ColumnFacts:
        """Return the facts of a column with what its values are counted."""
        if not column.role.startswith(("label", "client", "column")):
            missing, num_values = file.count(column.name)
            why = "values are missing" if missing and column.role == "feature" else column.why
            words = _mean_words(file, column.name) if column.holds == "text" else None
            known = {"missing": missing, "num_values": num_values, "why": why, "words": words}
            return column.model_copy(update=known)
        found = array_facts(column.name, column.role, file.column(column.name, may_be_empty=True))
        same = found.holds == column.holds
        return found.model_copy(update={"why": "" if same else f"the file has {column.holds}"})

    def _numbers(self, file: ParquetFile, features: Sequence[str]) -> NDArray[np.float32]:
        return self.shaped(file.numbers(features), str(file.path))

    def _rows(self, file: ParquetFile, features: NDArray[Any]) -> Rows:
        client, names = self.client_in(list(file.types)), self.kept(list(file.types))
        columns = {name: file.column(name, may_be_empty=name != client) for name in names}
        return Rows(str(file.path), features, file.column(self.label), columns)

    def _decoding(self, file: ParquetFile, image: str) -> tuple[Decoding, ImageFormat]:
        """Return the decoding of pictures, and the format they must have where the spec does not set it."""
        try:
            look = image_format_of(file.images(image)[0].read())
        except UnreadableImage as error:
            raise InputError(f"{file.path}: row 1: the picture {error}") from None
        is_grey = look.is_grey if self.colour is None else self.colour == "grey"
        height, width = (self.size, self.size) if self.size else (look.height or 0, look.width or 0)
        due = ImageFormat(
            None if self.size else look.height,
            None if self.size else look.width,
            look.is_grey if self.colour is None else None,
        )
        return Decoding(height, width, self.fit, "grey" if is_grey else "rgb"), due


def _mean_words(file: ParquetFile, name: str) -> float | None:
    """Return how many words a column's texts have in the mean, missing ones apart; None if they cannot be read."""
    try:
        cells = file.texts(name)
    except InputError:  # of a column that may not be used at all
        return None
    counts, words = cells.counts(), [num_words([text]) for text in cells.distinct]
    known = sum(num for text, num in zip(cells.distinct, counts, strict=True) if text)
    return sum(num * each for num, each in zip(counts, words, strict=True)) / max(1, known)


class ParquetTable(Twinned, ParquetRows):
    """Shards `train*.parquet`, `test*.parquet` and `validation*.parquet`, or one file with a share for evaluation.

    A column of pictures is decoded from Hugging Face's form: bytes, or bytes with a path, which is not opened. Without
    one, all columns of numbers or lists of numbers are features, apart from an index of pandas. Needs pyarrow: pip
    install 'flspec[parquet]'.
    """

    kind: Literal["parquet"] = "parquet"
    folder: Annotated[
        Location | None,
        Field(
            description="where the shards are, or data/ with them, below the data root, beside the spec, or absolute; "
            "if absent, in "
            "parquet/ or in the root; ${env:NAME} is replaced when they are read"
        ),
    ] = None
    file: Annotated[Location | None, Field(description="one file in place of shards, with holdout for evaluation")] = (
        None
    )

    @model_validator(mode="after")
    def _one_place(self) -> ParquetTable:
        if self.file and self.folder:
            raise ValueError("file and folder both name the rows' place; remove one")
        return self

    def paths(self, root: Path) -> dict[str, list[Path]]:
        if self.file:
            return {"train": [locate_file(self.file, root, "dataset.file")]}
        return shards_below(self.places(root, self.folder))

    def beside(self, first: Path) -> Iterable[Path]:
        return first.parent.glob("*.parquet") if self.file is None else ()

    @classmethod
    def write_twin(cls, folder: Path, size: TwinSize, stream: Stream) -> None:
        """Write a train and a test shard with clients' small pictures. Every fifth is for test."""
        holders, labels = held_labels(size.clients, size.examples, _TWIN_CLASSES, stream)
        images = class_images(labels, _TWIN_CLASSES, (3, 16, 16), stream, "all")
        is_test = np.arange(len(labels)) % 5 == 4
        (folder / "data").mkdir()
        names = [f"class {number}" for number in range(_TWIN_CLASSES)]
        for split, chosen in (("train", ~is_test), ("test", is_test)):
            clients = [f"client-{holder}" for holder in holders[chosen]]
            file = folder / "data" / f"{split}-00000-of-00001.parquet"
            write_pictures(file, images[chosen], labels[chosen], names, client=clients)


def _raw(file: ParquetFile, features: Mapping[str, Steps]) -> RawFile:
    """Read columns of a file before they are encoded."""
    columns: dict[str, Column] = {}
    for name, steps in features.items():
        if takes_of(steps) == "texts":
            columns[name] = file.texts(name)
        elif takes_of(steps) == "categories":
            columns[name] = Cells.of(file.column(name, may_be_empty=True))
        elif file.types[name].num_fields:
            columns[name] = file.numbers([name]).astype(np.float64)  # lists
        else:
            columns[name] = as_numbers(file.column(name, may_be_empty=True))[:, np.newaxis]
    return RawFile(str(file.path), file.num_rows, columns)


def shards_below(places: Sequence[Path]) -> dict[str, list[Path]]:
    """Find the files of each split, in the first folder or Hugging Face subfolder that has training shards."""
    for folder in [place / name for place in places for name in _BELOW]:
        if found := find_shards(folder, "train"):
            return {"train": found, **{split: find_shards(folder, split) for split in ("test", "validation")}}
    raise InputError(
        f"dataset: no train*.parquet is in {' or '.join(map(str, places))}; name the folder with dataset.folder, "
        "--data-root or FLSPEC_DATA"
    )


def open_pictures(folder: Path, made: Assembled, decoding: Decoding, client: str | None = None) -> Data:
    """Open a data set whose features are sources of pictures."""
    splits: Mapping[str, Pictures] = {
        name: Pictures(split.features.tolist(), split.labels.astype(np.int64), split.columns)
        for name, split in made.splits.items()
    }
    return open_images(Listing(folder, splits, decoding, made.num_classes, made.label_names, client))


def write_pictures(
    path: Path,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    label_names: Sequence[str],
    image_column: str = "image",
    **columns: Sequence[str],
) -> None:
    """Write pictures, uint8 [num, channels, height, width], as PNG in a column of Hugging Face's form."""
    from PIL import Image

    from flspec.data.parquet_files import pyarrow_module

    pyarrow = pyarrow_module()
    cells = []
    for number, pixels in enumerate(images):
        file = BytesIO()
        Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)).squeeze()).save(file, "PNG")
        cells.append({"bytes": file.getvalue(), "path": f"{number:05d}.png"})
    kind = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    described = {"info": {"features": {"label": {"names": list(label_names), "_type": "ClassLabel"}}}}
    table = pyarrow.table({image_column: pyarrow.array(cells, kind), "label": pyarrow.array(labels), **columns})
    table = table.replace_schema_metadata({"huggingface": json.dumps(described)})
    pyarrow.parquet.write_table(table, path)
