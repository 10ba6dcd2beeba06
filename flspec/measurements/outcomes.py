"""What became of each experiment: the values of one of its models, or why there are none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from flspec.core.text import first_steps_in_words, join_some
from flspec.data.synthetic.twin_cache import twin_in_words
from flspec.errors import InputError
from flspec.measurements.table import Measurements, Run, values_of
from flspec.protocol.records import FeatureSpaceRecord, Promise, Result

__all__ = ["MetricName", "Outcome", "RoundChoice", "outcomes_of"]

RoundChoice = Literal["last", "best"] | int
MetricName = tuple[str, str]  # a set of examples, as in results ("test", "test/sex=f"; "" of costs), and a metric


@dataclass(frozen=True)
class Outcome:
    """One experiment. Only a completed one has values."""

    key: tuple[Any, ...]  # its values in the settings asked for
    name: str
    status: str  # as of a run; pending: not begun
    error: str | None = None
    seed: int | None = None
    round: int | None = None  # after which the values were measured
    values: Mapping[MetricName, float | None] | None = None  # None: not measured after the round asked for
    privacy: Promise | None = None
    features: FeatureSpaceRecord | None = None
    remarks: tuple[str, ...] = ()  # what a reader of its values has to know


def outcomes_of(measured: Measurements, names: Sequence[str], round: RoundChoice) -> list[Outcome]:
    """Return each experiment's outcome once, those of sweeps without a folder last.

    Of runs of one plan on one backend the first that completed counts. Raises InputError if no completed run was
    measured after the round.
    """
    found = [_of_run(measured, number, names, round) for number in _distinct(measured.runs)]
    done = [one for one in found if one.status == "completed"]
    if not done:
        raise InputError(f"nothing to tell: of {len(found):,} runs none completed; go on with them, or mend them")
    if all(one.values is None for one in done):
        raise InputError(_why_none(measured, round))
    return [*found, *(_of_lost(measured, number, names) for number in range(len(measured.lost)))]


def _distinct(runs: Sequence[Run]) -> list[int]:
    """Return the positions of the runs that count."""
    first: dict[tuple[str, str], int] = {}
    for number in sorted(range(len(runs)), key=lambda number: runs[number].status != "completed"):
        first.setdefault((runs[number].plan, runs[number].backend), number)
    return sorted(first.values())


def _of_run(measured: Measurements, number: int, names: Sequence[str], round: RoundChoice) -> Outcome:
    run = measured.runs[number]
    key = tuple(measured.of_run(run, names))
    if run.status != "completed":
        return Outcome(key, run.name, run.status, run.error)
    result, chosen = measured.results[number], _chosen(run, round)
    return Outcome(
        key,
        run.name,
        run.status,
        seed=run.seed,
        round=chosen,
        values=_values(result, chosen),
        privacy=result.privacy,
        features=result.features,
        remarks=tuple(filter(None, (twin_in_words(result.spec), first_steps_in_words(result.first_steps)))),
    )


def _chosen(run: Run, round: RoundChoice) -> int | None:
    match round:
        case "last":
            return run.last_round
        case "best":
            return run.best_round
    return round


def _values(result: Result, round: int | None) -> dict[MetricName, float | None] | None:
    record = next((one for one in result.rounds if one.round == round), None)
    if record is None or record.evaluation is None:
        return None
    rows = (row for row in values_of(0, record) if row.split != "train")
    return {("/".join(filter(None, (row.split, row.group))), row.metric): row.value for row in rows}


def _why_none(measured: Measurements, round: RoundChoice) -> str:
    if round == "best":
        return "round: no run has a best round; ask for it in the spec with evaluation.best, or take the last"
    if round == "last":
        return "round: no run was evaluated after its last round; give the number of one that was"
    done = next(result for result in measured.results if result.status == "completed")
    evaluated = [str(one.round) for one in done.rounds if one.evaluation is not None]
    return f"round: no run was evaluated after round {round}; the first was after {join_some(evaluated, 10)}"


def _of_lost(measured: Measurements, number: int, names: Sequence[str]) -> Outcome:
    """Return the outcome of an experiment without a folder: what its matrix does not vary is as in its sweep's runs."""
    cell = measured.lost[number]
    beside = (run.settings for run in measured.runs if cell.sweep.resolve() in run.folder.resolve().parents)
    settings = {**next(beside, {}), **cell.settings}
    return Outcome(tuple(settings.get(name) for name in names), cell.label, cell.status, cell.error)
