"""`flspec new`: a spec to start from, composed from options or copied from the shipped ones."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from flspec.cli.authoring import kinds_of, print_rows
from flspec.cli.consoles import console, progress_console
from flspec.cli.options import Json
from flspec.cli.output import print_json

__all__ = ["new_file"]


def _shipped(incomplete: str) -> list[tuple[str, str]]:
    """Return the shipped specs for shell completion."""
    from flspec.errors import FlspecError
    from flspec.spec.shipped import shipped_specs

    try:
        return [(name, spec.summary) for name, spec in shipped_specs().items() if name.startswith(incomplete)]
    except FlspecError:  # commands report a broken installation; completion stays silent
        return []


def _part_kinds(incomplete: str) -> list[str]:
    from flspec.spec.new_part import part_kinds

    return [kind for kind in part_kinds() if kind.startswith(incomplete)]


def new_file(
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="A file to make; else stdout.")] = None,
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="SPEC|DATA",
            help="Copy a shipped spec; or read a table or folder of your own.",
            autocompletion=_shipped,
        ),
    ] = None,
    part: Annotated[
        str | None,
        typer.Option(
            metavar="KIND", help="Write a part of your own: metric, aggregator, …", autocompletion=_part_kinds
        ),
    ] = None,
    wants_list: Annotated[bool, typer.Option("--list", help="List the shipped specs.")] = False,
    name: Annotated[str | None, typer.Option(help="The spec's name; else that of its file, or of --from.")] = None,
    dataset: Annotated[
        str | None, typer.Option(metavar="KIND", help="The examples.", autocompletion=kinds_of("dataset"))
    ] = None,
    partition: Annotated[
        str | None,
        typer.Option(metavar="KIND", help="The split over clients.", autocompletion=kinds_of("partition")),
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="KIND", help="The model to train.", autocompletion=kinds_of("model"))
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
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing; take the defaults.")] = False,
    as_json: Json = False,
) -> None:
    """Write a commented spec to start from, copy one that comes with flspec, or write one for files of your own.

    With --part, write a Python file with a metric, an aggregator or another part
    of your own, and its test; a spec names it in `parts`.

    On a terminal, and without options, it asks for the kinds; flspec list explains them.
    """
    from flspec.spec.template import check_is_new

    if file:
        check_is_new(file)
    kinds = {"dataset": dataset, "partition": partition, "model": model, "cohort": cohort, "aggregator": aggregator}
    if part is not None:
        others = {"from": source, "list": wants_list, "name": name, "set": settings}
        _refuse("--part writes Python", **others, **kinds, clients=clients, rounds=rounds)
        _write_part(part, file, as_json)
        return
    given = {
        option: value for option, value in (kinds | {"clients": clients, "rounds": rounds}).items() if value is not None
    }
    if wants_list:
        _refuse("--list writes nothing", FILE=file, name=name, set=settings, **{"from": source}, **given)
        _list_shipped(as_json)
    elif source is not None and _is_data(source):
        _compose(file, name, given, settings or (), as_json, Path(source))
    elif source is not None:
        _refuse("--from copies a spec as it is", set=settings, **given)
        _copy(source, file, name, as_json)
    else:
        asks = not (given or settings or yes or as_json) and sys.stdin.isatty() and sys.stdout.isatty()
        _compose(file, name, _ask_for_kinds() if asks else given, settings or (), as_json)


def _is_data(source: str) -> bool:
    """Return whether `--from` names files; a shipped spec of that name comes first."""
    from flspec.spec.shipped import shipped_specs

    return Path(source).exists() and source not in shipped_specs()


def _refuse(reason: str, **options: Any) -> None:
    """Raise InputError if an option was given that has no effect for this `reason`."""
    from flspec.errors import InputError

    if given := [option if option.isupper() else f"--{option}" for option, value in options.items() if value]:
        raise InputError(f"{reason}; leave {' and '.join(given)} out")


# -------------------------------------------------------------------------------------------------------------- copied


def _list_shipped(as_json: bool) -> None:
    from flspec.spec.shipped import shipped_specs

    specs = shipped_specs().values()
    if as_json:
        print_json([{"name": spec.name, "summary": spec.summary} for spec in specs])
        return
    print_rows(("spec", "what it is"), [(spec.name, spec.summary) for spec in specs])
    console.print("flspec new FILE --from SPEC copies one.")


def _copy(source: str, file: Path | None, name: str | None, as_json: bool) -> None:
    from flspec.spec.shipped import copies, write_copies

    texts = copies(source, file, name)
    if file is None:
        _print_spec("".join(texts.values()), as_json)
    else:
        _, *extended = texts
        _tell_written(file, extended, write_copies(texts), as_json)


# ----------------------------------------------------------------------------------------------------------- of Python


def _write_part(kind: str, file: Path | None, as_json: bool) -> None:
    from flspec.spec.new_part import write_new_part

    written, test, lines = write_new_part(kind, file)
    if as_json:
        print_json({"file": str(written), "test": str(test), "spec": lines})
        return
    console.print(f"written to {written}, and its test to {test}; in a spec in this folder:", soft_wrap=True)
    for line in lines.splitlines():
        console.print(line, soft_wrap=True, markup=False, highlight=False)
    console.print(f"next: pytest {shlex.quote(str(test))}", soft_wrap=True)


# ------------------------------------------------------------------------------------------------------------ composed


def _compose(
    file: Path | None,
    name: str | None,
    given: Mapping[str, Any],
    settings: Sequence[str],
    as_json: bool,
    data: Path | None = None,
) -> None:
    """Write a new spec from the options in `given`, by name, from settings, and from files of data."""
    from flspec.spec.from_data import spec_of_data
    from flspec.spec.overlays import Draft, apply_overrides, parse_overrides
    from flspec.spec.template import name_for, new_spec, write_new_spec

    paths = {"clients": "partition.clients", "rounds": "rounds"}
    asked = {paths.get(option, f"{option}.kind"): value for option, value in given.items()}
    asked["name"] = name or next((name_for(path) for path in (file, data) if path), None)
    overrides = [f"{path}={json.dumps(value)}" for path, value in asked.items() if value is not None]
    wanted = apply_overrides(Draft({}, {}, {}, "new spec"), parse_overrides([*overrides, *settings]))
    text = spec_of_data(data, file, wanted.value) if data else new_spec(wanted.value)
    if file is None:
        _print_spec(text, as_json)
    else:
        _tell_written(file, [], write_new_spec(file, text), as_json)


def _print_spec(text: str, as_json: bool) -> None:
    print_json({"spec": text}) if as_json else sys.stdout.write(text)


def _tell_written(file: Path, extended: Sequence[Path], wrote_schema: bool, as_json: bool) -> None:
    from flspec.spec.template import SCHEMA_FILE

    if as_json:
        document = {"file": str(file), "schema": str(file.parent / SCHEMA_FILE), "wrote_schema": wrote_schema}
        print_json(document | ({"extends": [str(path) for path in extended]} if extended else {}))
        return
    also = f", and what it extends: {', '.join(map(str, extended))}" if extended else ""
    beside = f", and {SCHEMA_FILE} beside it, by which editors complete and check it" if wrote_schema else ""
    console.print(f"written to {file}{also}{beside}", soft_wrap=True)
    console.print(f"next: flspec plan {shlex.quote(str(file))}", soft_wrap=True)


def _ask_for_kinds() -> dict[str, str]:
    return {section: _ask(section) for section in ("dataset", "partition", "model", "aggregator")}


def _ask(section: str) -> str:
    """Ask the user for a kind, by its name or number."""
    from flspec.errors import InputError
    from flspec.spec.catalogue import find_family, find_kind
    from flspec.spec.template import default_kind

    family = find_family(section)
    for number, kind in enumerate(family.kinds.values(), start=1):
        line = f"{number:>3}  {kind.kind}: {kind.summary}"
        progress_console.print(line, no_wrap=True, overflow="ellipsis")
    while True:
        answer = typer.prompt(section, default=default_kind(section), err=True).strip()
        by_number = dict(zip(map(str, range(1, len(family.kinds) + 1)), family.kinds, strict=True))
        try:
            return find_kind(family, by_number.get(answer, answer)).kind
        except InputError as error:
            progress_console.print(str(error))
