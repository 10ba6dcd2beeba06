"""Differential privacy: what a spec asks for, the mechanism that a plan holds, and what it is accounted for."""

from flspec.core.components import load_family
from flspec.privacy.base import ClientsWork, PlannedPrivacy, Privacy, Refusal, refused

load_family(__name__, __path__)

__all__ = ["ClientsWork", "PlannedPrivacy", "Privacy", "Refusal", "refused"]
