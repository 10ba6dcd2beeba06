"""Compressors: what a client sends in place of its update, in fewer bytes."""

from flspec.compressors.base import Compressor, Payload
from flspec.core.components import load_family

load_family(__name__, __path__)

__all__ = ["Compressor", "Payload"]
