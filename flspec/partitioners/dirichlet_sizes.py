"""Clients of different sizes, drawn from a Dirichlet distribution."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from flspec.core.randomness import Stream
from flspec.partitioners.log_normal import QuantitySkew


class DirichletSizes(QuantitySkew):
    """Examples are dealt at random to clients whose sizes are Dirichlet: s ~ Dir(alpha, ..., alpha).

    This is quantity skew as in Li et al., ICDE 2022 (NIID-Bench), https://arxiv.org/abs/2102.02079. Client k has
    min_examples + r s_k examples, where r is the number of examples that the minimums leave. Every example is used.
    """

    kind: Literal["dirichlet_sizes"] = "dirichlet_sizes"
    alpha: Annotated[
        float, Field(gt=0, le=1e6, description="concentration: small is skewed, large is even", examples=[0.5])
    ]

    def _shares(self, stream: Stream) -> NDArray[np.float64]:
        return stream.dirichlet(self.alpha, self.clients)
