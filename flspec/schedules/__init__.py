"""Schedules: how a learning rate changes over an experiment, on the client or on the server."""

from flspec.core.families import register_family
from flspec.schedules.base import Schedule

register_family(__name__, __path__)

__all__ = ["Schedule"]
