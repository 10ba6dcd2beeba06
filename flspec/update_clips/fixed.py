"""One bound for all rounds."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from flspec.update_clips.base import LARGEST_NORM, SMALLEST_NORM, UpdateClip


class Fixed(UpdateClip):
    """The same norm in every round."""

    kind: Literal["fixed"] = "fixed"
    norm: Annotated[
        float,
        Field(ge=SMALLEST_NORM, le=LARGEST_NORM, description="largest norm that stays unchanged", examples=[1.0]),
    ]

    @property
    def first_norm(self) -> float:
        return self.norm
