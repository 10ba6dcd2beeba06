"""What all data sets of picture files have in common."""

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
    int, Field(ge=1, le=4096, description="pixels a side to which pictures are scaled once, when they are decoded")
]


class PictureDataset(Twinned, ImageDataset, ABC):
    """Pictures in files of their own, decoded once and kept by content."""

    folder: Annotated[
        Location | None,
        Field(
            description="where the files are, below the data root or absolute; if absent, in the folder of the kind's "
            "name or in the root; ${env:NAME} is replaced when they are read"
        ),
    ] = None
    size: Size = 64
    width: Annotated[
        int | None, Field(ge=1, le=4096, description="pixels across, where it is not `size`, which is then the height")
    ] = None
    fit: Annotated[
        Literal["crop", "stretch"],
        Field(description="a picture of another shape: scaled until it covers and its middle cut out, or distorted"),
    ] = "crop"
    colour: Annotated[Literal["rgb", "grey"], Field(description="three channels or one")] = "rgb"

    @property
    def decoding(self) -> Decoding:
        """What pictures are made into."""
        return Decoding(self.size, self.width or self.size, self.fit, self.colour)

    def pictures_folder(self, places: Sequence[Path], names: Sequence[str]) -> Path:
        """The folder of pictures, which is one of `names` in one of `places`; says what to extract if it is not."""
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
    """The pictures that are not in a folder, as one finding."""
    there = {path.name for path in folder.iterdir()}
    missing = [name for name in names if name not in there]
    told = f"{folder}: {len(missing):,} of {len(names):,} pictures are missing: {join_some(missing)}"
    return [told] if missing else []
