"""Client optimizers: how a client descends on its own examples."""

from flspec.client_optimizers.base import ClientOptimizer
from flspec.core.families import register_family

register_family(__name__, __path__)

__all__ = ["ClientOptimizer"]
