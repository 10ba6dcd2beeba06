"""Pictures for synthetic twins: simple shapes that a linear model can tell apart, under noise.

A painter returns float32 [height, width, 3] from 0 to 1; `finished` makes it bytes. Places and sizes are shares of the
picture's height and width, from its upper left corner. Every draw comes from the stream that is handed in.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from flspec.core.randomness import Stream

__all__ = ["Painted", "finished", "paint_face", "paint_icons", "paint_mole", "paint_shape"]

Painted = NDArray[np.float32]  # [height, width, 3], 0..1
_Cover = NDArray[np.float32]  # [height, width], 0 where nothing is covered and 1 where all is
_Colour = Sequence[float]

_SKINS = ((0.94, 0.80, 0.69), (0.88, 0.67, 0.53), (0.76, 0.54, 0.39), (0.55, 0.37, 0.26), (0.39, 0.26, 0.18))
_HAIR = {
    "Black_Hair": (0.10, 0.08, 0.08),
    "Blond_Hair": (0.87, 0.74, 0.42),
    "Brown_Hair": (0.40, 0.25, 0.14),
    "Gray_Hair": (0.72, 0.72, 0.72),
}


def finished(picture: Painted, noise: float, stream: Stream) -> NDArray[np.uint8]:
    """Bytes, after adding uniform noise of at most that share of the whole range."""
    height, width = picture.shape[:2]
    words = stream.child("noise").words(-(-picture.size // 8))
    grain = words.view(np.uint8)[: picture.size].reshape(height, width, 3).astype(np.float32) / 127.5 - 1.0
    return np.clip(np.rint((picture + noise * grain) * 255.0), 0, 255).astype(np.uint8)


def paint_icons(labels: Collection[int], variants: Collection[int], style: float, side: int, stream: Stream) -> Painted:
    """One icon a label, each in its own cell of five by four; a variant is a dot of its own colour in it.

    `labels` are below 20; `style`, from 0 to 1, is the hue of whoever took the picture.
    """
    picture = _backdrop(side, side, _hue(style, 0.25, 0.75), stream)
    for label, variant in zip(labels, variants, strict=True):
        jitter = stream.child("icon", label).uniform(3)
        y = (label // 5 + 0.5) / 4 + 0.04 * (jitter[0] - 0.5)
        x = (label % 5 + 0.5) / 5 + 0.04 * (jitter[1] - 0.5)
        radius = 0.065 + 0.025 * jitter[2]
        cover = _FORMS[label % len(_FORMS)](side, side, y, x, radius)
        picture = _laid(picture, cover, _hue(label * 0.382, 0.85, 0.9 if label % 2 else 0.45))
        picture = _laid(picture, _disc(side, side, y, x, 0.035), _hue(variant * 0.27, 1.0, 1.0))
    return picture


def paint_shape(label: int, height: int, width: int, stream: Stream) -> Painted:
    """A disc, a square, a triangle, a ring, a cross or stripes, in a colour that mostly goes with it."""
    y, x, radius, shift, light = stream.child("shape").uniform(5)
    picture = _backdrop(height, width, _hue(shift, 0.15, 0.55 + 0.3 * light), stream)
    form = _FORMS[label % len(_FORMS)]
    cover = form(height, width, 0.45 + 0.1 * y, 0.45 + 0.1 * x, 0.24 + 0.08 * radius)
    return _laid(picture, cover, _hue(label * 0.29 + 0.08 * (shift - 0.5), 0.8, 0.6 + 0.35 * light))


def paint_face(attributes: Collection[str], person: Stream, stream: Stream, height: int, width: int) -> Painted:
    """A face that shows the attributes which can be shown; its skin is the `person`'s."""
    tone, shade = person.child("skin").uniform(2)
    skin = _SKINS[0] if "Pale_Skin" in attributes else _SKINS[int(tone * len(_SKINS))]
    hair = next((colour for name, colour in _HAIR.items() if name in attributes), (0.30, 0.20, 0.15))
    y, x = (0.02 * (value - 0.5) for value in stream.child("place").uniform(2))
    brush = _Brush(height, width, 0.54 + y, 0.5 + x)
    picture = _backdrop(height, width, _hue(stream.child("wall").uniform(1)[0], 0.35, 0.65), stream)
    picture = brush.oval(picture, 0.52, 0.0, 0.24, 0.42, _hue(shade, 0.6, 0.5))  # clothes
    if "Bald" not in attributes:
        picture = brush.oval(picture, 0.0, 0.0, *((0.32, 0.27) if "Male" in attributes else (0.42, 0.36)), hair)
    picture = brush.oval(picture, 0.30, 0.0, 0.12, 0.09, [0.9 * part for part in skin])  # neck
    picture = brush.oval(picture, 0.04, 0.0, 0.28, 0.24, skin)
    for side in (-1, 1):
        picture = _eye(picture, brush, side, attributes, hair)
    picture = brush.oval(picture, 0.07, 0.0, 0.05, 0.025, [0.85 * part for part in skin])  # nose
    picture = _mouth(picture, brush, attributes, skin)
    if "Young" not in attributes:
        for row in (-0.12, -0.15):
            picture = brush.oval(picture, row, 0.0, 0.004, 0.12, [0.75 * part for part in skin])
    if "Wearing_Hat" in attributes:
        picture = brush.oval(picture, -0.24, 0.0, 0.11, 0.26, _hue(shade + 0.4, 0.8, 0.55))
    return picture


