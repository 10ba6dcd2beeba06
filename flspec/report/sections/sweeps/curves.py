"""Curves of a sweep: the mean of each combination by round, in a band of one standard deviation over its seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from flspec.core.text import and_more
from flspec.report.charts import Line, draw_lines
from flspec.report.page import Chart, Figure, Paragraph, Section
from flspec.report.palette import Style
from flspec.report.sweep_subject import SweepSubject
from flspec.report.thinning import thinning_in_words
from flspec.report.words import brief, words_of

__all__ = ["curves_of", "runs_in_words", "sweep_curves_section"]

_MOST_LINES = 24  # as many as can be told apart
_MOST_CHARTS = 4


def sweep_curves_section(subject: SweepSubject) -> Section:
    """Return the section: one chart for each metric, all combinations on the same axes."""
    return Section("Curves", curves_of(subject) or [Paragraph("No completed run was evaluated.")])


def curves_of(subject: SweepSubject) -> list[Figure]:
    """Return the figures: what the models are worth, and what was measured while they were trained."""
    return [
        figure
        for split, caption in (
            (subject.split, f"After each evaluated round, on {brief(subject.split)}"),
            ("train", "During local training, over the examples trained on"),
        )
        if (figure := _figure(subject, split, caption))
    ]


def runs_in_words(subject: SweepSubject) -> str:
    """Say of how many runs a mean is."""
    numbers = sorted({len(one.runs) for one in subject.combinations})
    if numbers == [1]:
        return "one run each, so there is no band"
    span = f"{numbers[0]}" if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"
    return f"means over {span} runs each; the band is one sample standard deviation to either side"


def _figure(subject: SweepSubject, split: str, caption: str) -> Figure | None:
    charts, used = [], dict[str, Style]()
    for metric in _metrics(subject, split)[:_MOST_CHARTS]:
        lines = dict(list(subject.curves(metric, split).items())[:_MOST_LINES])
        used |= {label: line.style for label, line in lines.items()}
        charts.append(Chart(f"{split.capitalize()} {words_of(metric)}", draw_lines([*lines.values()]), _note(lines)))
    if not charts:
        return None
    more = and_more(len(subject.combinations) - _MOST_LINES, "combinations are in the final table")
    text = ". ".join(filter(None, (f"{caption}: {runs_in_words(subject)}", more)))
    return Figure(f"{text}.", charts, list(used.items()))


def _metrics(subject: SweepSubject, split: str) -> Sequence[str]:
    if split != "train":
        return subject.metrics(split)
    return list(dict.fromkeys(name for result in subject.results for one in result.rounds[:1] for name in one.train))


def _note(lines: Mapping[str, Line]) -> str:
    return thinning_in_words(max((len(line.points) for line in lines.values()), default=0))
