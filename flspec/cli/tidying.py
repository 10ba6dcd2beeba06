"""`flspec rm` and `flspec clean`: removing runs, and what nobody needs; nothing goes that was not shown before."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from flspec.cli.consoles import console, progress_console
from flspec.cli.options import Json
from flspec.cli.output import print_json
from flspec.core.text import bytes_in_words, join_all

__all__ = ["clean", "rm"]

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def rm(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of runs.")],
    yes: Yes = False,
    private: Annotated[
        bool, typer.Option("--private", help="Private runs, too, whose noise keys and ledgers then are lost.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Remove runs, after a question."""
    from flspec.errors import InputError
    from flspec.runs.removal import removable, remove_run

    found = list({one.folder: one for one in map(removable, runs)}.values())
    for run in found:
        if run.private and not private:
            raise InputError(
                f"{run.folder}: a private run, whose {join_all(run.private)} alone say what it has released; give "
                "--private if they may be lost"
            )
    if not (yes or as_json):
        for run in found:
            lost = f", with {join_all(run.private)} of a private run" if run.private else ""
            progress_console.print(f"{run.folder}: {bytes_in_words(run.num_bytes)}{lost}", soft_wrap=True)
    _ask(f"remove {_count(len(found), 'run')}, {bytes_in_words(sum(run.num_bytes for run in found))}?", yes)
    for run in found:
        remove_run(run)
    removed = {"removed": [str(run.folder) for run in found], "bytes": sum(run.num_bytes for run in found)}
    if as_json:
        print_json(removed)
    else:
        console.print(f"removed {_count(len(found), 'run')}, {bytes_in_words(sum(run.num_bytes for run in found))}")


def clean(
    folders: Annotated[
        list[Path] | None, typer.Argument(metavar="DIR...", help="Folders with runs that count; else runs.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would go, and leave it.")] = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Remove states and parts of the cache that no run needs.

    What stays: all that a run goes on from, models, noise keys, ledgers, data
    that a run here names, what a process uses, and environments of today.
    """
    from flspec.cli.tables import plain_table
    from flspec.runs.cleaning import leftovers, remove
    from flspec.runs.found import find_runs

    default = [Path("runs")] if Path("runs").is_dir() else []
    found = leftovers(find_runs(folders or default))
    total = sum(one.num_bytes for one in found)
    if not as_json:
        table = plain_table()
        table.add_column("size", justify="right", no_wrap=True)
        table.add_column("path", overflow="fold")
        table.add_column("what", overflow="fold")
        for one in found:
            table.add_row(bytes_in_words(one.num_bytes), str(one.path), one.what)
        console.print(table if found else "nothing to clean")
    if found and not dry_run:
        _ask(f"remove {_count(len(found), 'of these', 'of these')}, {bytes_in_words(total)}?", yes)
        for one in found:
            remove(one)
    done = not dry_run
    if as_json:
        rows = [{"path": str(one.path.absolute()), "kind": one.kind, "bytes": one.num_bytes} for one in found]
        print_json({"removed": done, "bytes": total, "found": rows})
    elif found:
        console.print(f"{'removed' if done else 'would remove'} {bytes_in_words(total)}")


def _count(number: int, what: str, plural: str = "") -> str:
    return f"{number:,} {what if number == 1 else plural or f'{what}s'}"


def _ask(question: str, yes: bool) -> None:
    """Go on if it is answered with yes; raises InputError where nobody can be asked."""
    from flspec.errors import InputError

    if yes:
        return
    if not sys.stdin.isatty():
        raise InputError(f"{question} there is no terminal to ask on; give --yes")
    progress_console.print(f"{question} [y/N] ", end="")
    if input().strip().lower() not in ("y", "yes"):
        progress_console.print("nothing removed")
        raise typer.Exit(1)
