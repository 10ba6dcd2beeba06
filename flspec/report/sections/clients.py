"""The clients of a run by name: what each holds, how often it took part, and how often its update did not count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np

from flspec.analysis.description import partition_counts
from flspec.core.text import and_more
from flspec.protocol.plan import Plan
from flspec.report.page import Column, Paragraph, Section, Table
from flspec.report.run_facts import RunFacts
from flspec.report.subject import Subject
from flspec.report.words import DASH, brief, share
from flspec.runs.result import Result

__all__ = ["clients_section"]

_MOST_ROWS, _MOST_UNFOLDED = 1_000, 12
_COLUMNS = (
    Column("client", "word"),
    Column("examples"),
    Column("holdout"),
    Column("commonest label", "word"),
    Column("its share"),
    Column("rounds in the cohort"),
    Column("updates that did not count"),
)


def clients_section(subject: Subject) -> Section | None:
    """Return the section; None where the plan cannot be read."""
    facts, result = subject.facts, subject.runs[0].result
    if facts is None or result is None or facts.plan is None:
        return None
    plan = facts.plan
    rows = list(_rows(facts, plan, result))
    shown = rows[:_MOST_ROWS]
    table = Table("Clients, those with most examples first", _COLUMNS, shown, folded=len(shown) > _MOST_UNFOLDED)
    more = and_more(len(rows) - len(shown), "clients, with fewer examples, are in the plan")
    return Section("Clients", [table, *([Paragraph(f"{more[0].upper()}{more[1:]}.")] if more else [])])


def _rows(facts: RunFacts, plan: Plan, result: Result) -> Iterator[list[str]]:
    names = [brief(name, 60) for name in facts.client_names] or [str(client) for client in range(plan.num_clients)]
    sizes = plan.clients.sizes
    held_out = plan.holdout.sizes if plan.holdout else None
    took_part = Counter(client for record in result.rounds for client in set(record.cohort))
    dropped = Counter(failure.client for record in result.rounds for failure in record.failures)
    labels = _commonest(facts, plan)
    for client in np.argsort(-sizes, kind="stable").tolist():
        yield [
            names[client],
            f"{sizes[client]:,}",
            DASH if held_out is None else f"{held_out[client]:,}",
            *(labels[client] if labels else (DASH, DASH)),
            f"{took_part[client]:,}",
            f"{dropped[client]:,}",
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
