"""What a run came to: a word, a sentence that can be quoted, and a table of its last and best values."""

from __future__ import annotations

from collections.abc import Iterator

from flspec.report.page import Badge, Column, Paragraph, Section, Table
from flspec.report.sections.remarks import aggregator_remarks
from flspec.report.subject import Subject
from flspec.report.words import DASH, brief, kind_of, number, plural, words_of
from flspec.runs.best_round import is_lower_better
from flspec.runs.metric_words import features_in_words, metrics_in_order
from flspec.runs.result import Result

__all__ = ["run_sentence", "run_status", "summary_section"]

_TONES = {"completed": "good", "failed": "bad", "interrupted": "unsure"}
_COLUMNS = (Column("metric", "word"), Column("of", "word"), Column("last"), Column("best"), Column("in round"))
_MOST_METRICS = 3  # in the sentence


def run_status(subject: Subject) -> Badge:
    """Return how the run ended."""
    result = _result(subject)
    return Badge(result.status, _TONES[result.status])  # type: ignore[arg-type]  # the tones of the dictionary


def run_sentence(subject: Subject) -> str:
    """Return what was run and what came of it, as one sentence."""
    result = _result(subject)
    what = f"{kind_of(result.spec, 'aggregator')} on {kind_of(result.spec, 'dataset')}"
    if result.spec.get("mode") in ("centralized", "local_only"):
        what = f"{str(result.spec['mode']).replace('_', ' ')} training on {kind_of(result.spec, 'dataset')}"
    done = f"{plural(len(result.rounds), 'round')} of {what}, on {brief(result.backend.name)}"
    measured = _last(result).get("test", {})
    values = [f"test {words_of(name)} {number(measured[name])}" for name in metrics_in_order(measured)[:_MOST_METRICS]]
    ended = {"completed": "", "failed": "Failed after ", "interrupted": "Interrupted after "}[result.status]
    return f"{ended}{done}{': ' if values else ''}{', '.join(values)}."


def summary_section(subject: Subject) -> Section:
    """Return the section, with all that a reader must know before the values are believed."""
    result = _result(subject)
    blocks: list[Paragraph | Table] = [Paragraph(f"{brief(text, 600)}.", "bad") for text in _warnings(subject)]
    blocks += [Paragraph(f"It {brief(result.stopped.in_words, 300)}.")] if result.stopped else []
    blocks += aggregator_remarks(subject)
    rows = list(_rows(result))
    if rows:
        caption = (
            "Whole sets of examples: the value after the last evaluated round, and the best after any. The best was "
            "chosen by these very values, so it flatters the model."
        )
        by = "".join(f" {words}." for words in features_in_words([result.features], [_last(result)]))
        blocks.append(Table(caption + by, _COLUMNS, rows))
    return Section("Result", blocks or [Paragraph("No round was evaluated.")])


def _warnings(subject: Subject) -> Iterator[str]:
    result = _result(subject)
    if result.error:
        yield f"{result.status} after {plural(len(result.rounds), 'round')}: {result.error.splitlines()[0]}"
    yield from subject.facts.described.remarks if subject.facts and subject.facts.described else ()


def _rows(result: Result) -> Iterator[list[str | Badge]]:
    sets = dict.fromkeys(name for record in result.rounds for name in record.evaluation or {} if "/" not in name)
    for of in sets:
        found = [(r.round, (r.evaluation or {}).get(of, {})) for r in result.rounds]
        for metric in metrics_in_order(name for _, values in found for name in values):
            having = [(values[metric], number_) for number_, values in found if metric in values]
            best, at = _best(metric, of, having)
            yield [words_of(metric), brief(of), number(having[-1][0]), best, at]


def _best(metric: str, of: str, having: list[tuple[float, int]]) -> tuple[str, str]:
    """Return the best value and its round; dashes for a metric of which no direction is better, or that is gone."""
    from flspec.errors import InputError
    from flspec.metrics import find_metric

    try:
        if find_metric(metric).better == "neither":
            return DASH, DASH
    except InputError:  # of a package that is not installed here
        return DASH, DASH
    pick = min if is_lower_better(metric, of) else max
    value = pick(value for value, _ in having)
    return number(value), str(next(at for one, at in having if one == value))


def _last(result: Result) -> dict[str, dict[str, float]]:
    return next((record.evaluation for record in reversed(result.rounds) if record.evaluation), {})


def _result(subject: Subject) -> Result:
    result = subject.runs[0].result
    assert result
    return result
