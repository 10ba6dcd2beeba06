"""The definition of a metric: a named function of a model's scores, or of the pictures that it makes.

The folder is the registry, as for components: `metric` registers the function that it decorates. An installed package
offers its own in the entry point group `flspec.metrics`:

    [project.entry-points."flspec.metrics"]
    youden = "my_package:youden"
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Literal, Protocol

from flspec.core.components import comes_with_flspec, full_name, origin_of
from flspec.core.definitions import is_current, is_offered_as
from flspec.core.families import load_folder, load_installed
from flspec.core.part_files import is_from_part_file, is_in_use, known_files, load_in_use
from flspec.core.tracebacks import place_of, raised_in
from flspec.errors import InputError, shorten
from flspec.metrics.scores import Undefined

__all__ = ["Better", "Measurable", "Metric", "RegisteredMetrics", "check_offered", "metric"]

Better = Literal["higher", "lower", "neither"]
_FAMILY = "flspec.metrics"  # its folder, and the entry point group
Measured = Literal["scores", "pictures"]
_MAKES = {"scores": "gives scores", "pictures": "makes pictures"}


class Measurable(Protocol):
    """What a metric is a function of: `Scores`, or the `ComparedPictures` of a model that makes pictures."""

    are: ClassVar[Measured]

    @property
    def why_unusable(self) -> str | None:
        """Why no metric has a value, or None."""
        ...


_registered: list[Metric] = []


@dataclass(frozen=True)
class Metric:
    """A function of `Scores` or of `ComparedPictures`, and facts about its values."""

    name: str  # as a spec has it
    better: Better  # "neither": only how much it differs between groups or clients says anything
    description: str  # in one line
    of: Callable[[Any], float]
    measures: Measured = "scores"  # what `of` is given

    def __call__(self, measured: Measurable) -> float:
        """Return the value; raises Undefined if there is none, InputError if the function fails."""
        if measured.are != self.measures:
            raise Undefined(f"it is of a model that {_MAKES[self.measures]}, and this one {_MAKES[measured.are]}")
        package = str(self.of.__module__).partition(".")[0]
        try:
            given = self.of(measured)
        except Undefined:
            raise
        except (Exception, SystemExit) as error:  # a function from another package may raise anything
            if isinstance(error, SystemExit) and not raised_in(error, package):
                raise  # a signal, which may arrive at any moment
            place = place_of(error, package, only=True)
            why = " ".join(f"raises {type(error).__name__}: {error}{f' in {place}' if place else ''}".split())[:400]
            raise InputError(self._blamed(why)) from error
        if (value := _as_number(given)) is None:
            what = "nothing" if given is None else shorten(" ".join(repr(given).split()))
            raise InputError(self._blamed(f"gives {what}; it should return one number"))
        if not math.isfinite(value):
            raise InputError(self._blamed(f"gives {value}; it should raise Undefined with the reason"))
        return value

    @property
    def summary(self) -> str:
        """The description in one line, and which values are good."""
        good = {"higher": "higher is better", "lower": "lower is better", "neither": "neither high nor low is better"}
        return f"{self.description}; {good[self.better]}"

    @property
    def docs(self) -> str:
        """All that is said of it."""
        return "\n\n".join(filter(None, (self.summary, inspect.getdoc(self.of))))

    @property
    def package(self) -> str:
        """The package that brought it, or the file of parts."""
        return origin_of(self.of)

    @property
    def is_everywhere(self) -> bool:
        """Whether every process has it: it comes with flspec, or an installed package offers it."""
        return self.is_own or is_offered_as(_FAMILY, self.of)

    @property
    def is_own(self) -> bool:
        """Whether every copy of this version of flspec has it."""
        return comes_with_flspec(self.of)

    def _blamed(self, why: str) -> str:
        files = known_files(self.of.__module__)
        place = files.line_of(self.of.__qualname__, self.of.__module__) if files else f"from {self.package}"
        return f"evaluation.metrics: {self.name} ({place}) {why}; fix it, or remove it from the spec"


def _as_number(given: Any) -> float | None:
    """Return a number as float64, also one of numpy or torch; None if it is no number."""
    try:
        return None if isinstance(given, str | bytes) else float(given)
    except Exception:  # of a class of somebody else's
        return None


def metric(
    *, better: Better, description: str, name: str | None = None, measures: Measured = "scores"
) -> Callable[[Callable[[Any], float]], Metric]:
    """Register a function as the metric of its own name, or of `name`.

    It is given `Scores`, or if it measures pictures `flspec.quality.ComparedPictures`, and raises `Undefined` with the
    reason where it has no value.
    """

    def register(of: Callable[[Any], float]) -> Metric:
        made = Metric(name or of.__name__, better, description, of, measures)
        if not re.fullmatch("[a-z][a-z0-9_]*", made.name):
            raise InputError(f"metric {made.name!r}: use small letters, digits and _, starting with a letter")
        if better not in ("higher", "lower", "neither"):
            raise InputError(f"metric {made.name!r}: better is {better!r}; choose higher, lower or neither")
        if measures not in _MAKES:
            raise InputError(f"metric {made.name!r}: measures is {measures!r}; choose scores or pictures")
        if not description or "\n" in description:
            raise InputError(f"metric {made.name!r}: its description is {description!r}; give one line")
        _registered.append(made)
        return made

    return register


def check_offered(offered: Iterable[tuple[str, Any]]) -> None:
    """Raise InputError if what a package offers as a metric is none."""
    for entry, found in offered:
        if not isinstance(found, Metric):
            why = f"{entry!r} is {found!r}, which is no metric"
            raise InputError(f"flspec.metrics: {why}; decorate it with flspec.metrics.metric")


class RegisteredMetrics(Mapping[str, Metric]):
    """Every metric by name, in alphabetical order: flspec's own, those of installed packages and of part files in use.

    Raises InputError if an entry point is no metric, or if two metrics have one name.
    """

    def __getitem__(self, name: str) -> Metric:
        return self._now[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._now)

    def __len__(self) -> int:
        return len(self._now)

    @property
    def _now(self) -> dict[str, Metric]:
        load_folder(_FAMILY)
        check_offered(load_installed(_FAMILY))
        files = load_in_use()
        others = [one for one in _registered if not is_from_part_file(one.of.__module__) and _counts(one)]
        if files is None:
            return _by_name(tuple(others))
        own = [one for one in _registered if is_from_part_file(one.of.__module__) and is_in_use(one.of.__module__)]
        # What this process alone has gives way: it is what the file was imported or taken from.
        taken = {one.name for one in own}
        installed = _by_name(tuple(one for one in others if one.name not in taken or one.is_everywhere))
        for one in own:
            if one.name in installed:
                where, theirs = files.line_of(one.of.__qualname__, one.of.__module__), full_name(installed[one.name].of)
                raise InputError(f"{where}: metric {one.name!r} is taken by {theirs}; choose another name")
        return _by_name((*installed.values(), *own))


def _counts(one: Metric) -> bool:
    """Return whether a metric was not defined anew since, as a cell that is run again does."""
    return one.is_everywhere or is_current(one.of)


def _place_or_name(of: Callable[[Any], float]) -> str:
    """Return the line of a function of a part file; else its module and name."""
    code = getattr(inspect.unwrap(of), "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code and is_from_part_file(of.__module__) else full_name(of)


@lru_cache(maxsize=16)
def _by_name(metrics: tuple[Metric, ...]) -> dict[str, Metric]:
    named: dict[str, Metric] = {}
    for one in metrics:
        if one.name in named:
            ours, theirs = (_place_or_name(one) for one in (named[one.name].of, one.of))
            raise InputError(f"metric {one.name!r} is defined by both {ours} and {theirs}; uninstall or rename one")
        named[one.name] = one
    return dict(sorted(named.items()))
