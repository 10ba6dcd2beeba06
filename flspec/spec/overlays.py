"""From files and settings to one tree of values: a file, the files it extends, and settings laid over them.

    base.yaml ◀─extends─ spec.yaml ◀── small: ◀── --set a.b=v ◀── one cell of a matrix

Mappings are merged key by key. Lists and scalars replace earlier ones. A section whose `kind` changes replaces the
earlier section, because parameters belong to their kind. The tree records where each value was written. A section
`small` is like a file that extends this one; it is laid over the rest only when the small variant is asked for.
"""

from __future__ import annotations

import copy
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from flspec.errors import InputError, Problem, SpecError, printable, shorten
from flspec.spec.yaml_reader import KeyPath, LocatedDocument, dotted, read_value, read_yaml
from flspec.spec.yaml_writer import write_value, write_yaml

__all__ = [
    "Draft",
    "Origin",
    "Override",
    "Said",
    "apply_overrides",
    "collisions",
    "compose",
    "draft_of_text",
    "draft_of_tree",
    "files_of",
    "parse_overrides",
    "variant_of",
]

_MOST_FILES = 16  # in one chain of `extends`
_NOTHING = object()
_NOT_SMALL = ("flspec", "extends", "small")  # keys that a variant cannot have


@dataclass(frozen=True)
class Origin:
    """A place where something was written: in a file, or in a setting of the command line."""

    source: str  # the file, or "--set" with its argument
    line: int | None = None  # from 1
    column: int | None = None  # from 1
    text: str = ""  # the text of that line
    is_small: bool = False  # whether it stands in the section `small`

    def __str__(self) -> str:
        if self.line is None:
            return self.source.partition(" ")[0] if self.source.startswith("--") else self.source
        return f"{self.source}:{self.line}" + (" (small)" if self.is_small else "")


@dataclass(frozen=True)
class Said:
    """A value as it was written, and where."""

    value: Any
    origin: Origin


@dataclass(frozen=True)
class Override:
    """A value for one path, laid over the values of the files."""

    path: KeyPath
    value: Any
    origin: Origin
    inner: Mapping[KeyPath, Origin] = field(default_factory=dict)  # origins inside the value, by path from its root


@dataclass(frozen=True)
class Draft:
    """A spec before it is validated."""

    value: dict[str, Any]
    origins: Mapping[KeyPath, Origin]  # of each key and list item in effect
    said: Mapping[KeyPath, tuple[Said, ...]]  # all that was written for each scalar and list; the last is in effect
    file: str
    original: str | None = field(repr=False, default=None)  # the text of the file, if there is only one
    heading: str = ""  # the files and settings that it consists of
    small: Draft | None = field(repr=False, default=None)  # its small variant, before settings
    folders: tuple[Path, ...] = ()  # of the files that it consists of, absolute; a text has none
    texts: Mapping[str, str] = field(repr=False, default_factory=dict)  # of part files that are given, by path

    @property
    def text(self) -> str:
        """Return the whole spec as YAML."""
        if self.original is not None:
            return self.original
        return f"# {printable(self.heading)}\n{write_yaml(self.value)}"

    def problem(self, path: KeyPath, message: str) -> Problem:
        """Return a problem at `path`, or at the nearest place around it that was written."""
        origin = self.origin(path)
        if origin is None:
            return Problem(message, dotted(path), self.file)
        return Problem(message, dotted(path), origin.source, origin.line, origin.column, origin.text)

    def origin(self, path: KeyPath) -> Origin | None:
        """Return where `path`, or the nearest place around it, was written; None if that is the file as a whole."""
        while path and path not in self.origins:
            path = path[:-1]
        return self.origins.get(path)

    def without(self, key: str) -> Draft:
        """Return the same draft without one section, and without the places in it."""
        return replace(
            self,
            value={name: value for name, value in self.value.items() if name != key},
            origins={path: origin for path, origin in self.origins.items() if path[:1] != (key,)},
            said={path: every for path, every in self.said.items() if path[:1] != (key,)},
        )


def compose(path: Path) -> Draft:
    """Return the draft of a spec file; raises InputError if it cannot be read, SpecError with the file and place."""
    documents = list(_chain(path))
    folders = dict.fromkeys(Path(document.file).parent.absolute() for document in documents)
    draft = Draft({}, {}, {}, documents[0].file, folders=tuple(folders))
    for document in reversed(documents):
        draft = _lay_document(draft, document)
    draft = replace(
        draft.without("extends"),
        original="\n".join((*documents[0].lines, "")) if len(documents) == 1 else None,
        heading=" extends ".join(document.file for document in documents),
    )
    return _apart_from_small(draft)


