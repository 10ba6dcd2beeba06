"""How runs were made, as a paragraph for a paper. Every value is one of the specs', of the first plan or a result's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from flspec.core.text import join_all
from flspec.errors import printable, shorten
from flspec.measurements.axes import axes_of, settings_by_path
from flspec.protocol.plan import Plan
from flspec.protocol.records import Result

__all__ = ["methods_in_words"]

_Spec = Mapping[str, Any]
_MOST = 8  # values of one setting that are named
_LOCAL = {"centralized": "The clients' examples are pooled, and one model is trained on all of them."}
_PARTS = {  # sections of their own, and what a sentence calls them
    "compression": "Updates are compressed by",
    "secure_aggregation": "Secure aggregation is simulated by",
    "postprocessors": "Updates are processed by",
    "faults": "Planned faults are",
}


def methods_in_words(results: Sequence[Result], plan: Plan | None) -> str:
    """Return the paragraph. Where runs differ, each value is named; `plan` is the first run's, if it can be read."""
    specs = [result.spec for result in results]
    return " ".join([*_data(specs, plan), *_training(specs), *_privacy(results), *_runs(results)])


def _data(specs: Sequence[_Spec], plan: Plan | None) -> Iterator[str]:
    yield f"The data set is {_over(specs, lambda spec: _part(spec.get('dataset')))}."
    if plan:
        data, sizes = plan.settings.data, plan.clients.sizes
        yield f"It has {data.num_train:,} training and {data.num_test:,} test examples" + (
            "." if len(specs) == 1 else " (this and clients' sizes: in the first run)."
        )
        yield (
            f"The training examples are divided among {plan.num_clients:,} clients by "
            f"{_over(specs, lambda spec: _part(spec.get('partition'), {'clients'}))}; a client trains on "
            f"{int(sizes.min()):,} to {int(sizes.max()):,}, in the median {float(np.median(sizes)):,g}."
        )
    elif any(spec.get("partition") for spec in specs):
        yield f"They are divided among clients by {_over(specs, lambda spec: _part(spec.get('partition')))}."


def _training(specs: Sequence[_Spec]) -> Iterator[str]:
    yield f"The model is {_over(specs, lambda spec: _part(spec.get('model')))}."
    mode = _over(specs, lambda spec: str(spec.get("mode", "federated")))
    if mode != "federated":
        yield _LOCAL.get(mode, f"The mode of training is {mode}.")
    yield (
        f"In each of {_over(specs, lambda spec: str(spec.get('rounds')))} rounds the cohort is drawn by "
        f"{_over(specs, lambda spec: _part(spec.get('cohort')))}."
    )
    yield f"A client trains by {_over(specs, _client)}."
    yield f"Updates are combined by {_over(specs, lambda spec: _part(spec.get('aggregator')))}."
    for section, words in _PARTS.items():
        if any(spec.get(section) for spec in specs):
            yield f"{words} {_over(specs, lambda spec, key=section: _part(spec.get(key)))}."  # type: ignore[misc]


def _client(spec: _Spec) -> str:
    client = spec.get("client") or {}
    amount = [f"{client[key]} {key}" for key in ("epochs", "steps") if client.get(key) is not None]
    batch = [f"batches of {client['batch_size']}"] if client.get("batch_size") else []
    parts = [_part(client.get(key)) for key in ("optimizer", "optimizers") if client.get(key)]
    named = [f"{key} {_part(client[key])}" for key in ("algorithm", "loss", "clip") if client.get(key)]
    return join_all([*amount, *batch, *parts, *named]) or "what its spec says"


def _privacy(results: Sequence[Result]) -> Iterator[str]:
    said = list(dict.fromkeys(result.privacy.statement for result in results if result.privacy))
    yield from (printable(statement) for statement in said[:_MOST])
    if len(said) > _MOST:
        yield f"{len(said) - _MOST:,} more runs have statements of their own in their results."
    if without := sum(result.privacy is None for result in results):
        yield (
            "Training is not differentially private."
            if without == len(results)
            else (f"{without:,} of the runs are not differentially private.")
        )


def _runs(results: Sequence[Result]) -> Iterator[str]:
    seeds = _over(results, lambda result: str(result.seed))
    many = f"{len(results):,} runs were made" if len(results) > 1 else "One run was made"
    yield f"{many}, with the seed {seeds}."
    settings = [settings_by_path(result.spec) for result in results]
    if axes := axes_of(settings):
        every = [f"{printable(axis)} ({_over(settings, lambda one, at=axis: str(one.get(at)))})" for axis in axes]  # type: ignore[misc]
        yield f"They differ in {join_all(every[:_MOST])}{' and more' if len(every) > _MOST else ''}."
    yield f"Software: {_over(results, _software)}."


def _software(result: Result) -> str:
    versions = result.software.versions if result.software else result.backend.versions
    known = join_all([f"{name} {version}" for name, version in versions.items()])
    return f"backend {result.backend.name}" + (f" with {known}" if known else "")


def _over(every: Sequence[Any], say: Callable[[Any], str]) -> str:
    """Return what is said of each, each once."""
    said = [shorten(printable(words), 300) for words in dict.fromkeys(map(say, every))]
    more = [f"{len(said) - _MOST:,} more"] if len(said) > _MOST else []
    return " or ".join([*said[:_MOST], *more])


def _part(value: Any, without: frozenset[str] | set[str] = frozenset()) -> str:
    """Return a section in words: its kind, and the settings that it has."""
    if isinstance(value, Mapping):
        said = {key: one for key, one in value.items() if key not in {"kind", *without} and _says(one)}
        inner = [f"{key.replace('_', ' ')} {_part(one)}" for key, one in said.items()]
        words = f"({', '.join(inner)})" if inner else ""
        return " ".join(filter(None, [str(value.get("kind", "")), words])) or "none"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return " + ".join(map(_part, value)) if any(isinstance(one, Mapping) for one in value) else str(list(value))
    return "none" if value is None else str(value)


def _says(value: Any) -> bool:
    """Return whether a setting does something."""
    return value is not None and value is not False and value not in ("", "none", [], {}, ())
