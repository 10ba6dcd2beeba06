"""Secure aggregation, simulated: the arithmetic by which a server would learn a sum of updates and nothing else."""

from flspec.core.families import register_family
from flspec.secure_aggregation.base import MaskedMean, SecureAggregation, Sender

register_family(__name__, __path__)

__all__ = ["MaskedMean", "SecureAggregation", "Sender"]
