"""What a page is about: runs of one plan or several, and the certificate or comparison they belong to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from flspec.comparison.certification import Certificate
from flspec.comparison.results import Comparison
from flspec.errors import InputError
from flspec.report.palette import Style, style
from flspec.report.words import brief
from flspec.runs.result import Result, load_result

__all__ = ["PlanGroup", "ReportedRun", "Subject", "subject_of_certificate", "subject_of_comparison"]


@dataclass(frozen=True)
class ReportedRun:
    """One run, or the one that should be there."""

    name: str  # of the backend, as selected
    label: str  # its own on this page, safe to show
    style: Style
    plan_digest: str
    result: Result | None
    problem: str | None = None  # why there is no result, if that is worth saying


@dataclass(frozen=True)
class PlanGroup:
    """The runs of one plan: only these answer the same question."""

    letter: str
    digest: str
    runs: tuple[ReportedRun, ...]

    @property
    def result(self) -> Result | None:
        """Any result, for what is the same in all."""
        return next((run.result for run in self.runs if run.result), None)


@dataclass(frozen=True)
class Subject:
    """All that sections are made of."""

    name: str
    runs: tuple[ReportedRun, ...]
    certificate: Certificate | None = None
    comparison: Comparison | None = None

    @property
    def plans(self) -> tuple[PlanGroup, ...]:
        """The runs by plan, in order of appearance."""
        digests = dict.fromkeys(run.plan_digest for run in self.runs)
        return tuple(
            PlanGroup(_letters(index), digest, tuple(run for run in self.runs if run.plan_digest == digest))
            for index, digest in enumerate(digests)
        )

    @property
    def has_one_plan(self) -> bool:
        return len(self.plans) <= 1

    @property
    def noun(self) -> str:
        """What a row of a table is about."""
        return "backend" if self.certificate else "run"

    def short_name(self, plan: PlanGroup) -> str:
        """A plan, for a table; with a letter if there are several to tell apart."""
        digest = brief(plan.digest[:12])
        return digest if self.has_one_plan else f"{plan.letter}, {digest}"

    def heading(self, plan: PlanGroup) -> str:
        """What begins a caption, so that nobody takes one plan's figure for another's."""
        return "" if self.has_one_plan else f"Plan {self.short_name(plan)}. "


def subject_of_certificate(folder: Path, certificate: Certificate) -> Subject:
    """The certificate of a folder, and the runs that lie beside it."""
    names = list(dict.fromkeys((certificate.reference, *certificate.backends)))
    runs = tuple(
        _read(folder, name, label, index, certificate.plan_digest)
        for index, (name, label) in enumerate(zip(names, _distinct(names), strict=True))
    )
    return Subject(certificate.name, runs, certificate=certificate)


def subject_of_comparison(comparison: Comparison) -> Subject:
    """Runs side by side; those of one backend are told apart by their folders."""
    backends = Counter(run.result.backend.name for run in comparison.runs)
    names = [
        run.result.backend.name
        if backends[run.result.backend.name] == 1
        else f"{run.result.backend.name} ({run.folder.name})"
        for run in comparison.runs
    ]
    runs = tuple(
        ReportedRun(run.result.backend.name, label, style(index), run.result.plan_digest, run.result)
        for index, (label, run) in enumerate(zip(_distinct(names), comparison.runs, strict=True))
    )
    experiments = list(dict.fromkeys(run.result.name for run in comparison.runs))
    return Subject(", ".join(experiments), runs, comparison=comparison)


def _read(folder: Path, name: str, label: str, index: int, plan_digest: str) -> ReportedRun:
    """The run of one backend; one that was refused or died early has left none."""
    home = name.replace(":", "-")
    result, problem = None, None
    try:
        # A certificate from elsewhere must not make us read outside its folder.
        is_inside = home == Path(home).name and home not in ("", "..")
        if is_inside and (folder / home / "result.json").exists():
            result = load_result(folder / home)
    except (InputError, OSError, ValueError) as error:
        problem = str(error)
    return ReportedRun(name, label, style(index), result.plan_digest if result else plan_digest, result, problem)


def _distinct(names: Sequence[str]) -> list[str]:
    """Short names, numbered where two would read the same."""
    labels = [brief(name, 40) or "unnamed" for name in names]
    total, seen = Counter(labels), Counter[str]()
    for index, label in enumerate(labels):
        seen[label] += 1
        if total[label] > 1:
            labels[index] = f"{label} ({seen[label]})"
    return labels


def _letters(index: int) -> str:
    """A, B, …, Z, AA, …"""
    return (_letters(index // 26 - 1) if index >= 26 else "") + chr(ord("A") + index % 26)
