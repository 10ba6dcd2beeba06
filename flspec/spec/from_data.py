"""A new spec for files of one's own: what their columns probably are, with the reason beside each."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from flspec.core.components import parse_component
from flspec.core.randomness import Stream
from flspec.core.text import join_some
from flspec.data.parquet_files import find_shards
from flspec.data.readings import ColumnFacts, FileFacts
from flspec.datasets import Dataset
from flspec.datasets.features import OTHERS
from flspec.datasets.guesses import guess_client, guess_column, guess_groups, guess_label, guess_text
from flspec.datasets.table import TableColumns
from flspec.errors import InputError, SpecError, choose, printable, shorten
from flspec.spec.diagnosis import diagnose
from flspec.spec.overlays import Draft
from flspec.spec.template import new_spec
from flspec.spec.yaml_writer import write_value

__all__ = ["kind_of_file", "spec_of_data"]

_KINDS = {".csv": "csv", ".tsv": "csv", ".txt": "csv", ".parquet": "parquet", ".npz": "npz", ".json": "leaf"}
_TABLES = ("csv", "parquet")
_HOLDOUT, _FEW_ROWS = 0.2, 20  # of a table with fewer, half is for evaluation
_OF_TEXTS = {
    "model": {"kind": "recurrent", "embedding": 32, "units": [64]},
    "client": {"optimizer": {"kind": "adam", "learning_rate": 0.01}},
}
_MOST_NAMED = 200  # columns that are written one by one if they are encoded alike


@dataclass(frozen=True)
class _Proposal:
    """What a new spec says of some files."""

    sections: dict[str, Any]
    heading: list[str]
    features: list[str] = field(default_factory=list)  # the lines below the key `features`


def kind_of_file(path: Path) -> str:
    """Return the kind of data set that a file's ending stands for. Raises InputError if there is none."""
    for ending in path.suffixes[::-1]:
        if kind := _KINDS.get(ending.lower()):
            return kind
    raise InputError(
        f"{shorten(str(path), 200)}: its ending is none of {', '.join(_KINDS)}; say what it is with --kind"
    )


