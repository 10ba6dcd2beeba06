"""Pictures in memory and on disk for the tests of images."""

from __future__ import annotations

import json
import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from flspec.data.image_store import Listing, Pictures
from flspec.data.images import Decoding, ImageFile, decode, silence_decoder

SMALL = Decoding(4, 4)


def encoded(pixels, kind="PNG", mode=None, **options):
    """The bytes of a file with an array's pixels, [height, width] or [height, width, channels]."""
    buffer = BytesIO()
    image = Image.fromarray(np.asarray(pixels)) if not isinstance(pixels, Image.Image) else pixels
    (image.convert(mode) if mode else image).save(buffer, kind, **options)
    return buffer.getvalue()


def seen(content, height=1, width=1, **options):
    """What is decoded of a file, [channels, height, width]."""
    with silence_decoder():
        return decode(content, Decoding(height, width, **options))


def bomb(width, height):
    """A PNG of a few bytes that says it is very large."""

    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def noise(number, size=8):
    """A picture that no other number gives, [size, size, 3]."""
    return np.random.default_rng(number).integers(0, 256, (size, size, 3), dtype=np.uint8)


def write_pictures(folder: Path, count: int, size: int = 8) -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{number:04}.png" for number in range(count)]
    for number, name in enumerate(names):
        (folder / name).write_bytes(encoded(noise(number, size)))
    return names


def make_listing(folder: Path, names: list[str], num_test: int = 1, decoding: Decoding = SMALL, **changes) -> Listing:
    """Two classes in turn; the last pictures are to test on."""

    def pictures(part):
        return Pictures(
            [ImageFile(str(folder), name) for name in part],
            np.array([int(name[:4]) % 2 for name in part]),
            {"name": np.array(part)},
        )

    splits = {"train": pictures(names[:-num_test]), "test": pictures(names[-num_test:])}
    fields: dict[str, Any] = {"folder": folder, "splits": splits, "decoding": decoding, "num_classes": 2}
    return Listing(**fields | changes)


def edit_json(path: Path, change) -> None:
    document = json.loads(path.read_text())
    path.write_text(json.dumps(change(document) or document))


def edit_line(path: Path, number: int, change) -> None:
    """Change one line of a text file, counted from 1."""
    lines = path.read_text().splitlines()
    lines[number - 1] = change(lines[number - 1])
    path.write_text("".join(f"{line}\n" for line in lines if line is not None))
