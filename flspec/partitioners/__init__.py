"""How training examples are split over clients."""

from flspec.core.components import load_family
from flspec.partitioners.base import Counted, Holdings, Partitioner

load_family(__name__, __path__)

__all__ = ["Counted", "Holdings", "Partitioner"]
