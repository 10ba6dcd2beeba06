"""Convolution and pooling of every geometry: torch, numpy and the shape that a layer promises are one."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from flspec.layers import AveragePool, Conv, GroupNorm, MaxPool, TransposedConv, chain, one_network, trace
from tests import numpy_layers
from tests.layer_cases import random_inputs, random_tensors
from tests.torch_passes import torch_pass

sizes = st.integers(1, 5)
sides = st.integers(1, 9)
groups = st.integers(1, 3)


@st.composite
def convolutions(draw):
    per_group_in, per_group_out, num_groups = draw(groups), draw(groups), draw(groups)
    layer = Conv(
        name="l",
        channels=per_group_out * num_groups,
        kernel_size=draw(sizes),
        padding=draw(st.integers(0, 3)),
        stride=draw(st.integers(1, 4)),
        groups=num_groups,
        bias=draw(st.booleans()),
    )
    return layer, (per_group_in * num_groups, draw(sides), draw(sides))


@st.composite
def transposed_convolutions(draw):
    layer = TransposedConv(
        name="l",
        channels=draw(groups),
        kernel_size=draw(sizes),
        padding=draw(st.integers(0, 3)),
        stride=draw(st.integers(1, 4)),
        bias=draw(st.booleans()),
    )
    return layer, (draw(groups), draw(sides), draw(sides))


@st.composite
def pools(draw):
    size, channels = draw(sizes), draw(groups)
    padded = MaxPool(
        name="l", size=size, stride=draw(st.none() | st.integers(1, 4)), padding=draw(st.integers(0, size // 2))
    )
    return draw(st.sampled_from([padded, AveragePool(name="l", size=size)])), (channels, draw(sides), draw(sides))


@st.composite
def group_norms(draw):
    num_groups = draw(groups)
    layer = GroupNorm(name="l", groups=num_groups, epsilon=draw(st.sampled_from([1e-5, 1e-3, 1.0])))
    return layer, (num_groups * draw(groups), draw(sides), draw(sides))


@given(case=convolutions() | transposed_convolutions() | pools() | group_norms())
@settings(max_examples=300)
def test_torch_and_numpy_give_the_same_in_the_shape_that_the_layer_promises(case):
    layers, shape = chain([case[0]]), case[1]
    try:
        promised = trace(one_network(layers, shape))["l"]
    except ValueError:
        if case[0].kind == "transposed_conv":
            assert (min(shape[1:]) - 1) * case[0].stride + case[0].kernel_size <= 2 * case[0].padding  # all is cut off
            return
        size, padding = case[0].kernel_size if case[0].kind == "conv" else case[0].size, getattr(case[0], "padding", 0)
        assert min(shape[1:]) + 2 * padding < size  # only where no window fits
        return
    tensors, inputs = random_tensors(layers, shape), random_inputs(shape, num_examples=2)
    expected = numpy_layers.forward(layers, tensors, inputs).outputs
    outputs, _ = torch_pass(layers, tensors, inputs, None, torch.float64)
    assert outputs.shape == expected.shape == (2, *promised)
    assert np.abs(outputs - expected).max() <= 1e-13 * max(1.0, np.abs(expected).max())
