"""`flspec data`: make a synthetic twin of a data set, check files against the published ones, count them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flspec.cli.authoring import kinds_of
from flspec.cli.consoles import console
from flspec.cli.options import OfSpec, Trust
from flspec.cli.output import print_json, use_json
from flspec.core.text import and_more, join_some

if TYPE_CHECKING:
    from flspec.analysis.inventory import Inventory
    from flspec.datasets import Dataset

__all__ = ["data_app"]

data_app = typer.Typer(help="Make, check and count the files of data sets.", no_args_is_help=True, add_completion=False)

_MOST_LABELS = 20  # shown as rows of a table

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The folder of its files; or a data root.")]
Kind = Annotated[
    str,
    typer.Option(
        "--kind", metavar="KIND", help="What it is; see flspec list dataset.", autocompletion=kinds_of("dataset")
    ),
]
GuessedKind = Annotated[
    str | None,
    typer.Option(
        "--kind",
        metavar="KIND",
        help="What it is; see flspec list dataset. Of a file its ending says so.",
        autocompletion=kinds_of("dataset"),
    ),
]
Place = Annotated[Path, typer.Argument(metavar="FILE|DIR", help="A table or arrays; or the folder of a data set.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="A parameter of the kind, e.g. label=age; repeatable."),
]
Seed = Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Seed of all random draws.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.", callback=use_json)]


@data_app.command()
def make(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="A data set's kind.", autocompletion=kinds_of("dataset"))],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that is new or empty.")],
    clients: Annotated[int, typer.Option(min=1, max=10_000_000, help="Natural clients, where it has them.")] = 10,
    examples: Annotated[int, typer.Option(min=1, max=100_000_000, help="Examples over all splits.")] = 1000,
    seed: Seed = 0,
    spec: OfSpec = None,
    trust: Trust = False,
    as_json: Json = False,
) -> None:
    """Write a synthetic twin: small, learnable, in the published layout."""
    from flspec.analysis.inventory import make_twin
    from flspec.data.synthetic.twins import TwinSize
    from flspec.spec.parts import using_parts_of_file

    with using_parts_of_file(spec):
        files = make_twin(_dataset_class(kind), folder, TwinSize(clients=clients, examples=examples), seed)
    if as_json:
        print_json({"kind": kind, "folder": str(folder), "files": files})
    else:
        console.print(f"written to {folder}: {join_some(files, 8)}")


@data_app.command()
def check(
    folder: Folder,
    kind: Kind,
    settings: Settings = None,
    spec: OfSpec = None,
    trust: Trust = False,
    as_json: Json = False,
) -> None:
    """Say what is missing or differs from what was published.

    Each finding is a line; exits with 1 if there are any.
    """
    from flspec.spec.parts import using_parts_of_file

    with using_parts_of_file(spec):
        dataset = _dataset(kind, settings)
        findings = list(dataset.findings(_existing(folder)))
        complete = "" if findings else dataset.complete(folder)
    if as_json:
        print_json({"kind": kind, "folder": str(folder), "findings": findings, "complete": complete})
    else:
        for line in findings or [complete]:
            console.print(line, soft_wrap=True)
    if findings:
        raise typer.Exit(1)


@data_app.command()
def info(
    place: Place,
    kind: GuessedKind = None,
    settings: Settings = None,
    seed: Seed = 0,
    spec: OfSpec = None,
    trust: Trust = False,
    as_json: Json = False,
) -> None:
    """Say what is there: of a folder splits, labels, clients and digest; of a file every column, as what, and why."""
    from flspec.errors import InputError
    from flspec.spec.from_data import kind_of_file
    from flspec.spec.parts import using_parts_of_file

    with using_parts_of_file(spec):
        if place.is_file():
            _file_info(place, kind or kind_of_file(place), settings, as_json)
            return
        folder = _existing(place)
        if kind is None:
            raise InputError(f"--kind: say what is in the folder {folder}, e.g. --kind csv; see flspec list dataset")
        _folder_info(folder, kind, settings, seed, as_json)


def _folder_info(folder: Path, kind: str, settings: list[str] | None, seed: int, as_json: bool) -> None:
    from flspec.analysis.inventory import take_inventory
    from flspec.cli.data_tables import reading_lines
    from flspec.core.randomness import Stream

    dataset = _dataset(kind, settings)
    # The same stream as in `compile`, so that a data set that is drawn is the same as in a spec with this seed.
    found = take_inventory(kind, dataset.load(folder, Stream(seed).child("dataset")), dataset.reading(folder))
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    _print_inventory(found)
    if found.untested:
        console.print(f"no test example has: {join_some(found.untested, 6)}")
    for line in reading_lines(found.reading) if found.reading else ():
        console.print(line)


def _file_info(path: Path, kind: str, settings: list[str] | None, as_json: bool) -> None:
    from flspec.cli.data_tables import columns_table, file_lines

    dataset = _dataset(kind, settings).suited_to(path)
    found = dataset.file_facts(path)
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    console.print(f"{path}: {found.num_rows:,} rows, {len(found.columns):,} columns, read as {kind}")
    console.print(columns_table(found.columns))
    for line in file_lines(found, dataset.as_read_from(path), console.width):
        console.print(line, soft_wrap=True)


def _dataset_class(kind: str) -> type[Dataset]:
    from flspec.core.components import family_members
    from flspec.datasets import Dataset
    from flspec.errors import InputError, choose

    members = family_members(Dataset)
    if kind not in members:
        raise InputError(f"kind: {choose(kind, members)}")
    return members[kind]


def _dataset(kind: str, settings: list[str] | None) -> Dataset:
    """Return the component that the options describe; raises SpecError with every problem and its option."""
    from pydantic import ValidationError

    from flspec.core.components import parse_component
    from flspec.datasets import Dataset
    from flspec.errors import InputError, SpecError
    from flspec.spec.diagnosis import diagnose
    from flspec.spec.overlays import Draft, apply_overrides, parse_overrides

    _dataset_class(kind)
    given = parse_overrides(settings or ())
    if any(setting.path[0] == "kind" for setting in given):
        raise InputError("--set kind: name the kind with --kind")
    draft = apply_overrides(Draft({"kind": kind}, {}, {}, f"--kind {kind}"), given)
    try:
        return parse_component(Dataset, json.loads(json.dumps(draft.value)))
    except ValidationError as error:
        raise SpecError(diagnose(draft, error, Dataset)) from None


def _existing(folder: Path) -> Path:
    from flspec.errors import InputError, shorten

    if not folder.is_dir():
        raise InputError(f"{shorten(str(folder), 200)} is no folder; name the one that holds the data set's files")
    return folder


def _print_inventory(found: Inventory) -> None:
    from flspec.cli.tables import plain_table

    splits = list(found.examples)
    rows = [("examples", *(f"{count:,}" for count in found.examples.values()))]
    histogram = [
        (found.label_names[label] if found.label_names else f"label {label}", *(f"{count:,}" for count in counts))
        for label, counts in enumerate(zip(*found.labels.values(), strict=True))
    ]
    table = plain_table()
    table.add_column(found.kind, overflow="fold")
    for name in splits:
        table.add_column(name, justify="right", no_wrap=True)
    for row in [*rows, *histogram[:_MOST_LABELS]]:
        table.add_row(*row)
    console.print(table)
    if unlisted := and_more(len(histogram) - _MOST_LABELS, "labels"):
        console.print(f"{unlisted}; --json has all")
    several = ", of which an example may have several" if found.multi_label else ""
    facts = {
        "shape": f"{list(found.shape)}, stored as {found.stored_as}",
        "labels": f"{found.num_classes:,}{several}",
        "columns": ", ".join(f"{name} ({num:,} values)" for name, num in found.columns.items()) or "none",
        "clients": _clients_in_words(found),
        "digest": found.digest,
    }
    for name, fact in facts.items():
        console.print(f"{name}: {fact}")


def _clients_in_words(found: Inventory) -> str:
    if (clients := found.clients) is None:
        return "none by nature"
    sizes = f"{clients.min_examples:,} to {clients.max_examples:,} examples, median {clients.median_examples:,g}"
    return f"{clients.num:,} by column {clients.column}, with {sizes}"
