"""Which settings are better: runs that are alike but for their seeds stand together, and settings are compared in pairs
that differ in one.

A pair is compared if both measured the same metric on the same test examples; otherwise it is said what differs.
"Better" is said where a permutation test holds it, corrected for all pairs of the same call; see `statistics`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache, cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from flspec.comparison.statistics import ALPHA, Contrast, contrast, fewest_pairs, holm
from flspec.core.text import short_names
from flspec.errors import InputError, choose
from flspec.measurements import Measurements
from flspec.metrics import find_metric
from flspec.runs.planned import planned_data
from flspec.runs.result import Result

__all__ = ["ComparedPair", "Ranking", "Setting", "rank"]

# Settings from which follows what is measured, and how; those below them that change neither.
_MEASURED_BY = ("dataset", "evaluation")
_HARMLESS = (
    "dataset.train_transforms",
    *(f"evaluation.{name}" for name in ("every", "metrics", "groups", "best", "images", "by_label")),
)
_USUAL = ("accuracy", "roc_auc", "macro_roc_auc", "kid")  # metrics that are looked at first
_OF_ALL = ("test", "validation")  # sets of examples that do not follow from who holds what
_ADDS_EXAMPLES = "faults"  # which leave the test examples as they are, in a store of its own content


@dataclass(frozen=True)
class Setting:
    """Runs that differ in their seeds alone."""

    values: Mapping[str, JsonValue]  # of the axes, by path
    scores: Mapping[int, float]  # by seed
    folders: Mapping[int, Path]  # by seed

    @property
    def label(self) -> str:
        """`alpha=0.1, aggregator=fedavg`: paths by their last parts."""
        return ", ".join(f"{path.rpartition('.')[2]}={value}" for path, value in self.values.items()) or "all runs"


@dataclass(frozen=True)
class ComparedPair:
    """Two settings, the first less the second."""

    first: int  # positions in `Ranking.settings`
    second: int
    axes: tuple[str, ...]  # in which they differ
    contrast: Contrast | None  # None: they cannot be compared
    p_corrected: float | None
    why_not: str = ""  # what makes them incomparable

    def better(self, high_is_good: bool | None) -> int | None:
        """Return the position of the setting that is better; None where that is not shown."""
        if self.contrast is None or self.p_corrected is None or self.p_corrected > ALPHA or high_is_good is None:
            return None
        return self.first if (self.contrast.difference > 0) == high_is_good else self.second


@dataclass(frozen=True)
class Ranking:
    """Settings beside their scores, and pairs of them."""

    metric: str
    on: str  # the set of examples
    of_round: str  # "last" or "best"
    settings: tuple[Setting, ...]
    pairs: tuple[ComparedPair, ...]
    left_out: tuple[str, ...]  # runs that are not in any setting, and why

    @property
    def in_words(self) -> str:
        """`accuracy on test, last model`."""
        return f"{self.metric} on {self.on}, {self.of_round} model"

    @property
    def method(self) -> str:
        """How differences are judged, in one sentence."""
        return (
            f"better: p at most {ALPHA:g}, of a permutation test of runs {self._paired}, corrected for "
            f"the {len(self._tested)} made at once (Holm); 95 % interval by Student's t"
        )

    @cached_property
    def headings(self) -> list[str]:
        """The axes by their shortest names that tell them apart."""
        paths = list(self.settings[0].values) if self.settings else []
        return list(short_names(paths).values())

    @property
    def by_p(self) -> list[ComparedPair]:
        """The pairs, those that are surest first, those that cannot be compared last."""
        return sorted(self.pairs, key=lambda pair: 2.0 if pair.p_corrected is None else pair.p_corrected)

    @cached_property
    def high_is_good(self) -> bool | None:
        """Whether a higher score is better; None if neither is."""
        return {"higher": True, "lower": False}.get(find_metric(self.metric).better)

    def verdict(self, pair: ComparedPair) -> str:
        """Say what may be said of a pair, in few words; `reasons` has the rest."""
        if pair.contrast is None:
            return "not comparable"
        better = pair.better(self.high_is_good)
        if better is not None:
            return f"{self.told_apart(pair)[0 if better == pair.first else 1]} better"
        if self.high_is_good is None:
            return "no order"
        return "too few seeds" if self._is_too_few(pair.contrast) else "not shown"

    @property
    def reasons(self) -> list[str]:
        """What lies behind the verdicts, each once."""
        found = list(dict.fromkeys(f"not comparable: {pair.why_not}" for pair in self.pairs if pair.why_not))
        if self.high_is_good is None:
            found.append(f"no order: of {self.metric}, neither high nor low is better")
        elif any(self._is_too_few(pair.contrast) for pair in self._tested):
            num = len(self._tested)
            why = f"with {num} compared at once, {fewest_pairs(num)} seeds are the fewest that can show a difference"
            found.append(f"too few seeds: {why}")
        return found

    @property
    def _paired(self) -> str:
        paired = [pair.contrast.paired for pair in self._tested if pair.contrast]
        return (
            "paired by seed" if all(paired) else "paired by seed where they share any" if any(paired) else "by setting"
        )

    def _is_too_few(self, found: Contrast | None) -> bool:
        return found is not None and found.least_p * len(self._tested) > ALPHA

    def told_apart(self, pair: ComparedPair) -> tuple[str, str]:
        """Return both settings' names by what differs between them."""
        first, second = (self.settings[number] for number in (pair.first, pair.second))
        return _values(first, pair.axes), _values(second, pair.axes)

    def shared(self, pair: ComparedPair) -> str:
        """Return the axes' values that both settings of a pair have: `0.1`; empty if they differ in every axis."""
        values = self.settings[pair.first].values
        return ", ".join(str(value) for path, value in values.items() if path not in pair.axes and value is not None)

    def as_dict(self) -> dict[str, Any]:
        """Return all of it as plain JSON."""
        return {
            "metric": self.metric,
            "on": self.on,
            "round": self.of_round,
            "settings": [
                {"label": one.label, "values": dict(one.values), "scores": {str(k): v for k, v in one.scores.items()}}
                for one in self.settings
            ],
            "pairs": [
                {
                    "first": pair.first,
                    "second": pair.second,
                    "axes": list(pair.axes),
                    **(asdict(pair.contrast) if pair.contrast else {}),
                    "p_corrected": pair.p_corrected,
                    "better": pair.better(self.high_is_good),
                    "verdict": self.verdict(pair),
                }
                for pair in self.pairs
            ],
            "left_out": list(self.left_out),
        }

    @property
    def is_tested(self) -> bool:
        """Whether any pair could be compared."""
        return bool(self._tested)

    @property
    def _tested(self) -> list[ComparedPair]:
        return [pair for pair in self.pairs if pair.contrast]


