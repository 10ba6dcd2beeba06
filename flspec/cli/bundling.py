"""`flspec bundle`: what a paper's appendix needs of runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flspec.cli.options import Json
from flspec.cli.output import print_json

__all__ = ["bundle"]


def bundle(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Folders of runs, sweeps, certificates.")],
    out: Annotated[Path, typer.Option(metavar="DIR|FILE.zip", help="A new folder, or a new zip.")],
    licence: Annotated[
        str | None, typer.Option("--license", metavar="ID", help="SPDX, such as CC-BY-4.0, or an address.")
    ] = None,
    author: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="'Ada Lovelace <ORCID>' or a name; repeatable.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Bundle runs for a paper's appendix, as an RO-Crate.

    It has specs, plans, versions, results and certificates, the report with its
    figures and tables, and a paragraph on methods (methods.txt). No weights. What
    --license and --author say is in it only if given. sha256sum -c
    manifest-sha256.txt checks its files.
    """
    from flspec.bundles import write_bundle

    made = write_bundle(paths, out, licence=licence, authors=author or ())
    if as_json:
        document = {"bundle": str(made.path), "runs": made.num_runs, "files": made.num_files, "remarks": made.remarks}
        print_json(document)
        return
    from flspec.cli.consoles import console

    runs = "1 run" if made.num_runs == 1 else f"{made.num_runs:,} runs"
    console.print(f"written to {made.path}: {runs}, {made.num_files:,} files", soft_wrap=True)
