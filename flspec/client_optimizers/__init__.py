"""Client optimizers: how a client descends on its own examples."""

from flspec.client_optimizers.base import ClientOptimizer
from flspec.core.components import load_family

load_family(__name__, __path__)

__all__ = ["ClientOptimizer"]
