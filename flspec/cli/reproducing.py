"""`flspec reproduce`: a run's plan once more, and what came out the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flspec.cli.consoles import console, progress_console
from flspec.cli.options import DataRoot, Debug, Json, LogFormat, LogFormats, Timeout, Trust, Workers
from flspec.cli.output import print_json

if TYPE_CHECKING:
    from flspec.comparison.reproduction import Reproduction

__all__ = ["reproduce"]

_MOST_METRICS = 5


def reproduce(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")],
    out: Annotated[Path | None, typer.Option(help="Folder of the new run; else a new one below runs/.")] = None,
    workers: Workers = 0,
    data_root: DataRoot = None,
    timeout: Timeout = 3600.0,
    trust: Trust = False,
    log_format: LogFormats = LogFormat.text,
    debug: Debug = False,
    as_json: Json = False,
) -> None:
    """Run a run's plan again, and say what came out the same.

    Exits with 1 if weights or any value of any round differ.
    """
    from flspec.cli.progress import RunProgress
    from flspec.comparison.reproduction import reproduce
    from flspec.execution.remote import Limits
    from flspec.runs.found import check_run, found_run

    check_run(run)
    found = found_run(run)
    log_json = log_format is LogFormat.json
    with RunProgress(progress_console, found.num_rounds or 0, found.backend, log_json) as progress:
        limits = Limits(silence=timeout)
        again = reproduce(run, out, data=data_root, workers=workers, limits=limits, watch=progress.update)
    if as_json:
        print_json(again.model_dump(mode="json") | {"same": again.is_same})
    else:
        for line in _in_words(again):
            console.print(line, soft_wrap=True)
    if not again.is_same:
        raise typer.Exit(1)


def _in_words(again: Reproduction) -> Iterator[str]:
    yield f"{again.again} is {again.before} once more: plan {again.plan_digest[:12]} on {again.backend}"
    weights = {True: "the same to the last bit", False: "differ", None: "cannot be compared, since one run has none"}
    yield f"weights: {weights[again.same_weights]}"
    if (first := again.first_difference) is None:
        yield f"curves: the same in {'the one round' if again.num_rounds == 1 else f'all {again.num_rounds:,} rounds'}"
    else:
        yield f"curves: first differ in round {first.round}, {first.what}: {first.before} and now {first.again}"
        largest = sorted(again.largest.items(), key=lambda one: -one[1])[:_MOST_METRICS]
        yield from (f"  {name} differs by up to {value:.3g}" for name, value in largest)
    yield f"versions: {'; '.join(again.versions) or 'the same'}"
    if again.machine:
        yield f"machine: {'; '.join(f'{one.path} {one.a} and {one.b}' for one in again.machine)}"
    yield from (f"remark: {remark}" for remark in again.remarks)
