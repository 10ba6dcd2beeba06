"""Faults: what goes wrong with some of the clients' tasks, by chance or by intent."""

from flspec.core.components import load_family
from flspec.faults.base import ExampleFault, Fault, Loss, UpdateFault

load_family(__name__, __path__)

__all__ = ["ExampleFault", "Fault", "Loss", "UpdateFault"]
