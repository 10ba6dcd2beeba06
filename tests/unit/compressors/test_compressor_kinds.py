"""What each compressor sends, against numbers by hand and against loops that share nothing with it."""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np
import pytest

from flspec.compressors.float16 import Float16
from flspec.compressors.int8 import Int8
from flspec.compressors.top_k import TopK
from flspec.core.randomness import Stream

EVERY = [Float16(), Int8(), TopK(share=0.25)]


def tensors(**values: Any) -> dict[str, np.ndarray]:
    return {name: np.array(value, np.float32) for name, value in values.items()}


def drawn(*shape: int, seed: int = 1) -> np.ndarray:
    size = math.prod(shape)
    return (Stream(seed, "values").normal(size).reshape(shape) * 1e-2).astype(np.float32)


def arrived(compressor, delta, seed=5):
    return compressor.restore(compressor.compress(delta, Stream(seed)), delta)


@pytest.mark.parametrize("compressor", EVERY, ids=lambda one: one.kind)
def test_tensors_arrive_with_their_names_shapes_and_type_and_the_bytes_that_are_counted(compressor):
    delta = {"b": drawn(3), "a": drawn(2, 4), "scalar": np.array(0.5, np.float32)}
    sent = compressor.compress(delta, Stream(1))
    assert compressor.num_bytes(delta) == sum(value.nbytes for value in sent.values())
    given = compressor.restore(sent, delta)
    assert {name: value.shape for name, value in given.items()} == {"b": (3,), "a": (2, 4), "scalar": ()}
    assert all(value.dtype == np.float32 for value in given.values())


@pytest.mark.parametrize("compressor", EVERY, ids=lambda one: one.kind)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_arrives_as_not_finite(compressor, value):
    given = arrived(compressor, tensors(a=[1.0, value, 3.0, 4.0]))
    assert not np.isfinite(given["a"]).all()


@pytest.mark.parametrize(
    ("compressor", "num_bytes"), [(Float16(), 2 * 100), (Int8(), 100 + 2 * 4), (TopK(share=0.07), 7 * 8)]
)
def test_bytes_by_hand(compressor, num_bytes):
    assert compressor.num_bytes({"a": drawn(9, 10), "b": drawn(10)}) == num_bytes


def test_float16_is_that_of_the_standard():
    delta = {"a": np.concatenate([drawn(500), np.array([0.0, 1e-9, 2.0**-25, 1 + 2**-11, 65519.0], np.float32)])}
    expected = [struct.unpack("<e", struct.pack("<e", value))[0] for value in delta["a"].tolist()]
    np.testing.assert_array_equal(arrived(Float16(), delta)["a"], np.array(expected, np.float32))
    assert arrived(Float16(), tensors(a=[65520.0, -1e30]))["a"].tolist() == [math.inf, -math.inf]


def test_int8_sends_whole_numbers_and_the_scale_of_each_tensor():
    sent = Int8().compress(tensors(a=[127.0, -3.0, 0.0, 0.5], b=[-254.0, 1.0]), Stream(2))
    assert sent["a/scale"] == np.float32(1.0)
    assert sent["b/scale"] == np.float32(2.0)
    assert sent["a"].dtype == np.int8
    assert sent["a"][:3].tolist() == [127, -3, 0]  # whole numbers of scales are never moved
    assert sent["a"][3] in (0, 1)
    assert sent["b"][0] == -127


def test_int8_errs_by_less_than_a_scale_and_goes_to_a_neighbour():
    delta = {"a": drawn(400)}
    sent = Int8().compress(delta, Stream(4))
    for number, value in zip(sent["a"].tolist(), delta["a"].tolist(), strict=True):
        assert number in (math.floor(value / float(sent["a/scale"])), math.ceil(value / float(sent["a/scale"])))


def test_int8_is_right_in_the_mean_as_rounding_to_the_nearest_is_not():
    value, num = 0.3, 40_000
    given = arrived(Int8(), {"a": np.array([127.0, *[value] * num], np.float32)})["a"][1:]
    deviation = math.sqrt(value * (1 - value) / num)
    assert set(given.tolist()) == {0.0, 1.0}
    assert abs(float(given.mean(dtype=np.float64)) - value) < 4 * deviation


def test_int8_rounds_equal_tensors_each_by_draws_of_its_own():
    sent = Int8().compress({"a": drawn(200), "b": drawn(200)}, Stream(4))
    assert sent["a/scale"] == sent["b/scale"]
    assert (sent["a"] != sent["b"]).any()


@pytest.mark.parametrize("largest", [2.0**-149, 1e-40, 3e-39, 0.1, 1.0, 2.5e38])
def test_127_scales_are_never_less_than_the_largest_value(largest):
    for step in range(20):
        value = np.float32(largest) * np.float32(1 + step / 64)
        sent = Int8().compress(tensors(a=[value, -value]), Stream(step))
        assert float(sent["a/scale"]) * 127 >= float(value)
        assert np.abs(sent["a"].astype(int)).max() <= 127


def test_int8_of_nothing_is_nothing():
    assert arrived(Int8(), tensors(a=[0.0, 0.0]))["a"].tolist() == [0.0, 0.0]


def test_top_k_takes_the_first_of_equals_over_all_tensors():
    delta = tensors(b=[[1.0, -2.0], [0.5, 2.0]], a=[2.0, -3.0, 2.0, 0.0])
    sent = TopK(share=3 / 8).compress(delta, Stream(0))
    assert sent["places"].tolist() == [1, 3, 5]
    assert sent["places"].dtype == np.int32
    assert sent["values"].tolist() == [-2.0, 2.0, -3.0]
    given = TopK(share=3 / 8).restore(sent, delta)
    assert given["b"].tolist() == [[0.0, -2.0], [0.0, 2.0]]
    assert given["a"].tolist() == [0.0, -3.0, 0.0, 0.0]


@pytest.mark.parametrize("share", [1e-9, 0.1, 0.37, 1.0])
def test_top_k_against_a_sort(share):
    values = np.round(drawn(60, seed=3) * 300).tolist()  # many are equal
    num = max(1, round(share * 60))
    kept = sorted(sorted(range(60), key=lambda place: (-abs(values[place]), place))[:num])
    assert TopK(share=share).compress(tensors(a=values), Stream(0))["places"].tolist() == kept


def test_top_k_remembers_if_nothing_is_said():
    assert TopK(share=0.5).error_feedback
    assert not Int8().error_feedback
