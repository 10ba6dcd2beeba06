"""What is known of a run beside its result: from its folder, and from its data where they are on this machine.

Nothing of the folder is executed: parts that a spec brings are not imported.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from flspec.analysis.leakage import Leakage, find_leakage
from flspec.data.client_names import names_of_clients
from flspec.data.examples import Data
from flspec.data.groups import label_masks, parse_groups
from flspec.data.store import open_data
from flspec.errors import FlspecError, InputError
from flspec.protocol.plan import Plan
from flspec.runs.description import RunDescription, describe_run
from flspec.runs.result import Result

__all__ = ["RunFacts", "run_facts"]


@dataclass(frozen=True)
class RunFacts:
    """A run's folder, and what could be read in it. `plan` and `data` are None where they could not be."""

    folder: Path
    plan: Plan | None
    data: Data | None
    described: RunDescription | None  # who said its settings, and what can be done with it; None if that is not known
    problems: tuple[str, ...] = field(default=())

    @cached_property
    def client_names(self) -> tuple[str, ...]:
        """The clients' names; empty where they have numbers alone."""
        if self.plan is None or self.data is None:
            return ()
        return names_of_clients(self.plan, self.data)

    @cached_property
    def num_examples(self) -> Mapping[str, int]:
        """How many examples each evaluated set has, by its name, as far as that is known."""
        if self.plan is None or self.data is None:
            return {}
        with suppress(FlspecError, ValueError, KeyError):
            return dict(_counts(self.plan, self.data))
        return {}

    @cached_property
    def leakage(self) -> Leakage | None:
        """What is on several sides of the experiment; None if that cannot be looked for."""
        if self.plan is None or self.data is None or self.plan.settings.parts:
            return None
        with suppress(InputError):
            return find_leakage(self.plan, self.data)
        return None


def run_facts(folder: Path, result: Result) -> RunFacts:
    """Read what lies beside a run's result; what cannot be read is among the problems."""
    plan, data, problems = None, None, list[str]()
    try:
        plan = Plan.load(folder / "plan")
        if plan.digest != result.plan_digest:
            plan = None
            problems.append(f"the plan in {folder} is not the one that its result names")
        else:
            data = open_data(plan.settings.data)
    except (FlspecError, OSError, ValueError, KeyError) as error:
        problems.append(str(error))
    return RunFacts(folder, plan, data, _described(folder), tuple(problems))


def _described(folder: Path) -> RunDescription | None:
    try:
        return describe_run(folder)
    except InputError:
        return None


def _counts(plan: Plan, data: Data) -> Iterator[tuple[str, int]]:
    groups = parse_groups(plan.settings.evaluation.groups)
    for name, split in data.splits.items():
        yield name, len(split)
        for group in groups if name != "train" else ():
            for part, mask in group.masks(split.columns[group.column]).items():
                yield f"{name}/{part}", int(mask.sum())
        for part, mask in label_masks(split.labels, data.label_names).items() if name != "train" else ():
            yield f"{name}/{part}", int(mask.sum())
    if plan.holdout:
        yield "holdout", int(plan.holdout.sizes.sum())
