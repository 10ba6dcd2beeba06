"""Evaluation of each run's last and best model: by set, by group, over clients; and confusion tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from flspec.core.text import join_all
from flspec.metrics import Confusion
from flspec.report.page import Column, Paragraph, Section, Table
from flspec.report.subject import PlanGroup, ReportedRun, Subject
from flspec.report.words import DASH, brief, number
from flspec.runs.missing_values import undefined_in_words
from flspec.runs.result import BestRecord

__all__ = ["evaluation_section"]

Evaluation = Mapping[str, Mapping[str, float]]  # by set of examples, then by metric
Undefined = Mapping[str, Mapping[str, str]]  # reasons, by set of examples, then by metric

_MOST_SHOWN = 12  # classes or labels whose table is not folded
_MOST_REASONS = 6  # of undefined values
_GROUPS = (
    "By group: each value of a column by itself, and the examples of which it says nothing as missing. A gap is the "
    "greatest value less the least over the groups that have one, those missing left out; of recall it is what equal "
    "opportunity, of positive_rate what demographic parity asks to be 0."
)
_CLIENTS = (
    "Over clients: each client’s value on its own, and how these are distributed over the clients that have one. The "
    "weighted mean counts examples, the mean clients; a Gini coefficient of 0 says that all are alike."
)
_OTHER_REAL = (
    "Other real pictures: as many of the training set as each set has, held against it as generated ones are. Those of "
    "a perfect generator of training pictures would be about these; better ones say that sets differ by chance."
)
_OUTCOMES = ("true negatives", "false positives", "false negatives", "true positives")


def evaluation_section(subject: Subject) -> Section | None:
    """Return the section, or None if no run has more to show than its curves do."""
    blocks: list[Table | Paragraph] = []
    for plan in subject.plans:
        blocks += _blocks(subject, plan)
    return Section("Evaluation", blocks) if blocks else None


def _blocks(subject: Subject, plan: PlanGroup) -> Iterator[Table | Paragraph]:
    heading, runs = subject.heading(plan), [run for run in plan.runs if run.result]
    last = [(run, run.result.final.evaluation) for run in runs if run.result and run.result.final]
    best = [(run, run.result.best) for run in runs if run.result and run.result.best]
    if any(set(evaluation) - {"test"} for _, evaluation in last):
        yield from _tables(subject, f"{heading}The last model. ", last)
        yield from _reasons([(run, evaluation, _last_reasons(run)) for run, evaluation in last])
    if best:
        yield _best_rounds(subject, heading, best)
        yield from (
            Paragraph(f"Note: {brief(note, 300)}.") for note in dict.fromkeys(b.note for _, b in best if b.note)
        )
        earlier = [(run, record) for run, record in best if not _is_last(run, record)]
        evaluated = [(run, record.evaluation) for run, record in earlier]
        yield from _tables(subject, f"{heading}The best model, where it is not the last. ", evaluated)
        yield from _reasons([(run, record.evaluation, record.undefined) for run, record in earlier])
    for run in runs:
        yield from _confusions(f"{heading}{run.label}, " if len(runs) > 1 else heading, run)


def _is_last(run: ReportedRun, best: BestRecord) -> bool:
    """Return whether the best model is the last, so that it need not be shown again."""
    return bool(run.result and run.result.rounds[-1:] and run.result.rounds[-1].round == best.round)


def _tables(subject: Subject, heading: str, evaluated: Sequence[tuple[ReportedRun, Evaluation]]) -> Iterator[Table]:
    """Yield tables of whole sets, groups and clients apart, because each is read in a different way."""
    for caption, belongs in (
        ("Whole sets of examples.", _is_whole),
        (_OTHER_REAL, _is_other_real),
        (_GROUPS, _is_group),
        (_CLIENTS, _is_of_clients),
    ):
        parts = [(run, {name: v for name, v in evaluation.items() if belongs(name)}) for run, evaluation in evaluated]
        metrics = sorted({metric for _, evaluation in parts for values in evaluation.values() for metric in values})
        names = list(dict.fromkeys(name for _, evaluation in parts for name in evaluation))
        rows = [
            [
                brief(name),
                _whose(subject, name, run),
                *(_value(name, evaluation[name].get(metric)) for metric in metrics),
            ]
            for name in names
            for run, evaluation in parts
            if name in evaluation
        ]
        headings = [Column(brief(metric.replace("_", " "))) for metric in metrics]
        if metrics:
            whose = Column("n") if subject.facts else Column(subject.noun, "word")
            yield Table(heading + caption, (Column("examples", "word"), whose, *headings), rows)


def _whose(subject: Subject, name: str, run: ReportedRun) -> str:
    """Return the run that a row is of; on a page of one run, the number of the set's examples."""
    if subject.facts is None:
        return run.label
    num = subject.facts.num_examples.get(name)
    return DASH if num is None else f"{num:,}"


