"""Rules between the sections of a spec. A new one is a function with `@rule` in a module of this folder."""

from flspec.spec.rules import networks, pictures, privacy, training
from flspec.spec.rules.base import Contradiction, contradictions

__all__ = ["Contradiction", "contradictions", "networks", "pictures", "privacy", "training"]
