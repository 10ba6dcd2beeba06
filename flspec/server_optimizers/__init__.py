"""Server optimizers: how the server turns the combined update into new weights."""

from flspec.core.families import register_family
from flspec.server_optimizers.base import ServerOptimizer

register_family(__name__, __path__)

__all__ = ["ServerOptimizer"]
