"""Numbers as they are."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from flspec.encodings.base import Encoding


class AsIs(Encoding):
    """Numbers as they are in the file."""

    kind: Literal["as_is"] = "as_is"

    def encoded(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        return values
