"""Pictures as bytes, and grids of them as files."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["arranged", "as_bytes", "as_png", "is_picture", "pixel_digest"]

Pictures = NDArray[np.uint8]  # [num_pictures, channels, height, width]

_GAP = 2  # white pixels between two pictures


def is_picture(shape: Sequence[int]) -> bool:
    """Return whether examples of this shape can be looked at: [1 or 3, height, width]."""
    return len(shape) == 3 and shape[0] in (1, 3)


def as_bytes(pictures: NDArray[np.floating[Any]], mean: Sequence[float] = (), std: Sequence[float] = ()) -> Pictures:
    """Return model inputs as bytes: floor((x std + mean) 255 + 0.5), at least 0 and at most 255.

    `mean` and `std` are those that the inputs were normalised by. What is no number becomes 0.
    """
    values = pictures.astype(np.float64)
    if len(mean):
        shape = (-1, 1, 1)
        values = values * np.reshape(std, shape) + np.reshape(mean, shape)
    rounded: Pictures = np.clip(np.nan_to_num(np.floor(values * 255.0 + 0.5)), 0.0, 255.0).astype(np.uint8)
    return rounded


def arranged(pictures: Pictures, columns: int) -> NDArray[np.uint8]:
    """Return pictures side by side and row below row, [height, width, 3], with white where there is none."""
    _, _, height, width = pictures.shape
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    sheet = np.full((rows * (height + _GAP) - _GAP, columns * (width + _GAP) - _GAP, 3), 255, np.uint8)
    for number, picture in enumerate(pictures):
        y, x = (number // columns) * (height + _GAP), (number % columns) * (width + _GAP)
        sheet[y : y + height, x : x + width] = picture.transpose(1, 2, 0)
    return sheet


def as_png(sheet: NDArray[np.uint8]) -> bytes:
    """Return the content of a PNG file."""
    from PIL import Image

    file = BytesIO()
    Image.fromarray(sheet).save(file, "PNG")
    return file.getvalue()


def pixel_digest(sheet: NDArray[np.uint8]) -> str:
    """Return the SHA-256 of the pixels and their number; that of the file would change with zlib's version."""
    return hashlib.sha256(f"{sheet.shape}\n".encode() + sheet.tobytes()).hexdigest()