def paint_mole(is_melanoma: bool, person: Stream, stream: Stream, side: int) -> Painted:
    """A mole on skin: small, round and of one brown; or larger, ragged and of several colours."""
    skin = _SKINS[int(person.child("skin").uniform(1)[0] ** 2 * 4)]
    picture = _backdrop(side, side, skin, stream)
    y, x, size, dark, phase = stream.child("mole").uniform(5)
    centre = (0.45 + 0.1 * y, 0.45 + 0.1 * x)
    radius = (0.20 + 0.12 * size) if is_melanoma else (0.12 + 0.09 * size)
    ragged = 0.22 if is_melanoma else 0.05
    brown = (
        (0.34 - 0.14 * dark, 0.20 - 0.08 * dark, 0.14)
        if is_melanoma
        else (0.52 - 0.12 * dark, 0.33 - 0.08 * dark, 0.22)
    )
    picture = _laid(picture, _blob(side, *centre, radius, ragged, phase), brown)
    for number in range(3 if is_melanoma else 0):
        dy, dx, share = stream.child("patch", number).uniform(3)
        place = (centre[0] + radius * (dy - 0.5), centre[1] + radius * (dx - 0.5))
        colour = ((0.08, 0.06, 0.07), (0.25, 0.27, 0.38), (0.55, 0.20, 0.18))[number]
        picture = _laid(picture, 0.8 * _blob(side, *place, radius * (0.25 + 0.2 * share), 0.3, share), colour)
    for number in range(int(stream.child("hairs").uniform(1)[0] * 4)):
        picture = _laid(picture, 0.7 * _hair(side, stream.child("hair", number)), (0.15, 0.10, 0.08))
    return picture


# ------------------------------------------------------------------------------------------------------------ parts


class _Brush:
    """Ovals around the middle of a face."""

    def __init__(self, height: int, width: int, y: float, x: float) -> None:
        self.height, self.width, self.y, self.x = height, width, y, x

    def oval(self, picture: Painted, y: float, x: float, tall: float, wide: float, colour: _Colour) -> Painted:
        return _laid(picture, self.cover(y, x, tall, wide), colour)

    def cover(self, y: float, x: float, tall: float, wide: float) -> _Cover:
        rows, columns = _grid(self.height, self.width)
        away = np.hypot((rows - self.y - y) / tall, (columns - self.x - x) / wide)
        return _soft((1.0 - away) * min(tall, wide), self.height)


def _eye(picture: Painted, brush: _Brush, side: int, attributes: Collection[str], hair: _Colour) -> Painted:
    picture = brush.oval(picture, -0.03, 0.10 * side, 0.022, 0.05, (0.97, 0.97, 0.97))
    picture = brush.oval(picture, -0.03, 0.10 * side, 0.020, 0.022, (0.15, 0.12, 0.10))
    thick = 0.014 if "Bushy_Eyebrows" in attributes else 0.007
    picture = brush.oval(picture, -0.08, 0.10 * side, thick, 0.06, [0.6 * part for part in hair])
    if "Eyeglasses" in attributes:
        ring = brush.cover(-0.03, 0.10 * side, 0.065, 0.085) - brush.cover(-0.03, 0.10 * side, 0.050, 0.068)
        picture = _laid(picture, np.clip(ring, 0.0, 1.0), (0.05, 0.05, 0.05))
    return picture


def _mouth(picture: Painted, brush: _Brush, attributes: Collection[str], skin: _Colour) -> Painted:
    lips = (0.80, 0.10, 0.20) if "Wearing_Lipstick" in attributes else (0.65, 0.35, 0.32)
    if "Mustache" in attributes:
        picture = brush.oval(picture, 0.135, 0.0, 0.018, 0.10, (0.15, 0.11, 0.09))
    if "Smiling" not in attributes:
        return brush.oval(picture, 0.20, 0.0, 0.016, 0.075, lips)
    # The lower part of an oval: its upper half is covered by skin again.
    picture = brush.oval(picture, 0.18, 0.0, 0.055, 0.11, lips)
    picture = brush.oval(picture, 0.18, 0.0, 0.038, 0.09, (0.98, 0.98, 0.96))
    return brush.oval(picture, 0.155, 0.0, 0.030, 0.12, skin)


