"""The specs that come with flspec, and copies of them to start from.

A copy is the file as it is, with the files that it extends beside it. Only the schema in its first line differs: it is
the one for the kinds installed here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from flspec.core.reading import read_regular
from flspec.errors import InputError, choose
from flspec.spec.overlays import files_of
from flspec.spec.template import SCHEMA_FILE, check_is_new, write_new_spec

__all__ = ["ShippedSpec", "copies", "shipped_specs", "write_copies"]

_PACKAGE = Path(__file__).parents[1]
_FOLDERS = ("flspec_specs", "specs")  # beside the package: in a wheel, and in the sources


@dataclass(frozen=True)
class ShippedSpec:
    """A spec that comes with flspec."""

    name: str  # its path below the folder of specs, without the suffix: flair/central
    summary: str  # the first sentence of its heading
    file: Path


def shipped_specs() -> dict[str, ShippedSpec]:
    """Return every shipped spec by its name; raises InputError if this installation has none."""
    for folder in (_PACKAGE.parent / name for name in _FOLDERS):
        if files := sorted(folder.rglob("*.yaml")):
            specs = (_read(file, folder) for file in files)
            return {spec.name: spec for spec in specs}
    raise InputError(f"--from: this installation has no specs in {_PACKAGE.parent / _FOLDERS[0]}; install flspec again")


def copies(wanted: str, file: Path | None, name: str | None = None) -> dict[Path, str]:
    """Return the texts of a shipped spec and of the files it extends, by target path if the spec is copied to `file`.

    Without `file` there can be only one text. Raises InputError if no spec is called `wanted`, or if a copy has no
    place.
    """
    specs = shipped_specs()
    if wanted not in specs:
        raise InputError(f"--from: {choose(wanted, specs)}")
    source, *extended = files_of(specs[wanted].file)
    if file is None:
        if extended:
            names = ", ".join(path.name for path in extended)
            raise InputError(f"--from: {wanted} extends {names}; name a FILE, so that both can be copied")
        return {Path(source.name): _text(source, name)}
    beside = {file.parent / path.relative_to(source.parent): _text(path) for path in extended}
    if file in beside:
        raise InputError(f"{file} is what {wanted} extends; name another file")
    for path, text in beside.items():
        if path.exists() and read_regular(path) != text.encode():
            raise InputError(f"{path} exists and is not the file that {wanted} extends; name a file in another folder")
    return {file: _text(source, name), **beside}


def write_copies(texts: Mapping[Path, str]) -> bool:
    """Write the texts of `copies`, the spec last; returns whether the schema beside it is new."""
    (file, text), *beside = texts.items()
    check_is_new(file)
    try:
        for path, extended in beside:
            if not path.exists():
                path.write_text(extended, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{file} cannot be written: {error}") from None
    return write_new_spec(file, text)


def _read(file: Path, folder: Path) -> ShippedSpec:
    heading = re.match(r"#.*\n((?:#.*\n)+)", file.read_text(encoding="utf-8"))
    words = " ".join(re.sub(r"^# ?", "", heading[1], flags=re.MULTILINE).split()) if heading else ""
    return ShippedSpec(
        name=file.relative_to(folder).with_suffix("").as_posix(),
        summary=re.split(r"(?<=[.?]) (?=[A-Z])", words)[0],
        file=file,
    )


def _text(file: Path, name: str | None = None) -> str:
    """Return the file's text with the schema of this installation, and with another `name` if one is given."""
    text = re.sub(r"(?<=\$schema=)\S+", SCHEMA_FILE, file.read_text(encoding="utf-8"), count=1)
    if name is None:
        return text
    return re.sub(r"^name: .*$", lambda _: f"name: {json.dumps(name)}", text, count=1, flags=re.MULTILINE)
