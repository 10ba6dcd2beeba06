"""Samplers: how the cohort, the clients of a round, is chosen."""

from flspec.core.families import register_family
from flspec.samplers.base import Sampler, Sampling

register_family(__name__, __path__)

__all__ = ["Sampler", "Sampling"]
