"""Feature spaces: what a picture is turned into before pictures are compared."""

from flspec.core.families import register_family
from flspec.features.base import FeatureSpace

register_family(__name__, __path__)

__all__ = ["FeatureSpace"]
