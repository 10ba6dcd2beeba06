"""Aggregators: how a cohort's updates become the next global model, by a combining rule and a server optimizer."""

from flspec.aggregators.base import Aggregator, MeanAggregator, Need, ServerSide, WeightedAggregator
from flspec.core.families import register_family

register_family(__name__, __path__)

__all__ = ["Aggregator", "MeanAggregator", "Need", "ServerSide", "WeightedAggregator"]
