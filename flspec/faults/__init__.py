"""Faults: what goes wrong with some of the clients' tasks, by chance or by intent."""

from flspec.core.families import register_family
from flspec.faults.base import ExampleFault, Fault, Loss, UpdateFault

register_family(__name__, __path__)

__all__ = ["ExampleFault", "Fault", "Loss", "UpdateFault"]