def _last_reasons(run: ReportedRun) -> Undefined:
    return run.result.rounds[-1].undefined if run.result and run.result.rounds else {}


def _reasons(evaluated: Sequence[tuple[ReportedRun, Evaluation, Undefined]]) -> Iterator[Paragraph]:
    """Yield the reasons for undefined values, each once, with its runs unless it applies to all."""
    runs: dict[str, list[str]] = {}
    for run, values, undefined in evaluated:
        for reason in undefined_in_words(values, undefined):
            runs.setdefault(reason, []).append(run.label)
    for reason, labels in list(runs.items())[:_MOST_REASONS]:
        of = "" if len(labels) == len(evaluated) else f"{join_all(labels)}: "
        yield Paragraph(f"Note: {of}{brief(reason, 300)}.")
    if (more := len(runs) - _MOST_REASONS) > 0:
        yield Paragraph(f"Note: {more} more such {'reason is' if more == 1 else 'reasons are'} in result.json.")


def _is_whole(name: str) -> bool:
    return "/" not in name


def _is_other_real(name: str) -> bool:
    return name.partition("/")[2] == "other real"


def _is_group(name: str) -> bool:
    return not (_is_whole(name) or _is_other_real(name) or _is_of_clients(name))


def _is_of_clients(name: str) -> bool:
    """Return whether a set is `clients/mean` or like it, or `test/clients/mean` if each client has its own model."""
    return "clients" in name.split("/")[:-1]


def _best_rounds(subject: Subject, heading: str, best: Sequence[tuple[ReportedRun, BestRecord]]) -> Table:
    rows = [
        [
            run.label,
            str(record.round),
            brief(f"{record.on} {record.metric}"),
            number(record.value),
            brief(record.weights.path) if record.weights else DASH,
        ]
        for run, record in best
    ]
    columns = (Column("round"), Column("chosen by", "word"), Column("value"), Column("model", "word"))
    return Table(f"{heading}The best of the evaluated rounds", (Column(subject.noun, "word"), *columns), rows)


def _confusions(heading: str, run: ReportedRun) -> Iterator[Table]:
    assert run.result
    final, best = run.result.final, run.result.best
    by_model = {"The last model": final.confusion if final else {}}
    by_model["The best model"] = best.confusion if best and not _is_last(run, best) else {}
    for model, tables in by_model.items():
        for name, table in tables.items():
            yield _confusion(f"{heading}{model}: what is confused, examples of {brief(name)}", table)


def _confusion(caption: str, table: Confusion) -> Table:
    counts: Sequence[Sequence[int]] = table.labels or table.matrix or ()
    names = [brief(name) for name in table.names if len(table.names) == len(counts)] or [*map(str, range(len(counts)))]
    rows = [[name, *map(str, row)] for name, row in zip(names, counts, strict=True)]
    folded = len(rows) > _MOST_SHOWN
    if table.labels:
        return Table(caption, (Column("label", "word"), *map(Column, _OUTCOMES)), rows, folded=folded)
    taken_for = [Column(name, "count") for name in names]
    caption += "; a row for each class, and in it what its examples were taken for"
    return Table(caption, (Column("class", "word"), *taken_for), rows, folded=folded)


def _value(name: str, value: float | None) -> str:
    """Return a metric as text; a number of clients as a whole number."""
    return str(int(value)) if value is not None and name.endswith("/num_clients") else number(value)
