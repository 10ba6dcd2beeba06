"""Samplers: how the cohort, the clients of a round, is chosen."""

from flspec.core.components import load_family
from flspec.samplers.base import Sampler, Sampling

load_family(__name__, __path__)

__all__ = ["Sampler", "Sampling"]
