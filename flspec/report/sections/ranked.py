"""Which settings are better, where seeds are enough to say so; and their curves on one set of axes."""

from __future__ import annotations

from collections.abc import Sequence

from flspec.comparison.ranking import ComparedPair, Ranking, rank
from flspec.errors import InputError
from flspec.measurements import Measurements
from flspec.report.page import Column, Figure, Paragraph, Section, Table
from flspec.report.sections.sweeps.curves import curves_of
from flspec.report.subject import Subject
from flspec.report.sweep_subject import SweepSubject
from flspec.report.words import DASH, brief, number

__all__ = ["compared_settings_section", "ranked_section"]

Block = Figure | Paragraph | Table

_MOST_PAIRS, _MOST_UNFOLDED = 200, 30


def ranked_section(subject: SweepSubject) -> Section | None:
    """Return what may be said of the settings of a sweep; None if there is but one, or none was measured."""
    ranking = _ranking(subject)
    return Section("Which is better", _blocks(ranking)) if ranking and ranking.pairs else None


def compared_settings_section(subject: Subject) -> Section | None:
    """Return the same of a comparison of several plans, with their curves if they can be compared."""
    if subject.certificate or subject.has_one_plan:
        return None
    runs = [(run.folder, run.result) for run in subject.runs if run.folder and run.result]
    settings = SweepSubject(Measurements(tuple(one for one, _ in runs), tuple(one for _, one in runs)), ())
    ranking = _ranking(settings)
    if ranking is None:
        return None
    curves = curves_of(settings) if ranking.is_tested else []
    return Section("Settings", [*_blocks(ranking), *curves])


def _ranking(subject: SweepSubject) -> Ranking | None:
    metrics = subject.metrics(subject.split)
    try:
        return rank(subject.measurements, metrics[0], subject.split) if metrics else None
    except InputError:  # nothing finite was measured, or a metric is of a package that is not installed here
        return None


def _blocks(ranking: Ranking) -> list[Block]:
    left_out = [f"Left out: {'; '.join(ranking.left_out)}"] if ranking.left_out else []
    notes = [*left_out, *ranking.reasons, *([ranking.method] if ranking.is_tested else [])]
    paragraphs = [Paragraph(f"{brief(f'{note[0].upper()}{note[1:]}', 500)}.") for note in notes]
    return [*([_pairs(ranking)] if ranking.pairs else []), *paragraphs]


def _pairs(ranking: Ranking) -> Table:
    """Return one row for each pair of settings, the surest first."""
    has_others = any(map(ranking.shared, ranking.pairs))
    rows = [
        [
            *(brief(name, 60) for name in ranking.told_apart(pair)),
            *([brief(ranking.shared(pair), 60)] if has_others else []),
            *_numbers(pair),
            brief(ranking.verdict(pair), 80),
        ]
        for pair in ranking.by_p[:_MOST_PAIRS]
    ]
    columns = (
        Column("first", "word"),
        Column("second", "word"),
        *([Column("both", "word")] if has_others else []),
        *map(Column, ("runs", "difference", "95 % interval", "p")),
        Column("verdict", "word"),
    )
    shown = "" if len(ranking.pairs) <= _MOST_PAIRS else f"; the surest {_MOST_PAIRS} of {len(ranking.pairs):,}"
    caption = f"Pairs of settings that differ in one, the first less the second: {ranking.in_words}{shown}"
    return Table(caption, columns, rows, folded=len(rows) > _MOST_UNFOLDED)


def _numbers(pair: ComparedPair) -> Sequence[str]:
    found = pair.contrast
    if found is None:
        return [DASH] * 4
    interval = DASH if found.low is None or found.high is None else f"{number(found.low, 3)} to {number(found.high, 3)}"
    return found.counts, number(found.difference, 3), interval, number(pair.p_corrected, 2)
