"""`flspec list`, `schema` and `new`: what a spec can say, for people, editors and those who start one."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flspec.cli.output import console, print_json, progress_console, use_json

if TYPE_CHECKING:
    from flspec.spec.catalogue import Family, Kind, SpecKey

__all__ = ["kinds_of", "list_kinds", "new_file", "schema"]

Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.", callback=use_json)]


def _sections(incomplete: str) -> list[tuple[str, str]]:
    """The families that a shell may complete to."""
    from flspec.errors import FlspecError

    try:
        from flspec.spec.catalogue import families

        found = families().values()
    except FlspecError:  # a broken package is told of by commands, not in the middle of somebody's typing
        return []
    return [(family.section, family.summary) for family in found if family.section.startswith(incomplete)]


def _kinds(section: str, incomplete: str) -> list[tuple[str, str]]:
    from flspec.errors import FlspecError

    try:
        from flspec.spec.catalogue import find_family

        kinds = find_family(section).kinds.values()
    except FlspecError:
        return []
    return [(kind.kind, kind.summary) for kind in kinds if kind.kind.startswith(incomplete)]


def _kinds_of_family(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    return _kinds(ctx.params.get("family") or "", incomplete)


def kinds_of(section: str) -> Callable[[str], list[tuple[str, str]]]:
    def complete(incomplete: str) -> list[tuple[str, str]]:
        return _kinds(section, incomplete)

    return complete


# ---------------------------------------------------------------------------------------------------------------- list


def list_kinds(
    family: Annotated[
        str | None,
        typer.Argument(metavar="FAMILY", help="A section, e.g. partition.", autocompletion=_sections),
    ] = None,
    kind: Annotated[
        str | None,
        typer.Argument(metavar="KIND", help="One of its kinds.", autocompletion=_kinds_of_family),
    ] = None,
    as_json: Json = False,
) -> None:
    """Tell what a spec can say: its families, their kinds, a kind's parameters."""
    from flspec.spec.catalogue import families, find_family, find_kind

    if family is None:
        found = list(families().values())
        if as_json:
            print_json([_without_parameters(one) for one in found])
        else:
            _print_families(found)
        return
    chosen = find_family(family)
    if kind is not None:
        one = find_kind(chosen, kind)
        print_json(dataclasses.asdict(one)) if as_json else _print_kind(chosen, one)
    else:
        print_json(dataclasses.asdict(chosen)) if as_json else _print_family(chosen)


def _without_parameters(family: Family) -> dict[str, Any]:
    return dataclasses.asdict(family) | {"kinds": list(family.kinds)}


def _print_families(found: list[Family]) -> None:
    _print_rows(("section", "kinds", "what it is"), [(one.section, " ".join(one.kinds), one.summary) for one in found])
    console.print("flspec list SECTION tells more of each kind, flspec list SECTION KIND all of it.", markup=False)


def _print_family(family: Family) -> None:
    console.print(f"{family.section}: {family.summary}", markup=False)
    rows = [
        (kind.kind, f"{kind.summary}{_from(kind)}", ", ".join(_in_short(parameter) for parameter in kind.parameters))
        for kind in family.kinds.values()
    ]
    _print_rows(("kind", "what it is", "parameters"), rows)


def _print_kind(family: Family, kind: Kind) -> None:
    paragraphs = re.sub(r"(?<!\n)\n(?!\n)", " ", kind.description)
    console.print(f"{family.section}: {{kind: {kind.kind}}}{_from(kind)}\n\n{paragraphs}", markup=False)
    rows = [
        (
            parameter.name,
            "required" if parameter.required else _value(parameter.default),
            ", ".join(filter(None, (parameter.type, parameter.range))),
            parameter.description,
        )
        for parameter in kind.parameters
    ]
    if rows:
        _print_rows(("parameter", "default", "range", "meaning"), rows)


