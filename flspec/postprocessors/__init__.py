"""Postprocessors: operations on each client update, and on the combined update."""

from flspec.core.families import register_family
from flspec.postprocessors.base import Combined, Postprocessor

register_family(__name__, __path__)

__all__ = ["Combined", "Postprocessor"]
