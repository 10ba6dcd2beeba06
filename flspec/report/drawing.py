"""A drawing: SVG text, as a page holds it, which can also be had as a file of its own, SVG or PNG, with its legend.

A page has the legend and the title beside a drawing, so that one legend serves several; a file has them in itself.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from flspec.report.palette import INK, Style
from flspec.report.words import brief

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["SETTINGS", "Drawing", "drawn"]

SETTINGS: Any = {
    "svg.fonttype": "none",  # text stays text: small, searchable, in the page's font
    "svg.hashsalt": "flspec",
    "text.parse_math": False,  # a name with a dollar sign is no formula
    "axes.unicode_minus": True,
    "font.size": 9.0,
    "path.simplify": False,
}
_DOTS_AN_INCH = 200


class Drawing(str):
    """SVG text of a figure without a title or legend."""

    __slots__ = ("_figure",)
    _figure: Figure

    def saved(self, title: str, legend: Sequence[tuple[str, Style]] = ()) -> dict[str, bytes]:
        """Return a file of the drawing by its ending, `svg` and `png`, with a title and a legend in it."""
        import matplotlib

        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(SETTINGS)
            _explain(self._figure, title, legend)
            png = io.BytesIO()
            self._figure.savefig(png, format="png", dpi=_DOTS_AN_INCH, facecolor="white", metadata={"Software": None})
            return {"svg": _svg(self._figure).encode(), "png": png.getvalue()}


def drawn(figure: Figure) -> Drawing:
    """Return a figure as a drawing; equal figures give equal text."""
    drawing = Drawing(_svg(figure))
    drawing._figure = figure
    return drawing


def _explain(figure: Figure, title: str, legend: Sequence[tuple[str, Style]]) -> None:
    from matplotlib.lines import Line2D

    if figure.get_layout_engine() is None or figure.legends or figure.get_suptitle():
        return  # one that explains itself, or has been explained
    figure.suptitle(brief(title, 80), fontsize=9.0, color=INK)
    lines = [
        Line2D([], [], color=one.color, linewidth=one.width, linestyle=(0, one.dash) if one.dash else "solid")
        for _, one in legend
    ]
    if lines:
        width, height = figure.get_size_inches()
        figure.set_size_inches(width, height + 0.2 * -(-len(lines) // 2))
        names = [brief(label, 50) for label, _ in legend]
        figure.legend(lines, names, loc="outside lower center", ncols=2, frameon=False, fontsize=7.5)


def _svg(figure: Figure) -> str:
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    file, canvas = io.StringIO(), FigureCanvasSVG(figure)
    canvas.print_svg(file, metadata={"Date": None, "Creator": None})  # type: ignore[no-untyped-call]
    return file.getvalue()
