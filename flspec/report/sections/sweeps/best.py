"""What a sweep came to: how much of it is done, and which combination has the best mean of each metric."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from flspec.errors import InputError
from flspec.metrics import find_metric
from flspec.report.page import Badge, Column, Paragraph, Section, Table
from flspec.report.sweep_subject import SweepSubject, mean_and_sd
from flspec.report.words import DASH, brief, plural, words_of
from flspec.runs.best_round import is_lower_better

__all__ = ["best_section", "sweep_sentence", "sweep_status"]

_COLUMNS = (
    Column("metric", "word"),
    Column("best mean of", "prose"),
    Column("mean ± sd"),
    Column("runs"),
    Column("next", "prose"),
    Column("mean ± sd"),
)


def sweep_status(subject: SweepSubject) -> Badge:
    """Return how much of the sweep is done."""
    failed = sum(one.status in ("failed", "unreadable") for one in subject.unfinished)
    if failed:
        return Badge(f"{failed} failed", "bad")
    return Badge("incomplete", "unsure") if subject.unfinished else Badge("complete", "good")


def sweep_sentence(subject: SweepSubject) -> str:
    """Return what was done and the best of it, as one sentence."""
    done = sum(len(one.runs) for one in subject.combinations)
    axes = f" of {' × '.join(subject.headings)}" if subject.axes else ""
    what = f"{plural(done, 'run')}, {plural(len(subject.combinations), 'combination')}{axes}"
    left = f", {plural(len(subject.unfinished), 'run')} unfinished" if subject.unfinished else ""
    best = next(_best(subject), None)
    if best is None:
        return f"{what}{left}."
    metric, (label, row), _ = best
    extreme = "lowest" if is_lower_better(metric, subject.split) else "highest"
    value = f"{subject.split} {words_of(metric)} is {extreme} on average with {label}: {mean_and_sd(row)}"
    return f"{what}{left}; {value} over {plural(row['num_runs'], 'run')}."


def best_section(subject: SweepSubject) -> Section:
    """Return the section."""
    blocks: list[Paragraph | Table] = []
    if subject.num_repeated:
        repeated = plural(subject.num_repeated, "run")
        blocks.append(Paragraph(f"{repeated} of a plan and backend that another run has were left out of every mean."))
    rows = [_row(*found) for found in _best(subject)]
    if rows:
        caption = (
            f"The combination with the best mean of the last models on {brief(subject.split)}, and the next one. sd is "
            "the sample standard deviation over seeds. A mean may be better by chance: the next section tests it"
        )
        blocks.append(Table(caption, _COLUMNS, rows))
    return Section("Result", blocks or [Paragraph("No completed run has a metric of which a direction is better.")])


Placed = tuple[str, Mapping[str, Any]]  # a combination's label, and its mean and deviation


def _best(subject: SweepSubject) -> Iterator[tuple[str, Placed, Placed | None]]:
    """Yield each metric that has a better direction, with the best combination and the next."""
    for metric in subject.metrics(subject.split):
        try:
            if find_metric(metric).better == "neither":
                continue
        except InputError:  # of a package that is not installed here
            continue
        sign = 1.0 if is_lower_better(metric, subject.split) else -1.0
        placed = sorted(subject.spreads(metric, subject.split).items(), key=lambda one: sign * one[1]["mean"])
        if placed:
            yield metric, placed[0], placed[1] if len(placed) > 1 else None


def _row(metric: str, best: Placed, following: Placed | None) -> list[str | Badge]:
    label, row = best
    after = [following[0], mean_and_sd(following[1])] if following else [DASH, DASH]
    return [words_of(metric), label, mean_and_sd(row), str(row["num_runs"]), *after]
