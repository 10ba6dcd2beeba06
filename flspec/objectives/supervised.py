"""The objective of supervised learning."""

from __future__ import annotations

from typing import Literal

from flspec.objectives.base import Objective


class Supervised(Objective):
    """The mean of `client.loss` over the batch, of the model's outputs against the examples' labels."""

    kind: Literal["supervised"] = "supervised"
