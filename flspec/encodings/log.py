"""Logarithms."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from flspec.encodings.base import Encoding, Unencodable


class Log(Encoding):
    """The natural logarithm of x + plus, for numbers that differ by factors, such as incomes or counts."""

    kind: Literal["log"] = "log"
    main: ClassVar[str] = "plus"
    plus: Annotated[float, Field(ge=0, description="is added before; 1 if some numbers are 0")] = 0.0

    def encoded(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        added = values + self.plus
        if (wrong := (added <= 0).any(axis=1)).any():
            row = int(wrong.argmax())
            raise Unencodable(f"{values[row].min():g} has no logarithm", "write {log: 1} for log(x + 1)", row)
        return np.log(added)
