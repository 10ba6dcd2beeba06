"""Pictures for synthetic twins: simple shapes under noise that a linear model can distinguish.

A painter returns float32 [height, width, 3] from 0 to 1, which `finished` converts to bytes. Positions and sizes are
fractions of the picture's height and width, from its upper left corner. Every draw comes from the given stream.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from flspec.core.randomness import Stream

__all__ = ["Painted", "finished", "paint_face", "paint_icons", "paint_mole", "paint_shape"]

Painted = NDArray[np.float32]  # [height, width, 3], 0..1
_Values = NDArray[np.float32]  # [height, width]
_Colour = Sequence[float]

_SKINS = ((0.94, 0.80, 0.69), (0.88, 0.67, 0.53), (0.76, 0.54, 0.39), (0.55, 0.37, 0.26), (0.39, 0.26, 0.18))
_HAIR = {
    "Black_Hair": (0.10, 0.08, 0.08),
    "Blond_Hair": (0.87, 0.74, 0.42),
    "Brown_Hair": (0.40, 0.25, 0.14),
    "Gray_Hair": (0.72, 0.72, 0.72),
}
_PATCHES = ((0.08, 0.06, 0.07), (0.25, 0.27, 0.38), (0.55, 0.20, 0.18))


def finished(picture: Painted, noise: float, stream: Stream) -> NDArray[np.uint8]:
    """Add uniform noise of at most the fraction `noise` of the range, and convert to bytes."""
    height, width = picture.shape[:2]
    words = stream.child("noise").words(-(-picture.size // 8))
    grain = words.view(np.uint8)[: picture.size].reshape(height, width, 3).astype(np.float32) / 127.5 - 1.0
    return np.clip(np.rint((picture + noise * grain) * 255.0), 0, 255).astype(np.uint8)


def paint_icons(labels: Collection[int], variants: Collection[int], style: float, side: int, stream: Stream) -> Painted:
    """Paint one icon for each label, each in its own cell of a grid of five by four. A variant is a coloured dot in it.

    `labels` are below 20. `style`, from 0 to 1, is the hue of the background, one for each user.
    """
    canvas = _Canvas(side, side, _hue(style, 0.25, 0.75), stream)
    for label, variant in zip(labels, variants, strict=True):
        jitter = stream.child("icon", label).uniform(3)
        place = (label // 5 + 0.5) / 4 + 0.04 * (jitter[0] - 0.5), (label % 5 + 0.5) / 5 + 0.04 * (jitter[1] - 0.5)
        colour = _hue(label * 0.382, 0.85, 0.9 if label % 2 else 0.45)
        canvas.lay(_FORMS[label % len(_FORMS)](*canvas.seen_from(*place), 0.065 + 0.025 * jitter[2]), colour)
        canvas.lay(_disc(*canvas.seen_from(*place), 0.035), _hue(variant * 0.27, 1.0, 1.0))
    return canvas.picture


def paint_shape(label: int, height: int, width: int, stream: Stream) -> Painted:
    """Paint a disc, a square, a triangle, a ring, a cross or stripes, in a colour that mostly depends on the label."""
    y, x, radius, shift, light = stream.child("shape").uniform(5)
    canvas = _Canvas(height, width, _hue(shift, 0.15, 0.55 + 0.3 * light), stream)
    form = _FORMS[label % len(_FORMS)](*canvas.seen_from(0.45 + 0.1 * y, 0.45 + 0.1 * x), 0.24 + 0.08 * radius)
    canvas.lay(form, _hue(label * 0.29 + 0.08 * (shift - 0.5), 0.8, 0.6 + 0.35 * light))
    return canvas.picture


def paint_face(attributes: Collection[str], person: Stream, stream: Stream, height: int, width: int) -> Painted:
    """Paint a face with those attributes that can be painted. The skin depends on the `person` alone."""
    tone, shade = person.child("skin").uniform(2)
    skin = _SKINS[0] if "Pale_Skin" in attributes else _SKINS[int(tone * len(_SKINS))]
    hair = next((colour for name, colour in _HAIR.items() if name in attributes), (0.30, 0.20, 0.15))
    y, x = (0.02 * (value - 0.5) for value in stream.child("place").uniform(2))
    canvas = _Canvas(height, width, _hue(stream.child("wall").uniform(1)[0], 0.35, 0.65), stream)
    canvas.middle = canvas.seen_from(0.54 + y, 0.5 + x)
    canvas.oval(0.52, 0.0, 0.24, 0.42, _hue(shade, 0.6, 0.5))  # clothes
    if "Bald" not in attributes:
        canvas.oval(0.0, 0.0, *((0.32, 0.27) if "Male" in attributes else (0.42, 0.36)), hair)
    canvas.oval(0.30, 0.0, 0.12, 0.09, _darker(skin, 0.9))  # neck
    canvas.oval(0.04, 0.0, 0.28, 0.24, skin)
    for side in (-1, 1):
        _paint_eye(canvas, 0.10 * side, attributes, hair)
    canvas.oval(0.07, 0.0, 0.05, 0.025, _darker(skin, 0.85))  # nose
    _paint_mouth(canvas, attributes, skin)
    for row in () if "Young" in attributes else (-0.12, -0.15):
        canvas.oval(row, 0.0, 0.004, 0.12, _darker(skin, 0.75))
    if "Wearing_Hat" in attributes:
        canvas.oval(-0.24, 0.0, 0.11, 0.26, _hue(shade + 0.4, 0.8, 0.55))
    return canvas.picture


def paint_mole(is_melanoma: bool, person: Stream, stream: Stream, side: int) -> Painted:
    """Paint a mole on skin: small, round and brown; a melanoma is larger, ragged and of several colours."""
    canvas = _Canvas(side, side, _SKINS[int(person.child("skin").uniform(1)[0] ** 2 * 4)], stream)
    y, x, size, dark, phase = stream.child("mole").uniform(5)
    y, x = 0.45 + 0.1 * y, 0.45 + 0.1 * x
    radius, ragged = (0.20 + 0.12 * size, 0.22) if is_melanoma else (0.12 + 0.09 * size, 0.05)
    melanoma, mole = (0.34 - 0.14 * dark, 0.20 - 0.08 * dark, 0.14), (0.52 - 0.12 * dark, 0.33 - 0.08 * dark, 0.22)
    canvas.lay(_blob(*canvas.seen_from(y, x), radius, ragged, phase), melanoma if is_melanoma else mole)
    for number, colour in enumerate(_PATCHES if is_melanoma else ()):
        dy, dx, share = stream.child("patch", number).uniform(3)
        place = canvas.seen_from(y + radius * (dy - 0.5), x + radius * (dx - 0.5))
        canvas.lay(_blob(*place, radius * (0.25 + 0.2 * share), 0.3, share), colour, thick=0.8)
    for number in range(int(stream.child("hairs").uniform(1)[0] * 4)):
        start, slope = stream.child("hair", number).uniform(2)
        down, right = canvas.seen_from(start, 0.0)
        line = 0.003 - abs(down - (slope - 0.5) * right) / (1.0 + abs(slope - 0.5))
        canvas.lay(line, (0.15, 0.10, 0.08), thick=0.7)
    return canvas.picture


# ------------------------------------------------------------------------------------------------------------ parts


class _Canvas:
    """An unfinished picture: a background of one colour, lighter towards one side, and the forms painted over it."""

    def __init__(self, height: int, width: int, colour: _Colour, stream: Stream) -> None:
        self._rows, self._columns = (((np.arange(size) + 0.5) / size).astype(np.float32) for size in (height, width))
        self.middle = self.seen_from(0.5, 0.5)  # the origin of `oval`
        down, right = stream.child("light").uniform(2) - 0.5
        light = 1.0 + 0.25 * (down * self.middle[0] + right * self.middle[1])
        self.picture: Painted = np.asarray(np.multiply.outer(light, np.array(colour, np.float32)), np.float32)

    def seen_from(self, y: float, x: float) -> tuple[_Values, _Values]:
        """Return each pixel's distance below and to the right of a position, [height, 1] and [1, width]."""
        return self._rows[:, np.newaxis] - y, self._columns[np.newaxis] - x

    def lay(self, inside: _Values, colour: _Colour, thick: float = 1.0) -> None:
        """Paint a colour inside an edge: `inside` is each pixel's distance inside it, `thick` the paint's opacity."""
        self._cover(thick * self._soft(inside), colour)

    def oval(self, y: float, x: float, tall: float, wide: float, colour: _Colour, hollow: _Colour = ()) -> None:
        """Paint an oval, `y` below and `x` to the right of the middle. `hollow` is the height and width of its hole."""
        cover = self._soft(self._inside(y, x, tall, wide))
        if hollow:
            cover = np.clip(cover - self._soft(self._inside(y, x, *hollow)), 0.0, 1.0)
        self._cover(cover, colour)

    def _inside(self, y: float, x: float, tall: float, wide: float) -> _Values:
        down, right = self.middle
        return np.asarray((1.0 - np.hypot((down - y) / tall, (right - x) / wide)) * min(tall, wide))

    def _soft(self, inside: _Values) -> _Values:
        """Convert distances inside an edge to coverage from 0 to 1. The edge is two pixels wide."""
        return np.asarray(np.clip(inside * len(self._rows) / 2.0 + 0.5, 0.0, 1.0), np.float32)

    def _cover(self, cover: _Values, colour: _Colour) -> None:
        rows, columns = (np.flatnonzero(cover.any(axis=axis)) for axis in (1, 0))
        if len(rows):
            box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            self.picture[box] += cover[box][:, :, np.newaxis] * (np.array(colour, np.float32) - self.picture[box])