def rank(measured: Measurements, metric: str | None = None, on: str = "test", of_round: str = "last") -> Ranking:
    """Compare the settings of runs by a metric of their last models, or of their best evaluated rounds.

    Without a metric it is the first that all have, accuracy before loss. Raises InputError for a metric or a set of
    examples that no run has.
    """
    scored = [_scores(result, on, of_round) for result in measured.results]
    metric = _metric(metric, on, scored)
    settings, left_out = _settings(measured, [one.get(metric) for one in scored])
    pairs = [_pair(settings, on, *numbers) for numbers in combinations(range(len(settings)), 2)]
    near = [pair for pair in pairs if len(pair.axes) == 1] or pairs
    return Ranking(metric, on, of_round, tuple(settings), tuple(_corrected(near)), tuple(left_out))


def _corrected(pairs: Sequence[ComparedPair]) -> Iterator[ComparedPair]:
    corrected = iter(holm([pair.contrast.p for pair in pairs if pair.contrast]))
    for pair in pairs:
        p = next(corrected) if pair.contrast else None
        yield ComparedPair(pair.first, pair.second, pair.axes, pair.contrast, p, pair.why_not)


def _pair(settings: Sequence[Setting], on: str, first: int, second: int) -> ComparedPair:
    a, b = settings[first], settings[second]
    axes = tuple(path for path in a.values if a.values[path] != b.values.get(path))
    shared = [seed for seed in a.scores if seed in b.scores]
    if why_not := _why_incomparable(a, b, axes, shared, on):
        return ComparedPair(first, second, axes, None, None, why_not)
    if shared:
        found = contrast([a.scores[seed] for seed in shared], [b.scores[seed] for seed in shared], paired=True)
    else:
        found = contrast(list(a.scores.values()), list(b.scores.values()), paired=False)
    return ComparedPair(first, second, axes, found, None)


_data = cache(planned_data)  # each run is in several pairs


def _why_incomparable(a: Setting, b: Setting, axes: Sequence[str], shared: Sequence[int], on: str) -> str:
    """Return what the two were not measured alike by; empty if they were."""
    for path in axes:
        section = path.partition(".")[0]
        if section in _MEASURED_BY and not path.startswith(_HARMLESS):
            return f"{path} differs, so they are measured on other examples, or otherwise"
        if section == "partition" and on not in _OF_ALL:
            return f"{path} differs, so {on} is of other examples"
    if any(path.startswith(_ADDS_EXAMPLES) for path in axes):
        return ""
    seeds = [(seed, seed) for seed in shared] or [(one, other) for one in a.folders for other in b.folders]
    if any(_data(a.folders[one]) != _data(b.folders[other]) for one, other in seeds):
        return "the content of their data differs"
    return ""


def _settings(measured: Measurements, scores: Sequence[float | None]) -> tuple[list[Setting], list[str]]:
    """Return the settings in the order of their first runs, and the runs that count in none."""
    together: dict[str, tuple[dict[str, JsonValue], dict[int, float], dict[int, Path]]] = {}
    left_out: list[str] = []
    for values, name, folder, result, score in zip(
        measured.axis_values, measured.names, measured.folders, measured.results, scores, strict=True
    ):
        if result.status != "completed":
            left_out.append(f"{name}: {result.status}")
        elif score is None:
            left_out.append(f"{name}: the metric has no value")
        else:
            _, found, where = together.setdefault(repr(values), (values, {}, {}))
            if result.seed in found:
                left_out.append(f"{name}: another run has its settings and its seed {result.seed}")
            else:
                found[result.seed], where[result.seed] = score, folder
    return [Setting(*one) for one in together.values()], left_out


def _scores(result: Result, on: str, of_round: str) -> dict[str, float]:
    if of_round == "best" and result.best is None:
        raise InputError("--round best: these runs kept no best round; choose last, or set evaluation.best in the spec")
    chosen = result.best if of_round == "best" else result.final
    evaluation = chosen.evaluation if chosen else {}
    return {name: value for name, value in evaluation.get(on, {}).items() if math.isfinite(value)}


def _metric(metric: str | None, on: str, scored: Sequence[Mapping[str, float]]) -> str:
    known = dict.fromkeys(name for one in scored for name in one)
    if not known:
        raise InputError(f"--on: no run measured anything on {on!r}; see evaluation in their specs")
    if metric is None:
        return next(iter(sorted(known, key=lambda name: _USUAL.index(name) if name in _USUAL else len(_USUAL))))
    if metric not in known:
        raise InputError(f"--metric: {choose(metric, known)}")
    return metric


def _values(setting: Setting, axes: Sequence[str]) -> str:
    return ", ".join(str(setting.values.get(path)) for path in axes)