def spec_of_data(source: Path, target: Path | None, asked: Mapping[str, Any]) -> str:
    """Return the text of a spec that reads a file or a folder, with the values in `asked`, a tree like a spec's.

    Paths are written as seen from `target`, the file that the spec will be. Raises InputError if it would not run.
    """
    proposal = _of_file(source, target, asked) if source.is_file() else _of_folder(source, target, asked)
    text = new_spec(_merged(proposal.sections, asked))
    lines = text.split("\n")
    if proposal.features:
        place = next(number for number, line in enumerate(lines) if line.startswith("  features: "))
        lines[place : place + 1] = ["  features:", *(f"    {line}" for line in proposal.features)]
    # Editors look for the schema in the first line.
    return "\n".join([lines[0], *(f"# {printable(line)}" for line in proposal.heading), *lines[1:]])


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return two trees of values, one laid over the other; a section of another kind replaces the one below."""
    merged = dict(below)
    for key, value in above.items():
        lower = merged.get(key)
        if isinstance(lower, Mapping) and isinstance(value, Mapping) and not _is_another_kind(lower, value):
            merged[key] = _merged(lower, value)
        else:
            merged[key] = value
    return merged


def _is_another_kind(below: Mapping[str, Any], above: Mapping[str, Any]) -> bool:
    return "kind" in above and "kind" in below and above["kind"] != below["kind"]


# ---------------------------------------------------------------------------------------------------------------- files


def _of_file(path: Path, target: Path | None, asked: Mapping[str, Any]) -> _Proposal:
    given = dict(asked.get("dataset", {}))
    kind = given.setdefault("kind", kind_of_file(path))
    location = {"file": _seen_from(path, target)}
    if kind not in _TABLES:
        if kind not in ("npz",):
            raise InputError(f"--from: of {kind}, name the folder, not {shorten(str(path), 200)}")
        return _Proposal({"dataset": {"kind": kind} | location, **_company(None, None)}, [f"From {path.name}."])
    return _of_table(path, target, location, given, list(asked.get("evaluation", {}).get("groups", ())))


def _of_table(
    path: Path, target: Path | None, location: dict[str, Any], given: dict[str, Any], groups: list[Any]
) -> _Proposal:
    dataset = _dataset(given).suited_to(path)
    facts = dataset.file_facts(path)
    roles = _roles(facts, given)
    names = [group["column"] if isinstance(group, dict) else group for group in groups]
    kept = list(dict.fromkeys([*given.get("columns", ()), *(names or guess_groups(facts.columns, roles))]))
    found = dataset.model_dump(mode="json", exclude_unset=True) | location | roles
    if kept := [name for name in kept if name not in roles.values()]:
        found["columns"] = kept
    if not given.get("test_file") and "folder" not in location and not _has_test(path):
        found.setdefault("holdout", _HOLDOUT if facts.num_rows >= _FEW_ROWS else 0.5)
    lines: list[str] = []
    if "features" not in given and not any(column.holds == "pictures" for column in facts.columns):
        found["features"], lines = _features(facts, set(roles.values()), path)
    written = _dataset(found)
    written.load(_home(target), Stream(0))  # so that the spec runs as it is written
    sections = {"dataset": found, **_company(roles.get("client"), facts.num_rows)}
    if isinstance(written, TableColumns) and written.text:
        sections |= _OF_TEXTS
    if not groups and kept:
        sections["evaluation"] = {"groups": kept}
    return _Proposal(sections, _heading(path, facts, roles, given), lines)


def _roles(facts: FileFacts, given: Mapping[str, Any]) -> dict[str, str]:
    """Return the columns of labels and of clients."""
    label = given.get("label") or guess_label([c for c in facts.columns if c.name != given.get("client")])
    names = [column.name for column in facts.columns]
    if label is None:
        raise InputError(
            f"{facts.file}: no column looks like labels, with 2 to 30 values and no gap; name one: "
            "--set dataset.label=NAME"
        )
    for key, name in (("label", label), ("client", given.get("client"))):
        if name is not None and name not in names:
            raise InputError(f"--set dataset.{key}: {choose(name, names)}")
    client = given.get("client") or guess_client([c for c in facts.columns if c.name != label], facts.num_rows)
    return {"label": label} | ({"client": client} if client else {})


def _features(facts: FileFacts, taken: set[str], path: Path) -> tuple[dict[str, Any], list[str]]:
    """Return the encoding of each column, and the lines that say so, with a reason each."""
    features, lines, left_out = dict[str, Any](), list[str](), list[str]()
    free = [column for column in facts.columns if column.name not in taken and not _is_index(column)]
    if text := guess_text(free, facts.num_rows):
        return _text_alone(text, [column.name for column in free if column is not text])
    for column in facts.columns:
        guess = guess_column(column, facts.num_rows)
        if column.name in taken:
            continue
        if guess.encoding is None or _is_index(column):
            left_out.append(f"{_key(column.name)}: {guess.why if guess.encoding is None else column.why}")
            continue
        features[column.name] = guess.encoding
        lines.append(f"{_entry(column.name, guess.encoding)}  # {printable(guess.why)}")
    if not features:
        raise InputError(
            f"{path}: no column can be a feature: {shorten('; '.join(left_out) or 'there is no other', 300)}"
        )
    if len(features) > _MOST_NAMED and not left_out:
        return _abbreviated(features)
    return features, [*lines, *(f"# left out: {printable(one)}" for one in left_out)]


def _text_alone(text: ColumnFacts, others: list[str]) -> tuple[dict[str, Any], list[str]]:
    """Return the encoding of a column of texts, and the lines that say so."""
    lines = [f"{_entry(text.name, 'words')}  # texts of about {text.words:,.0f} words"]
    if others:
        lines.append(f"# left out, because texts are read alone: {join_some(others, 6)}")
    return {text.name: "words"}, lines


def _abbreviated(features: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the encodings of many columns, with one line for those that most have."""
    written = {name: json.dumps(encoding) for name, encoding in features.items()}
    usual, num = Counter(written.values()).most_common(1)[0]
    rest = {name: encoding for name, encoding in features.items() if written[name] != usual}
    short = {OTHERS: json.loads(usual)} | rest
    return short, [f"{_entry(OTHERS, json.loads(usual))}  # {num:,} columns", *(_entry(*one) for one in rest.items())]


