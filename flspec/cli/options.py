"""Arguments and options that several commands share."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flspec.cli.output import use_debug, use_json

if TYPE_CHECKING:
    from flspec.measurements.outcomes import RoundChoice

__all__ = [
    "CellLabel",
    "DataRoot",
    "Debug",
    "DeviceName",
    "Json",
    "LogFormat",
    "LogFormats",
    "MaxRuns",
    "OfSpec",
    "Settings",
    "Small",
    "SpecFile",
    "Timeout",
    "Trackers",
    "Trust",
    "Workers",
    "as_round",
]


class LogFormat(Enum):
    """How progress is written: bars on a terminal and lines elsewhere, or everywhere an object a line."""

    text = "text"
    json = "json"


def use_trust(wanted: bool) -> None:
    """Import the part files of the specs that this command reads, whoever they come from."""
    from flspec.spec.trust import trust_all

    if wanted:
        trust_all()


def _tracker_names(incomplete: str) -> list[str]:
    from flspec.trackers import tracker_names

    return [name for name in tracker_names() if name.startswith(incomplete)]


Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.", callback=use_json)]
Debug = Annotated[bool, typer.Option("--debug", help="Print tracebacks of what goes wrong.", callback=use_debug)]
SpecFile = Annotated[Path, typer.Argument(metavar="SPEC", help="A spec, e.g. specs/quickstart.yaml.")]
LogFormats = Annotated[
    LogFormat,
    typer.Option("--log-format", metavar="FORMAT", show_default=False, help="text, or json: a line a round."),
]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Lay a value over the spec's; repeatable.")
]
Trust = Annotated[
    bool,
    typer.Option("--trust", help="Import parts that come from elsewhere.", callback=use_trust),
]
OfSpec = Annotated[
    Path | None, typer.Option("--spec", metavar="SPEC", help="With the kinds of this spec's parts, too.")
]
Small = Annotated[bool, typer.Option("--small", help="The small variant, as the spec's section small says.")]
CellLabel = Annotated[str | None, typer.Option("--cell", metavar="LABEL", help="One experiment of a matrix.")]
MaxRuns = Annotated[int, typer.Option(min=1, metavar="N", help="Most experiments of a matrix.")]
DataRoot = Annotated[
    Path | None, typer.Option("--data-root", help="Folder of data sets; else $FLSPEC_DATA, else ./data.")
]
Workers = Annotated[
    int, typer.Option(min=0, max=1024, metavar="N", help="Clients trained at once; 0: automatic.", show_default=False)
]
DeviceName = Annotated[
    str, typer.Option("--device", metavar="NAME", help="cpu, cuda, cuda:N, mps or auto.", show_default=False)
]
Trackers = Annotated[
    list[str] | None,
    typer.Option(
        "--tracker",
        metavar="NAME",
        help="A tracker: csv, mlflow, tensorboard, wandb; repeatable.",
        autocompletion=_tracker_names,
    ),
]
Timeout = Annotated[float, typer.Option(min=1, metavar="SECONDS", help="Seconds that one round may take.")]


def as_round(text: str | None) -> RoundChoice:
    """Return what `--round` names: last, best or a number from 1. Raises InputError."""
    from flspec.errors import InputError, shorten

    if text is None or text == "last":
        return "last"
    if text == "best":
        return "best"
    if not (text.isascii() and text.isdecimal() and int(text[:20]) > 0):
        raise InputError(f"--round: {shorten(text)!r} is no round; give last, best or a number from 1")
    return int(text[:20])
