"""What a client is given in a round: its examples once, and the steps that are planned on them.

A TFF client's data are a `tf.data.Dataset` that is sent to the worker whole, each round. So that many passes cost
no more to send than one, it holds the client's examples once, as published, and each step only names rows of
them. The dataset is made of sources alone, without any mapped function, because each of those would be traced,
and kept, once for every client of every round.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from flspec.data import Split, step_stream
from flspec.plan import ClientTask
from flspec_tff.layout import image_to_tensorflow

__all__ = ["Examples", "Inputs", "Step", "Target", "client_dataset", "element_spec"]

# TFF refuses named tuples in a dataset whose fields are not in alphabetical order.


class Examples(NamedTuple):
    """All that a client trains on in a round; the same at each of its steps."""

    divisor: Any  # float32; the model sees features / divisor
    features: Any  # uint8 or float32 [num_examples, ...], channels last
    mean: Any  # float32 [channels] or [1]; what is left after the division, less this,
    std: Any  # of the same shape, is divided by this


class Step(NamedTuple):
    """Which examples one step takes."""

    rows: Any  # int32 [longest step of the client], into Examples; the first `size` of them count
    size: Any  # int32
    weight: Any  # int32; the client's whole weight in the mean at its first step, then 0


class Inputs(NamedTuple):
    """TFF's `x`, which the model is given."""

    examples: Examples
    step: Step


class Target(NamedTuple):
    """TFF's `y`, which loss and metrics are given."""

    labels: Any  # int32 [longest step of the client]; the first `size` count
    position: Any  # int32, the client's place in its cohort


def client_dataset(task: ClientTask, position: int, split: Split) -> tf.data.Dataset:
    """The steps of the client at `position` in its cohort, one element each: (Inputs, Target)."""
    taken = np.concatenate(task.batches)
    if split.transforms:  # at random, perhaps: then one example is another at each step
        features = np.concatenate(
            [split.transformed(batch, step_stream(task, number)) for number, batch in enumerate(task.batches)]
        )
        rows = np.arange(len(taken))
    else:
        held, rows = np.unique(taken, return_inverse=True)
        features = split.features[held]
    sizes = np.array([len(batch) for batch in task.batches], np.int32)
    weights = np.zeros_like(sizes)
    weights[0] = task.weight
    examples = Examples(np.float32(split.divisor), image_to_tensorflow(features), *_normalisation(split))
    step = Step(_pad(rows, sizes), sizes, weights)
    target = Target(_pad(split.labels[taken], sizes), np.full_like(sizes, position))
    sliced = tf.data.Dataset.from_tensor_slices
    inputs = Inputs(tf.data.Dataset.from_tensors(examples).repeat(), sliced(step))
    return tf.data.Dataset.zip((inputs, sliced(target)))


def element_spec(split: Split) -> tuple[Inputs, Target]:
    """The types of one element of `client_dataset`."""
    shape = image_to_tensorflow(np.empty((1, *split.input_shape))).shape[1:]
    number, numbers = tf.TensorSpec([], tf.int32), tf.TensorSpec([None], tf.int32)
    constants = (tf.TensorSpec(constant.shape, tf.float32) for constant in _normalisation(split))
    features = tf.TensorSpec([None, *shape], split.features.dtype)
    examples = Examples(tf.TensorSpec([], tf.float32), features, *constants)
    return Inputs(examples, Step(numbers, number, number)), Target(numbers, number)


def _normalisation(split: Split) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    return np.array(split.mean or (0.0,), np.float32), np.array(split.std or (1.0,), np.float32)


def _pad(values: NDArray[np.integer[Any]], sizes: NDArray[np.int32]) -> NDArray[np.int32]:
    """`values` [sum of sizes] as int32 [num_steps, largest size], one step a row, zeros behind it."""
    padded = np.zeros((len(sizes), sizes.max()), np.int32)
    padded[np.arange(sizes.max()) < sizes[:, None]] = values
    return padded
