"""A finished run's plan carried out once more, and what of it came out the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from flspec.comparison.experiments import Change
from flspec.compiler.compile import compile
from flspec.core.components import Document
from flspec.core.reading import read_regular
from flspec.data.store import open_data
from flspec.errors import InputError
from flspec.execution.remote import Limits
from flspec.execution.software import software_differences
from flspec.protocol.plan import Plan
from flspec.protocol.records import RoundRecord
from flspec.runs.folders import was_changed
from flspec.runs.found import check_run
from flspec.runs.result import Result, load_result
from flspec.runs.runner import Watch, run_in_folder
from flspec.spec.study import load_study
from flspec.spec.trust import check_trusted_plan

__all__ = ["Deviating", "Reproduction", "hold_against", "reproduce"]

_NOT_OF_THE_PLAN = ("round", "seconds", "native")  # of a record: its number, and what was measured of an engine
_NO_SECOND = (
    "its noise follows from a secret of its own, so that another run is another release of the same examples, with "
    "other noise; if that is wanted, run {spec}"
)


class Deviating(Document):
    """The first value that differs: in a round, by its path in the round's record."""

    round: int
    what: str  # "train/loss"
    before: Any
    again: Any


class Reproduction(Document):
    """What two runs of one plan on one backend have in common."""

    before: str  # folders
    again: str
    plan_digest: str
    backend: str
    same_weights: bool | None  # to the last bit; None if one of the two has no last weights
    num_rounds: int  # that both have
    first_difference: Deviating | None  # None: these rounds have the same values throughout
    largest: dict[str, float]  # by metric that differs in any round: its largest absolute difference
    versions: tuple[str, ...]  # that differ: "torch 2.4.0 and 2.5.1"
    machine: tuple[Change, ...]  # what differs between the machines
    remarks: tuple[str, ...] = ()

    @property
    def is_same(self) -> bool:
        """Whether nothing differs that the plan decides."""
        return self.same_weights is not False and self.first_difference is None


def reproduce(
    folder: str | Path,
    out: str | Path | None = None,
    *,
    data: Path | None = None,
    workers: int = 0,
    limits: Limits | None = None,
    watch: Watch | None = None,
) -> Reproduction:
    """Run the plan of a run again, on its backend, into a new folder, and hold what comes out against it.

    The examples come from the store, or, where they are no longer there, from the run's spec, with `data` as compile
    takes it. Raises InputError before anything is written, RunError if the new run fails.
    """
    folder = Path(folder)
    check_run(folder)
    before, plan = load_result(folder), Plan.load(folder / "plan")
    if before.plan_digest != plan.digest:
        raise InputError(f"{folder} is damaged: its result belongs to another plan than the one beside it")
    check_trusted_plan(plan, folder / "plan")
    if plan.is_noise_secret:
        raise InputError(f"{folder}: {_NO_SECOND.format(spec=folder / 'spec.yaml')}")
    _have_data(plan, folder, data)
    spec = folder / "spec.yaml"
    source = read_regular(spec).decode(errors="replace") if spec.is_file() else None
    options: dict[str, Any] = {"workers": workers, "device": _device_of(before), "limits": limits, "watch": watch}
    where, again = run_in_folder(plan, before.backend.name, out, **options, source=source)
    return hold_against(folder, before, where, again)


def _device_of(before: Result) -> str:
    """Return the name of the device that a run was on."""
    on = before.software.device if before.software else None
    return on.partition(" ")[0] if on else "cpu"


def hold_against(folder: Path, before: Result, where: Path, again: Result) -> Reproduction:
    """Return what two results of one plan have in common."""
    differing = list(_differences(before, again))
    largest: dict[str, float] = {}
    for one in differing:
        if isinstance(one.before, float) and isinstance(one.again, float):
            largest[one.what] = max(largest.get(one.what, 0.0), abs(one.again - one.before))
    ours, theirs = before.weights, again.weights
    return Reproduction(
        before=str(folder),
        again=str(where),
        plan_digest=again.plan_digest,
        backend=again.backend.name,
        same_weights=ours.sha256 == theirs.sha256 if ours and theirs else None,
        num_rounds=min(len(before.rounds), len(again.rounds)),
        first_difference=differing[0] if differing else None,
        largest=largest,
        versions=tuple(software_differences(before.software, again.software)),
        machine=tuple(
            Change(path=path, a=before.environment.get(path), b=again.environment.get(path))
            for path in ("platform", "cpus")
            if before.environment.get(path) != again.environment.get(path)
        ),
        remarks=tuple(_remarks(folder, before)),
    )


def _have_data(plan: Plan, folder: Path, data: Path | None) -> None:
    """Have a plan's examples in the store; raises InputError if the run's spec does not give them any more."""
    try:
        open_data(plan.settings.data)
    except InputError:
        found = compile(load_study(folder / "spec.yaml").cell(None), data).digest
        if found != plan.digest:
            raise InputError(
                f"{folder}: the examples of its plan are not stored, and its spec.yaml compiles into {found[:12]}, "
                f"not into {plan.digest[:12]}; bring the data and packages that it began with"
            ) from None


def _differences(before: Result, again: Result) -> Iterator[Deviating]:
    """Yield every value that differs, round by round."""
    for ours, theirs in zip(before.rounds, again.rounds, strict=False):
        old, new = dict(_values(ours)), dict(_values(theirs))
        for what in dict.fromkeys((*old, *new)):
            if old.get(what) != new.get(what):
                yield Deviating(round=ours.round, what=what, before=old.get(what), again=new.get(what))


def _values(record: RoundRecord) -> Iterator[tuple[str, Any]]:
    document = record.model_dump(mode="json")
    yield from _leaves({name: value for name, value in document.items() if name not in _NOT_OF_THE_PLAN}, "")


def _leaves(values: Mapping[str, Any], path: str) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{path}{name}/")
        else:
            yield f"{path}{name}", value


def _remarks(folder: Path, before: Result) -> Iterator[str]:
    if before.status != "completed":
        yield f"{folder} was {before.status} after {len(before.rounds)} rounds, which alone are compared"
    if was_changed(folder):
        yield f"{folder}: result.json is not as the run wrote it; it was changed since"
