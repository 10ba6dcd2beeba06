"""`flspec export`: what runs measured, for other programs and for papers; their models, to go on with."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from flspec.cli.options import Json, as_round
from flspec.cli.output import print_json

if TYPE_CHECKING:
    from flspec.exports import Asked, Export

__all__ = ["export"]


def _kinds(incomplete: str) -> list[str]:
    from flspec.exports import export_kinds

    return [kind for kind in export_kinds() if kind.startswith(incomplete)]


_KINDS = "csv, parquet, json; markdown, latex; torch, safetensors, onnx."


def export(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Folders of runs, sweeps, certificates.")],
    to: Annotated[str, typer.Option(metavar="KIND", help=_KINDS, autocompletion=_kinds)],
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="A new file; else it is printed.")] = None,
    metric: Annotated[
        list[str] | None, typer.Option(metavar="[SET/]NAME", help="A column of a paper's table; repeatable.")
    ] = None,
    round_: Annotated[
        str | None, typer.Option("--round", metavar="last|best|N", help="After which round; last if absent.")
    ] = None,
    by: Annotated[
        list[str] | None, typer.Option(metavar="PATH", help="A setting whose values are rows; repeatable.")
    ] = None,
    client: Annotated[str | None, typer.Option(metavar="NAME", help="Whose model, where each has its own.")] = None,
    as_json: Json = False,
) -> None:
    """Write what runs measured, or a run's model.

    csv, parquet and json have every value, a row each. markdown and latex have
    a table for a paper: mean and deviation over seeds, a row for each
    combination of the settings in which the runs differ. torch has a model that
    torch.export.load reads without flspec, safetensors its weights by name.
    """
    from flspec.core.files import check_new_file, partial_file
    from flspec.errors import InputError
    from flspec.exports import Asked, find_export

    kind = find_export(to)
    for name, value in {"metric": metric, "round": round_, "by": by, "client": client}.items():
        if value and name not in kind.reads:
            raise InputError(f"--{name}: makes no difference to {to}; leave it out")
    asked = Asked(tuple(paths), tuple(metric or ()), as_round(round_), tuple(by) if by else None, client)
    if out is None:
        if not kind.is_text or as_json:
            why = "--json tells what is in a file" if kind.is_text else f"{to} is no text"
            raise InputError(f"--out: {why}; name a file to write")
        kind.write(asked, sys.stdout)
        return
    check_new_file(out)
    with partial_file(out) as file:
        what = _written(kind, asked, file)
    if as_json:
        print_json({"file": str(out), "kind": to, "what": what})
    else:
        from flspec.cli.consoles import console

        console.print(f"written to {out}: {what}", soft_wrap=True)


def _written(kind: Export, asked: Asked, file: BinaryIO) -> str:
    if not kind.is_text:
        return kind.write(asked, file)
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    try:
        return kind.write(asked, text)
    finally:
        text.detach()  # which writes what is left