def _backdrop(height: int, width: int, colour: _Colour, stream: Stream) -> Painted:
    """One colour that is lighter towards some side."""
    down, right = stream.child("light").uniform(2) - 0.5
    rows, columns = _grid(height, width)
    light = 1.0 + 0.25 * (down * (rows - 0.5) + right * (columns - 0.5))
    return np.asarray(np.multiply.outer(light, np.array(colour, np.float32)), np.float32)


def _laid(picture: Painted, cover: _Cover, colour: _Colour) -> Painted:
    """The picture with a colour over it where it is covered."""
    rows, columns = (np.flatnonzero(cover.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return picture
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    share, laid = cover[box][:, :, np.newaxis], picture.copy()
    laid[box] += share * (np.array(colour, np.float32) - laid[box])
    return laid


def _hue(turn: float, strength: float, light: float) -> tuple[float, float, float]:
    """A colour from the colour circle: `turn` from 0 to 1 is once round, from red by green and blue."""
    return colorsys.hsv_to_rgb(turn % 1.0, strength, light)


def _grid(height: int, width: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Where rows and columns are, [height, 1] and [1, width], as shares."""
    rows, columns = (((np.arange(size) + 0.5) / size).astype(np.float32) for size in (height, width))
    return rows[:, np.newaxis], columns[np.newaxis]


def _soft(inside: NDArray[np.float32], height: int) -> _Cover:
    """What is covered, from how far inside of an edge a pixel is; the edge is two pixels wide."""
    return np.asarray(np.clip(inside * height / 2.0 + 0.5, 0.0, 1.0), np.float32)


def _disc(height: int, width: int, y: float, x: float, radius: float) -> _Cover:
    rows, columns = _grid(height, width)
    return _soft(radius - np.hypot(rows - y, columns - x), height)


def _square(height: int, width: int, y: float, x: float, radius: float) -> _Cover:
    rows, columns = _grid(height, width)
    return _soft(0.85 * radius - np.maximum(abs(rows - y), abs(columns - x)), height)


def _triangle(height: int, width: int, y: float, x: float, radius: float) -> _Cover:
    rows, columns = _grid(height, width)
    return _soft(np.minimum(radius - (rows - y), (rows - y) + radius - 2.0 * abs(columns - x)) / 1.5, height)


def _ring(height: int, width: int, y: float, x: float, radius: float) -> _Cover:
    rows, columns = _grid(height, width)
    return _soft(0.3 * radius - abs(np.hypot(rows - y, columns - x) - 0.75 * radius), height)


def _cross(height: int, width: int, y: float, x: float, radius: float) -> _Cover:
    rows, columns = _grid(height, width)
    bars = [
        np.minimum(radius - abs(a), 0.3 * radius - abs(b))
        for a, b in ((rows - y, columns - x), (columns - x, rows - y))
    ]
    return _soft(np.maximum(*bars), height)


def _stripes(height: int, width: int, y: float, x: float, radius: float) -> _Cover:
    rows, columns = _grid(height, width)
    wave = np.abs((rows - y) / radius * 2.0 % 1.0 - 0.5) * 0.5 * radius - 0.12 * radius
    return _soft(np.minimum(wave, 0.9 * radius - np.maximum(abs(rows - y), abs(columns - x))), height)


_FORMS: tuple[Callable[[int, int, float, float, float], _Cover], ...] = (
    _disc,
    _square,
    _triangle,
    _ring,
    _cross,
    _stripes,
)


def _blob(side: int, y: float, x: float, radius: float, ragged: float, phase: float) -> _Cover:
    """A disc whose edge goes in and out."""
    rows, columns = _grid(side, side)
    angle = np.arctan2(rows - y, columns - x) + 2.0 * np.pi * phase
    edge = radius * (1.0 + ragged * (0.5 * np.sin(3 * angle) + 0.3 * np.sin(5 * angle + 1.0) + 0.3 * np.sin(8 * angle)))
    return _soft(edge - np.hypot(rows - y, columns - x), side)


def _hair(side: int, stream: Stream) -> _Cover:
    """A thin line across the picture."""
    start, slope = stream.uniform(2)
    rows, columns = _grid(side, side)
    return _soft(0.003 - abs(rows - start - (slope - 0.5) * columns) / (1.0 + abs(slope - 0.5)), side)
