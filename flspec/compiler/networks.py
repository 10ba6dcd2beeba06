"""The networks of an experiment: those of its model for its examples, held to what every model promises."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from flspec.core.components import comes_with_flspec, named_part
from flspec.core.tokens import Tokens
from flspec.core.tracebacks import PART_FILES, place_of
from flspec.data.examples import Data
from flspec.errors import InputError, Problem, SpecError
from flspec.layers import (
    INPUT,
    Attention,
    BatchNorm,
    Embedding,
    LastStep,
    MeanStep,
    Network,
    Shape,
    Tensor,
    TorchModule,
    count_parameters,
    describe_network,
    one_network,
    parameters_of,
    trace,
)
from flspec.losses import Loss
from flspec.models import Model, TextModel
from flspec.spec.spec import Spec

__all__ = ["Networks", "described", "layers_without_variance", "networks_for", "tensors_of"]

_MOST_PARAMETERS = 2**31  # 8 GiB
_OF_TOKENS = (Embedding, LastStep, MeanStep, Attention)  # layers that may take the token numbers of texts
Networks = Mapping[str, Network]


def networks_for(spec: Spec, examples: Data) -> Networks:
    """Return the model's networks, and check what every model promises: unique names and the right outputs."""
    work, num_classes, is_multi_label = spec.client, examples.num_classes, examples.is_multi_label
    outputs = _num_outputs(work.loss, num_classes, is_multi_label)
    if work.label_weights is not None and len(work.label_weights) != outputs:
        message = f"has {len(work.label_weights)} weights, but there should be {outputs}, one a {work.loss.weighs}"
        raise SpecError([Problem(message, "client.label_weights")])
    shape = examples.input_shape
    try:
        networks = _networks(spec.model, examples, outputs)
        num_parameters = sum(map(count_parameters, networks.values()))
    except (ValueError, KeyError, IndexError) as error:
        place = f" in {where}" if (where := place_of(error, PART_FILES, only=True)) else ""
        raise InputError(f"model: does not fit examples of shape {list(shape)}: {error}{place}") from None
    for network in networks.values():
        _check_names(spec.model, network)
        _check_reads(spec.model, network, examples.tokens)
    if tuple(networks) == ("",):
        _check_outputs(spec.model, networks[""], (outputs,))
    if num_parameters > _MOST_PARAMETERS:
        raise InputError(
            f"model: {num_parameters:,} parameters are more than the {_MOST_PARAMETERS:,} that a plan holds"
        )
    return networks


def tensors_of(networks: Networks) -> dict[str, Tensor]:
    """Return every tensor of the networks by its full name, in their order."""
    return {name: tensor for network in networks.values() for name, tensor in parameters_of(network).items()}


def described(networks: Networks) -> dict[str, Any]:
    """Return a plan's settings of the networks: `networks`, or the `layers` of one that is alone."""
    documents = {name: describe_network(network) for name, network in networks.items()}
    return {"layers": tuple(documents[""]["layers"])} if tuple(documents) == ("",) else {"networks": documents}


def layers_without_variance(network: Network) -> list[str]:
    """Return the batch norms that a batch of one example would give one value a channel, or a module with such."""
    shapes = trace(network)
    return [
        f"{network.prefix}{layer.name}"
        for layer in network.layers
        if (isinstance(layer, BatchNorm) and layer.statistics != "frozen" and math.prod(shapes[layer.name][1:]) == 1)
        or (isinstance(layer, TorchModule) and layer.needs_two)
    ]


def _networks(model: Model, examples: Data, outputs: int) -> Networks:
    shape = examples.input_shape
    if isinstance(model, TextModel) and examples.tokens:
        (num_steps,) = shape
        return {"": one_network(model.text_layers(examples.tokens, num_steps, outputs), shape)}
    return model.networks(shape, outputs)


def _check_reads(model: Model, network: Network, tokens: Tokens | None) -> None:
    """Raise InputError if a layer would take token numbers for measures, or measures for token numbers."""
    for layer in network.layers:
        if INPUT not in layer.inputs:
            continue
        if tokens and not isinstance(layer, (*_OF_TOKENS, TorchModule)):
            raise InputError(
                f"model: layer {layer.name!r} takes numbers that measure something, but these examples are texts, of "
                "token numbers; choose a model of texts, such as recurrent or transformer"
            )
        if tokens is None and isinstance(layer, _OF_TOKENS):
            raise _promise_broken(model, f"layer {layer.name!r} takes token numbers, but these examples are no texts")


def _check_names(model: Model, network: Network) -> None:
    names = [layer.name for layer in network.layers]
    if len({*names, *network.inputs}) < len(names) + len(network.inputs):
        raise _promise_broken(model, f"two layers have one name in {', '.join(names)}")


def _check_outputs(model: Model, network: Network, expected: Shape) -> None:
    if not network.layers or trace(network)[network.output] != expected:
        raise _promise_broken(model, f"its last layer does not give {expected[0]} outputs")


def _promise_broken(model: Model, what: str) -> InputError:
    if comes_with_flspec(model):
        return InputError(f"model: {what}; this is a defect of the model")
    return InputError(f"model: {named_part(model, 'layers')}: {what}; repair it")


def _num_outputs(loss: Loss, num_classes: int, is_multi_label: bool) -> int:
    """Return how many outputs a loss needs for such labels. Raises SpecError if it does not suit them."""
    try:
        why = loss.why_invalid(num_classes, is_multi_label)
        outputs = loss.num_outputs(num_classes, is_multi_label)
    except Exception as error:  # a loss of another package may raise anything
        raise _defect(loss, f"raises {type(error).__name__}: {error}") from error
    if why:
        raise SpecError([Problem(why, "client.loss")])
    if not isinstance(outputs, int) or outputs < 1:
        raise _defect(loss, f"needs {outputs!r} outputs, which is not a number from 1")
    return outputs


def _defect(loss: Loss, what: str) -> SpecError:
    name = f"{type(loss).__module__}.{type(loss).__qualname__}"
    return SpecError([Problem(f"{name} {what}; repair it, or choose another loss", "client.loss")])