def files_of(path: Path) -> list[Path]:
    """Return a spec's file, the file it extends, and so on; raises as `compose` does."""
    return [Path(document.file) for document in _chain(path)]


def draft_of_text(content: bytes, file: str) -> Draft:
    """Return the draft of a text that stands alone: it has no folder, so it cannot extend a file."""
    document = read_yaml(content, file)
    draft = _lay_document(Draft({}, {}, {}, file, content.decode("utf-8-sig"), file), document)
    if "extends" in draft.value:
        raise SpecError([draft.problem(("extends",), "a text cannot extend a file; save it to a file and load that")])
    return _apart_from_small(draft)


def draft_of_tree(tree: Mapping[str, Any], source: str, folders: tuple[Path, ...] = ()) -> Draft:
    """Return the draft of values that `source` gave, which lie in `folders`; no file was read, so none is extended."""
    origins = dict.fromkeys(_paths(tree, ()), Origin(source))
    draft = _lay(Draft({}, {}, {}, source, heading=source, folders=folders), tree, origins)
    if "extends" in draft.value:
        message = "only a file can extend another; load that file, and change it with spec.with_(...)"
        raise SpecError([draft.problem(("extends",), message)])
    return _apart_from_small(draft)


def variant_of(draft: Draft, small: bool) -> Draft:
    """Return the experiment as it is, or its small variant; raises SpecError if there is no small variant."""
    if not small:
        return draft
    if draft.small is None:
        example = "small: {rounds: 5, dataset: {twin: {clients: 20, examples: 400}}}"
        raise SpecError(
            [Problem(f"--small: there is no section small; leave --small out, or add e.g. {example}", file=draft.file)]
        )
    return draft.small


def parse_overrides(arguments: Iterable[str]) -> list[Override]:
    """Return the settings of `--set a.b=value` arguments; raises SpecError with all of their problems."""
    settings: list[Override] = []
    problems: list[Problem] = []
    for argument in arguments:
        source = f"--set {shorten(argument)}"
        name, equals, text = argument.partition("=")
        path: KeyPath = tuple(name.strip().split("."))
        if not equals or not all(path):
            problems.append(Problem("expected a path and a value, as client.epochs=2", file=source))
            continue
        if not text.strip():
            problems.append(Problem("has no value; write null if you mean that", dotted(path), source))
            continue
        if path[:2] == ("matrix", "axes") and len(path) > 3:
            whole = f"--set 'matrix.axes={{{dotted(path[2:])}: {text}}}'"
            problems.append(Problem(f"an axis is named by its whole path; write {whole}", dotted(path), source))
            continue
        if path[0] == "extends":
            problems.append(Problem("only a file can extend another; write it there", "extends", source))
            continue
        if path[0] == "small":
            inner = f"--small --set {dotted(path[1:]) or 'a.b'}={text.strip()}"
            problems.append(Problem(f"settings are laid over small; write {inner}", dotted(path), source))
            continue
        try:
            settings.append(Override(path, read_value(text, source), Origin(source)))
        except SpecError as error:
            problems += [replace(problem, path=dotted(path)) for problem in error.problems]
    problems += collisions(settings)
    if problems:
        raise SpecError(problems)
    return settings


def apply_overrides(draft: Draft, settings: Sequence[Override]) -> Draft:
    """Return the draft with all settings laid over it at once, so that their order does not matter."""
    if not settings:
        return draft
    tree: dict[str, Any] = {}
    origins: dict[KeyPath, Origin] = {}
    for setting in settings:
        below = tree
        for depth, key in enumerate(setting.path[:-1], start=1):
            below = below.setdefault(str(key), {})
            origins[setting.path[:depth]] = setting.origin
        below[str(setting.path[-1])] = setting.value
        origins |= dict.fromkeys(_paths(setting.value, setting.path), setting.origin)
        origins |= {(*setting.path, *path): origin for path, origin in setting.inner.items()}
    arguments = " ".join(f"--set {dotted(setting.path)}={write_value(setting.value)}" for setting in settings)
    return replace(_lay(draft, tree, origins), original=None, heading=f"{draft.heading} {arguments}")


def _apart_from_small(draft: Draft) -> Draft:
    """Return the draft without its section `small`, with the small variant beside it; raises SpecError if that is
    wrong.
    """
    section = draft.value.get("small")
    full = draft.without("small")
    if section is None:  # absent, or set to null by an extending file
        return full
    if not isinstance(section, dict):
        raise SpecError([draft.problem(("small",), "expected a mapping of the values that differ, e.g. {rounds: 5}")])
    if wrong := [
        draft.problem(("small", key), f"{key} cannot differ; remove it") for key in _NOT_SMALL if key in section
    ]:
        raise SpecError(wrong)
    origins = {
        path[1:]: replace(origin, is_small=True) for path, origin in draft.origins.items() if path[:1] == ("small",)
    }
    if isinstance(name := full.value.get("name"), str):
        section = {"name": f"{name}-small"} | section
        origins = {("name",): origins[()]} | origins
    small = replace(_lay(full, section, origins), original=None, heading=f"{full.heading or full.file}, small")
    return replace(full, small=small)


