"""From the bytes of a picture's file to pixels: colours, places, sizes, and files that are no pictures."""

from __future__ import annotations

import subprocess
import sys
import warnings

import numpy as np
import pytest
from PIL import Image

from flspec.data.images import UnreadableImage
from tests.unit.image_cases import bomb, encoded, noise, seen

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
CORNERS = np.array([[RED, GREEN], [BLUE, WHITE]], np.uint8)  # upper left, upper right; lower left, lower right


def test_channels_come_first_and_rows_go_down():
    pixels = seen(encoded(CORNERS), 2, 2)
    assert (pixels.dtype, pixels.shape, pixels.flags.c_contiguous) == (np.uint8, (3, 2, 2), True)
    assert pixels[:, 0, 0].tolist() == list(RED)
    assert pixels[:, 0, 1].tolist() == list(GREEN)
    assert pixels[:, 1, 0].tolist() == list(BLUE)


@pytest.mark.parametrize(
    ("orientation", "stored"),
    [  # how an upright picture lies in a file whose EXIF data say so (EXIF 2.3, Section 4.6.4)
        (1, lambda upright: upright),
        (2, np.fliplr),
        (3, lambda upright: np.rot90(upright, 2)),
        (4, np.flipud),
        (5, lambda upright: upright.transpose(1, 0, 2)),
        (6, lambda upright: np.rot90(upright, 1)),
        (7, lambda upright: np.rot90(upright, 2).transpose(1, 0, 2)),
        (8, lambda upright: np.rot90(upright, -1)),
        (9, lambda upright: upright),
    ],
)
def test_a_turned_picture_is_put_upright(orientation, stored):
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = noise(0)[:2, :3]
    content = encoded(np.ascontiguousarray(stored(upright)), exif=exif)
    assert np.array_equal(seen(content, 2, 3), upright.transpose(2, 0, 1))


def test_exif_data_that_cannot_be_read_turn_nothing():
    content = encoded(CORNERS, exif=b"Exif\0\0MM\0*nonsense")
    assert seen(content, 2, 2)[:, 0, 0].tolist() == list(RED)


@pytest.mark.parametrize(
    ("content", "colour"),
    [
        (encoded(np.full((1, 1), 77, np.uint8)), (77, 77, 77)),
        (encoded(np.array([[[10, 20, 30, 0]]], np.uint8)), (10, 20, 30)),
        (encoded(np.array([[[60, 128]]], np.uint8)), (60, 60, 60)),
        (encoded(np.array([[True]])), (255, 255, 255)),
        (encoded(np.array([[0x12FF]], np.uint16)), (0x12, 0x12, 0x12)),
        (encoded(np.array([[0x12FF]], np.uint16), "TIFF"), (0x12, 0x12, 0x12)),
        (b"P5 1 1 65535 \x12\xff", (0x12, 0x12, 0x12)),
        (encoded(CORNERS[:1, :1], mode="P"), RED),
        (encoded(CORNERS[:1, :1], mode="P", transparency=b"\0" * 256), RED),
        (encoded(Image.new("CMYK", (1, 1), (0, 255, 255, 0)), "TIFF"), RED),
        (encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=100), (254, 0, 0)),
    ],
    ids=lambda value: "" if isinstance(value, bytes) else str(value),
)
def test_every_kind_of_colour_becomes_red_green_and_blue(content, colour):
    assert seen(content)[:, 0, 0].tolist() == pytest.approx(colour, abs=2)


def test_colours_become_grey_where_that_is_asked_for():
    grey = seen(encoded(CORNERS), 2, 2, colour="grey")
    assert grey.shape == (1, 2, 2)
    assert grey[0].tolist() == [[76, 150], [29, 255]]  # 0.299 R + 0.587 G + 0.114 B, ITU-R 601-2


def test_the_first_picture_of_an_animation_is_taken():
    frames = [Image.new("RGB", (1, 1), colour) for colour in (GREEN, BLUE)]
    content = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert seen(content)[:, 0, 0].tolist() == list(GREEN)


