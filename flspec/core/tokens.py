"""What texts are to a model."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Tokens"]


@dataclass(frozen=True)
class Tokens:
    """The tokens of texts, whose features are token numbers [steps]: whole numbers from 0 to below `num`."""

    num: int
    are_padded: bool  # whether 0 is no token, but fills texts up behind their end
