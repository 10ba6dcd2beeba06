"""Charts, drawn by matplotlib as SVG text: equal input gives equal bytes.

Nothing here knows the meaning of the data; sections supply lines and bars. matplotlib takes a second to import, so the
first chart imports it. Its global state is left unchanged.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flspec.report.drawing import SETTINGS, Drawing, drawn
from flspec.report.palette import GROUND, INK, MUTED, RULE, Style
from flspec.report.thinning import thinned, thinned_band
from flspec.report.words import DASH, NOT_FINITE, brief, number, power

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Bar", "Line", "draw_bars", "draw_lines", "draw_magnitudes", "drawn", "opened"]

_WIDTH, _HEIGHT = 4.3, 2.6  # in inches of 72 points, which are the units of the SVG
_MOST_DOTS = 40  # more dots on one line would only thicken it

Points = Sequence[tuple[int, float]]  # round and value, ascending


@dataclass(frozen=True)
class Line:
    """One run's values by round, or the means of several."""

    style: Style
    points: Points
    band: Sequence[tuple[int, float, float]] = ()  # round, lowest and highest value of an area around the line


@dataclass(frozen=True)
class Bar:
    """One run's value in one or more parts, the first drawn full and the others pale; None if it is unknown."""

    label: str
    style: Style
    parts: Sequence[float] | None


def draw_lines(lines: Sequence[Line], alike: Sequence[Line] = ()) -> Drawing:
    """Draw values by round, on a linear axis, which also covers the values of `alike`, so that two charts can have the
    same axis. Of many rounds the least and greatest values of each few are drawn: see `thinning`.
    """
    with opened() as (figure, axes):
        for line in lines:
            _draw_band(axes, line)
        for line in lines:
            _draw_line(axes, line.style, thinned([(x, y) for x, y in line.points if abs(y) < NOT_FINITE]))
        axes.margins(x=0.03, y=0.08)
        if alike:
            axes.set_ylim(*_span((*lines, *alike)))
        _finish_rounds(axes, (*lines, *alike))
        return drawn(figure)


def draw_magnitudes(
    lines: Sequence[Line],
    alike: Sequence[Line] = (),
    limit: float | None = None,
    tick: Callable[[int], str] = power,
) -> Drawing:
    """Draw values by round on an axis of powers of ten; its lowest row is for zeros, its highest for values not finite.

    The axis also covers the values of `alike`, so that two charts can have the same axis. `limit` is a value to draw a
    rule at. `tick` labels a power of ten.
    """
    levels = _Levels.of([value for line in (*lines, *alike) for _, value in line.points] + ([limit] if limit else []))
    with opened() as (figure, axes):
        for line in lines:
            heights = thinned([(x, levels.height(y)) for x, y in line.points])
            _draw_line(axes, line.style, heights)
            _draw_dots(axes, line.style, heights)
            _draw_dots(axes, line.style, [place for place in heights if place[1] < levels.low], hollow=True)
        if limit:
            axes.axhline(levels.height(limit), color=INK, linewidth=1.2)
        axes.set_yticks(*levels.ticks(tick))
        axes.set_ylim(levels.bottom - 0.6, levels.top + 0.5)
        if levels.has_zero:
            axes.axhspan(levels.bottom - 0.6, levels.bottom + 0.5, color=RULE, alpha=0.45, linewidth=0)
        _finish_rounds(axes, (*lines, *alike))
        return drawn(figure)


def draw_bars(bars: Sequence[Bar]) -> Drawing:
    """Draw one bar a run, with its value at its end."""
    with opened(height=0.12 + 0.3 * len(bars)) as (figure, axes):
        for row, bar in enumerate(bars):
            _draw_bar(axes, row, bar)
        axes.set_yticks(range(len(bars)), [brief(bar.label, 20) for bar in bars])
        axes.set_ylim(len(bars) - 0.45, -0.55)
        largest = max((sum(bar.parts) for bar in bars if bar.parts), default=0.0)
        axes.set_xlim(0, 1.22 * largest or 1.0)  # leaves room for the value
        axes.set_xticks([])
        axes.spines["bottom"].set_visible(False)
        axes.grid(visible=False)
        return drawn(figure)


