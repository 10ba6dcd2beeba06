"""Metrics of a model that makes pictures: features of these are held against features of real ones.

A value belongs to its feature space (`evaluation.features`): those of two spaces cannot be compared.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flspec.metrics.base import metric
from flspec.metrics.scores import Undefined
from flspec.quality import ComparedPictures, covered_share, frechet_distance, kernel_distances

_NEIGHBOURS = 3  # as Kynkäänniemi et al. have it


@metric(
    better="lower",
    measures="pictures",
    description="kernel distance of generated from real pictures, unbiased, so slightly negative if they are alike",
)
def kid(pictures: ComparedPictures) -> float:
    """Return the kernel distance (Binkowski et al., ICLR 2018); papers often print a thousand times it.

    With `evaluation.subsets` it is the mean over these.
    """
    _more_than(pictures, 1, "the kernel of two different pictures")
    return float(_of_subsets(pictures).mean())


@metric(better="neither", measures="pictures", description="standard deviation of kid over evaluation.subsets")
def kid_deviation(pictures: ComparedPictures) -> float:
    """Return the standard deviation of the kernel distance over `evaluation.subsets`."""
    if pictures.subsets is None:
        raise Undefined("evaluation.subsets is not set")
    return float(_of_subsets(pictures).std())


@metric(
    better="lower",
    measures="pictures",
    description="Fréchet distance of generated from real pictures, biased upwards where there are few",
)
def fid(pictures: ComparedPictures) -> float:
    """Return the Fréchet distance (Heusel et al., NeurIPS 2017)."""
    num_features = pictures.real.shape[1]
    _more_than(pictures, num_features, f"a covariance of {num_features:,} features")
    return frechet_distance(pictures.real, pictures.fake)


@metric(
    better="higher",
    measures="pictures",
    description="share of the generated pictures that lie among real ones (Kynkäänniemi et al.), k = 3",
)
def image_precision(pictures: ComparedPictures) -> float:
    """Return the share of generated pictures within some real one's distance to its third neighbour."""
    _more_than(pictures, _NEIGHBOURS, "a third neighbour")
    return covered_share(pictures.real, pictures.fake, _NEIGHBOURS)


@metric(
    better="higher",
    measures="pictures",
    description="share of the real pictures that lie among generated ones; read it with image_precision",
)
def image_recall(pictures: ComparedPictures) -> float:
    """Return the share of real pictures within some generated one's distance to its third neighbour.

    Before training it is high, because generated pictures lie far apart.
    """
    _more_than(pictures, _NEIGHBOURS, "a third neighbour")
    return covered_share(pictures.fake, pictures.real, _NEIGHBOURS)


def _of_subsets(pictures: ComparedPictures) -> NDArray[np.float64]:
    if pictures.subsets:
        _more_than(pictures, pictures.subsets.size - 1, f"a subset of {pictures.subsets.size:,}")
    return kernel_distances(pictures)


def _more_than(pictures: ComparedPictures, number: int, what: str) -> None:
    """Raise Undefined unless there are more real and more generated pictures than that."""
    fewest = min(len(pictures.real), len(pictures.fake))
    if fewest <= number:
        raise Undefined(f"{what} needs at least {number + 1:,} pictures of either kind, but has {fewest:,}")