def _paint_eye(canvas: _Canvas, x: float, attributes: Collection[str], hair: _Colour) -> None:
    canvas.oval(-0.03, x, 0.022, 0.05, (0.97, 0.97, 0.97))
    canvas.oval(-0.03, x, 0.020, 0.022, (0.15, 0.12, 0.10))
    canvas.oval(-0.08, x, 0.014 if "Bushy_Eyebrows" in attributes else 0.007, 0.06, _darker(hair, 0.6))
    if "Eyeglasses" in attributes:
        canvas.oval(-0.03, x, 0.065, 0.085, (0.05, 0.05, 0.05), hollow=(0.050, 0.068))


def _paint_mouth(canvas: _Canvas, attributes: Collection[str], skin: _Colour) -> None:
    lips = (0.80, 0.10, 0.20) if "Wearing_Lipstick" in attributes else (0.65, 0.35, 0.32)
    if "Mustache" in attributes:
        canvas.oval(0.135, 0.0, 0.018, 0.10, (0.15, 0.11, 0.09))
    if "Smiling" not in attributes:
        return canvas.oval(0.20, 0.0, 0.016, 0.075, lips)
    # A smile is the lower part of an oval, whose upper half is painted over with skin.
    canvas.oval(0.18, 0.0, 0.055, 0.11, lips)
    canvas.oval(0.18, 0.0, 0.038, 0.09, (0.98, 0.98, 0.96))
    return canvas.oval(0.155, 0.0, 0.030, 0.12, skin)


