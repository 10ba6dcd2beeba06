"""The one question a dataset answers: what are the examples?"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

from flspec.components import Component
from flspec.data import Data
from flspec.randomness import Stream

__all__ = ["Dataset"]


class Dataset(Component, ABC):
    """A source of examples for training and for evaluation."""

    @abstractmethod
    def load(self, root: Path, stream: Stream) -> Data:
        """Read (from below `root`) or make (from `stream`) the examples.

        Raises InputError naming the file that is missing or wrong.
        """
