"""A picture of a partition: each client's examples of each label, and its total.

A few clients are drawn as circles whose area is the number of examples. Many are drawn as shades. Very many are sorted
by their commonest label, so that a skew shows as blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flspec.analysis.skew import Skew
from flspec.report.drawing import SETTINGS, Drawing, drawn
from flspec.report.palette import GROUND, INK, MUTED, PALETTE, RULE
from flspec.report.words import brief

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_partition"]

_COLOR, _PALE = PALETTE["series-0"][1], PALETTE["series-0"][0]
_DARK = "#0d3350"  # the largest count, for shades
_MOST_CIRCLES = 30  # clients or labels
_MOST_ROWS = 2_000
_MOST_NUMBERED = 40  # clients shown in their own order and by number
_LEFT, _RIGHT, _TOP, _BOTTOM = 0.75, 0.75, 1.35, 0.95  # margins and all lengths below: inches
_LONGEST = 10  # characters of a name
_GAP, _BARS, _NARROWEST = 0.25, 1.5, 5.2

Counts = NDArray[np.int64]  # [num_clients, num_classes]


@dataclass(frozen=True)
class _Frame:
    """The place of the matrix, and the size of its cells."""

    cell: tuple[float, float]  # width, height
    matrix: tuple[float, float]

    @classmethod
    def of(cls, counts: Counts) -> _Frame:
        clients, labels = counts.shape
        if max(clients, labels) <= _MOST_CIRCLES:
            side = 0.32 if max(clients, labels) <= 12 else 0.24 if max(clients, labels) <= 20 else 0.19
            return cls((side, side), (labels * side, clients * side))
        width, height = min(4.4, 0.3 * labels), min(5.6, 0.24 * clients)
        return cls((width / labels, height / clients), (width, height))

    @property
    def size(self) -> tuple[float, float]:
        width = _LEFT + self.matrix[0] + _GAP + _BARS + _RIGHT
        return max(width, _NARROWEST), _TOP + self.matrix[1] + _BOTTOM

    def place(self, left: float, bottom: float, width: float, height: float) -> tuple[float, float, float, float]:
        """Return a rectangle, in inches from the lower left corner, as matplotlib's shares of the figure."""
        across, up = self.size
        return left / across, bottom / up, width / across, height / up


def draw_partition(
    counts: Counts, name: str, skew: Skew | None = None, *, clients: Sequence[str] = (), labels: Sequence[str] = ()
) -> Drawing:
    """Return the SVG text of one partition; equal input gives equal bytes. `clients` and `labels` are names."""
    import matplotlib
    from matplotlib.figure import Figure

    frame, circles, numbered = _Frame.of(counts), max(counts.shape) <= _MOST_CIRCLES, len(counts) <= _MOST_NUMBERED
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # a user's own style must not change what a picture looks like
        matplotlib.rcParams.update(SETTINGS | {"font.family": ["sans-serif"]})
        figure = Figure(figsize=frame.size, facecolor=GROUND)
        _write_head(figure, frame, counts, name, skew)
        matrix = figure.add_axes(frame.place(_LEFT, _BOTTOM, *frame.matrix))
        bars = figure.add_axes(frame.place(_LEFT + frame.matrix[0] + _GAP, _BOTTOM, _BARS, frame.matrix[1]))
        shown = counts if numbered else _condensed(counts[_by_commonest_label(counts)])
        (_draw_circles if circles else _draw_shades)(matrix, frame, shown)
        _name_rows(matrix, len(shown), len(counts), clients, numbered=numbered)
        _name_columns(matrix, labels)
        _draw_sizes(bars, shown, numbered=numbered)
        for axes in (matrix, bars):
            axes.set_ylim(len(shown) - 0.5, -0.5)
        return drawn(figure)


def _write_head(figure: Figure, frame: _Frame, counts: Counts, name: str, skew: Skew | None) -> None:
    across, up = frame.size
    clients, labels = counts.shape
    summary = f"{clients:,} clients hold {counts.sum():,} examples of {labels:,} labels"
    lines = [(name, 0.3, INK, 11.0, "bold"), (summary, 0.52, INK, 9.0, "normal")]
    if skew:
        entropy = f"label entropy {skew.label_entropy.mean:.2f} of {skew.label_entropy.greatest:.2f} nats"
        measures = f"{entropy} · EMD {skew.emd.mean:.2f} · Gini of sizes {skew.size_gini:.2f}"
        lines.append((measures, 0.7, MUTED, 8.0, "normal"))
    for text, below, color, size, weight in lines:
        figure.text(0.2 / across, 1 - below / up, text, color=color, fontsize=size, fontweight=weight)


def _draw_circles(axes: Axes, frame: _Frame, counts: Counts) -> None:
    _finish(axes, frame, counts)
    axes.grid(visible=True, color=RULE, linewidth=0.6)
    rows, columns = np.nonzero(counts)
    areas = _areas(frame, counts[rows, columns], int(counts.max()))
    axes.scatter(columns, rows, s=areas, color=_COLOR, linewidths=0, clip_on=False)
    _explain_areas(axes.figure, frame, int(counts.max()))


def _areas(frame: _Frame, values: NDArray[np.int64], most: int) -> NDArray[np.float64]:
    """Return areas in square points; the largest count nearly fills its cell, and none is too small to be seen."""
    largest = (0.94 * frame.cell[0] * 72) ** 2
    return np.maximum(largest * values / most, 1.2)


