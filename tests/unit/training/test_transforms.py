"""Transforms: what each does to pixels, that its draws are the plan's, and that every engine is given the same."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from flspec.core.components import family_members, parse_component
from flspec.core.randomness import Stream
from flspec.data.examples import Split
from flspec.transforms import Transform
from flspec.transforms.crops import CentreCrop, RandomCrop, RandomResizedCrop
from flspec.transforms.flips import HorizontalFlip, Rotation, VerticalFlip
from flspec.transforms.resize import Resize

PICTURES = (np.arange(5 * 3 * 9 * 12) * 37 % 251).astype(np.uint8).reshape(5, 3, 9, 12)
EVERY = {
    "resize": Resize(size=6),
    "centre_crop": CentreCrop(size=5),
    "random_crop": RandomCrop(size=5, padding=1),
    "random_resized_crop": RandomResizedCrop(size=6),
    "horizontal_flip": HorizontalFlip(),
    "vertical_flip": VerticalFlip(),
    "rotation": Rotation(degrees=30),
}
every_transform = pytest.mark.parametrize("transform", EVERY.values(), ids=EVERY)


class Constant(Stream):
    """A stream whose every draw is one number."""

    def __init__(self, value: float) -> None:
        super().__init__(0)
        self.value = value

    def child(self, *name: str | int) -> Stream:
        return self

    def uniform(self, count: int) -> np.ndarray:
        return np.full(count, self.value)


def applied(transform: Transform, seed: int = 0, images: np.ndarray = PICTURES) -> np.ndarray:
    return transform.apply(images, Stream(seed, "test"))


def test_every_transform_is_tested_here():
    assert set(EVERY) == set(family_members(Transform))


@every_transform
def test_a_transform_gives_bytes_of_the_shape_it_says(transform):
    given = PICTURES.copy()
    result = applied(transform, images=given)
    assert result.shape == (5, *transform.output_shape((3, 9, 12)))
    assert result.dtype == np.uint8
    assert np.array_equal(given, PICTURES)


@every_transform
def test_only_random_transforms_depend_on_the_stream_and_they_do_so_alone(transform):
    same = np.array_equal(applied(transform, 0), applied(transform, 1))
    assert same == (not transform.is_random)
    assert np.array_equal(applied(transform, 0), applied(transform, 0))


@every_transform
def test_a_transform_can_be_told_and_read_back(transform):
    assert parse_component(Transform, transform.model_dump(mode="json")) == transform


def test_pixels_do_not_move():
    """Across machines and versions of numpy: the same digests for ever."""
    digests = {name: hashlib.sha256(applied(one).tobytes()).hexdigest()[:16] for name, one in EVERY.items()}
    assert json.dumps(digests, indent=1) == DIGESTS


# ------------------------------------------------------------------------------------------------------ what each does


def test_the_centre_is_what_is_left_of_equal_margins():
    assert np.array_equal(applied(CentreCrop(size=5)), PICTURES[:, :, 2:7, 3:8])


@pytest.mark.parametrize(("value", "top", "left"), [(1e-9, 0, 0), (0.5, 2, 4), (1 - 1e-9, 4, 7)])
def test_a_random_crop_is_a_part_of_the_picture_and_every_place_can_come(value, top, left):
    result = RandomCrop(size=5).apply(PICTURES, Constant(value))
    assert np.array_equal(result, PICTURES[:, :, top : top + 5, left : left + 5])


def test_random_crops_are_uniform_over_places_and_differ_within_a_batch():
    marked = np.broadcast_to(np.arange(8, dtype=np.uint8), (6000, 1, 8, 8))
    lefts = applied(RandomCrop(size=5), images=marked)[:, 0, 0, 0]
    assert np.bincount(lefts, minlength=4).min() > 6000 / 4 * 0.9
    assert set(lefts) == {0, 1, 2, 3}
    assert len(set(applied(RandomCrop(size=5, per_batch=True), images=marked)[:, 0, 0, 0])) == 1


def test_padding_is_black():
    white = np.full((1, 1, 4, 4), 255, np.uint8)
    result = RandomCrop(size=6, padding=1).apply(white, Constant(0.5))
    assert result[0, 0].sum() == 16 * 255
    assert not result[0, 0, 0].any()


@pytest.mark.parametrize(("flip", "axis"), [(HorizontalFlip, 3), (VerticalFlip, 2)])
def test_a_flip_turns_the_share_over_that_is_asked(flip, axis):
    turned = np.flip(PICTURES, axis)
    assert np.array_equal(applied(flip(probability=1.0)), turned)
    assert np.array_equal(applied(flip(probability=0.0)), PICTURES)
    many = np.broadcast_to(PICTURES[:1], (4000, *PICTURES.shape[1:]))
    is_turned = (applied(flip(probability=0.25), images=many) == turned[0]).all(axis=(1, 2, 3))
    assert is_turned.mean() == pytest.approx(0.25, abs=0.03)


@pytest.mark.parametrize(("height", "width", "size"), [(9, 12, 6), (9, 12, 20), (7, 7, 7), (5, 8, 3)])
def test_resize_is_bilinear_as_torch_has_it(height, width, size):
    images = PICTURES[:, :, :height, :width]
    ours = Resize(size=size).apply(images, Stream(0))
    theirs = F.interpolate(torch.from_numpy(images.astype(np.float64)), (size, size), mode="bilinear")
    assert np.abs(ours - theirs.numpy()).max() <= 0.5 + 1e-9


def test_the_shorter_side_can_be_given_alone():
    assert Resize(size=6, side="shorter").output_shape((3, 9, 12)) == (3, 6, 8)
    assert Resize(size=6, side="shorter").output_shape((3, 12, 9)) == (3, 8, 6)


def test_a_crop_of_everything_is_a_resize():
    whole = RandomResizedCrop(size=6, scale=(1.0, 1.0), ratio=(12 / 9, 12 / 9))
    assert np.array_equal(applied(whole), applied(Resize(size=6)))


def test_a_resized_crop_takes_its_share_of_the_area():
    ramp = np.broadcast_to(np.arange(100, dtype=np.uint8), (500, 1, 100, 100))
    half = applied(RandomResizedCrop(size=50, scale=(0.25, 0.25), ratio=(1.0, 1.0)), images=ramp)[:, 0, 0]
    assert ((half[:, -1].astype(int) - half[:, 0]) == 49).all()  # a side of half the pixels, unscaled
    assert half[:, 0].min() <= 2
    assert half[:, 0].max() >= 48


@pytest.mark.parametrize(("value", "turns"), [(0.0, -1), (1.0, 1), (0.5, 0)])
def test_a_rotation_by_ninety_degrees_is_a_quarter_turn_against_the_clock(value, turns):
    square = PICTURES[:, :, :9, :9]
    result = Rotation(degrees=90).apply(square, Constant(value))
    assert np.array_equal(result, np.rot90(square, turns, axes=(2, 3)))


def test_a_rotation_is_torch_s_grid_sample():
    images = np.random.default_rng(0).integers(0, 256, (1, 3, 16, 16)).astype(np.uint8)
    sine, cosine = np.sin(np.deg2rad(30)), np.cos(np.deg2rad(30))
    ours = Rotation(degrees=30).apply(images, Constant(1.0))
    turn = torch.tensor([[[cosine, -sine, 0], [sine, cosine, 0]]])
    grid = F.affine_grid(turn, [1, 3, 16, 16], align_corners=False)
    theirs = F.grid_sample(torch.from_numpy(images.astype(np.float64)), grid, align_corners=False)
    assert np.abs(ours - theirs.numpy()).max() <= 0.5 + 1e-6


@pytest.mark.parametrize(
    "transform", [CentreCrop(size=10), RandomCrop(size=12, padding=1)], ids=lambda transform: transform.kind
)
def test_what_cannot_be_cut_is_refused(transform):
    with pytest.raises(ValueError, match="cannot be cut from"):
        transform.output_shape((3, 9, 12))


def test_the_least_of_a_range_comes_first():
    with pytest.raises(ValueError, match="the smaller value comes first"):
        RandomResizedCrop(size=4, scale=(0.5, 0.2))


# ---------------------------------------------------------------------------------------------------- in a data set


def test_a_model_sees_images_transformed_then_divided_then_normalised():
    labels = np.arange(5)
    split = Split(PICTURES, labels, 255.0, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4), transforms=(CentreCrop(size=5),))
    assert split.input_shape == (3, 5, 5)
    expected = PICTURES[1:3, :, 2:7, 3:8].astype(np.float64) / 255
    for channel, (mean, std) in enumerate(((0.5, 0.2), (0.4, 0.3), (0.3, 0.4))):
        expected[:, channel] = (expected[:, channel] - mean) / std
    seen = split.inputs(np.array([1, 2]))
    assert seen.dtype == np.float32
    assert seen == pytest.approx(expected, abs=1e-6)


def test_two_transforms_of_one_kind_draw_for_themselves():
    split = Split(PICTURES, np.arange(5), transforms=(HorizontalFlip(), HorizontalFlip()))
    many = np.zeros(64, np.int64)
    once = Split(PICTURES, np.arange(5), transforms=(HorizontalFlip(),))
    assert not np.array_equal(split.transformed(many, Stream(0)), PICTURES[many])
    assert not np.array_equal(split.transformed(many, Stream(0)), once.transformed(many, Stream(0)))


DIGESTS = """\
{
 "resize": "dbee45be4efe05d0",
 "centre_crop": "7bfc7b4b3bac86be",
 "random_crop": "91e72b5e1b30a61b",
 "random_resized_crop": "455dce4e5ec36924",
 "horizontal_flip": "e4362521e9445cf8",
 "vertical_flip": "6b18ae0ee566af8d",
 "rotation": "19ef814c186d02d2"
}"""