def _chain(path: Path) -> Iterator[LocatedDocument]:
    """Yield a file's document, then the document of the file it extends, and so on."""
    document, seen = read_yaml(_read_file(path), str(path)), [path.resolve()]
    yield document
    while "extends" in document.value:
        try:
            path = _extended(document.value["extends"], path, seen)
            content = _read_file(path)
        except InputError as error:
            place = _place(document, ("extends",))
            raise SpecError(
                [Problem(str(error), "extends", place.source, place.line, place.column, place.text)]
            ) from None
        seen.append(path.resolve())
        document = read_yaml(content, str(path))
        yield document


def _extended(name: Any, path: Path, seen: Sequence[Path]) -> Path:
    """Return the file that `extends: name` in `path` means; never one outside the folder of the first file."""
    if not isinstance(name, str) or not name:
        raise InputError("expected the name of one file, e.g. extends: base.yaml")
    extended = path.parent / name
    try:
        target = extended.resolve()
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(f"{shorten(name)} cannot be read: {error}") from None
    home = seen[0].parent
    if not target.is_relative_to(home):
        raise InputError(f"{shorten(name)} is outside of {home.name}/, the spec's folder; move it there")
    if target in seen:
        names = " -> ".join(file.name for file in [*seen[seen.index(target) :], target])
        raise InputError(f"the files extend each other in a circle: {names}; remove one extends")
    if len(seen) == _MOST_FILES:
        raise InputError(f"more than {_MOST_FILES} files extend each other; extend a later file of the chain")
    return extended


def _read_file(path: Path) -> bytes:
    shown = shorten(str(path), 200)
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # reading a pipe or a device might never end
            raise InputError(f"{shown}: not a file; name a spec")
        with path.open("rb") as file:
            return file.read(2**20 + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(f"{shown}: cannot be read: {reason}") from None


def _lay_document(draft: Draft, document: LocatedDocument) -> Draft:
    return _lay(draft, document.value, {path: _place(document, path) for path in document.places})


def _place(document: LocatedDocument, path: KeyPath) -> Origin:
    line, column = document.places[path]
    text = document.lines[line - 1] if line <= len(document.lines) else ""
    return Origin(document.file, line, column, text)


def _lay(draft: Draft, tree: Mapping[str, Any], origins: Mapping[KeyPath, Origin]) -> Draft:
    """Return the draft with a tree of values laid over it."""
    new_origins, said = dict(draft.origins), dict(draft.said)

    def forget(below: Any, path: KeyPath) -> None:
        """Drop the origins of a replaced value, except for the kind that it had."""
        for known in () if below is _NOTHING else _paths(below, path):
            new_origins.pop(known, None)
            if known not in (path, (*path, "kind")):
                said.pop(known, None)

    def lay(below: Any, above: Any, path: KeyPath) -> Any:
        if not isinstance(above, dict):
            forget(below, path)
            new_origins.update({p: origins[p] for p in _paths(above, path) if p in origins})
            said[path] = (*said.get(path, ()), Said(above, origins[path]))
            return copy.deepcopy(above)
        if not isinstance(below, dict) or _is_another_kind(below, above):
            forget(below, path)
            below = {}
        if path:
            new_origins[path] = origins[path]
        return below | {key: lay(below.get(key, _NOTHING), value, (*path, key)) for key, value in above.items()}

    return replace(draft, value=lay(draft.value, tree, ()), origins=new_origins, said=said)


def _is_another_kind(below: Mapping[str, Any], above: Mapping[str, Any]) -> bool:
    return "kind" in above and "kind" in below and above["kind"] != below["kind"]


def collisions(settings: Sequence[Override]) -> Iterator[Problem]:
    """Yield a problem for each setting whose path another one sets, too."""
    for number, setting in enumerate(settings):
        for other in settings[:number]:
            shared = min(len(setting.path), len(other.path))
            if setting.path[:shared] == other.path[:shared]:
                first = shorten(other.origin.source)
                yield Problem(f"{first} sets it too; remove one", dotted(setting.path), setting.origin.source)


def _paths(value: Any, path: KeyPath) -> Iterator[KeyPath]:
    """Yield the path of a value and of everything in it."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in items:
        yield from _paths(child, (*path, key))
