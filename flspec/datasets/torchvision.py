"""torchvision's own data sets, by the names of their classes."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, JsonValue

from flspec.core.locations import Location
from flspec.core.randomness import Stream
from flspec.data.classes import Classes
from flspec.data.examples import Data
from flspec.data.tables import Draw, Rows, combine
from flspec.datasets.base import ImageDataset
from flspec.errors import InputError


class Torchvision(ImageDataset):
    """A data set of pictures in `torchvision.datasets`, by its class, such as `FashionMNIST`, `SVHN` or `EMNIST`.

    Its pictures have one size and one class each. Its training and its test split are read, or one split of which
    `holdout` is drawn for evaluation. What it calls its classes is kept. Needs torchvision: pip install torchvision.
    """

    copies_while_read: ClassVar[float] = 2.0  # the pictures one by one, and side by side
    kind: Literal["torchvision"] = "torchvision"
    name: Annotated[
        str,
        Field(
            pattern=r"^[A-Za-z]\w*$",
            max_length=100,
            description="a class of torchvision.datasets",
            examples=["FashionMNIST"],
        ),
    ]
    folder: Annotated[
        Location | None,
        Field(
            description="what torchvision calls root, below the data root, beside the spec, or absolute; if absent, "
            "torchvision/ or the data root; ${env:NAME} is replaced when it is read"
        ),
    ] = None
    arguments: Annotated[
        Mapping[str, JsonValue],
        Field(max_length=100, description="further arguments of the class", examples=[{"split": "letters"}]),
    ] = {}
    download: Annotated[bool, Field(description="have torchvision fetch what is not in the folder")] = False
    holdout: Annotated[
        float | None, Field(gt=0, lt=1, description="share of each class for evaluation, in place of a test split")
    ] = None
    split_seed: Annotated[int, Field(ge=0, lt=2**32, description="seed of the draw of that share")] = 0

    def read(self, root: Path, stream: Stream) -> Data:
        places = self.places(root, self.folder)
        folder = next((place for place in places if place.is_dir()), places[0])
        splits, names = _reader()(self.name, folder, self.arguments, self.download)
        if self.holdout is None and "test" not in splits:
            raise InputError(f"dataset: {self.name} has no test split; set dataset.holdout, e.g. 0.2")
        parts = {
            split: [Rows(f"{self.name}, {split}", pictures, labels)]
            for split, (pictures, labels) in splits.items()
            if split == "train" or self.holdout is None
        }
        draw = Draw(self.holdout, self.split_seed) if self.holdout else None
        return combine(parts, draw, 255.0, classes=Classes(names, are_positions=True) if names else None)


def _reader() -> Any:
    """Return the reader of torchvision's data sets, which comes with the backend that has torch."""
    for point in entry_points(group="flspec.library_data", name="torchvision"):
        return point.load()
    raise InputError("dataset: nothing here reads torchvision's data sets; install flspec again, with its backends")
