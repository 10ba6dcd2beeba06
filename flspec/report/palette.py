"""Colours and line styles that the colour-blind can distinguish (after Okabe and Ito 2008), in
print and in the dark.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["GROUND", "INK", "MUTED", "PALETTE", "RULE", "Style", "plain_style", "style"]

# By name: on light and on dark ground. Each line colour keeps a contrast of 3 to 1 on its ground.
PALETTE = {
    "series-0": ("#6aaedb", "#3f86b8"),
    "series-1": ("#d55e00", "#ff9a4d"),
    "series-2": ("#00805d", "#3ccfa4"),
    "series-3": ("#7b2d6b", "#eab0d8"),
    "series-4": ("#9a7400", "#e8c24a"),
    "series-5": ("#55606b", "#aab6c2"),
    "ink": ("#1b1f23", "#e8eaed"),
    "muted": ("#5c646c", "#a2abb5"),
    "rule": ("#d9dde1", "#3a414a"),
    "good": ("#00704f", "#4fd3a9"),
    "bad": ("#b3261e", "#ff8f85"),
    "unsure": ("#8a5a00", "#f0b95a"),
    "ground": ("#ffffff", "#15181c"),
}
INK, MUTED, RULE, GROUND = (PALETTE[name][0] for name in ("ink", "muted", "rule", "ground"))


@dataclass(frozen=True)
class Style:
    """The look of one run, the same everywhere on a page."""

    name: str  # in PALETTE
    width: float  # in points
    dash: tuple[float, ...]  # on, off, … in points; empty for a solid line

    @property
    def color(self) -> str:
        return PALETTE[self.name][0]


# The first is a broad pale band and each next one is thinner, so that coinciding lines all stay visible.
_FIRST = (("series-0", 7.0, ()), ("series-1", 3.0, ()), ("series-2", 1.4, (5.0, 4.0)))
_NEXT = ((1.8, (2.0, 3.0)), (1.4, (8.0, 2.5, 1.4, 2.5)), (1.4, (9.0, 6.0)), (1.4, ()))


def style(index: int) -> Style:
    """Return the style of the run at `index`, from 0."""
    if index < len(_FIRST):
        return Style(*_FIRST[index])
    width, dash = _NEXT[(index - len(_FIRST)) % len(_NEXT)]
    return Style(f"series-{index % 6}", width, dash)


_PLAIN = (1, 2, 3, 5, 4, 0)  # of the palette: those first that are read best on light and on dark
_DASHES = ((), (5.0, 3.0), (2.0, 2.5), (9.0, 3.0, 2.0, 3.0))


def plain_style(index: int) -> Style:
    """Return the style of the line at `index`, from 0, among lines that are not expected to coincide."""
    return Style(f"series-{_PLAIN[index % 6]}", 2.0, _DASHES[index // 6 % 4])
