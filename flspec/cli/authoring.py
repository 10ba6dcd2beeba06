"""`flspec list` and `schema`: the keys and kinds of a spec, for people and editors."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flspec.cli.consoles import console, lines
from flspec.cli.options import OfSpec, Trust
from flspec.cli.output import print_json, use_json

if TYPE_CHECKING:
    from flspec.spec.catalogue import Kind, SpecKey
    from flspec.spec.sections import Section

__all__ = ["kinds_of", "list_kinds", "print_rows", "schema"]

Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.", callback=use_json)]


def _sections(incomplete: str) -> list[tuple[str, str]]:
    """Return the sections that a shell may complete to."""
    from flspec.errors import FlspecError

    try:
        from flspec.spec.sections import sections

        found = sections().values()
    except FlspecError:  # commands report a broken package; completion stays silent
        return []
    return [(one.section, one.summary) for one in found if one.section.startswith(incomplete)]


def _kinds(section: str, incomplete: str) -> list[tuple[str, str]]:
    from flspec.errors import FlspecError

    try:
        from flspec.spec.sections import find_section

        found = find_section(section)
    except FlspecError:
        return []
    offered = [(kind.kind, kind.summary) for kind in found.kinds.values()]
    offered += [(key.name, key.description) for key in found.keys]
    return [one for one in offered if one[0].startswith(incomplete)]


def _kinds_of_section(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    return _kinds(ctx.params.get("section") or "", incomplete)


def kinds_of(section: str) -> Callable[[str], list[tuple[str, str]]]:
    def complete(incomplete: str) -> list[tuple[str, str]]:
        return _kinds(section, incomplete)

    return complete


# ---------------------------------------------------------------------------------------------------------------- list


def list_kinds(
    section: Annotated[
        str | None,
        typer.Argument(metavar="SECTION", help="A section, e.g. partition.", autocompletion=_sections),
    ] = None,
    kind: Annotated[
        str | None,
        typer.Argument(metavar="KIND", help="One of its kinds, or keys.", autocompletion=_kinds_of_section),
    ] = None,
    spec: OfSpec = None,
    trust: Trust = False,
    as_json: Json = False,
) -> None:
    """List what a spec can say: sections, kinds, a kind's parameters."""
    from flspec.spec.parts import using_parts_of_file

    with using_parts_of_file(spec):
        _list(section, kind, as_json)


def _list(section: str | None, kind: str | None, as_json: bool) -> None:
    from flspec.spec.sections import find_section, sections

    if section is None:
        found = list(sections().values())
        if as_json:
            print_json([_in_brief(one) for one in found])
        else:
            _print_sections(found)
        return
    chosen = find_section(section)
    if kind is None:
        print_json(dataclasses.asdict(chosen)) if as_json else _print_section(chosen)
        return
    one = _find(chosen, kind)
    natives = _natives(chosen, kind)
    if as_json:
        print_json(dataclasses.asdict(one) | ({"native": natives} if natives else {}))
        return
    _print_part(chosen, one)
    if natives:
        print_rows(("native on", "whose algorithm, and with which settings"), list(natives.items()))


def _natives(section: Section, kind: str) -> dict[str, str]:
    """Return in words the own algorithm of each backend that has one for a kind of aggregator."""
    from flspec.protocol.registry import natives_of

    if section.section != "aggregator":
        return {}
    return {backend: native.in_words for backend, native in natives_of(kind).items()}


def _find(section: Section, name: str) -> Kind | SpecKey:
    """Return the kind or key of that name; raises InputError with a suggestion."""
    from flspec.errors import InputError, choose

    parts: dict[str, Kind | SpecKey] = {**section.kinds, **{key.name: key for key in section.keys}}
    if not parts:
        raise InputError(f"{section.section}: is {section.type}, of which there are no kinds; leave {name} out")
    if name not in parts:
        raise InputError(f"{section.section}: {choose(name, list(parts))}")
    return parts[name]


def _in_brief(section: Section) -> dict[str, Any]:
    keys = [key.name for key in section.keys]
    return dataclasses.asdict(section) | {"kinds": list(section.kinds), "keys": keys}


def _print_sections(found: list[Section]) -> None:
    rows = [(one.section, _choice(one), one.summary) for one in found]
    print_rows(("section", "kinds, or keys", "what it is"), rows)
    console.print("flspec list SECTION tells more of each kind, flspec list SECTION KIND all of it.")


def _choice(section: Section) -> str:
    """Return in short what can be written there."""
    names = [*section.kinds, *(f"{key.name}:" for key in section.keys)]
    return " ".join(names) or ", ".join(filter(None, (section.type, section.range)))


def _print_section(section: Section) -> None:
    console.print(f"{section.section}: {section.summary}")
    if section.keys:
        _print_keys(section.keys, "key")
    elif any(kind.parameters for kind in section.kinds.values()):
        _print_kinds(section)
    elif section.kinds:
        kinds = section.kinds.values()
        print_rows(("name", "what it is"), [(kind.kind, f"{kind.summary}{_from(kind)}") for kind in kinds])
    else:
        console.print(_choice(section))


def _print_kinds(section: Section) -> None:
    rows = [
        (kind.kind, f"{kind.summary}{_from(kind)}", ", ".join(_in_short(parameter) for parameter in kind.parameters))
        for kind in section.kinds.values()
    ]
    print_rows(("kind", "what it is", "parameters"), rows)


def _print_part(section: Section, part: Kind | SpecKey) -> None:
    from flspec.spec.catalogue import Kind

    if not isinstance(part, Kind):
        console.print(f"{section.section}: {section.summary}")
        _print_keys((part,), "key")
        return
    paragraphs = re.sub(r"(?<!\n)\n(?!\n)", " ", part.description)
    written = f"{{kind: {part.kind}}}" if section.type.startswith(("kind: ", "list of kind: ")) else part.kind
    console.print(lines(f"{section.section}: {written}{_from(part)}", "", *paragraphs.split("\n")))
    if part.parameters:
        _print_keys(part.parameters)


def _print_keys(keys: Sequence[SpecKey], heading: str = "parameter") -> None:
    rows = [
        (
            key.name,
            "required" if key.required else _value(key.default),
            ", ".join(filter(None, (key.type, key.range))),
            key.description,
        )
        for key in keys
    ]
    print_rows((heading, "default", "range", "meaning"), rows)


def print_rows(headings: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    """Print a plain table of texts on stdout."""
    from flspec.cli.tables import plain_table

    table = plain_table()
    for number, heading in enumerate(headings):
        table.add_column(heading, overflow="fold", no_wrap=number == 0)
    for row in rows:
        table.add_row(*row)
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
    out: Annotated[Path | None, typer.Option(help="Write it to this file.")] = None,
    spec: OfSpec = None,
    trust: Trust = False,
    as_json: Json = False,
) -> None:
    """Print the JSON Schema of spec files, for editors.

    It knows all kinds that are installed. A spec begins with # yaml-language-server: $schema=FILE to be checked by it.
    """
    from flspec.spec.parts import using_parts_of_file
    from flspec.spec.schema import spec_schema, write_schema

    with using_parts_of_file(spec):
        if out is None:
            print_json(spec_schema())
            return
        write_schema(out)
    if as_json:
        print_json({"schema": str(out)})
    else:
        console.print(f"written to {out}")
