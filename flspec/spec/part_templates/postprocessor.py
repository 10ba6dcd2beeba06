"""A postprocessor: an operation on each client's update, and on the combined one. In a spec:

parts: [my_postprocessor.py]
postprocessors: [{kind: my_postprocessor, share: 0.5}]
"""

from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from flspec.core.randomness import Stream
from flspec.postprocessors import Postprocessor
from flspec.protocol.named_records import Weights
from flspec.protocol.updates import Delta


class MyPostprocessor(Postprocessor):
    """Only the largest values of each tensor of an update are kept."""

    kind: Literal["my_postprocessor"] = "my_postprocessor"
    share: Annotated[float, Field(gt=0, le=1, description="share of the values that is kept", examples=[0.1])]

    def on_each(self, delta: Delta, record: Weights, stream: Stream) -> Delta:
        """Return one client's update, float64 by name. To draw from `stream`, the class says `is_random = True`."""
        return {name: np.where(abs(value) >= self._least(value), value, 0.0) for name, value in delta.items()}

    def _least(self, value: NDArray[np.float64]) -> float:
        return float(np.quantile(np.abs(value), 1.0 - self.share))
