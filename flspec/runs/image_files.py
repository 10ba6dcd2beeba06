"""Grids of pictures as files of a run: `images/round_0000004.png`, and `images/real.png`, which is the same all along.

The record has the digest of the pixels, so that a grid can be held to another backend's, or to that of a resumed run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flspec.core.files import write_atomically
from flspec.core.reading import read_regular
from flspec.errors import InputError
from flspec.protocol.events import ImageFile
from flspec.quality.grids import as_png, pixel_digest
from flspec.runs.measured import Grid

__all__ = ["IMAGES", "read_image", "save_images"]

IMAGES = "images"
_OF_EACH_ROUND = "generated"
_OUR_NAME = re.compile(rf"{IMAGES}/[a-z0-9_]{{1,40}}\.png")
_MOST_BYTES, _MOST_PIXELS = 2**28, 2**26  # of a file, and of what it unpacks to


def save_images(folder: Path, round_number: int, grids: Mapping[str, Grid]) -> dict[str, ImageFile]:
    """Write the grids of a round into a run's folder, each whole or not at all. Raises OSError, with the file."""
    if grids:
        (folder / IMAGES).mkdir(exist_ok=True)
    return {name: _saved(folder, _file_name(name, round_number), grid) for name, grid in grids.items()}


def read_image(folder: Path, image: ImageFile) -> NDArray[np.uint8]:
    """Return the pixels of a grid, [height, width, 3]. Raises InputError if the file does not hold those recorded."""
    from PIL import Image

    if not _OUR_NAME.fullmatch(image.path):  # a result from elsewhere must not have other files read
        raise InputError(f"{folder}: a picture is not where a run puts it")
    path = folder / image.path
    try:
        with Image.open(BytesIO(read_regular(path, _MOST_BYTES)), formats=("PNG",)) as opened:
            if opened.width * opened.height > _MOST_PIXELS:
                raise ValueError("it is too large")
            pixels = np.asarray(opened.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{path} cannot be read: {error}") from None
    if pixel_digest(pixels) != image.sha256:
        raise InputError(f"{path} is not the picture that the run recorded")
    return pixels


def _file_name(name: str, round_number: int) -> str:
    return f"{IMAGES}/round_{round_number:07}.png" if name == _OF_EACH_ROUND else f"{IMAGES}/{name}.png"


def _saved(folder: Path, path: str, grid: Grid) -> ImageFile:
    content = as_png(grid.pixels)
    if not _holds(folder / path, content):
        write_atomically(folder / path, content)
    return ImageFile(path=path, sha256=pixel_digest(grid.pixels), clients=grid.clients)


def _holds(path: Path, content: bytes) -> bool:
    try:
        return read_regular(path, _MOST_BYTES) == content
    except InputError:
        return False
