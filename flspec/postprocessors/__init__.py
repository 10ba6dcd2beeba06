"""Postprocessors: operations on each client update, and on the combined update."""

from flspec.core.components import load_family
from flspec.postprocessors.base import Combined, Postprocessor

load_family(__name__, __path__)

__all__ = ["Combined", "Postprocessor"]
