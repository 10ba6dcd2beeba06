"""Scoring in torch: a model's outputs for examples."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray

from flspec.execution.parts import network_of
from flspec.protocol.plan import Plan
from flspec.protocol.scoring import Inputs
from flspec.protocol.state import Weights
from flspec_torch.model import build_forward, to_tensors
from flspec_torch.scoring_batches import examples_at_once


class TorchScorer:
    """A scorer of batches on a thread pool, with one intra-op thread each, so that equal weights give equal scores."""

    def __init__(self, plan: Plan) -> None:
        network = network_of(plan)
        self._forward = build_forward(network)
        self._constants = to_tensors(plan.constants)
        self._batch = examples_at_once(network)

    def logits(self, weights: Weights, examples: Inputs) -> NDArray[np.float32]:
        """Return float32 [num_examples, num_outputs]. `weights` has all of the model's tensors except its constants."""
        tensors = self._constants | to_tensors(weights)

        def score(start: int) -> NDArray[np.float32]:
            with torch.inference_mode():
                inputs = torch.from_numpy(examples.inputs(slice(start, start + self._batch)))
                return self._forward(tensors, inputs, None).numpy()

        before = torch.get_num_threads()
        try:
            with ThreadPoolExecutor(os.cpu_count(), initializer=torch.set_num_threads, initargs=(1,)) as pool:
                return np.concatenate(list(pool.map(score, range(0, len(examples), self._batch))))
        finally:
            torch.set_num_threads(before)
