"""Client algorithms: how a client corrects its gradients, what it stores for that, and what it sends."""

from flspec.client_algorithms.base import ClientAlgorithm, ClientOutcome, CohortWork, LocalWork, Pass
from flspec.core.families import register_family

register_family(__name__, __path__)

__all__ = ["ClientAlgorithm", "ClientOutcome", "CohortWork", "LocalWork", "Pass"]
