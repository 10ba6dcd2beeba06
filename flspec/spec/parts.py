"""`parts` in a spec: files of Python beside it, read with what they import from there."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath

from flspec.core.components import check_parts_in_use
from flspec.core.imports import imports_in, named_by_text
from flspec.core.own_modules import reached
from flspec.core.part_files import PartFiles, using
from flspec.core.reading import read_regular
from flspec.errors import InputError, Problem, SpecError, shorten, suggestion
from flspec.metrics import METRICS
from flspec.spec.overlays import Draft, compose
from flspec.spec.trust import why_not_trusted
from flspec.trackers import tracker_names

__all__ = ["part_files", "using_parts_of_draft", "using_parts_of_file"]

_MOST_BYTES, _MOST_FILES = 2**20, 200  # of one file; of all


@contextmanager
def using_parts_of_draft(draft: Draft) -> Iterator[PartFiles | None]:
    """Have the parts that a draft names count. Raises SpecError if they cannot be read, trusted or imported."""
    files = _of_draft(draft)
    with using(files):
        if files:
            try:
                check_parts_in_use()
                len(METRICS)  # each of another name
                tracker_names()
            except InputError as error:
                raise SpecError([_placed(str(error), draft)]) from error
        yield files


@contextmanager
def using_parts_of_file(spec: Path | None) -> Iterator[PartFiles | None]:
    """Have the parts that a spec's file names count, whatever else is wrong with it. Raises as `load_spec` does."""
    if spec is None:
        yield None
        return
    with using_parts_of_draft(compose(spec)) as files:
        yield files


def part_files(named: tuple[str, ...], folder: Path) -> PartFiles:
    """Return the files that `parts` names, with what they import from `folder` or from their own folder.

    Raises InputError if one cannot be read, or lies elsewhere.
    """
    waiting, sources = [_inside(name, folder) for name in named], dict[str, str]()
    files = tuple(dict.fromkeys(waiting))
    while waiting:
        if (path := waiting.pop()) in sources:
            continue
        sources[path] = _text(folder / path)
        if len(sources) > _MOST_FILES:
            raise InputError(f"{path}: more than {_MOST_FILES} files; put what is shared into an installed package")
        _check_named(sources[path], path, folder)
        waiting += [found for name in imports_in(sources[path]) for found in _found(name, path, folder)]
    return PartFiles(files, dict(sorted(sources.items())), _shown(folder))


def _of_draft(draft: Draft) -> PartFiles | None:
    named = draft.value.get("parts")
    if not named or not isinstance(named, list) or not all(isinstance(name, str) for name in named):
        return None  # what is wrong with it, validation tells
    lying = _lying({number: name for number, name in enumerate(named) if name not in draft.texts}, draft)
    if not (given := reached(draft.texts, [name for name in named if name in draft.texts])):
        return lying
    if lying is None:
        return PartFiles(tuple(named), given, given=given)
    return replace(
        lying, files=(*lying.files, *(n for n in named if n in given)), sources={**lying.sources, **given}, given=given
    )


def _lying(named: Mapping[int, str], draft: Draft) -> PartFiles | None:
    """Return the files that lie in the spec's folder, of the names at these places in `parts`."""
    if not named:
        return None
    if not (folder := _folder(draft)):
        message = "a text has no folder in which its files could lie; save it to a file and load that"
        raise SpecError([draft.problem(("parts",), message)])
    problems: list[Problem] = []
    for number, name in named.items():
        try:
            _text(folder / _inside(name, folder))
        except InputError as error:
            missing = not name.startswith("..") and not (folder / name).exists() and name.endswith(".py")
            way_out = f"; {_instead(folder / name)}" if missing else ""
            problems.append(draft.problem(("parts", number), f"{error}{way_out}"))
    if problems:
        raise SpecError(problems)
    try:
        files = part_files(tuple(named.values()), folder)
    except InputError as error:
        raise SpecError([_placed(str(error), draft)]) from None
    if why := why_not_trusted(folder, sorted(files.sources)):
        raise SpecError([draft.problem(("parts",), why)])
    return files


def _instead(path: Path) -> str:
    """Return what to do about a file that does not exist."""
    beside = [one.name for one in sorted(path.parent.glob("*.py"))[:100]] if path.parent.is_dir() else []
    meant = suggestion(path.name, beside)
    return f"{meant}{'else ' if meant else ''}write it: flspec new --part KIND {path.name}"


def _folder(draft: Draft) -> Path | None:
    """Return the folder of the file that says `parts`; for a setting of the command, that of the spec."""
    origin = draft.origin(("parts",))
    if not draft.folders:
        return None
    return Path(origin.source).parent if origin and origin.line is not None else draft.folders[0]


def _placed(message: str, draft: Draft) -> Problem:
    """Return a problem of a part file: its own place if the message begins with one, else that of `parts`."""
    place, _, rest = message.partition(": ")
    file, _, line = place.rpartition(":")
    return Problem(rest, "", file, int(line)) if file and line.isdigit() else draft.problem(("parts",), message)


def _inside(name: str, folder: Path) -> str:
    """Return the path of a file from the spec's folder, with slashes. Raises InputError if it lies elsewhere."""
    if not name.endswith(".py"):
        raise InputError(f"{shorten(name)} is no file of Python; name one, e.g. my_parts.py")
    try:
        path = PurePosixPath(os.path.relpath((folder / name).resolve(), folder.resolve()).replace(os.sep, "/"))
    except (OSError, ValueError) as error:
        raise InputError(f"{shorten(name)} cannot be read: {error}") from None
    if path.parts[0] == "..":
        raise InputError(f"{shorten(name)} is outside of {folder.resolve().name}/, the spec's folder; move it there")
    if wrong := [part for part in path.with_suffix("").parts if not part.isidentifier()]:
        raise InputError(f"{shorten(name)} cannot be imported: {wrong[0]!r} is no name of a module; rename it")
    return str(path)


def _text(path: Path) -> str:
    content = read_regular(path, _MOST_BYTES)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise InputError(f"{path}:{line}: is not UTF-8; save it as UTF-8") from None


def _check_named(source: str, path: str, folder: Path) -> None:
    """Raise InputError, with the line, if a file of the folder is imported otherwise than by an import statement."""
    for line, name in named_by_text(source):
        if any(_found(name, path, folder)):
            what = f"{name} is imported by a call, which takes the file, not the text in the plan"
            raise InputError(f"{_shown(folder)}/{path}:{line}: {what}; write import {name}")


def _found(name: str, path: str, folder: Path) -> Iterator[str]:
    """Yield the files that the file at `path` imports as `name`: beside it, or in the spec's folder."""
    here = PurePosixPath(path).parent
    level = len(name) - len(name.lstrip("."))
    starts = [here, PurePosixPath()] if level == 0 else [PurePosixPath(*here.parts[: len(here.parts) - level + 1])]
    parts = name.lstrip(".").split(".") if name.strip(".") else []
    for start in starts:
        below = start.joinpath(*parts[:1])
        if parts and not ((folder / f"{below}.py").is_file() or (folder / below).is_dir()):
            continue
        for length in range(len(parts) + 1):
            place = start.joinpath(*parts[:length])
            files = (place / "__init__.py", *([place.with_name(f"{place.name}.py")] if length else []))
            yield from (_inside(str(file), folder) for file in files if (folder / file).is_file())
        return


def _shown(folder: Path) -> str:
    """Return the folder as messages name it: as it was given, or from the working folder."""
    try:
        shown = os.path.relpath(folder)
    except ValueError:  # on another drive
        return folder.as_posix()
    return folder.as_posix() if shown.startswith("..") else Path(shown).as_posix()
