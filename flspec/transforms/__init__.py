"""Transforms of images between the store and the model."""

from flspec.core.components import load_family
from flspec.transforms.base import Transform

load_family(__name__, __path__)

__all__ = ["Transform"]
