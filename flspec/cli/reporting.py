"""`flspec report`: a page of a run, a sweep, a certificate or a comparison."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flspec.cli.options import Json
from flspec.cli.output import print_json

__all__ = ["report"]


def report(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH...", help="The folder of a run, a sweep or a certificate, or several.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="The page's file; else report.html in the folder.", show_default=False)
    ] = None,
    assets: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write figures (SVG, PNG) and tables (CSV) there, too.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write one HTML page that opens anywhere, offline.

    Of a run: what was asked, its data and clients, curves, groups, cost, and the command that repeats it. Of a sweep,
    or of several runs that differ in their seeds: curves with bands over the seeds, the final table, the best. Of a
    certificate: the page it has. Of other runs: their comparison.
    """
    from flspec.report import write_report

    written = write_report(paths, out, assets)
    if as_json:
        print_json(
            {
                "kind": written.kind,
                "status": written.status,
                "sentence": written.sentence,
                "report": str(written.path),
                "assets": [str(path) for path in written.assets],
            }
        )
        return
    from flspec.cli.consoles import console

    console.print(written.sentence.replace("\N{NARROW NO-BREAK SPACE}", " "), soft_wrap=True)
    if written.assets:
        console.print(f"{len(written.assets)} figures and tables written to {assets}", soft_wrap=True)
    console.print(f"written to {written.path}", soft_wrap=True)
