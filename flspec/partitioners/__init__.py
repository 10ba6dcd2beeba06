"""Partitioners: how training examples are split over clients."""

from flspec.core.families import register_family
from flspec.partitioners.base import ClientIndices, Counted, Partitioner

register_family(__name__, __path__)

__all__ = ["ClientIndices", "Counted", "Partitioner"]
