"""The commands, each imported and built when it is asked for: all of them take as long as a spec to be validated."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from flspec.core.collection import nothing_collected

__all__ = ["app"]

_COMMANDS = {  # by name, in the order of --help: the module of `flspec.cli`, and the function or the group of commands
    "new": "starting:new_file",
    "list": "authoring:list_kinds",
    "schema": "authoring:schema",
    "validate": "validating:validate",
    "plan": "explaining:plan",
    "diff": "explaining:diff",
    "audit": "auditing:audit",
    "run": "running:run",
    "certify": "comparing:certify",
    "compare": "comparing:compare",
    "report": "reporting:report",
    "runs": "finding:runs",
    "show": "finding:show",
    "reproduce": "reproducing:reproduce",
    "rm": "tidying:rm",
    "clean": "tidying:clean",
    "export": "exporting:export",
    "bundle": "bundling:bundle",
    "predict": "predicting:predict",
    "backends": "backends:backends_app",
    "data": "data:data_app",
}


class _Commands(TyperGroup):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._built: dict[str, Any] = {}
        self.commands: Any = dict.fromkeys(_COMMANDS)  # the names, which suggestions are from

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in _COMMANDS:
            return None
        if cmd_name not in self._built:
            self._built[cmd_name] = _build(cmd_name)
        return self._built[cmd_name]


def _build(name: str) -> Any:
    module, _, attribute = _COMMANDS[name].partition(":")
    with nothing_collected():
        found = getattr(import_module(f"flspec.cli.{module}"), attribute)
    if not isinstance(found, typer.Typer):
        function, found = found, typer.Typer(add_completion=False)
        found.command(name)(function)
    command = typer.main.get_command(found)
    command.name = name
    return command


app = typer.Typer(
    name="flspec",
    help="Write a federated-learning experiment once; know that every backend ran the same thing.",
    cls=_Commands,
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"flspec {version('flspec')}")
        raise typer.Exit


@app.callback()
def _options(
    show_version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    pass
