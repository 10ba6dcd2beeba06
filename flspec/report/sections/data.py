"""The data of a run and its clients: the picture of the partition, how much clients differ, what leaks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from flspec.analysis.description import partition_counts
from flspec.analysis.in_words import leakage_in_words, skew_in_words
from flspec.data.synthetic.twin_cache import twin_in_words
from flspec.report.page import Chart, Facts, Figure, Paragraph, Section
from flspec.report.partition_chart import draw_partition
from flspec.report.run_facts import RunFacts
from flspec.report.subject import Subject
from flspec.report.words import brief, plural
from flspec.runs.result import Result

__all__ = ["data_section"]

Block = Facts | Figure | Paragraph
_MOST_LABELS = 2_000  # of which a picture can show anything
_CAPTION = (
    "Who holds which labels: a row for each client, a column for each label; the bars are the clients' numbers of "
    "examples to train on."
)


def data_section(subject: Subject) -> Section | None:
    """Return the section; None if nothing is known of the data."""
    facts, result = subject.facts, subject.runs[0].result
    if facts is None or result is None:
        return None
    return Section("Data and clients", list(_blocks(facts, result)))


def _blocks(facts: RunFacts, result: Result) -> Iterator[Block]:
    yield Facts(list(_entries(facts, result)))
    if figure := _picture(facts, result):
        yield figure
    yield from (Paragraph(f"Note: {brief(problem, 300)}.") for problem in facts.problems)


def _entries(facts: RunFacts, result: Result) -> Iterator[tuple[str, str]]:
    if twin := twin_in_words(result.spec):
        yield "data", twin
    if facts.plan is not None:
        plan, settings = facts.plan, facts.plan.settings.data
        yield "examples", f"{settings.num_train:,} to train on, {settings.num_test:,} to test on"
        shape = " × ".join(map(str, settings.input_shape))
        yield (
            "an example",
            f"one of {plural(settings.num_classes, 'class')}, of shape {shape}".replace("classs", "classes"),
        )
        sizes = plan.clients.sizes
        each = f"{sizes.min():,} to {sizes.max():,} examples, median {np.median(sizes):,.0f}"
        yield "clients", f"{plan.num_clients:,}, each with {each}"
        if plan.holdout:
            yield "holdout", f"{plan.holdout.sizes.sum():,} examples of clients, not trained on"
    yield from (("skew", line) for line in (skew_in_words(result.skew) if result.skew else ()))
    if facts.leakage:
        yield from (("leakage", brief(line, 300)) for line in leakage_in_words(facts.leakage))


def _picture(facts: RunFacts, result: Result) -> Figure | None:
    counts = None if facts.plan is None or facts.data is None else partition_counts(facts.plan)
    if counts is None or facts.data is None or counts.shape[1] > _MOST_LABELS:
        return None
    names = facts.client_names
    drawing = draw_partition(
        counts, brief(result.name), result.skew, clients=names, labels=tuple(facts.data.label_names)
    )
    return Figure(_CAPTION, [Chart("Partition", drawing)], is_wide=True)
