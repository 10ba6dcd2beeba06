"""Data sets: the sources of examples."""

from flspec.core.components import load_family
from flspec.datasets.base import Dataset

load_family(__name__, __path__)

__all__ = ["Dataset"]