def _explain_areas(figure: Any, frame: _Frame, most: int) -> None:
    """Draw the legend of the circles' areas."""
    axes = figure.add_axes(frame.place(_LEFT, 0.15, 3.4, 0.42))
    axes.set_axis_off()
    axes.set_xlim(0, 3.4)
    axes.set_ylim(-1, 1)
    left = 0.0
    for value in np.unique([max(1, round(most * part)) for part in (1 / 16, 1 / 4, 1)]):
        area = _areas(frame, np.array([value]), most)
        radius = float(np.sqrt(area[0])) / 144
        axes.scatter([left + radius], [0], s=area, color=_COLOR, linewidths=0, clip_on=False)
        axes.annotate(f"{value:,}", (left + 2 * radius + 0.06, 0), va="center", color=INK, fontsize=8)
        left += 2 * radius + 0.26 + 0.07 * len(f"{value:,}")
    axes.annotate("examples of a label", (left, 0), va="center", color=MUTED, fontsize=8, annotation_clip=False)


def _draw_shades(axes: Axes, frame: _Frame, counts: Counts) -> None:
    from matplotlib.colors import LinearSegmentedColormap, PowerNorm

    _finish(axes, frame, counts)
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set(visible=True, color=RULE, linewidth=0.8)
    shades = LinearSegmentedColormap.from_list("examples", [GROUND, _PALE, _COLOR, _DARK])
    # By the root of the count; otherwise a few clients with many examples would leave all others white.
    by_root = PowerNorm(0.5, 0, int(counts.max()))
    picture = axes.imshow(counts, cmap=shades, norm=by_root, aspect="auto", interpolation="none")
    scale = axes.figure.add_axes(frame.place(_LEFT, 0.52, 1.6, 0.12))
    most = int(counts.max())
    ticks = sorted({0, round(most / 16), round(most / 4), most})
    axes.figure.colorbar(picture, cax=scale, orientation="horizontal", ticks=ticks)
    scale.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    scale.tick_params(length=0, labelcolor=INK, labelsize=8, pad=3)
    scale.spines[:].set(color=RULE, linewidth=0.6)
    scale.annotate("examples of a label", (1.08, 0.5), xycoords="axes fraction", va="center", color=MUTED, fontsize=8)


def _by_commonest_label(counts: Counts) -> NDArray[np.intp]:
    """Return an order of clients: by commonest label, then by the share of that label."""
    commonest = counts.argmax(axis=1)
    return np.lexsort((-counts.max(axis=1) / counts.sum(axis=1), commonest))


def _condensed(counts: Counts) -> Counts:
    """Return at most as many rows as can be seen, as means of neighbours."""
    if len(counts) <= _MOST_ROWS:
        return counts
    return np.array([np.rint(part.mean(axis=0)) for part in np.array_split(counts, _MOST_ROWS)]).astype(np.int64)


def _finish(axes: Axes, frame: _Frame, counts: Counts) -> None:
    labels = counts.shape[1]
    step = next(step for step in (1, 2, 5, 10, 20, 50, 100, 10**9) if frame.cell[0] * step >= 0.19 or step == 10**9)
    axes.set_xlim(-0.5, labels - 0.5)
    axes.set_xticks(range(0, labels, step))
    axes.xaxis.set_ticks_position("top")
    axes.set_xlabel("label", color=MUTED, fontsize=8, labelpad=4)
    axes.xaxis.set_label_position("top")
    _undress(axes)


def _name_columns(axes: Axes, labels: Sequence[str]) -> None:
    """Label columns by the names of the labels, if there are some and each column has a number."""
    ticks = [int(tick) for tick in axes.get_xticks()]
    if labels and len(ticks) == len(labels):
        # Names are wider than a column, so they lean.
        names = [brief(labels[tick], _LONGEST) for tick in ticks]
        axes.set_xticks(ticks, names, rotation=45, ha="left", rotation_mode="anchor")
        axes.set_xlabel("")


def _name_rows(axes: Axes, rows: int, clients: int, names: Sequence[str], *, numbered: bool) -> None:
    """Label each row by name or number, or the axis by the order of the rows."""
    if numbered and names:
        axes.set_yticks(range(rows), [brief(name, _LONGEST) for name in names])
        return  # names need the room of the axis' own
    axes.set_yticks(range(rows) if numbered else [])
    order = "client" if numbered else "clients, in the order of their commonest label"
    condensed = f"\neach row the mean of about {clients / rows:.3g}" if rows < clients else ""
    axes.set_ylabel(order + condensed, color=MUTED, fontsize=8, labelpad=6)


def _draw_sizes(axes: Axes, counts: Counts, *, numbered: bool) -> None:
    """Draw each client's size, with its number if there is room."""
    sizes = counts.sum(axis=1)
    _undress(axes)
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.set_xlim(0, int(sizes.max()))
    axes.set_xticks([])
    axes.xaxis.set_label_position("top")
    if numbered:
        axes.barh(range(len(sizes)), sizes, height=0.62, color=_PALE)
        for row, size in enumerate(sizes):
            text = axes.annotate(f"{size:,}", (size, row), (4, 0), textcoords="offset points", va="center")
            text.set(color=INK, fontsize=8, annotation_clip=False)
    else:
        axes.stairs(sizes, np.arange(len(sizes) + 1) - 0.5, orientation="horizontal", fill=True, color=_PALE)
        axes.set_xticks([0, int(sizes.max())], ["0", f"{sizes.max():,}"])
        axes.xaxis.set_ticks_position("top")
    axes.set_xlabel("examples held", color=MUTED, fontsize=8, labelpad=4, loc="left")


def _undress(axes: Axes) -> None:
    """Remove the frame, ticks and ground."""
    axes.patch.set_visible(False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelcolor=INK, labelsize=8, pad=4)
    axes.set_axisbelow(True)
