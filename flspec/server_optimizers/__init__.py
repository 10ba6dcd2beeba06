"""Server optimizers: how the server turns the combined update into new weights."""

from flspec.core.components import load_family
from flspec.server_optimizers.base import ServerOptimizer

load_family(__name__, __path__)

__all__ = ["ServerOptimizer"]
