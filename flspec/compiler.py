"""From a Spec to a Plan: every random draw of an experiment is made here, once."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flspec.components import source_digests
from flspec.data import Data
from flspec.errors import InputError, Problem, SpecError
from flspec.evaluation import check_groups
from flspec.holdings import hold_examples
from flspec.layers import Layer, count_parameters, initial_weights, trace
from flspec.loading import load_spec
from flspec.plan import ClientTask, Plan
from flspec.randomness import Stream
from flspec.samplers import Sampler
from flspec.spec import ClientWork, Spec, contradictions
from flspec.store import store_data

__all__ = ["compile", "data_root"]

_MOST_INDICES, _MOST_BATCHES = 2**28, 2**24  # in one plan: some gigabytes while it is compiled
_MOST_PARAMETERS = 2**31  # 8 GiB


def compile(spec: Spec | str | Path, data: Path | None = None) -> Plan:
    """Decide everything that `spec`, or the spec in the file of that name, leaves open.

    `data` is the folder below which data sets are found; see `data_root`. The examples are put into the store,
    where every backend's process finds them. Raises InputError when the spec cannot be carried out.
    """
    if not isinstance(spec, Spec):
        spec = load_spec(spec)
    if found := contradictions(dict(spec)):
        raise SpecError([Problem(one.message, ".".join(one.path)) for one in found])
    root = Stream(spec.seed)
    folder = data or data_root()
    examples = spec.dataset.load(folder, root.child("dataset"))
    check_groups(spec.evaluation.groups, examples)
    holdings, held_out = hold_examples(spec.partition, replace(examples.examples, root=folder), root)
    if problem := spec.cohort.problem(len(holdings)):
        raise SpecError([Problem(problem, "cohort")])
    layers = spec.model.layers(examples.input_shape, examples.num_classes)
    _check_model(layers, examples)
    draws = any(transform.is_random for transform in examples.train.transforms)
    rounds = [_tasks(spec, holdings, number, root, draws) for number in _bounded_rounds(spec, holdings)]
    store_data(examples)
    return Plan.build(
        settings=_settings(spec, examples, layers),
        weights=initial_weights(layers, examples.input_shape, root.child("weights")),
        clients=holdings,
        held_out=held_out,
        rounds=rounds,
        spec=spec.model_dump(mode="json"),
    )


def data_root() -> Path:
    """Where data sets are looked for: `$FLSPEC_DATA`, else `data` in the working folder."""
    return Path(os.environ.get("FLSPEC_DATA") or "data")


def _tasks(
    spec: Spec, holdings: Sequence[NDArray[np.int64]], number: int, root: Stream, draws: bool
) -> list[ClientTask]:
    """What each client of a round's cohort is asked to do; `draws`: whether its examples are transformed at random."""
    return [
        ClientTask(
            client=int(client),
            weight=spec.aggregator.client_weight(len(holdings[client])),
            batches=tuple(_batches(spec.client, holdings[client], root.child("batches", number, int(client)))),
            seed=int(root.child("transforms", number, int(client)).words(1)[0] >> np.uint64(1)) if draws else 0,
        )
        for client in _cohort(spec.cohort, len(holdings), root.child("cohort", number))
    ]


def _settings(spec: Spec, examples: Data, layers: Sequence[Layer]) -> dict[str, Any]:
    """What of a spec is not drawn but acted on, as a plan says it."""
    # What only decides leaves its decisions in the plan; what acts in a run leaves nothing but its code.
    acting = {
        "client.optimizer": spec.client.optimizer,
        "aggregator": spec.aggregator,
        "aggregator.server_optimizer": spec.aggregator.server_optimizer,
    }
    code = source_digests(acting)
    return {
        "data": examples.describe(),
        "layers": [layer.model_dump(mode="json") for layer in layers],
        "loss": spec.client.loss,
        "client_optimizer": spec.client.optimizer.model_dump(mode="json"),
        "aggregator": spec.aggregator.model_dump(mode="json"),
        # In one order, since the order in which metrics are named changes nothing.
        "evaluation": {"every": spec.evaluation.every, "metrics": sorted(spec.evaluation.metrics)}
        | ({"groups": sorted(spec.evaluation.groups)} if spec.evaluation.groups else {}),
    } | ({"code": code} if code else {})


def _batches(work: ClientWork, held: NDArray[np.int64], stream: Stream) -> Iterator[NDArray[np.int64]]:
    """The examples of each step of one client in one round; a pass ends with what is left, however few."""
    passes = range(work.epochs) if work.epochs is not None else itertools.count()
    endless = (
        order[start : start + work.batch_size]
        for number in passes
        for order in [held[stream.child(number).permutation(len(held))] if work.shuffle else held]
        for start in range(0, len(order), work.batch_size)
    )
    return itertools.islice(endless, work.steps)


def _bounded_rounds(spec: Spec, holdings: list[NDArray[np.int64]]) -> range:
    """The round numbers, unless their batches would not fit."""
    work, largest = spec.client, max(map(len, holdings))
    steps = work.steps if work.steps is not None else (work.epochs or 1) * -(-largest // work.batch_size)
    cohort = len(_cohort(spec.cohort, len(holdings), Stream(spec.seed, "size")))
    num_batches = spec.rounds * cohort * steps
    num_indices = num_batches * min(work.batch_size, largest)
    if num_batches > _MOST_BATCHES or num_indices > _MOST_INDICES:
        raise InputError(
            f"rounds: {spec.rounds:,} rounds of {cohort:,} clients of up to {steps:,} steps are {num_batches:,} "
            f"batches of {num_indices:,} examples, but a plan holds {_MOST_BATCHES:,} and {_MOST_INDICES:,}; "
            "lower rounds, cohort.size or client.epochs"
        )
    return range(1, spec.rounds + 1)


def _cohort(sampler: Sampler, num_clients: int, stream: Stream) -> NDArray[np.int64]:
    """The sampler's cohort, held to what any sampler promises."""
    cohort = np.asarray(sampler.cohort(num_clients, stream))
    if not len(cohort) or cohort.min() < 0 or cohort.max() >= num_clients or (np.diff(cohort) <= 0).any():
        raise InputError(
            f"cohort: {type(sampler).__name__} chose {cohort[:8].tolist()}, which is not one or more different clients "
            f"of {num_clients} in ascending order; this is a defect of the sampler"
        )
    return cohort


def _check_model(layers: Sequence[Layer], examples: Data) -> None:
    if examples.is_multi_label:
        raise InputError(
            "client.loss: cross_entropy learns one label an example, but an example of this dataset may have several "
            f"of {examples.num_classes}"
        )
    names = [layer.name for layer in layers]
    try:
        shapes = trace(layers, examples.input_shape)
        num_parameters = count_parameters(layers, examples.input_shape)
    except (ValueError, KeyError, IndexError) as error:
        raise InputError(f"model: does not fit examples of shape {list(examples.input_shape)}: {error}") from None
    if len(set(names)) < len(names):
        raise InputError(f"model: two layers have one name in {', '.join(names)}; this is a defect of the model")
    if not names or shapes[names[-1]] != (examples.num_classes,):
        raise InputError(f"model: its last layer does not give {examples.num_classes} logits, one a class")
    if num_parameters > _MOST_PARAMETERS:
        raise InputError(
            f"model: {num_parameters:,} parameters are more than the {_MOST_PARAMETERS:,} that a plan holds"
        )
