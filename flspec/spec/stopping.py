"""The section `stop` of a spec."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PositiveInt, model_validator

from flspec.core.components import Document

__all__ = ["Stop"]


class Stop(Document):
    """When a run ends before its last round: at the first evaluated round in which one of these holds."""

    patience: Annotated[
        PositiveInt | None,
        Field(description="so many evaluated rounds in a row are no better than the best, by evaluation.best"),
    ] = None
    bytes: Annotated[
        PositiveInt | None, Field(description="so many bytes were sent, to clients and by them together")
    ] = None
    seconds: Annotated[
        float | None,
        Field(
            gt=0,
            le=1e9,
            description="so much wall clock has passed, over all attempts; where such a run ends depends on the "
            "machine, so this is no part of the plan",
        ),
    ] = None

    @model_validator(mode="after")
    def _says_when(self) -> Stop:
        if self.patience is None and self.bytes is None and self.seconds is None:
            raise ValueError("says nothing; give patience, bytes or seconds")
        return self
