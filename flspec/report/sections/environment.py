"""The machine and the versions of each run."""

from __future__ import annotations

from collections.abc import Mapping

from flspec.report.page import Column, Section, Table
from flspec.report.subject import ReportedRun, Subject
from flspec.report.words import DASH, brief

__all__ = ["environment_section"]

_COLUMNS = (
    Column("started", "word"),
    Column("engine", "prose"),
    Column("flspec", "prose"),
    Column("platform", "prose"),
    Column("cores"),
    Column("device", "word"),
)


_OF_FLSPEC = ("flspec", "python", "numpy")


def environment_section(subject: Subject) -> Section:
    caption = "Versions of what ran each engine, and of the flspec that compiled, recorded and evaluated"
    return Section(
        "Environment", [Table(caption, (Column(subject.noun, "word"), *_COLUMNS), [_row(run) for run in subject.runs])]
    )


def _row(run: ReportedRun) -> list[str]:
    if run.result is None:
        return [run.label, *[DASH] * len(_COLUMNS)]
    environment, software = run.result.environment, run.result.software
    versions: dict[str, object] = {
        name: environment[name] for name in ("flspec", "python", "numpy") if name in environment
    }
    code = {f"code of {name}": digest[:8] for name, digest in software.sources.items()} if software else {}
    return [
        run.label,
        brief(run.result.started.replace("T", " ").replace("+00:00", " UTC")),
        _versions(run.result.backend.versions),
        _versions({**versions, **code}),
        brief(str(environment.get("platform", DASH)), 120),
        brief(str(environment.get("cpus", DASH))),
        brief(software.device if software and software.device else DASH),
    ]


def _versions(versions: Mapping[str, object]) -> str:
    return ", ".join(f"{brief(name)} {brief(str(version))}" for name, version in versions.items()) or DASH
