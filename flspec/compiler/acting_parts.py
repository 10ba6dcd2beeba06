"""The parts of a plan that act in its run. The plan has their code's digest if they do not come with flspec.

A part that only decides, such as a partitioner, leaves its decisions in the plan instead.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from typing import TypeVar

from pydantic import ValidationError

from flspec.aggregators import Aggregator
from flspec.client_algorithms import ClientAlgorithm
from flspec.client_optimizers import ClientOptimizer
from flspec.compressors import Compressor
from flspec.core.components import Component, Part, parse_component, source_digests
from flspec.core.part_imports import loose_digests
from flspec.core.references import find_object
from flspec.core.text import join_some
from flspec.errors import InputError, shorten
from flspec.faults import Fault
from flspec.layers import OwnLayer, parse_layers
from flspec.losses import parse_loss
from flspec.metrics import find_metric
from flspec.objectives import Objective
from flspec.postprocessors import Postprocessor
from flspec.protocol.part_scope import part_files_of, using_parts_of
from flspec.protocol.settings import ComponentDocument, PlanSettings
from flspec.secure_aggregation import SecureAggregation
from flspec.transforms import Transform

__all__ = ["check_code", "code_digests", "engine_parts", "optimizer_alone", "read_part"]

C = TypeVar("C", bound=Component)
_LOOSE = "parts: import "  # what names begin with of code that part files import


def code_digests(settings: PlanSettings) -> dict[str, str]:
    """Return the SHA-256 of the code of each acting part of another package, by its place in a spec."""
    with using_parts_of(settings):
        parts = {**engine_parts(settings), **_own_modules(settings), **_of_evaluation(settings)}
        return source_digests(parts) | _beside_parts(settings)


def check_code(settings: PlanSettings, of_evaluation: bool = True) -> None:
    """Raise InputError if the code of a part is another here than where the plan was compiled.

    An engine need not have the parts that evaluate.
    """
    with using_parts_of(settings):
        parts: dict[str, Part] = {**engine_parts(settings), **_own_modules(settings)}
        parts |= _of_evaluation(settings) if of_evaluation else {}
        found = source_digests(parts) | _beside_parts(settings)
    loose = {name for name in {*found, *settings.code} if name.startswith(_LOOSE)}
    if differing := [name for name in [*parts, *sorted(loose)] if settings.code.get(name) != found.get(name)]:
        raise InputError(
            f"{join_some(differing)}: the code of its package is not what it was when the plan was compiled; compile "
            "the spec again, or install what it was compiled with"
        )


def _beside_parts(settings: PlanSettings) -> dict[str, str]:
    """Return the digest of each package that part files import and that is not installed."""
    files = part_files_of(settings)
    return {f"{_LOOSE}{name}": digest for name, digest in loose_digests(files).items()} if files else {}


def engine_parts(settings: PlanSettings) -> dict[str, Component]:
    """Return the parts that an engine acts by, by their place in a spec; those at their default are left out."""
    with using_parts_of(settings):
        return _engine_parts(settings)


def _engine_parts(settings: PlanSettings) -> dict[str, Component]:
    aggregator = read_part(Aggregator, settings.aggregator)
    parts: dict[str, Component] = {
        **_client_optimizers(settings),
        "aggregator": aggregator,
        "aggregator.server_optimizer": aggregator.server_optimizer,
    }
    if settings.loss is not None:
        parts["client.loss"] = parse_loss(settings.loss)
    if settings.client_algorithm:
        parts["client.algorithm"] = read_part(ClientAlgorithm, settings.client_algorithm)
    if settings.objective:
        parts["client.objective"] = read_part(Objective, settings.objective)
    for number, document in enumerate(settings.postprocessors):
        part = read_part(Postprocessor, document)
        parts[f"postprocessors.{number}"] = part
        parts |= {f"postprocessors.{number}.{name}": one for name, one in part if isinstance(one, Component)}
    if settings.compression:
        parts["compression"] = read_part(Compressor, settings.compression)
    if settings.secure_aggregation:
        parts["secure_aggregation"] = read_part(SecureAggregation, settings.secure_aggregation)
    for number, document in enumerate(settings.faults):
        parts[f"faults.{number}"] = read_part(Fault, document)
    for split, documents in settings.data.transforms.items():
        for number, document in enumerate(documents):
            parts[f"dataset.{split}_transforms.{number}"] = read_part(Transform, document)
    graphs = [network["layers"] for network in settings.networks.values()] or [settings.layers]
    return parts | _own_layers("model", itertools.chain(*graphs))


def _own_layers(field: str, documents: Iterable[ComponentDocument]) -> dict[str, Component]:
    """Return the layers that do not come with flspec, one of each kind, with the layers' field first."""
    kinds = {str(document["kind"]): document for document in documents}
    layers = {f"{field}: layer {kind}": parse_layers([document])[0] for kind, document in kinds.items()}
    return {name: layer for name, layer in layers.items() if isinstance(layer, OwnLayer)}


def optimizer_alone(document: ComponentDocument) -> ComponentDocument:
    """Return a player's optimizer without the networks that it trains."""
    return {key: value for key, value in document.items() if key != "networks"}


def _client_optimizers(settings: PlanSettings) -> dict[str, Component]:
    """Return the client optimizers and what schedules the plan does not have the rates of."""
    documents = {f"client.optimizers.{player}": optimizer_alone(one) for player, one in settings.optimizers.items()}
    parts: dict[str, Component] = {}
    for field, document in (documents or {"client.optimizer": settings.client_optimizer}).items():
        parts[field] = optimizer = read_part(ClientOptimizer, document)
        if optimizer.schedule:
            parts[f"{field}.schedule"] = optimizer.schedule
    return parts


def read_part(family: type[C], document: ComponentDocument) -> C:
    """Return a part that a plan describes. Raises InputError if it is not installed here, or is no part."""
    try:
        return parse_component(family, document)
    except ValidationError as error:
        why = error.errors()[0]["msg"]
        raise InputError(
            f"the plan's {family.__name__} {shorten(json.dumps(document, sort_keys=True))} cannot be read here: {why}; "
            "install the package that has it, or compile the spec again"
        ) from None


def _own_modules(settings: PlanSettings) -> dict[str, Part]:
    """Return the class of a model that is somebody's torch module."""
    return {
        f"model.module {document['module']}": find_object(document["module"])
        for document in settings.layers
        if document["kind"] == "torch_module"
    }


def _of_evaluation(settings: PlanSettings) -> dict[str, Part]:
    pictures = settings.evaluation.pictures
    layers = _own_layers("evaluation.features", pictures.features.layers) if pictures else {}
    return {f"evaluation.metrics.{name}": find_metric(name).of for name in settings.evaluation.metrics} | layers
