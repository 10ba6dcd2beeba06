"""Every layer in plain float64 numpy: the definition that each engine's translation is held to.

Written from what `flspec.layers` says of each, and sharing no code with any engine; it needs numpy alone. A rule gets
the layer, its tensors by the last part of their names, its inputs [batch, *shape] and, in training, its mask (an
array for a dropout, else nothing), and gives its output.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flspec.layers import INPUT, BatchNorm, Layer

Array = NDArray[np.float64]
Tensors = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Pass:
    """What a forward pass comes to."""

    values: dict[str, Array]  # the output of each layer by name, `input` too
    outputs: Array  # [batch, num_outputs]
    statistics: dict[str, Array] = field(default_factory=dict)  # running ones after a pass in training, by whole name


def forward(
    layers: Sequence[Layer], tensors: Tensors, inputs: NDArray[Any] | Tensors, masks: Tensors | None = None
) -> Pass:
    """One pass of a whole graph: in training, if there are `masks` (a dropout's factors by its name), else not.

    `inputs` are the one input of a graph that has no other, or each by its name.
    """
    given = inputs if isinstance(inputs, Mapping) else {INPUT: inputs}
    values, statistics = {name: precise(value) for name, value in given.items()}, dict[str, NDArray[np.float64]]()
    for layer in layers:
        prefix = f"{layer.name}."
        own = {k.removeprefix(prefix): precise(v) for k, v in tensors.items() if is_of(k, layer.name)}
        taken = [values[source] for source in layer.inputs]
        if masks is not None and keeps_statistics(layer):
            statistics |= {prefix + name: value for name, value in RULES["running"](layer, own, taken[0]).items()}
            own |= dict(zip(("running_mean", "running_var"), moments(taken[0], (0, 2, 3)), strict=True))
        mask = None if masks is None or layer.kind != "dropout" else np.asarray(masks[layer.name], np.float64)
        values[layer.name] = RULES[layer.kind](layer, own, taken, mask)
    return Pass(values, values[layers[-1].name], statistics)


def precise(values: Any) -> Array:
    """In float64, or complex where they are: a derivative by a complex step goes through the same rules."""
    return np.asarray(values, np.result_type(values, np.float64))


def is_of(tensor: str, layer: str) -> bool:
    return tensor.rpartition(".")[0] == layer


def keeps_statistics(layer: Layer) -> bool:
    """Whether training normalises by the batch."""
    return isinstance(layer, BatchNorm) and layer.statistics != "frozen" and not layer.frozen


def moments(x: Array, axes: tuple[int, ...]) -> tuple[Array, Array]:
    """Mean, and variance divided by the number of values."""
    mean = x.mean(axes, keepdims=True)
    return mean.squeeze(axes), ((x - mean) ** 2).mean(axes)


def dense(layer, own, inputs, mask):
    return np.einsum("...i,oi->...o", inputs[0], own["weight"]) + own["bias"]


def flatten(layer, own, inputs, mask):
    return inputs[0].reshape(len(inputs[0]), -1)


def conv(layer, own, inputs, mask):
    """out[b, o, y, x] = sum of in[b, c, y * stride + i - padding, x * stride + j - padding] * weight[o, c, i, j]."""
    weight, groups = own["weight"], layer.groups
    batch, channels, *_ = inputs[0].shape
    total: Any = 0.0
    for i, j, seen in windows(inputs[0], layer.kernel_size, layer.stride, layer.padding, outside=0.0):
        grouped = seen.reshape(batch, groups, channels // groups, -1)
        kernel = weight[:, :, i, j].reshape(groups, layer.channels // groups, channels // groups)
        total = total + (kernel @ grouped).reshape(batch, layer.channels, *seen.shape[2:])
    return total + own["bias"][:, None, None] if layer.bias else total


def transposed_conv(layer, own, inputs, mask):
    """out[b, o, y * stride + i - padding, x * stride + j - padding] += in[b, c, y, x] * weight[c, o, i, j]."""
    weight, stride, size = own["weight"], layer.stride, layer.kernel_size
    batch, _, height, width = inputs[0].shape
    whole = ((side - 1) * stride + size for side in (height, width))
    total = np.zeros((batch, layer.channels, *whole), np.result_type(inputs[0], weight))
    for i, j in np.ndindex(size, size):
        part = np.einsum("bcyx,co->boyx", inputs[0], weight[:, :, i, j])
        total[:, :, i : i + stride * height : stride, j : j + stride * width : stride] += part
    kept = (slice(layer.padding, side - layer.padding) for side in total.shape[2:])
    cut = total[(slice(None), slice(None), *kept)]
    return cut + own["bias"][:, None, None] if layer.bias else cut


def windows(x, size, stride, padding, outside):
    """For each place (i, j) of a window: what all windows have there, [batch, channels, windows down, across]."""
    padded = np.pad(x, [(0, 0), (0, 0), (padding, padding), (padding, padding)], constant_values=outside)
    down, across = ((side - size) // stride + 1 for side in padded.shape[2:])
    for i, j in np.ndindex(size, size):
        yield i, j, padded[:, :, i : i + stride * down : stride, j : j + stride * across : stride]


def max_pool(layer, own, inputs, mask):
    stride = layer.stride or layer.size
    return np.max([seen for *_, seen in windows(inputs[0], layer.size, stride, layer.padding, outside=-np.inf)], axis=0)


def average_pool(layer, own, inputs, mask):
    return np.mean([seen for *_, seen in windows(inputs[0], layer.size, layer.size, 0, outside=0.0)], axis=0)


def global_average_pool(layer, own, inputs, mask):
    return inputs[0].mean((2, 3), keepdims=True)


def group_norm(layer, own, inputs, mask):
    x = inputs[0]
    grouped = x.reshape(len(x), layer.groups, -1)
    mean, variance = moments(grouped, (2,))
    scaled = (grouped - mean[..., None]) / np.sqrt(variance[..., None] + layer.epsilon)
    return scaled.reshape(x.shape) * own["weight"][:, None, None] + own["bias"][:, None, None]


def batch_norm(layer, own, inputs, mask):
    """With whichever mean and variance `own` has: the running ones, or in training the batch's."""
    mean, variance, weight, bias = (
        own[name][:, None, None] for name in ("running_mean", "running_var", "weight", "bias")
    )
    return (inputs[0] - mean) / np.sqrt(variance + layer.epsilon) * weight + bias


def running(layer, own, x):
    """The statistics that training keeps; their variance is divided by the number of values less one."""
    mean, variance = moments(x, (0, 2, 3))
    count = x.size // x.shape[1]
    seen = {"running_mean": mean, "running_var": variance * count / (count - 1)}
    return {name: (1 - layer.momentum) * own[name] + layer.momentum * value for name, value in seen.items()}


def activation(layer, own, inputs, mask):
    x = inputs[0]
    match layer.function:
        case "relu":
            return np.where(x > 0, x, 0.0)
        case "relu6":
            return np.where(x > 6, 6.0, np.where(x > 0, x, 0.0))
        case "tanh":
            return np.tanh(x)
        case "sigmoid":
            return 1 / (1 + np.exp(-x))
        case "silu":
            return x / (1 + np.exp(-x))
        case "gelu":
            return x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2
        case "leaky_relu":
            return np.where(x > 0, x, layer.slope * x)
    raise NotImplementedError(layer.function)


def add(layer, own, inputs, mask):
    return inputs[0] + inputs[1]


def multiply(layer, own, inputs, mask):
    return inputs[0] * inputs[1]


def dropout(layer, own, inputs, mask):
    return inputs[0] if mask is None else inputs[0] * mask


def embedding(layer, own, inputs, mask):
    return own["weight"][inputs[0].astype(int)]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def linear(own, suffix, x):
    return x @ own[f"weight_{suffix}"].T + own[f"bias_{suffix}"]


def lstm(layer, own, inputs, mask):
    h = c = np.zeros((len(inputs[0]), layer.units))
    states = []
    for step in range(inputs[0].shape[1]):
        gates = linear(own, "ih", inputs[0][:, step]) + linear(own, "hh", h)
        i, f, g, o = (gates[:, at * layer.units : (at + 1) * layer.units] for at in range(4))
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        states.append(h)
    return np.stack(states, axis=1)


def gru(layer, own, inputs, mask):
    h = np.zeros((len(inputs[0]), layer.units))
    states = []
    for step in range(inputs[0].shape[1]):
        new, old = linear(own, "ih", inputs[0][:, step]), linear(own, "hh", h)
        (r, z, n), (r_old, z_old, n_old) = (np.split(gates, 3, axis=1) for gates in (new, old))
        keep = sigmoid(z + z_old)
        h = (1 - keep) * np.tanh(n + sigmoid(r + r_old) * n_old) + keep * h
        states.append(h)
    return np.stack(states, axis=1)


def num_steps(inputs):
    """Of each example those that count: [batch]. Padding, token 0, does not."""
    if len(inputs) == 1:
        return [inputs[0].shape[1]] * len(inputs[0])
    return [max(1, int((tokens != 0).sum())) for tokens in inputs[1]]


def layer_norm(layer, own, inputs, mask):
    x = inputs[0]
    mean = x.mean(-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + layer.epsilon) * own["weight"] + own["bias"]


def positions(layer, own, inputs, mask):
    return inputs[0] + own["weight"]


def attention(layer, own, inputs, mask):
    """One text, one head and one step after the other."""
    width = inputs[0].shape[2] // 3
    size, outputs = width // layer.heads, np.zeros((*inputs[0].shape[:2], width))
    for text, num in enumerate(num_steps(inputs)):
        for head in range(0, width, size):
            q, k, v = (inputs[0][text, :, at + head : at + head + size] for at in (0, width, 2 * width))
            for step in range(len(q)):
                seen = min(num, step + 1) if layer.causal else num
                scores = np.exp(k[:seen] @ q[step] / math.sqrt(size))
                outputs[text, step, head : head + size] = scores / scores.sum() @ v[:seen]
    return outputs


def last_step(layer, own, inputs, mask):
    return np.stack([steps[num - 1] for steps, num in zip(inputs[0], num_steps(inputs), strict=True)])


def mean_step(layer, own, inputs, mask):
    return np.stack([steps[:num].mean(axis=0) for steps, num in zip(inputs[0], num_steps(inputs), strict=True)])


RULES: dict[str, Callable[..., Any]] = {
    rule.__name__: rule
    for rule in (
        activation,
        add,
        attention,
        average_pool,
        batch_norm,
        conv,
        dense,
        dropout,
        embedding,
        flatten,
        global_average_pool,
        group_norm,
        gru,
        last_step,
        layer_norm,
        lstm,
        max_pool,
        mean_step,
        multiply,
        positions,
        running,
        transposed_conv,
    )
}