def _darker(colour: _Colour, share: float) -> _Colour:
    return [share * part for part in colour]


def _hue(turn: float, strength: float, light: float) -> tuple[float, float, float]:
    """Return a colour of the colour circle: `turn` from 0 to 1 goes from red through green and blue back to red."""
    return colorsys.hsv_to_rgb(turn % 1.0, strength, light)


# Each form returns the distance of pixels inside its edge, from those below (v) and to the right (u) of its centre.


def _disc(v: _Values, u: _Values, radius: float) -> _Values:
    return np.asarray(radius - np.hypot(v, u))


def _square(v: _Values, u: _Values, radius: float) -> _Values:
    return np.asarray(0.85 * radius - np.maximum(abs(v), abs(u)))


def _triangle(v: _Values, u: _Values, radius: float) -> _Values:
    return np.asarray(np.minimum(radius - v, v + radius - 2.0 * abs(u)) / 1.5)


def _ring(v: _Values, u: _Values, radius: float) -> _Values:
    return np.asarray(0.3 * radius - abs(np.hypot(v, u) - 0.75 * radius))


def _cross(v: _Values, u: _Values, radius: float) -> _Values:
    bars = [np.minimum(radius - abs(along), 0.3 * radius - abs(across)) for along, across in ((v, u), (u, v))]
    return np.asarray(np.maximum(*bars))


def _stripes(v: _Values, u: _Values, radius: float) -> _Values:
    wave = np.abs(v / radius * 2.0 % 1.0 - 0.5) * 0.5 * radius - 0.12 * radius
    return np.asarray(np.minimum(wave, 0.9 * radius - np.maximum(abs(v), abs(u))))


def _blob(v: _Values, u: _Values, radius: float, ragged: float, phase: float) -> _Values:
    """Return the distance inside a disc with a wavy edge."""
    angle = np.arctan2(v, u) + 2.0 * np.pi * phase
    edge = radius * (1.0 + ragged * (0.5 * np.sin(3 * angle) + 0.3 * np.sin(5 * angle + 1.0) + 0.3 * np.sin(8 * angle)))
    return np.asarray(edge - np.hypot(v, u))


_FORMS: tuple[Callable[[_Values, _Values, float], _Values], ...] = (_disc, _square, _triangle, _ring, _cross, _stripes)
