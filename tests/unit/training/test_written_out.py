"""Gradients that are written out, held to autograd's bit for bit: every layer, every activation, every loss.

A layer stands behind one that learns, so that the gradient of its input counts too, and before a mean squared error.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from flspec.core.components import family_members
from flspec.layers import (
    INPUT,
    Activation,
    Add,
    BaseLayer,
    Conv,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    GroupNorm,
    Layer,
    MaxPool,
    MeanStep,
    chain,
    one_network,
)
from flspec.losses import Loss, parse_loss
from flspec_torch import gradient
from flspec_torch.gradient import ByAutograd, WrittenOut, has_derivatives
from flspec_torch.layers import Translation, Wanted
from flspec_torch.layers.linear import ConvInTorch, DenseInTorch
from flspec_torch.layers.normalisation import BatchNormInTorch, GroupNormInTorch, LayerNormInTorch
from flspec_torch.layers.pointwise import ActivationInTorch, AddInTorch, DropoutInTorch, MultiplyInTorch
from flspec_torch.layers.pooling import MaxPoolInTorch
from flspec_torch.losses import build_loss, to_targets
from flspec_torch.model import build_forward, translations_of
from tests.layer_cases import CASES, TOKENS, graph_of, random_inputs, random_masks, random_tensors
from tests.torch_passes import as_torch

# With one of these, a plan's whole network goes through autograd.
BY_AUTOGRAD = {"attention", "gru", "lstm", "torch_module"}
WRITTEN_OUT = [case for case in CASES if not {layer.kind for layer in graph_of(case)[0]} & BY_AUTOGRAD]
# The kernels that take time, by a part of their names: not views, nor what autograd begins with.
COSTLY = ("mm", "convolution", "norm", "pool", "_backward", "sum")


class Kernels(TorchDispatchMode):
    """Counts the kernels that are called, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.called: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.called[func.overloadpacket._qualified_op_name] += 1
        return func(*args, **(kwargs or {}))


class Found:
    """What one of the two ways finds for random tensors and two random batches, and the kernels that it calls.

    The second batch lacks the first's last example, so that each has its own part of what is computed for both at once.
    The values are the losses, the outputs, the gradients of each learned tensor, and all tensors afterwards.
    """

    def __init__(
        self,
        way: Any,
        layers: Any,
        shape: Any,
        dtype: Any = torch.float32,
        learned: Any = None,
        **of: Any,
    ) -> None:
        network = one_network(layers, shape)
        tensors = as_torch(random_tensors(layers, shape), dtype)
        names = [name for name in tensors if "running" not in name] if learned is None else learned
        loss = build_loss(rule := parse_loss(of.get("loss", "mean_squared_error")), of.get("weights", ()))
        first = translations_of(network) if way is WrittenOut else build_forward(network)
        inputs = torch.tensor(of.get("inputs", random_inputs(shape, of.get("num", 4))), dtype=dtype)
        masks = as_torch(random_masks(layers, shape, len(inputs)), dtype)
        labels = np.random.default_rng(5).integers(0, of.get("classes", 3), of.get("labels", len(inputs)))
        outputs = build_forward(network)(as_torch(random_tensors(layers, shape), dtype), inputs, masks)
        targets = to_targets(rule, labels, outputs.shape[1])
        targets = targets if targets.dtype is torch.int64 else targets.to(dtype)
        sizes = [len(inputs), max(1, len(inputs) - 1)]
        of_batches = way(first, loss)(tensors, names)
        with torch.no_grad(), Kernels() as kernels:
            batches = of_batches(torch.cat([targets[:size] for size in sizes]), sizes)
            each = [batches(inputs[:size], {name: mask[:size] for name, mask in masks.items()}) for size in sizes]
        self.kernels = {name: num for name, num in kernels.called.items() if any(part in name for part in COSTLY)}
        self.values = {"losses": torch.stack(batches.means), "outputs": torch.cat(batches.outputs)}
        for number, gradients in enumerate(each):
            self.values |= {name + " again" * number: gradient for name, gradient in zip(names, gradients, strict=True)}
        self.values |= {f"{name} after": tensor.detach() for name, tensor in tensors.items()}


