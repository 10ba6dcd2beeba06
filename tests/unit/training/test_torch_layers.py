"""Torch's translation of every layer, held to numpy: outputs, running statistics and gradients, and wrong rules caught.

In float64 the two may differ by rounding alone, some 1e-16 of the values; in float32 by some 1e-7.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from flspec.layers import Conv, GroupNorm, Layer, OwnLayer, chain, one_network
from flspec_torch.model import build_forward
from tests import numpy_layers
from tests.layer_cases import CASES, graph_of, random_inputs, random_masks, random_tensors
from tests.torch_passes import largest_deviation, torch_gradients, torch_pass

every_case = pytest.mark.parametrize("case", CASES)
both_modes = pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])


def passes(case, training, dtype=torch.float64):
    """The numpy pass of a case and the torch one, which are to be the same."""
    layers, shape = graph_of(case)
    tensors, inputs = random_tensors(layers, shape), random_inputs(shape)
    masks = random_masks(layers, shape) if training else None
    return (
        numpy_layers.forward(layers, tensors, inputs, masks),
        torch_pass(layers, tensors, inputs, masks, dtype),
        tensors,
    )


def deviation(case, training, dtype=torch.float64):
    """How far torch's outputs and running statistics are from numpy's, in parts of the largest value."""
    expected, (outputs, after), tensors = passes(case, training, dtype)
    statistics = {name: expected.statistics.get(name, tensors[name]) for name in after if "running" in name}
    return max(
        largest_deviation(outputs, expected.outputs),
        *(largest_deviation(after[name], value) for name, value in statistics.items()),
        0.0,
    )


@every_case
@both_modes
def test_torch_gives_what_the_definition_gives(case, training):
    assert deviation(case, training) < 1e-14


@every_case
@both_modes
def test_in_float32_torch_gives_it_up_to_rounding(case, training):
    assert 0 <= deviation(case, training, torch.float32) < 8 * 2**-23


def gradients(case, training=True, **other):
    layers, shape = graph_of(case)
    masks = random_masks(layers, shape) if training else None
    return torch_gradients(layers, random_tensors(layers, shape), random_inputs(shape), masks, **other)


def deviating(found):
    """The tensors, `input` among them, whose gradient is not the derivative of the numpy pass in some direction."""
    return [name for name, d in found.directions().items() if found.error_along({name: d}) > 1e-8]


@every_case
@both_modes
def test_torchs_gradients_are_the_derivatives_of_the_definition(case, training):
    assert not deviating(gradients(case, training))


@pytest.mark.parametrize("case", ["batch_norm, averaged", "group_norm", "conv, groups", "flatten and dense"])
def test_a_gradient_that_is_off_by_a_millionth_is_named(case):
    assert deviating(gradients(case).spoiled("l.weight", 1e-6)) == ["l.weight"]


def test_a_gradient_that_does_not_flow_through_the_batchs_statistics_is_found():
    layers, shape = graph_of("batch_norm, averaged")
    mean, variance = numpy_layers.moments(random_inputs(shape).astype(np.float64), (0, 2, 3))
    constant = random_tensors(layers, shape) | {"l.running_mean": mean, "l.running_var": variance}
    frozen = [layer.model_copy(update={"statistics": "frozen"}) for layer in layers]
    assert deviating(gradients("batch_norm, averaged", translated=(frozen, constant))) == ["input"]


# ---------------------------------------------------------------------------------- wrong rules that must be caught


def flipped(layer, own, inputs, mask):
    return numpy_layers.conv(layer, own | {"weight": own["weight"][:, :, ::-1, ::-1]}, inputs, mask)


def transposed(layer, own, inputs, mask):
    return numpy_layers.conv(layer, own | {"weight": own["weight"].swapaxes(2, 3)}, inputs, mask)


def interleaved(layer, own, inputs, mask):
    """Output channels dealt to groups in turn."""
    out = numpy_layers.conv(layer, own, inputs, mask)
    return out.reshape(len(out), layer.groups, -1, *out.shape[2:]).swapaxes(1, 2).reshape(out.shape)


def padded_behind(layer, own, inputs, mask):
    """As TensorFlow pads for "SAME" with a stride on even sides: less before than behind."""
    shifted = np.pad(inputs[0], [(0, 0), (0, 0), (0, 1), (0, 1)])[:, :, 1:, 1:]
    return numpy_layers.conv(layer, own, [shifted], mask)


def kernel_turned(layer, own, inputs, mask):
    """A correlation where the transpose of one is due."""
    turned = own["weight"][:, :, ::-1, ::-1]
    return numpy_layers.transposed_conv(layer, own | {"weight": turned}, inputs, mask)


def cut_in_front_alone(layer, own, inputs, mask):
    whole = numpy_layers.transposed_conv(layer.model_copy(update={"padding": 0}), own, inputs, mask)
    return whole[:, :, 2 * layer.padding :, 2 * layer.padding :]


def enlarged_first(layer, own, inputs, mask):
    """Each pixel repeated, and then an ordinary convolution: what is often meant, and is another layer."""
    repeated = inputs[0].repeat(layer.stride, axis=2).repeat(layer.stride, axis=3)
    once = layer.model_copy(update={"stride": 1, "padding": 0})
    height, width = layer.output_shape(inputs[0].shape[1:])[1:]
    return numpy_layers.transposed_conv(once, own, [repeated], mask)[:, :, :height, :width]


def without_bias(layer, own, inputs, mask):
    return numpy_layers.dense(layer, own | {"bias": 0.0}, inputs, mask)


def channels_last(layer, own, inputs, mask):
    return inputs[0].transpose(0, 2, 3, 1).reshape(len(inputs[0]), -1)


def padded_with_zeros(layer, own, inputs, mask):
    pad = layer.padding
    x = np.pad(inputs[0], [(0, 0), (0, 0), (pad, pad), (pad, pad)])
    return numpy_layers.max_pool(layer.model_copy(update={"padding": 0}), own, [x], mask)


def normalised(x, axes, divisor_less=0, epsilon_outside=False, epsilon=1e-5):
    mean, count = x.mean(axes, keepdims=True), np.prod([x.shape[axis] for axis in axes])
    variance = ((x - mean) ** 2).sum(axes, keepdims=True) / (count - divisor_less)
    return (x - mean) / (np.sqrt(variance) + epsilon if epsilon_outside else np.sqrt(variance + epsilon))


def group_norm_with(groups_first=True, **how):
    def rule(layer, own, inputs, mask):
        batch, channels, height, width = inputs[0].shape
        split = (layer.groups, channels // layer.groups) if groups_first else (channels // layer.groups, layer.groups)
        axes = (2, 3, 4) if groups_first else (1, 3, 4)
        x = normalised(inputs[0].reshape(batch, *split, height, width), axes, **how).reshape(inputs[0].shape)
        return x * own["weight"][:, None, None] + own["bias"][:, None, None]

    return rule


def batch_norm_with(**how):
    def rule(layer, own, inputs, mask):
        return normalised(inputs[0], (0, 2, 3), **how) * own["weight"][:, None, None] + own["bias"][:, None, None]

    return rule


def running_with(biased=False, swapped=False):
    def rule(layer, own, x):
        mean, variance = numpy_layers.moments(x, (0, 2, 3))
        count = x.size // x.shape[1]
        seen = {"running_mean": mean, "running_var": variance * (1 if biased else count / (count - 1))}
        share = 1 - layer.momentum if swapped else layer.momentum
        return {name: (1 - share) * own[name] + share * value for name, value in seen.items()}

    return rule


WRONG = {
    "kernel flipped": ("conv", "conv", flipped),
    "kernel transposed": ("conv", "conv", transposed),
    "kernel flipped, depthwise": ("conv, depthwise", "conv", flipped),
    "groups transposed": ("conv, groups", "conv", interleaved),
    "channels transposed, depthwise": ("conv, depthwise with stride", "conv", interleaved),
    "padding behind": ("conv, stride", "conv", padded_behind),
    "kernel flipped, transposed": ("transposed_conv", "transposed_conv", kernel_turned),
    "cut in front alone": ("transposed_conv, as in DCGAN", "transposed_conv", cut_in_front_alone),
    "enlarged first": ("transposed_conv, as in DCGAN", "transposed_conv", enlarged_first),
    "bias forgotten": ("flatten and dense", "dense", without_bias),
    "flattened channels last": ("flatten and dense", "flatten", channels_last),
    "pooling over padded zeros": ("max_pool, overlapping", "max_pool", padded_with_zeros),
    "group norm by variance of n - 1": ("group_norm", "group_norm", group_norm_with(divisor_less=1)),
    "group norm with epsilon outside the root": ("group_norm", "group_norm", group_norm_with(epsilon_outside=True)),
    "group norm with another epsilon": ("group_norm", "group_norm", group_norm_with(epsilon=1e-6)),
    "group norm over interleaved channels": ("group_norm", "group_norm", group_norm_with(groups_first=False)),
    "batch norm by variance of n - 1": ("batch_norm, averaged", "batch_norm", batch_norm_with(divisor_less=1)),
    "batch norm with epsilon outside": ("batch_norm, averaged", "batch_norm", batch_norm_with(epsilon_outside=True)),
    "frozen batch norm by the batch": ("batch_norm, frozen", "batch_norm", batch_norm_with(epsilon=1e-3)),
    "running variance of n": ("batch_norm, averaged", "running", running_with(biased=True)),
    "momentum the other way round": ("batch_norm, local", "running", running_with(swapped=True)),
    "relu6 without its 6": ("relu6", "activation", lambda _, __, inputs, ___: np.maximum(inputs[0], 0)),
    "leaky relu as relu": ("leaky_relu", "activation", lambda _, __, inputs, ___: np.maximum(inputs[0], 0)),
    "leaky relu with torch's slope": (
        "leaky_relu",
        "activation",
        lambda _, __, inputs, ___: np.maximum(inputs[0], 0.01 * inputs[0]),
    ),
    "silu as sigmoid": ("silu", "activation", lambda _, __, inputs, ___: 1 / (1 + np.exp(-inputs[0]))),
    "dropout forgotten": ("dropout", "dropout", lambda _, __, inputs, ___: inputs[0]),
    "dropout not scaled": ("dropout", "dropout", lambda _, __, inputs, mask: inputs[0] * (mask > 0)),
    "examples dropped by value": (
        "dropout of examples",
        "dropout",
        lambda _, __, inputs, mask: inputs[0] * np.where(np.arange(inputs[0].shape[1])[:, None, None] > 0, mask, 1),
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_rule_is_caught_even_in_float32(wrong, monkeypatch):
    case, rule, function = WRONG[wrong]
    monkeypatch.setitem(numpy_layers.RULES, rule, function)
    assert deviation(case, training=True) > 1e-9
    if "epsilon" not in wrong:  # which float32 cannot tell where the variance is large
        assert deviation(case, training=True, dtype=torch.float32) > 1e-3


def test_the_helpers_of_wrong_rules_are_right_when_told_nothing_wrong(monkeypatch):
    monkeypatch.setitem(numpy_layers.RULES, "group_norm", group_norm_with())
    monkeypatch.setitem(numpy_layers.RULES, "batch_norm", batch_norm_with())
    monkeypatch.setitem(numpy_layers.RULES, "running", running_with())
    assert deviation("group_norm", training=True) < 1e-14
    assert deviation("batch_norm, averaged", training=True) < 1e-14


# ------------------------------------------------------------------------------------------------------ the rest


def test_at_zero_the_derivative_of_leaky_relu_is_its_slope():
    network = one_network(*graph_of("leaky_relu"))
    x = torch.zeros(1, 6, 7, 5, requires_grad=True)
    (found,) = torch.autograd.grad(build_forward(network)({}, x, None).sum(), x)
    assert torch.equal(found, torch.full_like(x, 0.2))


def test_every_layer_has_a_case_a_rule_and_a_translation():
    # Somebody's own layers and modules are tested apart.
    known = [cls for cls in Layer.__args__ if not issubclass(cls, OwnLayer)]
    kinds = {cls.model_fields["kind"].default for cls in known} - {"torch_module"}
    of_numbers = {layer.kind for layers, _ in CASES.values() for layer in layers}
    assert of_numbers | {"embedding"} == kinds  # of tokens, which have no gradient: test_sequence_layers.py
    assert kinds == set(numpy_layers.RULES) - {"running"}
    assert all(build_forward(one_network(*graph_of(case))) for case in CASES)


def test_an_input_that_two_layers_need_is_there_for_both():
    layers = chain([Conv(name="a", channels=6, kernel_size=1), GroupNorm(name="b", groups=2)])
    layers += graph_of("add")[0]
    tensors, inputs = random_tensors(layers, (6, 4, 4)), random_inputs((6, 4, 4))
    outputs, _ = torch_pass(layers, tensors, inputs, None, torch.float64)
    assert largest_deviation(outputs, numpy_layers.forward(layers, tensors, inputs).outputs) < 1e-14


def test_evaluation_changes_no_running_statistics():
    _, (_, after), tensors = passes("batch_norm, averaged", training=False)
    assert all(np.array_equal(after[name], tensors[name]) for name in tensors)
