"""Transforms of images between the store and the model."""

from flspec.core.families import register_family
from flspec.transforms.base import Transform

register_family(__name__, __path__)

__all__ = ["Transform"]