def differing(layers: Any, shape: Any, **settings: Any) -> list[str]:
    """What the two ways find differently. Fails if the written one calls a kernel that autograd does not call."""
    written, other = (Found(way, layers, shape, **settings) for way in (WrittenOut, ByAutograd))
    assert written.values.keys() == other.values.keys()
    assert {name: num for name, num in written.kernels.items() if num > other.kernels.get(name, 0)} == {}
    return [name for name, value in written.values.items() if not same(value, other.values[name])]


def same(one: torch.Tensor | None, other: torch.Tensor | None) -> bool:
    """Whether two tensors have the same bits, but for the sign of a zero."""
    return one is other is None or (one is not None and other is not None and torch.equal(one, other))


def between(case: str) -> tuple[tuple[Layer, ...], Any]:
    """The layers of a case after one that learns and keeps their input's shape, and before a flatten."""
    layers, shape = graph_of(case)
    pixelwise = Conv(name="first", channels=shape[0], kernel_size=1)
    first: Layer = pixelwise if len(shape) == 3 else Dense(name="first", units=shape[-1])
    return (*chain([first]), *after("first", layers), Flatten(name="flat", inputs=(layers[-1].name,))), shape


def after(name: str, layers: Any) -> list[Layer]:
    """The layers with another value in place of the input."""
    return [
        layer.model_copy(update={"inputs": tuple(name if source == INPUT else source for source in layer.inputs)})
        for layer in layers
    ]


@pytest.mark.parametrize("case", WRITTEN_OUT)
def test_a_layers_gradient_is_autograds_bit_for_bit(case):
    layers, shape = between(case)
    for dtype, num in ((torch.float32, 4), (torch.float32, 1), (torch.float64, 3)):
        assert differing(layers, shape, dtype=dtype, num=num) == [], (dtype, num)


@pytest.mark.parametrize("case", WRITTEN_OUT)
def test_gradients_that_nobody_wants_are_not_computed(case):
    """Of tensors that are not learned, and of values that none of them is behind."""
    layers, shape = between(case)
    every = [name for name in random_tensors(layers, shape) if "running" not in name]
    last = [name for name in every if not name.startswith("first")]
    for learned in (["first.weight"], ["first.bias"], *([name] for name in last)):
        assert differing(layers, shape, learned=learned) == [], learned


def test_every_layer_is_written_out_or_named_as_going_through_autograd():
    kinds = {member.model_fields["kind"].default for member in family_members(BaseLayer).values()}
    tried = {layer.kind for case in WRITTEN_OUT for layer in graph_of(case)[0]} | {"embedding", "last_step"}
    assert tried == kinds - BY_AUTOGRAD
    for case in CASES.keys() - WRITTEN_OUT:
        layers, shape = graph_of(case)
        assert not has_derivatives(translations_of(one_network(layers, shape)), build_loss(parse_loss("cross_entropy")))


MEAN_OF_A_TEXT: list[Layer] = [Embedding(name="e", tokens=7, features=3), MeanStep(name="m", inputs=("e", INPUT))]


def test_a_text_has_no_gradient_and_its_padding_gives_none():
    assert differing(chain(MEAN_OF_A_TEXT), (5,), inputs=TOKENS) == []


def residual_block() -> tuple[tuple[Layer, ...], Any]:
    """A value with three uses, whose gradients are added in an order that decides their last bits."""
    layers: list[Layer] = [
        Conv(name="a", channels=6, kernel_size=3, padding=1),
        Conv(name="b", channels=6, kernel_size=3, padding=1),
        Conv(name="c", channels=6, kernel_size=3, padding=1, inputs=("a",)),
        Add(name="d", inputs=("b", "c")),
        Add(name="e", inputs=("d", "a")),
        Add(name="twice", inputs=("e", "e")),
        GroupNorm(name="g", groups=2),
        Activation(name="r", function="relu"),
        MaxPool(name="p", size=2),
        Dropout(name="o", rate=0.3),
        Flatten(name="f"),
        Dense(name="l", units=3),
    ]
    return chain(layers), (2, 8, 8)


def test_gradients_of_a_value_with_several_uses_are_added_in_autograds_order():
    layers, shape = residual_block()
    assert differing(layers, shape, num=5) == []


