"""Suggestions for an unknown key or kind: a similar one, or the place where it belongs."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel

from flspec.core.components import Component, family_members
from flspec.core.text import join_some
from flspec.errors import shorten
from flspec.spec.matrix import Matrix
from flspec.spec.renamed import renamed_key
from flspec.spec.spec import Spec

__all__ = ["meant_key", "model_below", "place_of_kind", "suggest_key"]

# Names that other frameworks and papers use for keys of a spec.
_ALSO_CALLED = {
    **dict.fromkeys(
        ("lr", "step_size", "client_lr", "client_learning_rate", "eta_l"), "client.optimizer.learning_rate"
    ),
    **dict.fromkeys(("server_lr", "server_learning_rate", "eta", "eta_g"), "aggregator.learning_rate"),
    **dict.fromkeys(("num_rounds", "num_server_rounds", "comm_rounds", "comm_round", "communication_rounds"), "rounds"),
    **dict.fromkeys(
        ("num_clients", "population", "num_partitions", "client_num_in_total", "num_users"), "partition.clients"
    ),
    **dict.fromkeys(
        ("clients_per_round", "num_clients_per_round", "client_num_per_round", "cohort_size", "min_fit_clients"),
        "cohort.size",
    ),
    **dict.fromkeys(("local_epochs", "num_epochs", "client_epochs"), "client.epochs"),
    **dict.fromkeys(("local_steps", "num_steps"), "client.steps"),
    **dict.fromkeys(("batchsize", "bs", "local_batch_size", "client_batch_size"), "client.batch_size"),
    **dict.fromkeys(("strategy", "aggregation", "server", "algorithm", "server_optimizer"), "aggregator"),
    **dict.fromkeys(("clients_optimizer", "client_optimizer", "optimiser"), "client.optimizer"),
    "server_momentum": "aggregator.momentum",
    **dict.fromkeys(("beta1", "betas"), "aggregator.beta_1"),
    "beta2": "aggregator.beta_2",
    **dict.fromkeys(("lr_schedule", "lr_scheduler", "scheduler", "lr_decay"), "client.optimizer.schedule"),
    **dict.fromkeys(("gamma", "factor"), "client.optimizer.schedule.decay"),
    **dict.fromkeys(("eta_min", "lr_end", "end_factor"), "client.optimizer.schedule.final"),
    **dict.fromkeys(("warmup_steps", "warmup_rounds", "num_warmup_steps"), "client.optimizer.schedule.rounds"),
    **dict.fromkeys(("clipnorm", "max_grad_norm", "grad_clip", "clip_grad_norm"), "client.clip"),
    **dict.fromkeys(("pos_weight", "class_weight", "class_weights", "loss_weights"), "client.label_weights"),
    **dict.fromkeys(("weights", "checkpoint", "restore_model_path", "pretrained_path"), "model.pretrained"),
    **dict.fromkeys(("tau", "eps"), "aggregator.epsilon"),
    **dict.fromkeys(("num_byzantine", "num_malicious_nodes", "nb_byz", "byzantine"), "aggregator.f"),
    **dict.fromkeys(("proximal_mu", "prox_mu", "fedprox_mu"), "client.algorithm.mu"),
    **dict.fromkeys(("lambda", "lam", "lamda"), "client.algorithm.strength"),
    "data": "dataset",
    **dict.fromkeys(("partitioner", "split", "distribution"), "partition"),
    **dict.fromkeys(("sampler", "sampling", "client_selection"), "cohort"),
    **dict.fromkeys(("concentration", "dirichlet_alpha"), "partition.alpha"),
    **dict.fromkeys(("min_partition_size", "min_size"), "partition.min_examples"),
    **dict.fromkeys(("hidden_units", "hidden_sizes", "hidden_layers"), "model.hidden"),
    **dict.fromkeys(("l2", "wd"), "client.optimizer.weight_decay"),
    **dict.fromkeys(("eval_every", "test_every", "rounds_per_eval"), "evaluation.every"),
    "random_seed": "seed",
    "num_seeds": "matrix.seeds",
    **dict.fromkeys(("extend", "inherits", "defaults", "base", "_base_", "parent", "imports"), "extends"),
    **dict.fromkeys(("sweep", "grid", "hyperparameters"), "matrix"),
    **dict.fromkeys(("smoke", "smoke_test", "tiny", "debug"), "small"),
}
# Names of algorithms that are, in a spec, another kind or no kind of their own.
_KINDS_ALSO_CALLED = {
    **dict.fromkeys(("coordinate_median", "fedmedian"), "aggregator: {kind: median}"),
    **dict.fromkeys(("rfa", "geomed", "weiszfeld"), "aggregator: {kind: geometric_median}"),
    **dict.fromkeys(("fedtrimmedavg", "trmean"), "aggregator: {kind: trimmed_mean, f: 1}"),
    "fedopt": "aggregator: {kind: fedadam, learning_rate: 0.03}, or fedyogi or fedadagrad",
    "fedper": "local: [output] in model, and no client.algorithm",
    "fedbn": "batch_norm: local in model, and no client.algorithm",
    **dict.fromkeys(("nan", "inf"), "faults: [{kind: non_finite}]"),
    "model_replacement": "faults: [{kind: scaled, factor: 10}]",
}
_MOST_KINDS = 5  # named in one message
_SHORT = 6  # letters; too many shorter keys look alike


@dataclass(frozen=True)
class _Place:
    """A document that a spec can hold."""

    section: tuple[str, ...]
    kind: str | None
    cls: type[BaseModel]


def suggest_key(
    key: str, owner: type[BaseModel] | None, section: Sequence[str | int], present: Collection[str] = ()
) -> str:
    """Return why `key` is unknown to `owner`, a document at `section` with the keys `present`, and a suggestion."""
    if name := renamed_key(key, owner):
        return f"is now called {name}; rename it" + (". It is given too" if name in present else "")
    unknown, known = f"unknown key {shorten(key)!r}", _keys(owner)
    if meant := meant_key(key, owner):
        return f"{unknown}; did you mean {meant!r}?" + (" It is given too" if meant in present else "")
    close = difflib.get_close_matches(key[:100], known, n=1, cutoff=0.75 if len(key) <= _SHORT else 0.6)
    if elsewhere := _elsewhere(key, section):
        return f"{unknown}; {elsewhere}" + (f"; or did you mean {close[0]!r}?" if close else "")
    if called := _ALSO_CALLED.get(key.lower()):
        return f"{unknown}; that is `{called}` here"
    if close:
        return f"{unknown}; did you mean {close[0]!r}?"
    if close := difflib.get_close_matches(key[:100], _every_key(), n=1, cutoff=0.8):
        return f"{unknown}; {_elsewhere(close[0], section)}"
    return f"{unknown}; known here: {', '.join(known) or 'none'}"


def meant_key(key: str, owner: type[BaseModel] | None) -> str | None:
    """Return the key of `owner` that `key` almost certainly means."""
    if name := renamed_key(key, owner):
        return name
    known = _keys(owner)
    if (meant := _ALSO_CALLED.get(key.lower(), "").rpartition(".")[2]) in known:
        return meant
    if key in _every_key():
        return None
    return next(iter(difflib.get_close_matches(key[:100], known, n=1, cutoff=0.75)), None)


def model_below(cls: type[BaseModel] | None, key: str | int) -> type[BaseModel] | None:
    """Return the class of the value at a key of a document; for a family, its base class."""
    if cls is None or key not in cls.model_fields:
        return None
    return next(_models_in(cls.model_fields[str(key)].annotation), None)


def place_of_kind(kind: Any, section: Sequence[str | int], choices: Sequence[str]) -> str:
    """Return the words for where `kind`, which is none of `choices` of a section, belongs; nothing if nowhere."""
    if not isinstance(kind, str):
        return ""
    if called := _KINDS_ALSO_CALLED.get(kind.lower()):
        return f"write {called}"
    here = tuple(step for step in section if isinstance(step, str))
    sections = dict.fromkeys(".".join(p.section) for p in _places() if p.kind == kind and p.section != here)
    return f"that is a kind of `{'` or `'.join(sections)}`; choose one of {', '.join(choices)}" if sections else ""


def _elsewhere(key: str, section: Sequence[str | int]) -> str:
    """Return where in a spec `key` belongs, in words; nothing if nowhere."""
    every = list(_places())
    places = [place for place in every if key in place.cls.model_fields and key != "kind"]
    here = sorted({p.kind for p in places if p.kind and p.section == tuple(section)})
    if here:
        return f"{key!r} is read by {_kinds(here)} only"
    sections = sorted(dict.fromkeys(place.section for place in places), key=len)  # those nearer to the top first
    described = [_describe(where, [p for p in every if p.section == where], places) for where in sections]
    return f"{key!r} belongs to {' or '.join(described[:3])}" if described else ""


def _describe(section: tuple[str, ...], there: Sequence[_Place], reading: Sequence[_Place]) -> str:
    """Return a section, and the kinds there that have the key, unless all have it."""
    if not section:
        return "the top level"
    kinds = sorted(str(place.kind) for place in there if place in reading)
    return f"`{'.'.join(section)}`" + ("" if len(kinds) == len(there) else f" ({_kinds(kinds)})")


def _kinds(kinds: Sequence[str]) -> str:
    """Return `kind a`, or `kinds a, b and c`, at most a few of them."""
    if len(kinds) == 1:
        return f"kind {kinds[0]}"
    if len(kinds) > _MOST_KINDS:
        return f"kinds {join_some(kinds, _MOST_KINDS)}"
    return f"kinds {', '.join(kinds[:-1])} and {kinds[-1]}"


def _every_key() -> set[str]:
    return {name for place in _places() for name in place.cls.model_fields if name != "kind"}


def _places() -> Iterator[_Place]:
    yield _Place((), None, Spec)
    yield from _below(Spec, (), set())
    yield _Place(("matrix",), None, Matrix)


def _below(cls: type[BaseModel], section: tuple[str, ...], seen: set[type[BaseModel]]) -> Iterator[_Place]:
    """Yield the documents in `cls`, each family where it first appears."""
    for name in cls.model_fields:
        child = model_below(cls, name)
        if child is None or child in seen:
            continue
        seen.add(child)
        members: Mapping[str, type[BaseModel]] = family_members(child) if issubclass(child, Component) else {}
        for kind, member in members.items() or [(None, child)]:
            yield _Place((*section, name), kind, member)
            yield from _below(member, (*section, name), seen)


def _keys(owner: type[BaseModel] | None) -> list[str]:
    fields = owner.model_fields if owner else {}
    every = sorted(fields, key=lambda name: not fields[name].is_required())
    every += ("extends", "matrix", "small") if owner is Spec else ()
    return [name for name in every if name != "kind"]


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)
