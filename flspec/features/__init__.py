"""Feature spaces: what a picture is turned into before pictures are compared."""

from flspec.core.components import load_family
from flspec.features.base import FeatureSpace

load_family(__name__, __path__)

__all__ = ["FeatureSpace"]
