"""Base class of data sets of picture files."""

from __future__ import annotations

from abc import ABC
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from flspec.core.locations import Location
from flspec.core.text import join_some
from flspec.data.images import Decoding, archives
from flspec.datasets.base import ImageDataset, Twinned
from flspec.errors import InputError

__all__ = ["PictureDataset", "Size", "missing_pictures"]

Size = Annotated[
    int,
    Field(ge=1, le=4096, description="height and width in pixels, to which pictures are scaled when they are decoded"),
]


class PictureDataset(Twinned, ImageDataset, ABC):
    """A data set of picture files, which are decoded once into the store."""

    folder: Annotated[
        Location | None,
        Field(
            description="where the files are, below the data root, beside the spec, or absolute; "
            "if absent, in the folder of the kind's "
            "name or in the root; ${env:NAME} is replaced when they are read"
        ),
    ] = None
    size: Size = 64
    width: Annotated[
        int | None,
        Field(ge=1, le=4096, description="width in pixels, if it differs from `size`, which is then the height"),
    ] = None
    fit: Annotated[
        Literal["crop", "stretch"],
        Field(description="for other aspect ratios: crop scales and cuts out the middle, stretch distorts"),
    ] = "crop"
    colour: Annotated[Literal["rgb", "grey"], Field(description="three channels or one")] = "rgb"

    @property
    def decoding(self) -> Decoding:
        """The format to which pictures are decoded."""
        return Decoding(self.size, self.width or self.size, self.fit, self.colour)

    def pictures_folder(self, places: Sequence[Path], names: Sequence[str]) -> Path:
        """Find the folder of pictures: one of `names` in one of `places`. The error names archives still to extract."""
        candidates = [place / name for place in places for name in names]
        for folder in candidates:
            if folder.is_dir():
                return folder
        for folder in (*places, *(candidate.parent for candidate in candidates)):
            if packed := archives(folder):
                wanted = join_some(packed)
                raise InputError(f"{folder}: {names[0]} is not there; extract {wanted}, which flspec does not")
        raise InputError(
            f"dataset: the folder {names[0]} is not in {' or '.join(map(str, places))}; put it there, or name the one "
            "that holds it with dataset.folder, --data-root or FLSPEC_DATA"
        )


def missing_pictures(folder: Path, names: Sequence[str]) -> list[str]:
    """Report the pictures that are missing in a folder, in at most one line."""
    there = {path.name for path in folder.iterdir()}
    missing = [name for name in names if name not in there]
    finding = f"{folder}: {len(missing):,} of {len(names):,} pictures are missing: {join_some(missing)}"
    return [finding] if missing else []
