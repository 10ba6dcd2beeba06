"""Partitioners: how training examples are split over clients."""

from flspec.core.components import load_family
from flspec.partitioners.base import ClientIndices, Counted, Partitioner

load_family(__name__, __path__)

__all__ = ["ClientIndices", "Counted", "Partitioner"]
