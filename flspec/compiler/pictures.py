"""The planned evaluation of a model that makes pictures: how many, what they are compared by, what is shown."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flspec.compiler.initial_weights import start_tensors
from flspec.core.components import named_part
from flspec.core.randomness import Stream
from flspec.data.examples import NORMALISATIONS, Data
from flspec.errors import InputError, Problem, SpecError
from flspec.features import FeatureSpace
from flspec.features.pixels import Pixels
from flspec.features.random_conv import RandomConv
from flspec.layers import Network, Shape, one_network, parameters_of, parse_layers, trace
from flspec.protocol.settings import FeatureSettings, PictureSettings
from flspec.quality.grids import is_picture
from flspec.spec.evaluation import Evaluation, ImageGrid

__all__ = ["GENERATED", "planned_pictures"]

GENERATED = 1000  # pictures, if a spec does not say
_FIELD = "evaluation.features"
_SMALLEST_SIDE = 8  # of a picture for random_conv, which halves it three times
_MOST_FEATURES = 8192
_MOST_VALUES = 2**28  # features of generated and real pictures: 1 GiB
_MOST_PIXELS = 2**25  # of a grid: 96 MiB

Tensors = dict[str, NDArray[np.float32]]


def planned_pictures(evaluation: Evaluation, data: Data, root: Path) -> tuple[PictureSettings, Tensors]:
    """Return the settings, and the values of the tensors of the feature space.

    `root` is the folder below which files are found. Raises InputError, which names the field, if pictures of this data
    set cannot be compared or shown so.
    """
    shape = data.input_shape
    features, tensors = _planned_features(evaluation.features or _usual_space(shape), data, root)
    generated = evaluation.generated or GENERATED
    grid = _checked_grid(evaluation.images, shape)
    _check_memory(features, generated, data)
    subsets = evaluation.subsets
    settings = PictureSettings(
        generated=generated,
        features=features,
        rows=grid.rows if grid else 0,
        columns=grid.columns if grid else 0,
        subset_count=subsets.count if subsets else 0,
        subset_size=subsets.size if subsets else 0,
        by_label=evaluation.by_label,
    )
    return settings, tensors


def _usual_space(shape: Shape) -> FeatureSpace:
    return RandomConv() if is_picture(shape) and min(shape[1:]) >= _SMALLEST_SIDE else Pixels()


def _planned_features(space: FeatureSpace, data: Data, root: Path) -> tuple[FeatureSettings, Tensors]:
    takes, shape = space.takes, data.input_shape
    if not is_picture(shape) and takes.size:
        raise _wrong(f"size: {takes.size} is for pictures, these examples have shape {list(shape)}")
    taken = (shape[0], takes.size, takes.size) if takes.size else shape
    # Values of examples that are no pictures are compared as they are.
    mean, std = NORMALISATIONS[takes.normalise] if is_picture(shape) else ((), ())
    if len(mean) > 1 and shape[0] != len(mean):
        raise _wrong(f"normalise: {takes.normalise} is for {len(mean)} channels, these pictures have {shape[0]}")
    network = _network(space, taken)
    tensors = _tensors(space, network, taken, root)
    settings = FeatureSettings(
        title=space.title,
        layers=tuple(layer.model_dump(mode="json") for layer in network.layers),
        input_shape=taken,
        tensors=tuple(tensors),
        size=takes.size,
        mean=mean,
        std=std,
        standardise=space.standardise,
    )
    return settings, tensors


def _network(space: FeatureSpace, shape: Shape) -> Network:
    try:
        network = one_network(space.layers(shape), shape)
        features = trace(network)[network.output]
    except (ValueError, KeyError, IndexError) as error:
        raise _wrong(str(error)) from None
    if len(features) != 1:
        raise _wrong(f"{named_part(space, 'layers')} gives {list(features)}, not a list of features; repair it")
    if features[0] > _MOST_FEATURES:
        message = f"{space.title} gives {features[0]:,} features of a picture; at most {_MOST_FEATURES:,} are compared"
        raise _wrong(message)
    return network


def _tensors(space: FeatureSpace, network: Network, shape: Shape, root: Path) -> Tensors:
    needed = parameters_of(network)
    if space.trained is None:
        return space.tensors(needed)
    whole = parameters_of(one_network(space.trained.layers(shape, 1), shape))
    found = start_tensors(space.trained, whole, root, Stream(0, "unused head"), f"{_FIELD}.model")
    return {name: found[name] for name in needed}


def _checked_grid(grid: ImageGrid | None, shape: Shape) -> ImageGrid | None:
    """Return the grid to show, or None if examples cannot be looked at."""
    if not is_picture(shape):
        if grid is not None:
            message = f"examples of shape {list(shape)} are no pictures; remove it"
            raise SpecError([Problem(message, "evaluation.images")])
        return None
    chosen = grid or ImageGrid()
    pixels = chosen.rows * chosen.columns * math.prod(shape[1:])
    if pixels > _MOST_PIXELS:
        message = f"{chosen.rows} rows of {chosen.columns} pictures are {pixels:,} pixels, more than {_MOST_PIXELS:,}"
        raise SpecError([Problem(message, "evaluation.images")])
    return chosen


def _check_memory(features: FeatureSettings, generated: int, data: Data) -> None:
    """Raise SpecError if the features of all pictures are more than a run should hold."""
    num_pictures = generated + sum(len(split) for split in data.splits.values())
    network = one_network(parse_layers(features.layers), features.input_shape)
    (num_features,) = trace(network)[network.output]
    if num_pictures * num_features > _MOST_VALUES:
        message = (
            f"{num_features:,} features of {num_pictures:,} real and generated pictures are more than the "
            f"{_MOST_VALUES >> 20} Mi that a run holds; lower evaluation.generated, or choose fewer features"
        )
        raise SpecError([Problem(message, _FIELD)])


def _wrong(message: str) -> InputError:
    """Return the error; what is wrong with one key begins with its name."""
    key, _, rest = message.partition(": ")
    at_key = rest and key.isidentifier()
    return SpecError([Problem(rest if at_key else message, f"{_FIELD}.{key}" if at_key else _FIELD)])
