"""Objectives: what a client minimises in a step."""

from flspec.core.components import load_family
from flspec.objectives.base import Objective

load_family(__name__, __path__)

__all__ = ["Objective"]
