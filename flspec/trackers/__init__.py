"""Trackers: consumers of a run's records, chosen in a spec, `track: [csv]`, or for a run, `--tracker csv`.

The folder is the registry. An installed package offers its own under its name; it is imported when a run asks for it:

    [project.entry-points."flspec.trackers"]
    board = "my_package:Board"

A spec's part files bring theirs for that spec alone.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pkgutil
from collections.abc import Iterable, Sequence
from importlib.metadata import EntryPoint, entry_points

from flspec.core.components import descendants
from flspec.core.part_files import is_from_part_file, is_in_use, load_in_use
from flspec.errors import InputError, choose
from flspec.protocol.requirements import module_names, pip_command
from flspec.trackers.base import Tracker

__all__ = [
    "Chosen",
    "Tracker",
    "chosen_trackers",
    "find_tracker",
    "find_trackers",
    "own_trackers",
    "tracker_names",
    "tracker_summaries",
]

Chosen = type[Tracker] | Tracker  # a class, which each run instantiates, or an instance


def chosen_trackers(named: Iterable[str], given: str | Chosen | Sequence[str | Chosen] = ()) -> list[Chosen]:
    """Return the trackers that a spec names, and those given for this run: one that both choose, once, as given."""
    also = find_trackers(given)
    taken = {tracker.name for tracker in also}
    return [*find_trackers([name for name in named if name not in taken]), *also]


def find_trackers(chosen: str | Chosen | Sequence[str | Chosen]) -> list[Chosen]:
    """Return the chosen trackers.

    Raises InputError if a name is unknown or chosen twice, or if what a tracker needs is not installed.
    """
    several = [chosen] if isinstance(chosen, str | type | Tracker) else list(chosen)
    found = [find_tracker(one) if isinstance(one, str) else _checked(one) for one in several]
    names = [tracker.name for tracker in found]
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(f"tracker: {twice[0]!r} is chosen twice; leave one out")
    for tracker in found:
        if missing := [one for one in tracker.requirements if importlib.util.find_spec(one.module) is None]:
            needs = f"{tracker.name} needs {module_names(missing)}, not installed here"
            raise InputError(f"tracker: {needs}; install it with {pip_command(missing)}, or leave the tracker out")
    return found


def _checked(chosen: Chosen) -> Chosen:
    """Return what is chosen; raises InputError if it is no tracker, or lacks something that each has."""
    cls = chosen if isinstance(chosen, type) else type(chosen)
    if not issubclass(cls, Tracker):
        raise InputError(f"tracker: {cls.__qualname__} is no flspec.trackers.Tracker; name one, or derive it from that")
    if lacking := _lacking(cls):
        raise InputError(f"tracker: {cls.__qualname__} lacks {' and '.join(lacking)}; add it to the class")
    return chosen


def _lacking(cls: type[Tracker]) -> list[str]:
    is_named = isinstance(getattr(cls, "name", None), str)
    return [*sorted(cls.__abstractmethods__), *([] if is_named else ["name"])]


def tracker_names() -> list[str]:
    """Return the names that can be chosen, of the part files in use, too.

    Raises InputError, with the line, if a tracker there lacks something, or its name is taken.
    """
    return sorted({*own_trackers(), *(entry.name for entry in _offered()), *_of_part_files()})


def tracker_summaries() -> dict[str, str]:
    """Return by name what each tracker does, in a line; of an installed package's, which is not imported, whose it is.

    Raises as `tracker_names` does.
    """
    offered = {entry.name: f"a tracker of {_package(entry)}" for entry in _offered()}
    known = offered | {name: inspect.getdoc(cls) or "" for name, cls in (own_trackers() | _of_part_files()).items()}
    return {name: known[name].partition("\n")[0] for name in sorted(known)}


def find_tracker(name: str) -> type[Tracker]:
    """Return the tracker of that name; raises InputError with the known names, or with what is wrong with it."""
    if name not in tracker_names():
        raise InputError(f"tracker: {choose(name, tracker_names())}")
    if name in (beside := _of_part_files()):
        return beside[name]
    offered = [entry for entry in _offered() if entry.name == name]
    sources = [*(["flspec"] if name in own_trackers() else []), *map(_package, offered)]
    if len(sources) > 1:
        raise InputError(f"tracker: {name!r} is offered by both {sources[0]} and {sources[1]}; uninstall one")
    return _load(offered[0]) if offered else own_trackers()[name]


def own_trackers() -> dict[str, type[Tracker]]:
    """Return the trackers of this folder."""
    found: dict[str, type[Tracker]] = {}
    for module in pkgutil.iter_modules(__path__):
        members = inspect.getmembers(importlib.import_module(f"{__name__}.{module.name}"), inspect.isclass)
        found |= {cls.name: cls for _, cls in members if issubclass(cls, Tracker) and not inspect.isabstract(cls)}
    return found


def _of_part_files() -> dict[str, type[Tracker]]:
    """Return the trackers of the part files in use."""
    if (files := load_in_use()) is None:
        return {}
    taken = {name: f"{cls.__module__}.{cls.__qualname__}" for name, cls in own_trackers().items()}
    taken |= {entry.name: _package(entry) for entry in _offered()}
    found: dict[str, type[Tracker]] = {}
    for cls in descendants(Tracker):
        if not (is_from_part_file(cls.__module__) and is_in_use(cls.__module__)):
            continue
        where = files.line_of(cls.__qualname__, cls.__module__)
        if lacking := _lacking(cls):
            raise InputError(f"{where}: {cls.__qualname__} lacks {' and '.join(lacking)}; add it to the class")
        if (name := cls.name) in taken:
            raise InputError(f"{where}: tracker {name!r} is taken by {taken[name]}; choose another name")
        found[name], taken[name] = cls, cls.__qualname__
    return found


def _offered() -> tuple[EntryPoint, ...]:
    return tuple(entry_points(group=__name__))


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else "an installed package"


def _load(entry: EntryPoint) -> type[Tracker]:
    try:
        found = entry.load()
    except Exception as error:  # importing an installed package may raise anything
        raise InputError(
            f"tracker: {entry.name!r}, offered by {_package(entry)}, cannot be imported: {error!r}"
        ) from error
    if not (isinstance(found, type) and issubclass(found, Tracker)) or inspect.isabstract(found):
        raise InputError(f"tracker: {entry.name!r}, offered by {_package(entry)}, is no flspec.trackers.Tracker")
    if found.name != entry.name:
        raise InputError(f"tracker: {entry.name!r}, offered by {_package(entry)}, calls itself {found.name!r}")
    return found