@pytest.mark.parametrize("layer", [MaxPool(name="p", size=2), MaxPool(name="p", size=3, stride=2, padding=1)])
@pytest.mark.parametrize("channels", [1, 3, 17])
def test_where_several_values_of_a_window_are_the_largest_the_first_gets_the_gradient(layer, channels):
    x = torch.randint(0, 3, (5, channels, 9, 10), generator=torch.Generator().manual_seed(2)).float()
    x[0, 0, 4, 4] = torch.nan
    (one,) = translations_of(one_network(chain([layer]), (channels, 9, 10)))
    y, backward = one.vjp({}, Wanted((True,), ()))(x)
    given = x.clone().requires_grad_()
    expected = one({}, [given], {})
    gradient = torch.rand(y.shape, generator=torch.Generator().manual_seed(3))
    (found,), _ = backward(gradient)
    assert torch.equal(y.nan_to_num(-1), expected.nan_to_num(-1))
    assert torch.equal(found, torch.autograd.grad(expected, given, gradient)[0])
    assert y.is_contiguous()
    assert found.is_contiguous()


# ------------------------------------------------------------------------------------------------------------- losses

LOSSES: dict[str, dict[str, Any]] = {
    "cross_entropy": {"loss": "cross_entropy"},
    "cross_entropy, weighted": {"loss": "cross_entropy", "weights": (0.3, 2.0, 0.7)},
    "binary_cross_entropy": {"loss": "binary_cross_entropy", "labels": (7, 3), "classes": 2},
    "binary_cross_entropy, weighted": {
        "loss": "binary_cross_entropy",
        "labels": (7, 3),
        "classes": 2,
        "weights": (0.3, 2.0, 0.7),
    },
    "mean_squared_error": {"loss": "mean_squared_error"},
    "huber": {"loss": {"kind": "huber", "delta": 0.4}},
}


@pytest.mark.parametrize("loss", LOSSES)
def test_a_losss_gradient_is_autograds_bit_for_bit(loss):
    layers: list[Layer] = [Dense(name="a", units=5), Activation(name="t", function="tanh"), Dense(name="l", units=3)]
    for dtype in (torch.float32, torch.float64):
        settings = LOSSES[loss] | ({"weights": ()} if dtype is torch.float64 else {})  # which are float32
        assert differing(chain(layers), (6,), dtype=dtype, num=7, **settings) == []


def test_every_loss_is_written_out():
    kinds = {name.partition(",")[0] for name in LOSSES}
    assert kinds == set(family_members(Loss))


# ----------------------------------------------------------------------------------------- derivatives that are wrong

WRONG: dict[str, Any] = {
    "conv": ConvInTorch,
    "flatten and dense": DenseInTorch,
    "group_norm": GroupNormInTorch,
    "layer_norm": LayerNormInTorch,
    "batch_norm, averaged": BatchNormInTorch,
    "relu": ActivationInTorch,
    "max_pool": MaxPoolInTorch,
    "multiply": MultiplyInTorch,
    "add": AddInTorch,
    "dropout": DropoutInTorch,
}


@pytest.mark.parametrize("case", WRONG)
def test_a_derivative_that_is_off_by_the_last_bit_is_caught(case, monkeypatch):
    right = WRONG[case].vjp

    def vjp(one: Translation[Any], tensors: Any, wanted: Any) -> Any:
        forward = right(one, tensors, wanted)

        def off(*inputs: Any) -> Any:
            y, backward = forward(*inputs)
            return y, lambda gradient: backward(gradient * (1 + 2**-23))

        return off

    monkeypatch.setattr(WRONG[case], "vjp", vjp)
    assert "first.weight" in differing(*between(case))


def test_gradients_that_are_added_in_another_order_are_caught(monkeypatch):
    right = gradient._steps

    def swapped(*given: Any) -> Any:
        a, b, c, *others = right(*given)
        return [a, c, b, *others]

    layers, shape = residual_block()
    monkeypatch.setattr(gradient, "_steps", swapped)
    assert {name.removesuffix(" again") for name in differing(layers, shape, num=5)} == {"a.weight", "a.bias"}