def _is_index(column: ColumnFacts) -> bool:
    return column.role == "left out" and "index of pandas" in column.why


def _entry(name: str, encoding: Any) -> str:
    return write_value({name: encoding})[1:-1]


def _key(name: str) -> str:
    return printable(shorten(name, 60))


def _has_test(path: Path) -> bool:
    return path.name == "train.csv" and path.with_name("test.csv").is_file()


def _dataset(document: Mapping[str, Any]) -> Dataset:
    """Return the data set that a section describes. Raises SpecError with all that is wrong with it."""
    try:
        return parse_component(Dataset, document)
    except ValidationError as error:
        draft = Draft({"dataset": dict(document)}, {}, {}, "new spec")
        raise SpecError(diagnose(draft, error, Dataset, ("dataset",))) from None


def _heading(path: Path, facts: FileFacts, roles: Mapping[str, str], given: Mapping[str, Any]) -> list[str]:
    guessed = [f"{key}: {name}" for key, name in roles.items() if key not in given]
    lines = [f"From {path.name}: {facts.num_rows:,} rows, {len(facts.columns):,} columns."]
    return lines + (
        [f"Guessed, so look at it: {', '.join(guessed)}, and the encodings of features."] if guessed else []
    )


def _company(client: str | None, num_rows: int | None) -> dict[str, Any]:
    """Return the sections that go with the data."""
    clients = 10 if num_rows is None else max(2, min(10, num_rows // 20))
    partition = {"kind": "natural"} if client else {"kind": "iid", "clients": clients}
    return {"partition": partition, "model": {"kind": "softmax_regression"}}


# -------------------------------------------------------------------------------------------------------------- folders


def _of_folder(folder: Path, target: Path | None, asked: Mapping[str, Any]) -> _Proposal:
    if shards := [file for below in ("", "data") for file in find_shards(folder / below, "train")]:
        given = dict(asked.get("dataset", {})) | {"kind": "parquet"}
        has_test = bool(find_shards(shards[0].parent, "test"))
        if len(shards) == 1 and not has_test:
            return _of_file(shards[0], target, asked)
        groups = list(asked.get("evaluation", {}).get("groups", ()))
        return _of_table(shards[0], target, {"folder": _seen_from(folder, target)}, given, groups)
    for ending in ("csv", "npz"):
        tables = sorted(folder.glob(f"*.{ending}"))
        train = [table for table in tables if table.name == f"train.{ending}"] or tables
        if len(train) == 1 and not any(one.is_dir() for one in folder.iterdir()):
            return _of_file(train[0], target, asked)
    for kind, more in _candidates(folder):
        section = {"kind": kind, "folder": _seen_from(folder, target)} | more
        dataset = _dataset(section | {"folder": str(folder.absolute())})
        if not dataset.findings(folder):
            client = more.get("client_column") if kind == "image_folder" else "user"
            return _Proposal({"dataset": section, **_company(client, None)}, [f"From {folder.name}/."])
    raise InputError(
        f"--from: {shorten(str(folder), 200)} has neither one table, nor shards train*.parquet, nor a folder of "
        "pictures for each class, nor LEAF's train/ and test/; name a file, or write the section yourself"
    )


def _candidates(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield kinds that a folder may be, with parameters."""
    described: dict[str, Any] = {}
    if (metadata := folder / "metadata.csv").is_file():
        described = {"metadata": metadata.name}
        facts = parse_component(Dataset, {"kind": "csv"}).suited_to(metadata).file_facts(metadata)
        if client := guess_client(facts.columns, facts.num_rows):
            described["client_column"] = client
    for more in (described, {}):
        yield "image_folder", more
        yield "image_folder", more | {"holdout": _HOLDOUT}
    yield "leaf", {}


def _seen_from(path: Path, target: Path | None) -> str:
    """Return a path as a spec in the file `target` names it: from its own folder if it is in there, else absolute."""
    whole, home = path.absolute(), _home(target)
    return whole.relative_to(home).as_posix() if whole.is_relative_to(home) and whole != home else str(whole)


def _home(target: Path | None) -> Path:
    """Return the folder of a spec, by default the working folder."""
    return (target or Path("spec.yaml")).absolute().parent
