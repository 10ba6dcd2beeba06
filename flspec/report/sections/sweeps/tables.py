"""The tables of a sweep: final values and cost by combination, every run, and what all runs have in common."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from statistics import fmean

from flspec.core.text import in_flow
from flspec.report.page import Badge, Column, Facts, Listing, Paragraph, Section, Table
from flspec.report.sweep_subject import SweepSubject, mean_and_sd, shown
from flspec.report.words import DASH, brief, number, plural, words_of

__all__ = ["cells_section", "final_section", "shared_section", "sweep_cost_section", "sweep_failures_section"]

_MOST_METRICS = 8  # in one table
_MOST_ROWS = 2_000
_MOST_UNFOLDED = 12  # runs
_MEBIBYTE = 2**20
_SPREAD = "mean ± sample standard deviation over runs that differ in their seeds alone; n is their number"


def final_section(subject: SweepSubject) -> Section | None:
    """Return the last models' metrics by combination: whole sets of examples, then groups and clients, folded."""
    whole = [name for name in subject.sets if "/" not in name]
    parts = [name for name in subject.sets if "/" in name]
    blocks = [
        *_final(subject, whole, f"The last models: {_SPREAD}", folded=False),
        *_final(subject, parts, f"The last models, by group and over clients: {_SPREAD}", folded=True),
    ]
    return Section("Final values", blocks) if blocks else None


def _final(subject: SweepSubject, sets: Sequence[str], caption: str, *, folded: bool) -> Iterator[Table]:
    measured = [(name, metric) for name in sets for metric in subject.metrics(name)]
    for start in range(0, len(measured), _MOST_METRICS):
        some = measured[start : start + _MOST_METRICS]
        spreads = [subject.spreads(metric, name) for name, metric in some]
        columns = [Column("n"), *(Column(f"{brief(name)} {words_of(metric)}") for name, metric in some)]
        rows = [
            [
                *map(shown, one.values),
                str(len(one.runs)),
                *(_told(spread.get(one.label), len(one.runs)) for spread in spreads),
            ]
            for one in subject.combinations[:_MOST_ROWS]
        ]
        yield Table(caption, (*_axes(subject), *columns), rows, folded=folded)


def _told(row: object, num_runs: int) -> str:
    """Return mean ± deviation, and of how many runs if some have no value."""
    if not isinstance(row, dict):
        return DASH
    some = f" ({row['num_runs']} of {num_runs})" if row["num_runs"] < num_runs else ""
    return mean_and_sd(row) + some


def sweep_cost_section(subject: SweepSubject) -> Section | None:
    """Return what a run of each combination cost, on average."""
    rows = []
    for one in subject.combinations[:_MOST_ROWS]:
        results = [subject.results[run] for run in one.runs]
        sent = [sum(r.bytes_down + r.bytes_up for r in result.rounds) / _MEBIBYTE for result in results]
        peaks = [result.memory.get("peak_bytes", 0) / _MEBIBYTE for result in results]
        seconds = fmean(result.seconds.total for result in results)
        rows.append([*map(shown, one.values), number(seconds, 3), number(max(peaks), 3), number(fmean(sent), 3)])
    columns = (Column("seconds a run"), Column("peak MiB"), Column("MiB sent a run"))
    caption = (
        "Mean wall-clock seconds and traffic of weights, to clients and back, of a run; the greatest peak memory of "
        "any. Cells of a sweep share a machine, so these seconds compare engines and settings only roughly"
    )
    return Section("Cost", [Table(caption, (*_axes(subject), *columns), rows)]) if rows else None


def shared_section(subject: SweepSubject) -> Section:
    """Return the values of the axes, and the settings that all runs share."""
    values = [
        (heading, ", ".join(dict.fromkeys(shown(subject.values_of(run)[at]) for run in range(len(subject.results)))))
        for at, heading in enumerate(subject.headings)
    ]
    seeds = ", ".join(dict.fromkeys(str(result.seed) for result in subject.results))
    first, *others = [run.settings for run in subject.measurements.runs]
    same = [
        [brief(path, 120), brief(in_flow(value), 400)]
        for path, value in first.items()
        if value is not None and all(other.get(path) == value for other in others)
    ]
    table = Table(
        "What all runs share, defaults included", (Column("setting", "word"), Column("value", "prose")), same, True
    )
    return Section("What was asked", [Facts([*values, ("seeds", brief(seeds, 300))]), table])


def cells_section(subject: SweepSubject) -> Section:
    """Return one row for each run."""
    metrics = subject.metrics(subject.split)[:2]
    rows: list[list[str | Badge]] = []
    for position, result in enumerate(subject.results[:_MOST_ROWS]):
        last = (result.final.evaluation if result.final else {}).get(subject.split, {})
        software = f"{result.backend.name}, {', '.join(f'{n} {v}' for n, v in result.backend.versions.items())}"
        rows.append(
            [
                brief(subject.measurements.names[position], 90),
                *map(shown, subject.values_of(position)),
                str(result.seed),
                result.status,
                *(number(last.get(metric)) for metric in metrics),
                brief(result.plan_digest[:12]),
                brief(software, 120),
            ]
        )
    columns = (
        Column("run", "word"),
        *_axes(subject),
        Column("seed"),
        Column("status", "word"),
        *(Column(f"{brief(subject.split)} {words_of(metric)}") for metric in metrics),
        Column("plan", "word"),
        Column("engine", "prose"),
    )
    table = Table("Every run, by the end of its folder’s path", columns, rows, folded=len(rows) > _MOST_UNFOLDED)
    repeat = Listing("The command that repeats a run", f"flspec run {subject.measurements.folders[0]}/spec.yaml")
    return Section("Runs", [table, *_machines(subject), repeat])


def _machines(subject: SweepSubject) -> Iterator[Facts]:
    counts = Counter(
        ", ".join(f"{name} {value}" for name, value in result.environment.items()) for result in subject.results
    )
    yield Facts([(plural(times, "run"), brief(text, 300)) for text, times in counts.most_common(10)], "Where they ran")


def sweep_failures_section(subject: SweepSubject) -> Section:
    """Return the runs that are not done, and why; runs of the same reason together."""
    if not subject.unfinished:
        return Section("Failures", [Paragraph("Every run was completed.")])
    together: dict[tuple[str, str], list[str]] = {}
    for one in subject.unfinished:
        together.setdefault((one.status, one.why), []).append(one.label)
    rows = [
        [brief(", ".join(labels), 400), str(len(labels)), status, brief(why, 400) or DASH]
        for (status, why), labels in list(together.items())[:_MOST_ROWS]
    ]
    columns = (Column("runs", "prose"), Column("number"), Column("status", "word"), Column("why", "prose"))
    return Section("Failures", [Table("Runs that are not done; no mean counts them", columns, rows)])


def _axes(subject: SweepSubject) -> list[Column]:
    return [Column(heading, "word") for heading in subject.headings]
