"""Noise matrices: how the noise of a round follows from that of earlier ones."""

from flspec.core.families import register_family
from flspec.noise_matrices.base import NoiseMatrix

register_family(__name__, __path__)

__all__ = ["NoiseMatrix"]
