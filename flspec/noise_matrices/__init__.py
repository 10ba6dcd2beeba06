"""Noise matrices: how the noise of a round follows from that of earlier ones."""

from flspec.core.components import load_family
from flspec.noise_matrices.base import NoiseMatrix

load_family(__name__, __path__)

__all__ = ["NoiseMatrix"]
