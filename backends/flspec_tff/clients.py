"""A client's dataset in a round: its examples once, and its planned steps.

A TFF client's data are a `tf.data.Dataset`, which is sent to the worker completely in each round. It has the client's
examples only once, as stored, and each step has the numbers of their rows, so many epochs cost no more to send than
one. The dataset is built from sources alone. A mapped function would be traced, and the trace kept, for every client of
every round.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from flspec.core.randomness import Stream
from flspec.data.examples import Split, step_stream
from flspec.layers import Network, draw_masks
from flspec.protocol.plan import ClientTask
from flspec_tff.layout import channels_last

__all__ = [
    "Arrays",
    "Examples",
    "Inputs",
    "Planned",
    "Step",
    "Target",
    "client_dataset",
    "element_spec",
    "inputs_of",
    "labels_of",
    "masks_for",
    "nothing_drawn",
]

Arrays = dict[str, NDArray[Any]]
# (number of a step in its task, its rows, its stream) -> what is drawn for it, by name: [rows, ...], channels first.
# A step may lack some of what the first has.
Planned = Callable[[int, int, Stream], Arrays]

# TFF requires that the fields of named tuples in a dataset are in alphabetical order.


class Examples(NamedTuple):
    """All examples that a client trains on in a round. They are the same in each of its steps."""

    divisor: Any  # float32; the model's input is features / divisor,
    features: Any  # uint8 or float32 [num_examples, ...], channels last
    mean: Any  # float32 [channels] or [1]; minus this,
    std: Any  # of the same shape; divided by this


class Step(NamedTuple):
    """Rows of the examples in one step, and what is drawn for it. The first `size` rows of each array count."""

    planned: Any  # each draw of the first step, in order: [longest step of the client, ...]
    rows: Any  # int32 [longest step of the client], into Examples
    size: Any  # int32
    weight: Any  # int32; the client's weight in the mean in its first step, then 0


class Inputs(NamedTuple):
    """TFF's `x`, the input of the model."""

    examples: Examples
    step: Step


class Target(NamedTuple):
    """TFF's `y`, the input of loss and metrics."""

    labels: Any  # int32 [longest step of the client], or uint8 [that, labels]; the first `size` rows count
    position: Any  # int32, the client's place in its cohort


def client_dataset(task: ClientTask, position: int, split: Split, planned: Planned) -> tf.data.Dataset:
    """Build the dataset of the client at `position` in its cohort, with one element (Inputs, Target) for each step."""
    taken = np.concatenate(task.batches)
    if split.transforms:  # they may be random, so an example differs from step to step
        features = np.concatenate(
            [split.transformed(batch, step_stream(task, number)) for number, batch in enumerate(task.batches)]
        )
        rows = np.arange(len(taken))
    else:
        different, rows = np.unique(taken, return_inverse=True)
        features = split.features[different]
    sizes = np.array([len(batch) for batch in task.batches], np.int32)
    weights = np.zeros_like(sizes)
    weights[0] = task.weight
    examples = Examples(np.float32(split.divisor), channels_last(features), *_normalisation(split))
    step = Step(_drawn(task, planned, sizes), _pad(rows.astype(np.int32), sizes), sizes, weights)
    target = Target(_pad(_sent(split.labels[taken]), sizes), np.full_like(sizes, position))
    sliced = tf.data.Dataset.from_tensor_slices
    inputs = Inputs(tf.data.Dataset.from_tensors(examples).repeat(), sliced(step))
    return tf.data.Dataset.zip((inputs, sliced(target)))


def masks_for(network: Network) -> Planned:
    """Return the draws of a step of one network: for each dropout layer bool, True for values that stay."""
    return lambda number, rows, stream: {name: mask != 0 for name, mask in draw_masks(network, rows, stream).items()}


def nothing_drawn(number: int, rows: int, stream: Stream) -> Arrays:
    """Return the draws of a batch that is evaluated."""
    return {}


def inputs_of(x: Inputs) -> tf.Tensor:
    """Return the model's inputs in a step, float32 [rows, ...]."""
    examples, step = x
    features = tf.gather(examples.features, step.rows[: step.size])
    # These numbers are part of the data, because TensorFlow turns division by a constant into a product, which rounds
    # differently.
    return (tf.cast(features, tf.float32) / examples.divisor - examples.mean) / examples.std


def labels_of(target: Target, outputs: tf.Tensor) -> tf.Tensor:
    """Return the labels without padding, [batch] or [batch, labels]."""
    return target.labels[: tf.shape(outputs)[0]]


def element_spec(split: Split, planned: Planned) -> tuple[Inputs, Target]:
    """Return the types of one element of `client_dataset`."""
    one = np.empty((1, *split.input_shape), split.features.dtype)
    number, numbers = tf.TensorSpec([], tf.int32), tf.TensorSpec([None], tf.int32)
    constants = (tf.TensorSpec(constant.shape, tf.float32) for constant in _normalisation(split))
    examples = Examples(tf.TensorSpec([], tf.float32), _rows_like(channels_last(one)), *constants)
    draws = tuple(_rows_like(channels_last(draw)) for draw in planned(0, 1, Stream(0)).values())
    return Inputs(examples, Step(draws, numbers, number, number)), Target(_rows_like(_sent(split.labels[:1])), number)


def _drawn(task: ClientTask, planned: Planned, sizes: NDArray[np.int32]) -> tuple[NDArray[Any], ...]:
    """Return each draw of the first step for all steps, [num_steps, largest size, ...]; zeros where a step has none."""
    steps = [planned(number, int(size), step_stream(task, number)) for number, size in enumerate(sizes)]

    def of_all_steps(name: str, first: NDArray[Any]) -> NDArray[Any]:
        missing = [np.zeros((size, *first.shape[1:]), first.dtype) for size in sizes]
        drawn = [step.get(name, nothing) for step, nothing in zip(steps, missing, strict=True)]
        return _pad(channels_last(np.concatenate(drawn)), sizes)

    return tuple(of_all_steps(name, first) for name, first in steps[0].items())


def _sent(labels: NDArray[Any]) -> NDArray[np.int32] | NDArray[np.uint8]:
    """Convert labels to the type in which they are sent: classes to int32, several labels unchanged."""
    return labels if labels.ndim == 2 else labels.astype(np.int32)


def _normalisation(split: Split) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    return np.array(split.mean or (0.0,), np.float32), np.array(split.std or (1.0,), np.float32)


def _rows_like(rows: NDArray[Any]) -> tf.TensorSpec:
    """Return the type of any number of such rows."""
    return tf.TensorSpec([None, *rows.shape[1:]], rows.dtype)


def _pad(rows: NDArray[Any], sizes: NDArray[np.int32]) -> NDArray[Any]:
    """Reshape `rows` [sum of sizes, ...] to [num_steps, largest size, ...], each step's rows first and then zeros."""
    padded = np.zeros((len(sizes), sizes.max(), *rows.shape[1:]), rows.dtype)
    padded[np.arange(sizes.max()) < sizes[:, None]] = rows
    return padded
