"""A table for a paper: mean and deviation of metrics over the runs that differ in their seeds, by axis.

For values x_1 … x_n of n runs: mean = Σ x_i / n, and sd = sqrt(Σ (x_i - mean)² / (n - 1)), the sample standard
deviation, which one run has not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from flspec.core.text import and_more, in_flow, join_some, short_names
from flspec.errors import InputError, choose
from flspec.measurements.outcomes import MetricName, Outcome, RoundChoice, outcomes_of
from flspec.measurements.table import Measurements
from flspec.privacy.promises import epsilons_in_words, most_costly
from flspec.runs.metric_words import digits_of, features_in_words, metrics_in_order
from flspec.runs.sweep_summary import Spread, spread_of

__all__ = ["Summary", "summary_of"]

_MOST_TOLD = 3  # experiments without values
_NONE = "-"


@dataclass(frozen=True)
class Summary:
    """A table whose cells are texts, none of them escaped, and what has to be known of it."""

    title: str
    columns: tuple[str, ...]
    num_axes: int  # of the columns, the first ones; the others are numbers
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]


def summary_of(
    measured: Measurements,
    metrics: Sequence[str] = (),
    round: RoundChoice = "last",
    by: Sequence[str] | None = None,
) -> Summary:
    """Return means and deviations after the last round, each run's best, or the round of a number.

    `metrics` are SET/NAME, or NAME of the test set or of what a round costs; by default all of the test set. `by` names
    settings or columns of the long table; by default the axes, and the backend where there are several. Raises
    InputError for what no run has.
    """
    names = measured.named(_axes(measured) if by is None else by)
    outcomes = outcomes_of(measured, names, round)
    done = [one for one in outcomes if one.status == "completed"]
    groups, chosen = _groups(outcomes), _metrics(done, metrics)
    over = "seeds" if all(map(_differ_in_seeds, groups)) else "runs"
    epsilons, privacy = epsilons_in_words([most_costly([o.privacy for o in group if o.privacy]) for group in groups])
    shown = [epsilons] if any(epsilons) else []
    columns = (*short_names(names).values(), over, *(["epsilon"] if shown else []))
    rows = (
        (
            *map(_value, members[0].key),
            _num(members),
            *(column[place] for column in shown),
            *(_spread(members, metric) for metric in chosen),
        )
        for place, members in enumerate(groups)
    )
    notes = (_what(over, done, round), *privacy, *_remarks(done, chosen), *_without_values(outcomes))
    return Summary(
        title=join_some(list(dict.fromkeys(run.experiment for run in measured.runs))),
        columns=(*columns, *(f"{examples} {name}".strip() for examples, name in chosen)),
        num_axes=len(names),
        rows=tuple(rows),
        notes=(*notes, *_left_out(measured, outcomes)),
    )


def _axes(measured: Measurements) -> list[str]:
    backends = {run.backend for run in measured.runs}
    return [*measured.axes, *(["backend"] if len(backends) > 1 else [])]


# Rows


def _groups(outcomes: Sequence[Outcome]) -> list[list[Outcome]]:
    """Return the outcomes with equal keys together: numbers in their order, other values in that of their coming."""
    together: dict[str, list[Outcome]] = {}
    for one in outcomes:
        together.setdefault(repr(one.key), []).append(one)
    columns = zip(*(one.key for one in outcomes), strict=True)
    ranks = [{repr(value): place for place, value in enumerate(_in_order(column))} for column in columns]
    return sorted(
        together.values(),
        key=lambda group: [rank[repr(value)] for rank, value in zip(ranks, group[0].key, strict=True)],
    )


def _in_order(values: Sequence[JsonValue]) -> list[JsonValue]:
    different = list({repr(value): value for value in values}.values())
    numbers = [value for value in different if isinstance(value, int | float)]
    return [*sorted(numbers), *(value for value in different if not isinstance(value, int | float))]


def _differ_in_seeds(members: Sequence[Outcome]) -> bool:
    seeds = [one.seed for one in members if one.status == "completed"]
    return len(set(seeds)) == len(seeds)


def _value(value: JsonValue) -> str:
    if value is None:
        return _NONE
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e6:
        return str(int(value))  # as specs write it
    return value if isinstance(value, str) else in_flow(value)


def _num(members: Sequence[Outcome]) -> str:
    """Return how many runs completed, and what became of the others: 2 (1 failed)."""
    times = Counter(_status(one) for one in members)
    num = times.pop("completed", 0)
    return f"{num} ({', '.join(f'{times[status]} {status}' for status in times)})" if times else str(num)


def _status(one: Outcome) -> str:
    return "not run" if one.status == "pending" else one.status


def _spread(members: Sequence[Outcome], metric: MetricName) -> str:
    """Return mean ± deviation, and of how many runs if some have no value."""
    done = [one for one in members if one.status == "completed"]
    values = [value for one in done if (value := (one.values or {}).get(metric)) is not None]
    if not values:
        return _NONE
    some = f" ({len(values)} of {len(done)})" if len(values) < len(done) else ""
    return _in_words(spread_of(values), digits_of(metric[1])) + some


def _in_words(spread: Spread, digits: int) -> str:
    form = f".{digits}f" if max(abs(spread.mean), spread.sd or 0) < 1e4 else ".2e"
    mean = f"{spread.mean:{form}}".replace("-", "−")
    return mean if spread.sd is None else f"{mean} ± {spread.sd:{form}}"


# Columns


def _metrics(done: Sequence[Outcome], asked: Sequence[str]) -> list[MetricName]:
    known = list(dict.fromkeys(name for one in done for name in one.values or {}))
    if asked:
        return [_found(text, known) for text in dict.fromkeys(asked)]
    examples = "test" if any(name == "test" for name, _ in known) else next((name for name, _ in known if name), "")
    return [(examples, metric) for metric in metrics_in_order(metric for name, metric in known if name == examples)]


def _found(text: str, known: Sequence[MetricName]) -> MetricName:
    """Return the metric that a text names: SET/NAME, or NAME of the test set or of costs."""
    examples, _, metric = text.rpartition("/")
    for name in ((examples, metric), ("test", text)):
        if name in known:
            return name
    names = [metric if examples in ("", "test") else f"{examples}/{metric}" for examples, metric in known]
    raise InputError(f"metric: {choose(text, names)}")


# Notes


def _what(over: str, done: Sequence[Outcome], round: RoundChoice) -> str:
    rounds = {one.round for one in done if one.values is not None}
    number = f" ({rounds.pop()})" if len(rounds) == 1 else ""
    of = {"last": f"after the last round{number}", "best": "after each run's best round by evaluation.best"}
    when = of.get(str(round), f"after round {round}")
    return f"mean ± sample standard deviation over {over}, {when}"


def _remarks(done: Sequence[Outcome], chosen: Sequence[MetricName]) -> Iterator[str]:
    """Yield what is to be known of the runs: twins, tasks cut short, the features by which pictures are compared."""
    yield from dict.fromkeys(remark for one in done for remark in one.remarks)
    if any(one.features for one in done):
        shown: dict[str, dict[str, float]] = {"": dict.fromkeys((metric for _, metric in chosen), 0.0)}
        yield from features_in_words([one.features for one in done], [shown])


def _without_values(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Yield which experiments have no values, and why."""
    found = [one for one in outcomes if one.status != "completed"]
    for one in found[:_MOST_TOLD]:
        yield f"{one.name} {_status(one)}" + (f": {one.error}" if one.error else "")
    if others := and_more(len(found) - _MOST_TOLD):
        yield f"{others} without values"
    unmeasured = [one.name for one in outcomes if one.status == "completed" and one.values is None]
    if unmeasured:
        yield f"not measured after that round: {join_some(unmeasured)}"


def _left_out(measured: Measurements, outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Yield how many runs do not count."""
    num_twice = len(measured.runs) + len(measured.lost) - len(outcomes)
    if num_twice:
        yield f"{num_twice} that repeat another run's plan on the same backend do not count"
    if measured.unread:
        yield f"{len(measured.unread)} more without a readable result"
