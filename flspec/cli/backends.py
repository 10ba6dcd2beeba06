"""`flspec backends`: list, install, remove and check backends."""

from __future__ import annotations

from typing import Annotated

import typer

from flspec.cli.consoles import console, progress_console
from flspec.cli.output import print_json, use_json

__all__ = ["backends_app"]

backends_app = typer.Typer(help="List, install and check backends.", no_args_is_help=True, add_completion=False)

Name = Annotated[str, typer.Argument(metavar="NAME", help="A backend with an environment of its own, e.g. tff.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.", callback=use_json)]


@backends_app.command("list")
def list_backends(as_json: Json = False) -> None:
    """List the backends, and what each one lacks."""
    from flspec.cli.tables import plain_table
    from flspec.execution.doctor import availability

    found = availability()
    if as_json:
        print_json(found)
        return
    table = plain_table()
    for heading in ("backend", "variants", "state"):
        table.add_column(heading, overflow="fold")
    for name, entry in found.items():
        table.add_row(name, " ".join(entry["variants"]), entry["missing"] or "ready")
    console.print(table)


@backends_app.command()
def install(name: Name, as_json: Json = False) -> None:
    """Make the Python environment that a backend needs; safe to interrupt and to repeat."""
    from flspec.execution.environments import install_environment

    with progress_console.status(f"{name}: preparing") as status:

        def show(step: str) -> None:
            status.update(f"{name}: {step}")
            if not progress_console.is_terminal:
                progress_console.print(f"{name}: {step}")

        folder = install_environment(name, show)
    if as_json:
        print_json({"name": name, "folder": str(folder)})
    else:
        console.print(f"{name}: ready in {folder}")


@backends_app.command()
def remove(name: Name, as_json: Json = False) -> None:
    """Remove a backend's Python environment, also those of earlier versions of flspec."""
    from flspec.execution.environments import remove_environment

    folders = remove_environment(name)
    if as_json:
        print_json({"name": name, "removed": [str(folder) for folder in folders]})
    for folder in () if as_json else folders:
        console.print(f"{name}: removed {folder}")


@backends_app.command()
def doctor(
    deadline: Annotated[float, typer.Option(min=1, help="Seconds that each backend has for its smoke run.")] = 120.0,
    as_json: Json = False,
) -> None:
    """Check each backend with a run of seconds; say what is wrong and how to mend it.

    Exits with 1 if any is broken.
    """
    from flspec.cli.tables import plain_table
    from flspec.execution.doctor import examine
    from flspec.protocol.registry import installed_backends

    diagnoses = []
    for name in installed_backends():
        with progress_console.status(f"{name}: smoke run"):
            diagnoses.append(examine(name, deadline))
    if as_json:
        print_json([vars(diagnosis) for diagnosis in diagnoses])
    else:
        table = plain_table()
        for heading in ("backend", "status", "seconds", "what", "remedy"):
            table.add_column(heading, overflow="fold")
        for diagnosis in diagnoses:
            seconds = f"{diagnosis.seconds:.1f}" if diagnosis.seconds is not None else ""
            table.add_row(diagnosis.name, diagnosis.status, seconds, diagnosis.detail, diagnosis.remedy)
        console.print(table)
    if any(diagnosis.status == "broken" for diagnosis in diagnoses):
        raise typer.Exit(1)
