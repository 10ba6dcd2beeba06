"""The plots of the page, by matplotlib as SVG: equal input gives equal bytes."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from flspec.report.palette import INK, MUTED, PALETTE, RULE

__all__ = ["Curve", "draw_dots", "draw_panels"]

_MARKS = "osD^vPX*"
_SETTINGS: Any = {"svg.fonttype": "none", "svg.hashsalt": "flspec", "text.parse_math": False, "font.size": 9.0}


@dataclass(frozen=True)
class Curve:
    """A value at each place, None where there is none."""

    label: str
    values: Sequence[float | None]


def draw_dots(places: Sequence[str], curves: Sequence[Curve], label: str, joined: bool = False) -> str:
    """Draw dots over named places on an axis of powers; a rule stands at 1."""
    with _figure(7.0, 3.4) as figure:
        axes = figure.add_subplot()
        for number, curve in enumerate(curves):
            points = [(x, y) for x, y in enumerate(curve.values) if y is not None]
            _plot(axes, points, number, "-" if joined else "", curve.label.replace("`", ""))
        axes.set_xticks(range(len(places)), places, rotation=25, ha="right")
        _finish(axes, label)
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(FuncFormatter(lambda value, _: f"{value:g}" if _is_labelled(value) else ""))
        figure.legend(loc="outside right upper", frameon=False)
        return _svg(figure)


def draw_panels(panels: Mapping[str, Sequence[tuple[int, float]]], label: str) -> str:
    """Draw one panel for each title: values, from 0, over sizes on an axis of powers."""
    with _figure(2.6 * len(panels), 2.6) as figure:
        for number, (title, points) in enumerate(panels.items()):
            axes = figure.add_subplot(1, len(panels), number + 1)
            _plot(axes, points, 1, "-", "")
            axes.set_xscale("log")
            axes.set_xticks([size for size, _ in points], [f"{size:,}" for size, _ in points])
            axes.minorticks_off()
            axes.set_title(title, fontsize=9.0, color=INK)
            _finish(axes, label if number == 0 else "")
            axes.set_ylim(bottom=0.0)
        return _svg(figure)


def _plot(axes: Axes, points: Sequence[tuple[float, float]], number: int, line: str, label: str) -> None:
    style: Any = {"marker": _MARKS[number % len(_MARKS)], "linestyle": line, "markersize": 5.0, "linewidth": 1.2}
    axes.plot(*zip(*points, strict=True), color=PALETTE[f"series-{number % 6}"][0], label=label, **style)


def _finish(axes: Axes, label: str) -> None:
    axes.axhline(1.0, color=MUTED, linewidth=1.0)
    axes.set_ylabel(label)
    axes.grid(visible=True, axis="y", which="both", color=RULE, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)


def _is_labelled(value: float) -> bool:
    return f"{value:.0e}"[0] in "25"


@contextmanager
def _figure(width: float, height: float) -> Iterator[Figure]:
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        yield Figure(figsize=(width, height), layout="constrained")


def _svg(figure: Figure) -> str:
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None}, facecolor="white")
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n"
