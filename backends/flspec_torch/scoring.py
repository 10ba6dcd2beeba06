"""A model's scores of examples, in torch."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

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
    """Scores batches on a thread pool, each with one intra-op thread, so the same weights give the same scores."""

    def __init__(self, plan: Plan) -> None:
        self._forward = build_forward(parse_layers(plan.settings["layers"]))

    def logits(self, weights: Weights, split: Split) -> NDArray[np.float32]:
        """float32 [num_examples, num_classes]."""
        tensors = to_tensors(weights)

        def score(start: int) -> NDArray[np.float32]:
            with torch.inference_mode():
                inputs = torch.from_numpy(split.inputs(slice(start, start + _BATCH)))
                return self._forward(tensors, inputs).numpy()

        before = torch.get_num_threads()
        try:
            with ThreadPoolExecutor(os.cpu_count(), initializer=torch.set_num_threads, initargs=(1,)) as pool:
                return np.concatenate(list(pool.map(score, range(0, len(split), _BATCH))))
        finally:
            torch.set_num_threads(before)
