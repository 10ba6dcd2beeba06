"""Operations on client updates: on each of them, and on what they are combined into."""

from flspec.core.components import load_family
from flspec.postprocessors.base import Combined, Postprocessor

load_family(__name__, __path__)

__all__ = ["Combined", "Postprocessor"]
