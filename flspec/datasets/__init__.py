"""Data sets: the sources of examples."""

from flspec.core.families import register_family
from flspec.datasets.base import Dataset

register_family(__name__, __path__)

__all__ = ["Dataset"]
