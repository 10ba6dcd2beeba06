"""The files of a bundle: copies of what runs wrote, their report with its figures, and the methods in words."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from flspec.bundles.methods import methods_in_words
from flspec.comparison.certification import CERTIFICATE
from flspec.core.reading import open_regular
from flspec.errors import InputError, printable, shorten
from flspec.measurements.folders import find_runs
from flspec.protocol.plan import Plan
from flspec.report import write_report
from flspec.runs.client_rows import CLIENT_ROWS
from flspec.runs.folders import was_changed
from flspec.runs.git_state import GIT_STATE
from flspec.runs.result import RESULT, Result, load_result
from flspec.runs.sweep_summary import MATRIX

__all__ = ["METHODS", "MOST_BYTES", "BundledRun", "Contents", "gather"]

METHODS = "methods.txt"
_REPORT, _FIGURES, _PINS = "report.html", "figures", "requirements.txt"
_SPEC, _PLAN, _ARRAYS = "spec.yaml", "plan/plan.json", "plan/arrays.npz"
_OF_A_RUN = (_SPEC, _PLAN, _ARRAYS, RESULT, CLIENT_ROWS, GIT_STATE)  # nothing else leaves a run's folder
_AROUND = (CERTIFICATE, MATRIX, _SPEC)  # of a certificate or a sweep
MOST_BYTES = 2**35


@dataclass(frozen=True)
class BundledRun:
    """A run, and where its files are in the bundle."""

    name: str  # of its folder, safe to show
    result: Result
    files: tuple[str, ...]  # those that it was made from, and those that it made

    @property
    def inputs(self) -> list[str]:
        return [path for path in self.files if path.endswith((_SPEC, _PLAN, _ARRAYS))]

    @property
    def outputs(self) -> list[str]:
        return [path for path in self.files if path.endswith((RESULT, CLIENT_ROWS))]


@dataclass(frozen=True)
class Contents:
    """What was gathered, beside its files."""

    title: str
    methods: str
    runs: tuple[BundledRun, ...]
    remarks: tuple[str, ...]


def gather(paths: Sequence[Path], into: Path) -> Contents:
    """Fill an empty folder with the files of the runs at or below some paths; raises InputError if there are none."""
    found = find_runs(paths)
    results = [load_result(folder) for folder in found.folders]
    names = _names(found.folders)
    runs = tuple(_run(*one, into) for one in zip(found.folders, names, results, strict=True))
    around = list(_around(paths, found.folders))
    for folder, name in zip(around, _names(around), strict=True):
        list(_copied(folder, into / "around" / name, _AROUND))
    remarks = tuple(_remarks(found.folders, results, found.unfinished))
    write_report(paths, into / _REPORT, into / _FIGURES)
    methods = methods_in_words(results, _first_plan(found.folders[0], results[0]))
    text = "\n\n".join([methods, *remarks, "Plans:", *(f"{run.name}: {run.result.plan_digest}" for run in runs)])
    (into / METHODS).write_text(text + "\n", encoding="utf-8")
    title = ", ".join(dict.fromkeys(shorten(printable(result.name)) for result in results))
    return Contents(title, methods, runs, remarks)


def _run(folder: Path, name: str, result: Result, into: Path) -> BundledRun:
    place = Path("runs") / name
    files = list(_copied(folder, into / place, _OF_A_RUN))
    versions = result.software.versions if result.software else result.backend.versions
    lines = (f"{'# ' if package == 'python' else ''}{package}=={version}" for package, version in versions.items())
    (into / place / _PINS).write_text("\n".join(map(printable, lines)) + "\n", encoding="utf-8")
    files.append(_PINS)
    return BundledRun(shorten(printable(folder.name)), result, tuple((place / file).as_posix() for file in files))


def _copied(folder: Path, into: Path, files: Iterable[str]) -> Iterator[str]:
    """Copy those of some files that there are, and yield their names."""
    for file in files:
        if (folder / file).is_file():
            (into / file).parent.mkdir(parents=True, exist_ok=True)
            with open_regular(folder / file, MOST_BYTES) as source, open(into / file, "wb") as copy:
                shutil.copyfileobj(source, copy)
            yield file


def _around(paths: Sequence[Path], runs: Sequence[Path]) -> Iterator[Path]:
    """Yield the folders of certificates and sweeps that stand around runs, at or below the paths."""
    for folder in dict.fromkeys(run.parent for run in runs):
        if any((folder / file).is_file() for file in (CERTIFICATE, MATRIX)) and any(
            folder.resolve().is_relative_to(path.resolve()) for path in paths
        ):
            yield folder


def _names(folders: Sequence[Path]) -> list[str]:
    """Return a name for each folder that is legal on every system, and that no other has."""
    digits = len(str(len(folders)))
    plain = (re.sub(r"[^A-Za-z0-9=,_-]+", "-", folder.name).strip("-")[:80] for folder in folders)
    return [f"{number:0{digits}}-{name}" for number, name in enumerate(plain, 1)]


def _remarks(folders: Sequence[Path], results: Sequence[Result], unfinished: Iterable[Path]) -> Iterator[str]:
    for folder, result in zip(folders, results, strict=True):
        if result.status != "completed":
            yield f"{printable(str(folder))} {result.status} after {len(result.rounds):,} rounds, and is in the bundle"
        if was_changed(folder):
            yield f"{printable(str(folder))}: result.json is not as the run wrote it; it was changed since"
    yield from (f"{printable(str(folder))} is left out: it has not ended; go on with --resume" for folder in unfinished)


def _first_plan(folder: Path, result: Result) -> Plan | None:
    try:
        plan = Plan.load(folder / "plan")
    except (InputError, OSError, ValueError, KeyError):
        return None
    return plan if plan.digest == result.plan_digest else None