def test_a_crop_keeps_the_middle_and_the_shape():
    wide = np.repeat(np.array([[RED, GREEN, GREEN, BLUE]], np.uint8), 2, axis=0)  # 2 by 4
    assert np.array_equal(seen(encoded(wide), 2, 2), np.full((2, 2, 3), GREEN, np.uint8).transpose(2, 0, 1))
    assert np.array_equal(seen(encoded(wide.transpose(1, 0, 2)), 2, 2)[1], [[255, 255], [255, 255]])


def test_squashing_keeps_all_of_it():
    wide = np.repeat(np.array([[RED, RED, BLUE, BLUE]], np.uint8), 2, axis=0)
    squashed = seen(encoded(wide), 2, 2, fit="stretch")
    assert squashed[0, 0].tolist() == pytest.approx([255, 0], abs=60)
    assert squashed[2, 0].tolist() == pytest.approx([0, 255], abs=60)


@pytest.mark.parametrize(
    ("height", "width", "left", "top"),
    # CelebA's 218 by 178 at 224: scaled to 274 by 224, and (274 - 224) / 2 = 25 rows are cut above.
    [(218, 178, 0, 25), (178, 218, 25, 0), (224, 224, 0, 0), (448, 452, 1, 0)],
)
def test_a_crop_scales_the_shorter_side_as_the_reference_systems_do(height, width, left, top):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))
    size = (224 * width // min(height, width), 224 * height // min(height, width))
    oracle = np.asarray(image.resize(size, Image.Resampling.BILINEAR))[top : top + 224, left : left + 224]
    assert np.array_equal(seen(encoded(image), 224, 224), oracle.transpose(2, 0, 1))


def test_a_picture_of_the_asked_size_is_not_touched():
    assert np.array_equal(seen(encoded(noise(1)), 8, 8), noise(1).transpose(2, 0, 1))


def test_making_smaller_averages():
    checks = np.indices((64, 64)).sum(axis=0) % 2 * np.uint8(200)
    assert seen(encoded(checks.astype(np.uint8)), 4, 4) == pytest.approx(100, abs=2)


TALL = encoded(np.zeros((8192, 1), np.uint8))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"hello, this is text", "is no picture in a format that is read (JPEG, PNG"),
        (encoded(noise(0, 64), "JPEG")[:-900], "is cut short or damaged"),
        (encoded(noise(0, 64))[:2000], "is cut short or damaged"),
        (bomb(20_000, 20_000), "pixels; no more than 67,108,864 are decoded"),
        (bomb(10_000, 10_000), "pixels; no more than 67,108,864 are decoded"),
        (bomb(8_193, 8_192), "declares 8,193 by 8,192 pixels; no more than 67,108,864 are decoded"),
        (encoded(np.zeros((1, 1), np.float32), "TIFF"), "holds floating-point values; save it with 8 or 16 bits"),
        (encoded(np.full((1, 1), 70_000, np.int32), "TIFF"), "holds 32-bit values; save it with 8 or 16 bits"),
        (encoded(CORNERS, "EPS"), "is no picture in a format that is read"),
        (TALL, "has 1 by 8,192 pixels, too thin to crop; use fit: stretch"),
    ],
    ids=["empty", "text", "jpeg", "png", "bomb", "smaller", "smallest", "float", "32-bit", "eps", "thin"],
)
def test_what_cannot_be_used_says_why_in_one_line(content, reason):
    with pytest.raises(UnreadableImage) as refused:
        seen(content, 256, 256)
    assert reason in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("content", [encoded(CORNERS), encoded(noise(0, 64), "JPEG"), TALL])
def test_what_is_near_to_it_can_be_used(content):
    assert seen(content, 2, 2, fit="stretch").shape == (3, 2, 2)


def test_pillow_says_nothing_to_the_user():
    content = encoded(CORNERS[:1, :1], mode="P", transparency=b"\0" * 256)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        seen(content)
        with pytest.raises(UnreadableImage):
            seen(bomb(10_000, 10_000))
        warnings.warn("but this", stacklevel=1)
    assert [str(warning.message) for warning in told] == ["but this"]


@pytest.mark.parametrize(
    ("module", "loaded"), [("flspec.spec.loading", False), ("flspec.spec.loading, PIL.Image", True)]
)
def test_a_spec_is_read_without_pillow(module, loaded):
    source = f"import sys, {module}; print('PIL.Image' in sys.modules)"
    process = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    assert process.stdout.strip() == str(loaded)
