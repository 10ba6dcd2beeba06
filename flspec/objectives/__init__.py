"""Objectives: what a client minimises in a step."""

from flspec.core.families import register_family
from flspec.objectives.base import Objective

register_family(__name__, __path__)

__all__ = ["Objective"]
