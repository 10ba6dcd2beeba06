"""A model's scores of examples, in torch."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from flspec.data import Split
from flspec.layers import parse_layers
from flspec.plan import Plan
from flspec.state import Weights
from flspec_torch.model import build_forward, to_tensors

_BATCH = 500  # examples scored at once: bounds memory, changes nothing else


class TorchScorer:
    """Scores examples with one intra-op thread, so the same weights always give the same scores."""

    def __init__(self, plan: Plan) -> None:
        self._forward = build_forward(parse_layers(plan.settings["layers"]))

    def logits(self, weights: Weights, split: Split) -> NDArray[np.float32]:
        """float32 [num_examples, num_classes]."""
        tensors = to_tensors(weights)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with torch.inference_mode():
                parts = [
                    self._forward(tensors, torch.from_numpy(split.inputs(slice(start, start + _BATCH)))).numpy()
                    for start in range(0, len(split), _BATCH)
                ]
        finally:
            torch.set_num_threads(threads)
        return np.concatenate(parts)
