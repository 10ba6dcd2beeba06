"""The clients of a run by name: what each holds, how often it took part, and how often its update did not count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from flspec.analysis.description import partition_counts
from flspec.core.text import and_more
from flspec.errors import InputError
from flspec.metrics import find_metric
from flspec.protocol.plan import Plan
from flspec.report.last_values import LastValues, last_values
from flspec.report.page import Column, Paragraph, Section, Table
from flspec.report.run_facts import RunFacts
from flspec.report.subject import Subject
from flspec.report.words import DASH, brief, number, share, words_of
from flspec.runs.best_round import is_lower_better
from flspec.runs.metric_words import metrics_in_order
from flspec.runs.result import Result

__all__ = ["clients_section", "extremes"]

_MOST_ROWS, _MOST_UNFOLDED = 1_000, 12
_MOST_NAMED = 5  # of the best, and of the worst
_COLUMNS = (
    Column("client", "word"),
    Column("examples"),
    Column("holdout"),
    Column("commonest label", "word"),
    Column("its share"),
    Column("rounds in the cohort"),
    Column("updates not counted"),
)
_LAST = (
    "Values are of each client’s last training, over the examples it trained on, each batch measured before its step: "
    "of the model that it was sent, and of those on the way to its update"
)


def clients_section(subject: Subject) -> Section | None:
    """Return the section; None where the plan cannot be read."""
    facts, result = subject.facts, subject.runs[0].result
    if facts is None or result is None or facts.plan is None:
        return None
    values = last_values(facts.folder, result)
    names = facts.client_names or [str(client) for client in range(facts.plan.num_clients)]
    rows = list(_rows(facts, facts.plan, result, names, values))
    shown = rows[:_MOST_ROWS]
    caption = "Clients, those with most examples first" + (f". {_LAST}" if values.last else "")
    columns = (*_COLUMNS, *(Column(f"last {words_of(metric)}") for metric in _shown(values)))
    blocks: list[Table | Paragraph] = list(extremes(names, values))
    blocks.append(Table(caption, columns, shown, folded=len(shown) > _MOST_UNFOLDED))
    if more := and_more(len(rows) - len(shown), "clients, with fewer examples, are in the plan"):
        blocks.append(Paragraph(f"{more[0].upper()}{more[1:]}."))
    if values.problem:
        blocks.append(Paragraph(f"Note: {brief(values.problem, 300)}."))
    return Section("Clients", blocks)


def _shown(values: LastValues) -> list[str]:
    """Return the columns of values that any client has."""
    return [
        name
        for name in (*metrics_in_order(values.metrics), "update_norm")
        if any(name in v for v in values.last.values())
    ]


def extremes(names: Sequence[str], values: LastValues) -> Iterator[Table]:
    """Yield the best and the worst clients by the first metric that has a better direction, if there are enough."""
    metric = next((name for name in metrics_in_order(values.metrics) if _has_direction(name)), None)
    known = {client: one[metric] for client, one in values.last.items() if metric and metric in one}
    if metric is None or len(known) <= 2 * _MOST_NAMED:
        return
    order = sorted(known, key=lambda client: known[client] if is_lower_better(metric, "train") else -known[client])
    best, worst = order[:_MOST_NAMED], order[: -_MOST_NAMED - 1 : -1]
    rows = [
        [f"{place:,}", *(cell for client in pair for cell in (brief(names[client], 60), number(known[client])))]
        for place, pair in enumerate(zip(best, worst, strict=True), 1)
    ]
    value = Column(f"last {words_of(metric)}")
    columns = (Column("place"), Column("best", "word"), value, Column("worst", "word"), value)
    yield Table(f"The best and the worst of {len(known):,} clients by {words_of(metric)}. {_LAST}", columns, rows)


def _has_direction(metric: str) -> bool:
    try:
        return find_metric(metric).better != "neither"
    except InputError:  # of a package that is not installed here
        return False


def _rows(facts: RunFacts, plan: Plan, result: Result, names: Sequence[str], values: LastValues) -> Iterator[list[str]]:
    sizes, held_out = plan.clients.sizes, plan.holdout.sizes if plan.holdout else None
    took_part = Counter(client for record in result.rounds for client in set(record.cohort))
    dropped = Counter(failure.client for record in result.rounds for failure in record.failures)
    labels, shown = _commonest(facts, plan), _shown(values)
    for client in np.argsort(-sizes, kind="stable").tolist():
        own = values.last.get(client, {})
        yield [
            brief(names[client], 60),
            f"{sizes[client]:,}",
            DASH if held_out is None else f"{held_out[client]:,}",
            *(labels[client] if labels else (DASH, DASH)),
            f"{took_part[client]:,}",
            f"{dropped[client]:,}",
            *(number(own.get(metric)) for metric in shown),
        ]


def _commonest(facts: RunFacts, plan: Plan) -> list[tuple[str, str]]:
    """Return each client's commonest label, and its share of the client's examples; empty where that is not known."""
    if facts.data is None or (counts := partition_counts(plan)) is None:
        return []
    names = facts.data.label_names
    most, sizes = counts.argmax(axis=1), np.maximum(counts.sum(axis=1), 1)
    return [
        (brief(names[label]) if names else str(label), share(float(counts[client, label] / sizes[client])))
        for client, label in enumerate(most.tolist())
    ]
