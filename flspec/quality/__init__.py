"""How close generated pictures are to real ones: distances between two sets of features, and grids to look at."""

from flspec.quality.compared import ComparedPictures, Features, Subsets
from flspec.quality.frechet import frechet_distance
from flspec.quality.kernel import kernel_distance, kernel_distances
from flspec.quality.neighbours import covered_share

__all__ = [
    "ComparedPictures",
    "Features",
    "Subsets",
    "covered_share",
    "frechet_distance",
    "kernel_distance",
    "kernel_distances",
]
