"""An encoding of a table's columns. In a spec:

parts: [my_encoding.py]
dataset:
  kind: csv
  file: table.csv
  label: outcome
  features: {dose: my_encoding, age: {my_encoding: 2.0}}
  holdout: 0.25
"""

from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field

from flspec.encodings import Column, Encoding, Unencodable


class MyEncoding(Encoding):
    """(x - median) / spread, cut at a bound, where the spread is the median distance from the median."""

    kind: Literal["my_encoding"] = "my_encoding"
    main: ClassVar[str] = "bound"  # the parameter that {my_encoding: 2.0} gives
    bound: Annotated[float, Field(gt=0, le=1e6, description="largest value that is given")] = 3.0
    median: Annotated[float | None, Field(description="if absent, that of the training examples")] = None
    spread: Annotated[float | None, Field(gt=0, description="if absent, that of the training examples")] = None

    def fitted(self, values: Column) -> Self:
        """Return this encoding with what it takes from the training examples, [num_rows, num_values], NaN if missing.

        The plan holds what is returned, and `encoded` is called on it.
        """
        numbers = np.asarray(values)
        if not np.isfinite(numbers).any():
            raise Unencodable("every training example lacks a value", "leave the column out")
        median = float(np.nanmedian(numbers))
        spread = float(np.nanmedian(abs(numbers - median))) or 1.0
        return self.model_copy(update={"median": self.median or median, "spread": self.spread or spread})

    def encoded(self, values: Any) -> Column:
        """Return the numbers of any examples, [num_rows, num_values]; a missing one stays NaN."""
        given: Column = np.clip((values - self.median) / self.spread, -self.bound, self.bound)
        return given
