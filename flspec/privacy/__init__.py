"""Differential privacy: what a spec asks for, the mechanism that a plan holds, and what it is accounted for."""

from flspec.core.families import register_family
from flspec.privacy.base import ClientsWork, PlannedPrivacy, Privacy, Refusal, refused

register_family(__name__, __path__)

__all__ = ["ClientsWork", "PlannedPrivacy", "Privacy", "Refusal", "refused"]
