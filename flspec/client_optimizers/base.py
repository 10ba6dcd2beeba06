"""What a client optimizer is: a description that each engine turns into its own."""

from __future__ import annotations

from abc import ABC

from flspec.components import Component

__all__ = ["ClientOptimizer"]


class ClientOptimizer(Component, ABC):
    """The rule of a client's steps; its state starts afresh each time a client is asked to train.

    Its class states the rule; engines implement it and refuse, by `kind`, those they do not know.
    """
