"""A client algorithm: what corrects each gradient, and what clients and server remember. In a spec:

parts: [my_client_algorithm.py]
client: {algorithm: {kind: my_client_algorithm, strength: 0.1}}
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from flspec.client_algorithms import ClientAlgorithm, CohortWork
from flspec.protocol.named_records import Records
from flspec.protocol.updates import Delta


class MyClientAlgorithm(ClientAlgorithm):
    """Every gradient is pulled towards the mean change of the last round."""

    kind: Literal["my_client_algorithm"] = "my_client_algorithm"
    strength: Annotated[float, Field(ge=0, le=1e6, description="how much of it is added", examples=[0.1])]
    # A record: one float32 tensor a learned weight, and the value that it starts with. `client_slots` likewise.
    server_slots: ClassVar[Mapping[str, float]] = {"last_change": 0.0}

    def correct(self, gradient: Any, weight: Any, start: Any, server: Mapping[str, Any], own: Mapping[str, Any]) -> Any:
        return gradient - self.strength * server["last_change"]  # operators alone: any engine's tensors come in

    def combine(self, work: CohortWork) -> tuple[Delta, Records]:
        return work.mean, {"last_change": {n: work.mean[n].astype(np.float32) for n in work.server["last_change"]}}
