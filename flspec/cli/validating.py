"""`flspec validate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flspec.cli.options import Json, MaxRuns, Settings, Small, Trust
from flspec.cli.output import print_json
from flspec.core.collection import nothing_collected
from flspec.errors import InputError, Problem, SpecError, printable

__all__ = ["validate"]


def validate(
    specs: Annotated[list[Path], typer.Argument(metavar="SPEC...", help="Specs to check.")],
    settings: Settings = None,
    small: Small = False,
    trust: Trust = False,
    max_runs: MaxRuns = 10_000,
    as_json: Json = False,
) -> None:
    """Check specs, each with its small variant, and print every problem, with its place and a way out."""
    with nothing_collected():
        from flspec.spec.study import check_backends, load_study, load_variants

    problems: list[Problem] = []
    runs: dict[str, int] = {}
    small_runs: dict[str, int] = {}
    for path in specs:
        try:
            if small:
                study, variant = load_study(path, settings or (), max_runs, small, is_run_here=True), None
            else:
                study, variant = load_variants(path, settings or (), max_runs)
            check_backends(study)
            runs[str(path)] = len(study.cells)
            small_runs |= {str(path): len(variant.cells)} if variant else {}
        except SpecError as error:
            problems += error.problems
        except InputError as error:
            problems.append(Problem(str(error)))
    if problems:
        raise SpecError(list(dict.fromkeys(problems)))
    if as_json:
        print_json({"ok": True, "specs": runs} | ({"small": small_runs} if small_runs else {}))
    else:
        for name, num_runs in runs.items():
            also = f"; with --small too{_in_runs(small_runs[name])}" if name in small_runs else ""
            print(printable(f"{name}: valid{_in_runs(num_runs)}{also}"))


def _in_runs(number: int) -> str:
    return f", {number:,} runs" if number > 1 else ""
