"""Settings and their differences as tables for a terminal."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from flspec.cli.consoles import lines
from flspec.cli.tables import plain_table, short_number
from flspec.core.text import and_more
from flspec.runs.metric_words import digits_of

if TYPE_CHECKING:
    from rich.table import Table

    from flspec.comparison.ranking import ComparedPair, Ranking

__all__ = ["pairs_table", "ranking_notes", "settings_table"]

_MOST_PAIRS = 30


def settings_table(ranking: Ranking) -> Table:
    """Return one row a setting: the values that tell it from others, its runs, and what they measured."""
    form = f".{digits_of(ranking.metric)}f"
    table = plain_table(ranking.in_words)
    for heading in ranking.headings:
        table.add_column(heading, overflow="fold")
    table.add_column("runs", justify="right", no_wrap=True)
    table.add_column("mean ± sd", justify="right", no_wrap=True)
    for setting in ranking.settings:
        scores = list(setting.scores.values())
        sd = f" ± {short_number(statistics.stdev(scores), form)}" if len(scores) > 1 else ""
        values = ("-" if value is None else str(value) for value in setting.values.values())
        table.add_row(*values, str(len(scores)), short_number(statistics.fmean(scores), form) + sd)
    return table


def pairs_table(ranking: Ranking) -> Table:
    """Return one row a pair of settings that differ in one: their difference, and what may be said of it."""
    form = f"+.{digits_of(ranking.metric)}f"
    has_others = any(map(ranking.shared, ranking.pairs))
    table = plain_table("pairs of settings, the first less the second")
    for heading in (*(["both"] if has_others else []), "first", "second"):
        table.add_column(heading, overflow="fold")
    for words in (("runs",), ("differ-", "ence"), ("95 %", "interval"), ("p",)):
        table.add_column(lines(*words), justify="right", no_wrap=True)
    table.add_column("verdict", overflow="fold")
    for pair in ranking.by_p[:_MOST_PAIRS]:
        names = [*([ranking.shared(pair)] if has_others else []), *ranking.told_apart(pair)]
        table.add_row(*names, *_numbers(pair, form), ranking.verdict(pair))
    return table


def ranking_notes(ranking: Ranking) -> list[str]:
    """Return what stands below the tables: what was left out, why no more is said, and how it was judged."""
    left_out = (*ranking.left_out[:3], and_more(len(ranking.left_out) - 3))
    return [
        *([f"left out: {'; '.join(filter(None, left_out))}"] if ranking.left_out else []),
        *(
            [f"{and_more(len(ranking.pairs) - _MOST_PAIRS, 'pairs')} are in --json"]
            if len(ranking.pairs) > _MOST_PAIRS
            else []
        ),
        *ranking.reasons,
        *([ranking.method] if ranking.is_tested else []),
    ]


def _numbers(pair: ComparedPair, form: str) -> tuple[str, str, str, str]:
    found = pair.contrast
    if found is None:
        return "", "", "", ""
    interval = "" if found.low is None or found.high is None else f"{found.low:{form}}, {found.high:{form}}"
    return found.counts, short_number(found.difference, form), interval, short_number(pair.p_corrected, ".3f")
