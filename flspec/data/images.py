"""Decoding of one picture: from the bytes of its file to the pixels in the store.

Pillow decodes and scales, always in this order and by these rules:

1. It takes the first frame of an animated picture, and rotates it upright by its EXIF data.
2. It converts to 8 bits. Of 16 bits the upper 8 are used. 32-bit and floating-point pictures are refused, because their
   scale is unknown.
3. It converts to RGB, or to L if `colour` is grey, by Pillow's `convert`, as torchvision and Keras do: grey is
   repeated, a palette is looked up, CMYK is converted without a colour profile, transparency is dropped.
4. It scales with Pillow's bilinear filter, which averages when it makes a picture smaller. `crop` scales, at a constant
   aspect ratio, until both sides cover the wanted size, and cuts out the middle (torchvision's `Resize` and
   `CenterCrop`). `stretch` scales each side separately. A picture of the wanted size is not changed.

The last bits of pixels may differ between versions of Pillow and its libjpeg. Digests therefore cover decoded pixels,
and pixels decoded by one version are not reused with another.
"""

from __future__ import annotations

import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from flspec.core.reading import read_regular
from flspec.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = [
    "Decoding",
    "ImageFile",
    "Source",
    "UnreadableImage",
    "archives",
    "decode",
    "file_stamp",
    "read_as",
    "silence_decoder",
]

# Formats whose readers only read. Pillow has others that start programs (EPS) or open further files by name.
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
_MOST_PIXELS = 2**26  # 8192 by 8192; Pillow only warns up to 179 million, and each takes four bytes
_MOST_BYTES = 2**28
_ORIENTATION = 0x0112  # EXIF's tag


class UnreadableImage(ValueError):
    """Reason why a picture cannot be used, without the picture's name."""


@dataclass(frozen=True)
class Decoding:
    """The common format that all pictures of a data set are converted to."""

    height: int
    width: int
    fit: Literal["crop", "stretch"] = "crop"
    colour: Literal["rgb", "grey"] = "rgb"

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        return (3 if self.colour == "rgb" else 1), self.height, self.width


class Source(Protocol):
    """A source of the bytes of one picture."""

    @property
    def name(self) -> str:
        """Name of the picture in errors."""

    def stamp(self) -> str:
        """Return a stamp that changes when the bytes do, preferably without reading them. Raises OSError if missing."""

    def read(self) -> bytes:
        """Return the bytes. Raises OSError or UnreadableImage."""


@dataclass(frozen=True, slots=True)
class ImageFile:
    """A picture in a file of its own."""

    folder: str
    name: str  # below the folder

    def stamp(self) -> str:
        status = os.stat(self._path)
        if not stat.S_ISREG(status.st_mode):
            raise FileNotFoundError(f"{self.name} is not a file")
        return file_stamp(status)

    def read(self) -> bytes:
        try:
            return read_regular(self._path, _MOST_BYTES)
        except InputError as error:
            raise UnreadableImage(str(error).removeprefix(f"{self._path} ")) from None

    @property
    def _path(self) -> str:
        return f"{self.folder}/{self.name}"  # os.path.join takes as long as opening the file


def file_stamp(status: os.stat_result) -> str:
    """Return a stamp of a file's content: its size, its times and its place on the disk.

    Who replaces a file can give it the old size and the old time of its last change, but not the time at which its
    entry on the disk was changed (`ctime`). Where a copy changes that, the file is only read again.
    """
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino}"


def decode(content: bytes, decoding: Decoding) -> NDArray[np.uint8]:
    """Decode to pixels, uint8 [channels, height, width]. Call within `silence_decoder()`. Raises UnreadableImage."""
    from PIL import Image, UnidentifiedImageError

    if not content:
        raise UnreadableImage("is empty")
    try:
        with Image.open(BytesIO(content), formats=_FORMATS) as image:
            if image.width * image.height > _MOST_PIXELS:
                raise UnreadableImage(_too_large(f"{image.width:,} by {image.height:,}"))
            image.load()
            pixels = np.asarray(_scaled(_coloured(_upright(image), decoding), decoding))
    except UnreadableImage:
        raise
    except UnidentifiedImageError:
        raise UnreadableImage(f"is no picture in a format that is read ({', '.join(_FORMATS)})") from None
    except Image.DecompressionBombError:
        raise UnreadableImage(_too_large("too many")) from None
    except Exception as error:  # a damaged file can make its reader raise anything
        raise UnreadableImage(f"is cut short or damaged ({error})") from None
    return np.ascontiguousarray(pixels.reshape(*pixels.shape[:2], -1).transpose(2, 0, 1))


@contextmanager
def silence_decoder() -> Iterator[None]:
    """Silence Pillow's warnings about EXIF data and about huge pictures, which are refused anyway, in all threads."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def read_as() -> str:
    """Return the versions of the libraries on which pixel values may depend."""
    import PIL
    from PIL import features

    return f"Pillow {PIL.__version__}, libjpeg {features.version('jpg')}"


def archives(folder: Path) -> list[str]:
    """Return the names of archives in a folder, which may still have to be extracted."""
    packed = (".tar.gz", ".tgz", ".tar", ".zip", ".7z", ".7z.001")
    try:
        return sorted(entry.name for entry in os.scandir(folder) if entry.name.lower().endswith(packed))
    except OSError:
        return []


def _too_large(size: str) -> str:
    return f"declares {size} pixels; no more than {_MOST_PIXELS:,} are decoded"


def _upright(image: Image) -> Image:
    from PIL.Image import Transpose

    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # without readable EXIF data a picture is not rotated
        return image
    turn = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }.get(orientation)
    return image if turn is None else image.transpose(turn)


def _coloured(image: Image, decoding: Decoding) -> Image:
    mode = "RGB" if decoding.colour == "rgb" else "L"
    image = _in_eight_bits(image)
    return image if image.mode == mode else image.convert(mode)


def _in_eight_bits(image: Image) -> Image:
    from PIL import Image as Images

    if image.mode == "F":
        raise UnreadableImage("holds floating-point values; save it with 8 or 16 bits")
    if not image.mode.startswith("I"):
        return image
    values = np.asarray(image)
    if values.size and (values.min() < 0 or values.max() > 0xFFFF):
        raise UnreadableImage("holds 32-bit values; save it with 8 or 16 bits")
    return Images.fromarray((values.astype(np.int64) >> 8).astype(np.uint8))


def _scaled(image: Image, decoding: Decoding) -> Image:
    from PIL.Image import Resampling

    wanted = (decoding.width, decoding.height)
    if decoding.fit == "stretch":
        return image.resize(wanted, Resampling.BILINEAR)
    size = _covering(image.size, wanted)
    if size[0] * size[1] > _MOST_PIXELS:
        raise UnreadableImage(f"has {image.width:,} by {image.height:,} pixels, too thin to crop; use fit: stretch")
    # Rounded as torchvision does, so that pictures are equal to those of the reference systems.
    left, top = (round((have - want) / 2) for have, want in zip(size, wanted, strict=True))
    return image.resize(size, Resampling.BILINEAR).crop((left, top, left + wanted[0], top + wanted[1]))


def _covering(size: tuple[int, int], wanted: tuple[int, int]) -> tuple[int, int]:
    """Return the smallest width and height, at the picture's aspect ratio, that cover the wanted size."""
    (width, height), (least_width, least_height) = size, wanted
    if width * least_height <= height * least_width:
        return least_width, max(least_height, least_width * height // width)
    return max(least_width, least_height * width // height), least_height
