"""What somebody may have meant by a name that is not known where it stands."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel

from flspec.components import Component, family_members
from flspec.errors import shorten
from flspec.matrix import Matrix
from flspec.spec import Spec

__all__ = ["meant_key", "model_below", "suggest_key"]

# What other frameworks call what is a key here.
_ALSO_CALLED = {
    "lr": "learning_rate",
    "step_size": "learning_rate",
    "server_lr": "learning_rate",
    "server_learning_rate": "learning_rate",
    "client_lr": "learning_rate",
    "num_rounds": "rounds",
    "num_server_rounds": "rounds",
    "comm_rounds": "rounds",
    "num_clients": "clients",
    "population": "clients",
    "num_partitions": "clients",
    "clients_per_round": "size",
    "num_clients_per_round": "size",
    "cohort_size": "size",
    "local_epochs": "epochs",
    "num_epochs": "epochs",
    "batchsize": "batch_size",
    "bs": "batch_size",
    "strategy": "aggregator",
    "aggregation": "aggregator",
    "server_momentum": "momentum",
    "beta1": "beta_1",
    "beta2": "beta_2",
    "tau": "epsilon",
    "eps": "epsilon",
    "data": "dataset",
    "partitioner": "partition",
    "sampler": "cohort",
    "hidden_units": "hidden",
    "hidden_sizes": "hidden",
    "l2": "weight_decay",
    "min_partition_size": "min_examples",
    "eval_every": "every",
    "random_seed": "seed",
    "base": "extends",
    "include": "extends",
    "sweep": "matrix",
    "grid": "matrix",
}


@dataclass(frozen=True)
class _Place:
    """A document that a spec can hold."""

    section: tuple[str, ...]
    kind: str | None
    cls: type[BaseModel]


def suggest_key(key: str, owner: type[BaseModel] | None, section: Sequence[str | int]) -> str:
    """Why `key` is not read by `owner`, which stands at `section`, and what may have been meant."""
    unknown = f"unknown key {shorten(key)!r}"
    known = _keys(owner)
    if meant := meant_key(key, owner):
        return f"{unknown}; did you mean {meant!r}?"
    elsewhere = _elsewhere(key, section) or _elsewhere(_ALSO_CALLED.get(key.lower(), ""), section)
    close = difflib.get_close_matches(key[:100], known, n=1, cutoff=0.75 if elsewhere else 0.6)
    if close or elsewhere:
        return "; ".join([unknown, *([f"did you mean {close[0]!r}?"] if close else []), *filter(None, [elsewhere])])
    if close := difflib.get_close_matches(key[:100], _every_key(), n=1, cutoff=0.8):
        return f"{unknown}; {_elsewhere(close[0], section)}"
    return f"{unknown}; known here: {', '.join(known) or 'none'}"


def meant_key(key: str, owner: type[BaseModel] | None) -> str | None:
    """The key of `owner` that `key` is almost certainly meant to be."""
    known = _keys(owner)
    if (meant := _ALSO_CALLED.get(key.lower())) in known:
        return meant
    if key in _every_key():
        return None
    return next(iter(difflib.get_close_matches(key[:100], known, n=1, cutoff=0.75)), None)


def model_below(cls: type[BaseModel] | None, key: str | int) -> type[BaseModel] | None:
    """The class of what stands at a key of a document; of a family, its base."""
    if cls is None or key not in cls.model_fields:
        return None
    return next(_models_in(cls.model_fields[str(key)].annotation), None)


def _elsewhere(key: str, section: Sequence[str | int]) -> str:
    """Where in a spec `key` is read, in words; nothing if nowhere."""
    every = list(_places())
    places = [place for place in every if key in place.cls.model_fields and key != "kind"]
    here = sorted({f"kind {p.kind}" for p in places if p.kind and p.section == tuple(section)})
    if here:
        return f"{key!r} is read by {' and '.join(here)} only"
    sections = dict.fromkeys(place.section for place in places)
    described = [_describe(where, [p for p in every if p.section == where], places) for where in sections]
    return f"{key!r} belongs to {' or '.join(described[:3])}" if described else ""


def _describe(section: tuple[str, ...], there: Sequence[_Place], reading: Sequence[_Place]) -> str:
    """A section, and which of the kinds there read the key, unless all do."""
    if not section:
        return "the top level"
    kinds = sorted(str(place.kind) for place in there if place in reading)
    return f"`{'.'.join(section)}`" + ("" if len(kinds) == len(there) else f" (kind {' or '.join(kinds)})")


def _every_key() -> set[str]:
    return {name for place in _places() for name in place.cls.model_fields if name != "kind"}


def _places() -> Iterator[_Place]:
    yield _Place((), None, Spec)
    yield from _below(Spec, ())
    yield _Place(("matrix",), None, Matrix)


def _below(cls: type[BaseModel], section: tuple[str, ...]) -> Iterator[_Place]:
    for name in cls.model_fields:
        child = model_below(cls, name)
        if child is None:
            continue
        members: Mapping[str, type[BaseModel]] = family_members(child) if issubclass(child, Component) else {}
        for kind, member in members.items() or [(None, child)]:
            yield _Place((*section, name), kind, member)
            yield from _below(member, (*section, name))


def _keys(owner: type[BaseModel] | None) -> list[str]:
    fields = owner.model_fields if owner else {}
    every = sorted(fields, key=lambda name: not fields[name].is_required())
    every += ("extends", "matrix") if owner is Spec else ()
    return [name for name in every if name != "kind"]


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)
