"""Pictures as bytes, and grids of them."""

from __future__ import annotations

import hashlib
from io import BytesIO

import numpy as np
from PIL import Image

from flspec.data.examples import Split
from flspec.quality.grids import arranged, as_bytes, as_png, is_picture, pixel_digest


def test_real_pictures_have_the_bytes_that_they_were_stored_with():
    stored = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16).repeat(3, axis=1)
    for mean, std in (((), ()), ((0.5,) * 3, (0.5,) * 3), ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))):
        inputs = Split(stored, np.zeros(1, np.int64), 255.0, mean, std).inputs(slice(None))
        assert np.array_equal(as_bytes(inputs, mean, std), stored)


def test_values_are_rounded_half_up_and_clipped():
    values = np.array([-9.0, -0.001, 0.5 / 255, 0.499 / 255, 1.5 / 255, 1.0, 9.0, np.inf, -np.inf, np.nan])
    assert as_bytes(values.reshape(1, 1, 1, -1)).ravel().tolist() == [0, 0, 1, 0, 2, 255, 255, 255, 0, 0]


def test_pictures_stand_in_rows_with_two_white_pixels_between():
    pictures = np.stack([np.full((3, 4, 5), 10 * n, np.uint8) for n in range(5)])
    sheet = arranged(pictures, columns=3)
    assert sheet.shape == (4 + 2 + 4, 3 * 5 + 2 * 2, 3)
    assert (sheet[:4, :5] == 0).all()
    assert (sheet[:4, 5:7] == 255).all()
    assert (sheet[4:6] == 255).all()
    assert (sheet[6:, 7:12] == 40).all()
    assert (sheet[6:, 14:] == 255).all()  # there is no sixth
    assert arranged(pictures[:2], columns=8).shape == (4, 12, 3)


def test_colours_stay_where_they_are_and_grey_is_grey():
    red = np.zeros((1, 3, 2, 2), np.uint8)
    red[:, 0] = 200
    assert arranged(red, 1)[0, 0].tolist() == [200, 0, 0]
    assert arranged(np.full((1, 1, 2, 2), 7, np.uint8), 1)[1, 1].tolist() == [7, 7, 7]


def test_a_file_holds_the_pixels_and_the_digest_is_theirs():
    sheet = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    with Image.open(BytesIO(as_png(sheet))) as image:
        assert image.format == "PNG"
        assert np.array_equal(np.asarray(image), sheet)
    assert pixel_digest(sheet) == hashlib.sha256(b"(5, 7, 3)\n" + sheet.tobytes()).hexdigest()
    assert pixel_digest(sheet) != pixel_digest(sheet.reshape(7, 5, 3))


def test_only_what_has_one_or_three_channels_is_a_picture():
    assert [is_picture(shape) for shape in ((3, 8, 8), (1, 8, 8), (2, 8, 8), (64,), (3, 8))] == [
        *(True, True, False, False, False)
    ]
