"""A bound on each client's update, for differential privacy. In a spec:

parts: [my_update_clip.py]
aggregator: {kind: fedavg, weighting: uniform}
privacy: {kind: central, clip: {kind: my_update_clip, first: 1.0}, noise_multiplier: 1.0, delta: 0.01}
"""

from typing import Annotated, Literal

from pydantic import Field

from flspec.update_clips import UpdateClip


class MyUpdateClip(UpdateClip):
    """A norm that falls by one factor each round, down to a least one."""

    kind: Literal["my_update_clip"] = "my_update_clip"
    first: Annotated[float, Field(gt=0, le=1e12, description="norm in the first round", examples=[1.0])]
    least: Annotated[float, Field(gt=0, le=1e12, description="norm below which it does not fall")] = 0.01
    factor: Annotated[float, Field(gt=0, le=1, description="norm of the next round, as a share of this one's")] = 0.9

    @property
    def first_norm(self) -> float:
        return self.first

    def next_norm(self, norm: float, share_within: float) -> float:
        """Return the bound of the next round. The noise is of its size; what it is computed from must be public.

        `share_within`, the noised share of the clients within the bound, is counted where `count_noise` gives the
        deviation of that noise.
        """
        return max(norm * self.factor, self.least)