def _print_rows(headings: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    from rich.markup import escape

    from flspec.cli.tables import plain_table

    table = plain_table()
    for number, heading in enumerate(headings):
        table.add_column(heading, overflow="fold", no_wrap=number == 0)
    for row in rows:
        table.add_row(*map(escape, row))
    console.print(table)


def _in_short(parameter: SpecKey) -> str:
    return parameter.name if parameter.required else f"{parameter.name}={_value(parameter.default)}"


def _value(value: Any) -> str:
    from flspec.spec.yaml_writer import write_value

    return "none" if value is None else write_value(value)


def _from(kind: Kind) -> str:
    return "" if kind.package == "flspec" else f" (from {kind.package})"


# -------------------------------------------------------------------------------------------------------------- schema


def schema(
    out: Annotated[Path | None, typer.Option(help="Write it to this file.")] = None, as_json: Json = False
) -> None:
    """Print the JSON Schema of spec files, for editors.

    It knows all kinds that are installed. A spec begins with # yaml-language-server: $schema=FILE to be checked by it.
    """
    from flspec.spec.schema import spec_schema, write_schema

    if out is None:
        print_json(spec_schema())
        return
    write_schema(out)
    if as_json:
        print_json({"schema": str(out)})
    else:
        console.print(f"written to {out}", markup=False)


# ----------------------------------------------------------------------------------------------------------------- new


def new_file(
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="A file to make; else stdout.")] = None,
    name: Annotated[str | None, typer.Option(help="What it is called; else as its file.")] = None,
    dataset: Annotated[
        str | None, typer.Option(metavar="KIND", help="The examples.", autocompletion=kinds_of("dataset"))
    ] = None,
    partition: Annotated[
        str | None,
        typer.Option(metavar="KIND", help="Which client holds which.", autocompletion=kinds_of("partition")),
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="KIND", help="What is trained.", autocompletion=kinds_of("model"))
    ] = None,
    cohort: Annotated[
        str | None, typer.Option(metavar="KIND", help="The clients of a round.", autocompletion=kinds_of("cohort"))
    ] = None,
    aggregator: Annotated[
        str | None, typer.Option(metavar="KIND", help="What the server does.", autocompletion=kinds_of("aggregator"))
    ] = None,
    clients: Annotated[int | None, typer.Option(help="Number of clients.")] = None,
    rounds: Annotated[int | None, typer.Option(help="Rounds of training.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PATH=VALUE", help="Any other value, e.g. client.epochs=2; repeatable."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing; take what is usual.")] = False,
    as_json: Json = False,
) -> None:
    """Write a commented spec to start from.

    On a terminal, and without options, it asks for the kinds; flspec list explains them.
    """
    from flspec.spec.overlays import Draft, apply_overrides, parse_overrides
    from flspec.spec.template import SCHEMA_FILE, check_is_new, name_for, new_spec, write_new_spec

    if file:
        check_is_new(file)
    kinds = {"dataset": dataset, "partition": partition, "model": model, "cohort": cohort, "aggregator": aggregator}
    asked = {f"{section}.kind": kind for section, kind in kinds.items()}
    asked |= {"partition.clients": clients, "rounds": rounds}  # type: ignore[dict-item]
    is_asked = any(value is not None for value in asked.values())
    if not (is_asked or settings or yes or as_json) and sys.stdin.isatty() and sys.stdout.isatty():
        asked = {f"{section}.kind": _ask(section) for section in ("dataset", "partition", "model", "aggregator")}
    asked["name"] = name or (name_for(file) if file else None)
    given = [f"{path}={json.dumps(value)}" for path, value in asked.items() if value is not None]
    wanted = apply_overrides(Draft({}, {}, {}, "new spec"), parse_overrides([*given, *(settings or ())]))
    text = new_spec(wanted.value)
    if file is None:
        print_json({"spec": text}) if as_json else sys.stdout.write(text)
        return
    wrote_schema = write_new_spec(file, text)
    if as_json:
        print_json({"file": str(file), "schema": str(file.parent / SCHEMA_FILE), "wrote_schema": wrote_schema})
        return
    beside = f", and {SCHEMA_FILE} beside it, by which editors complete and check it" if wrote_schema else ""
    console.print(
        f"written to {file}{beside}\nnext: flspec plan {shlex.quote(str(file))}", markup=False, soft_wrap=True
    )


def _ask(section: str) -> str:
    """Let the user choose a kind, by its name or number."""
    from flspec.errors import InputError
    from flspec.spec.catalogue import find_family, find_kind
    from flspec.spec.template import default_kind

    family = find_family(section)
    for number, kind in enumerate(family.kinds.values(), start=1):
        line = f"{number:>3}  {kind.kind}: {kind.summary}"
        progress_console.print(line, markup=False, no_wrap=True, overflow="ellipsis")
    while True:
        answer = typer.prompt(section, default=default_kind(section), err=True).strip()
        by_number = dict(zip(map(str, range(1, len(family.kinds) + 1)), family.kinds, strict=True))
        try:
            return find_kind(family, by_number.get(answer, answer)).kind
        except InputError as error:
            progress_console.print(str(error), markup=False)
