"""`flspec list` and `schema`: what a spec can say, for people and editors."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flspec.cli.output import console, print_json, use_json

if TYPE_CHECKING:
    from flspec.spec.catalogue import Family, Kind, SpecKey

__all__ = ["kinds_of", "list_kinds", "print_rows", "schema"]

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
    print_rows(("section", "kinds", "what it is"), [(one.section, " ".join(one.kinds), one.summary) for one in found])
    console.print("flspec list SECTION tells more of each kind, flspec list SECTION KIND all of it.", markup=False)


def _print_family(family: Family) -> None:
    console.print(f"{family.section}: {family.summary}", markup=False)
    rows = [
        (kind.kind, f"{kind.summary}{_from(kind)}", ", ".join(_in_short(parameter) for parameter in kind.parameters))
        for kind in family.kinds.values()
    ]
    print_rows(("kind", "what it is", "parameters"), rows)


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
        print_rows(("parameter", "default", "range", "meaning"), rows)


def print_rows(headings: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    """A plain table of texts on stdout."""
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
