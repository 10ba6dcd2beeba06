"""Rules between the sections of a spec. A new one is a function with `@rule` in a module of this folder."""

from flspec.spec.rules import algorithms, networks, pictures, privacy, training
from flspec.spec.rules.base import Contradiction, contradictions

__all__ = ["Contradiction", "algorithms", "contradictions", "networks", "pictures", "privacy", "training"]
