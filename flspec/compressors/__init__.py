"""Compressors: what a client sends in place of its update, in fewer bytes."""

from flspec.compressors.base import Compressor, Payload
from flspec.core.families import register_family

register_family(__name__, __path__)

__all__ = ["Compressor", "Payload"]
