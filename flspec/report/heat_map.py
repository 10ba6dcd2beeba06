"""A heat map: one cell for each pair of values of two settings, shaded by a number that stands in it."""

from __future__ import annotations

from collections.abc import Sequence

from flspec.report.charts import opened
from flspec.report.drawing import Drawing, drawn
from flspec.report.palette import INK, MUTED
from flspec.report.words import NOT_FINITE, brief, number

__all__ = ["draw_heat_map"]

_SHADES = ((0.937, 0.957, 0.976), (0.016, 0.290, 0.478))  # of the least and the greatest value
_ON_PALE, _ON_DARK = "#101418", "#fefefe"  # not of the palette, since a shade is the same on a dark page
_HEIGHT, _LONGEST = 0.42, 14  # inches of a row; characters of a value's name


def draw_heat_map(
    table: Sequence[Sequence[float | None]], rows: Sequence[str], columns: Sequence[str], down: str, across: str
) -> Drawing:
    """Draw `table`, which has a row for each of `rows`; `down` and `across` name the two settings."""
    from matplotlib.patches import Rectangle

    known = [value for row in table for value in row if value is not None and abs(value) < NOT_FINITE]
    low, high = min(known, default=0.0), max(known, default=1.0)
    with opened(height=0.75 + _HEIGHT * len(rows)) as (figure, axes):
        for y, row in enumerate(table):
            for x, value in enumerate(row):
                part = None if value is None or abs(value) >= NOT_FINITE else (value - low) / ((high - low) or 1.0)
                if part is not None:
                    axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=_shade(part), linewidth=0))
                color = INK if part is None else _ON_DARK if part > 0.45 else _ON_PALE
                size = 9 if len(columns) <= 6 else 6.5
                axes.text(
                    x, y, number(value, 4 if size > 8 else 3), ha="center", va="center", color=color, fontsize=size
                )
        axes.set_xticks(range(len(columns)), [brief(name, _LONGEST) for name in columns])
        axes.set_yticks(range(len(rows)), [brief(name, _LONGEST) for name in rows])
        if len(columns) > 6:
            axes.tick_params(axis="x", rotation=45)
        axes.set_xlim(-0.5, len(columns) - 0.5)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlabel(across, color=MUTED)
        axes.set_ylabel(down, color=MUTED)
        axes.spines["bottom"].set_visible(False)
        axes.grid(visible=False)
        return drawn(figure)


def _shade(part: float) -> tuple[float, float, float]:
    red, green, blue = (least + part * (most - least) for least, most in zip(*_SHADES, strict=True))
    return red, green, blue
