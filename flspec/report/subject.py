"""The subject of a page: runs of one plan or several, and the certificate or comparison that they belong to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from flspec.comparison.certification import Certificate
from flspec.comparison.results import Comparison
from flspec.core.text import letters
from flspec.errors import InputError
from flspec.report.palette import Style, style
from flspec.report.run_facts import RunFacts, run_facts
from flspec.report.words import brief
from flspec.runs.result import Result, load_result

__all__ = [
    "PlanGroup",
    "ReportedRun",
    "Subject",
    "subject_of_certificate",
    "subject_of_comparison",
    "subject_of_run",
]


@dataclass(frozen=True)
class ReportedRun:
    """One run, or the place of a missing one."""

    name: str  # the backend's, as selected
    label: str  # unique on this page, safe to show
    style: Style
    plan_digest: str
    result: Result | None
    problem: str | None = None  # why there is no result, if the page should say so
    folder: Path | None = None  # of the run


@dataclass(frozen=True)
class PlanGroup:
    """The runs of one plan: only these answer the same question."""

    letter: str
    digest: str
    runs: tuple[ReportedRun, ...]

    @property
    def result(self) -> Result | None:
        """Any result, for values that are the same in all."""
        return next((run.result for run in self.runs if run.result), None)


@dataclass(frozen=True)
class Subject:
    """The input of all sections."""

    name: str
    runs: tuple[ReportedRun, ...]
    certificate: Certificate | None = None
    comparison: Comparison | None = None
    facts: RunFacts | None = None  # of the run, if the page is of one

    @property
    def plans(self) -> tuple[PlanGroup, ...]:
        """The runs by plan, in order of appearance."""
        digests = dict.fromkeys(run.plan_digest for run in self.runs)
        return tuple(
            PlanGroup(letters(index).upper(), digest, tuple(run for run in self.runs if run.plan_digest == digest))
            for index, digest in enumerate(digests)
        )

    @property
    def has_one_plan(self) -> bool:
        return len(self.plans) <= 1

    @property
    def noun(self) -> str:
        """The word for the subject of a table's row."""
        return "backend" if self.certificate else "run"

    def short_name(self, plan: PlanGroup) -> str:
        """Return a plan's name for a table, with a letter if there are several plans."""
        digest = brief(plan.digest[:12])
        return digest if self.has_one_plan else f"{plan.letter}, {digest}"

    def heading(self, plan: PlanGroup) -> str:
        """Return the start of a caption, so that nobody takes one plan's figure for another's."""
        return "" if self.has_one_plan else f"Plan {self.short_name(plan)}. "


def subject_of_certificate(folder: Path, certificate: Certificate) -> Subject:
    """Return the certificate of a folder, and the runs beside it."""
    names = list(dict.fromkeys((certificate.reference, *certificate.backends)))
    runs = tuple(
        _read(folder, name, label, index, certificate.plan_digest)
        for index, (name, label) in enumerate(zip(names, _distinct(names), strict=True))
    )
    return Subject(certificate.name, runs, certificate=certificate)


def subject_of_comparison(comparison: Comparison) -> Subject:
    """Return runs side by side; runs of one backend are distinguished by their folders."""
    backends = Counter(run.result.backend.name for run in comparison.runs)
    names = [
        run.result.backend.name
        if backends[run.result.backend.name] == 1
        else f"{run.result.backend.name} ({run.folder.name})"
        for run in comparison.runs
    ]
    runs = tuple(
        ReportedRun(run.result.backend.name, label, style(index), run.result.plan_digest, run.result, folder=run.folder)
        for index, (label, run) in enumerate(zip(_distinct(names), comparison.runs, strict=True))
    )
    experiments = list(dict.fromkeys(run.result.name for run in comparison.runs))
    return Subject(", ".join(experiments), runs, comparison=comparison)


def subject_of_run(folder: Path) -> Subject:
    """Return the run of a folder, with what is known of it beside its result; raises InputError if it has none."""
    result = load_result(folder)
    name = result.backend.name
    run = ReportedRun(name, brief(name, 40) or "unnamed", style(1), result.plan_digest, result, folder=folder)
    return Subject(result.name, (run,), facts=run_facts(folder, result))


def _read(folder: Path, name: str, label: str, index: int, plan_digest: str) -> ReportedRun:
    """Return the run of one backend; a refused run or one that died early has no result."""
    home = name.replace(":", "-")
    result, problem = None, None
    try:
        # A certificate from another machine must not make flspec read outside its folder.
        is_inside = home == Path(home).name and home not in ("", "..")
        if is_inside and (folder / home / "result.json").exists():
            result = load_result(folder / home)
    except (InputError, OSError, ValueError) as error:
        problem = str(error)
    digest = result.plan_digest if result else plan_digest
    return ReportedRun(name, label, style(index), digest, result, problem, folder / home if result else None)


def _distinct(names: Sequence[str]) -> list[str]:
    """Return short names, with numbers where two would be the same."""
    labels = [brief(name, 40) or "unnamed" for name in names]
    total, seen = Counter(labels), Counter[str]()
    for index, label in enumerate(labels):
        seen[label] += 1
        if total[label] > 1:
            labels[index] = f"{label} ({seen[label]})"
    return labels