@dataclass(frozen=True)
class _Levels:
    """The heights of values on an axis of powers of ten that also has a place for zero and for values that are not
    finite.
    """

    low: int  # exponents around the positive, finite values
    high: int
    has_zero: bool
    has_infinite: bool

    @classmethod
    def of(cls, values: Sequence[float]) -> _Levels:
        exponents = [math.log10(value) for value in values if 0 < value < NOT_FINITE] or [0.0]
        low, high = math.floor(min(exponents)), math.ceil(max(exponents))
        return cls(low, max(high, low + 1), 0.0 in values, any(value >= NOT_FINITE for value in values))

    @property
    def bottom(self) -> float:
        return self.low - (1 if self.has_zero else 0)

    @property
    def top(self) -> float:
        return self.high + (1 if self.has_infinite else 0)

    def height(self, value: float) -> float:
        if value <= 0:
            return self.low - 1
        return self.high + 1 if value >= NOT_FINITE else math.log10(value)

    def ticks(self, label: Callable[[int], str]) -> tuple[list[float], list[str]]:
        step = -(-(self.high - self.low) // 6)
        marks = [(float(e), label(e)) for e in range(self.low, self.high + 1, step)]
        if self.has_zero:
            marks.insert(0, (self.low - 1.0, "0"))
        if self.has_infinite:
            marks.append((self.high + 1.0, "not finite"))
        return [height for height, _ in marks], [text for _, text in marks]


@contextmanager
def opened(height: float = _HEIGHT) -> Iterator[tuple[Figure, Axes]]:
    """Open a drawing with one frame that has only what helps to read it."""
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # a user's own style must not change what a report looks like
        matplotlib.rcParams.update(SETTINGS)
        figure = Figure(figsize=(_WIDTH, height), layout=ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02))
        figure.patch.set_visible(False)
        axes = figure.add_subplot()
        axes.patch.set_visible(False)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.spines["bottom"].set(color=MUTED, linewidth=0.8)
        axes.tick_params(length=0, labelcolor=INK, color=MUTED, pad=5)
        axes.grid(visible=True, axis="y", color=RULE, linewidth=0.8)
        axes.set_axisbelow(True)
        yield figure, axes


def _span(lines: Sequence[Line]) -> tuple[float, float]:
    """Return the ends of an axis for all values and bands, with a margin."""
    values = [y for line in lines for _, y in line.points if abs(y) < NOT_FINITE]
    values += [y for line in lines for _, *ends in line.band for y in ends]
    low, high = min(values, default=0.0), max(values, default=1.0)
    margin = 0.08 * (high - low) or 0.5
    return low - margin, high + margin


def _draw_band(axes: Axes, line: Line) -> None:
    if line.band:
        rounds, low, high = zip(*thinned_band(line.band), strict=True)
        axes.fill_between(rounds, low, high, color=line.style.color, alpha=0.22, linewidth=0)


def _draw_line(axes: Axes, style: Style, points: Points) -> None:
    """Draw a line through the rounds that have a value, with a dot at each if there are few."""
    if not points:
        return
    axes.plot(
        [x for x, _ in points],
        [y for _, y in points],
        color=style.color,
        linewidth=style.width,
        linestyle=(0, [length / style.width for length in style.dash]) if style.dash else "solid",
        solid_capstyle="round",
        clip_on=False,
        in_layout=False,
    )
    if len(points) <= points[-1][0] // 2 or len(points) == 1:
        _draw_dots(axes, style, points)


def _draw_dots(axes: Axes, style: Style, points: Points, *, hollow: bool = False) -> None:
    if len(points) > _MOST_DOTS:
        return
    axes.plot(
        [x for x, _ in points],
        [y for _, y in points],
        linestyle="none",
        marker="o",
        markersize=style.width + 2.6,
        markeredgecolor=style.color,
        clip_on=False,
        in_layout=False,
        markerfacecolor=GROUND if hollow else style.color,
    )


def _draw_bar(axes: Axes, row: int, bar: Bar) -> None:
    start = 0.0
    for index, part in enumerate(bar.parts or ()):
        axes.barh(row, part, left=start, height=0.62, color=bar.style.color, alpha=0.5 if index else 1.0)
        start += part
    text = DASH if bar.parts is None else number(start, 3)
    axes.annotate(text, (start, row), (4, 0), textcoords="offset points", va="center", color=INK)


def _finish_rounds(axes: Axes, lines: Sequence[Line]) -> None:
    """Draw an axis of whole rounds that begins with the first."""
    from matplotlib.ticker import MaxNLocator

    last = max((line.points[-1][0] for line in lines if line.points), default=1)
    axes.set_xlim(1 - min(0.5, 0.03 * last), last + 0.03 * last)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
    axes.set_xlabel("round", color=MUTED)
