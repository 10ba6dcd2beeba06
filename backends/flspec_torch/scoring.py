"""Scoring in torch: a model's outputs for examples, the pictures that it makes, and features of pictures."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from flspec.execution.parts import feature_network_of, network_of, networks_of, sample_of
from flspec.layers import Network
from flspec.protocol.part_scope import using_parts_of
from flspec.protocol.plan import Plan
from flspec.protocol.scoring import Inputs
from flspec.protocol.state import Weights
from flspec_torch.model import build_forward, build_network, to_tensors
from flspec_torch.scoring_batches import examples_at_once

Values = NDArray[np.float32]


class TorchScorer:
    """A scorer of batches on a thread pool, with one intra-op thread each, so that equal weights give equal scores."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._constants = to_tensors(plan.constants)

    def logits(self, weights: Weights, examples: Inputs) -> Values:
        """Return float32 [num_examples, num_outputs]. `weights` has all of the model's tensors except its constants."""
        with using_parts_of(self._plan.settings):
            return _outputs(self._model, self._constants | to_tensors(weights), examples)

    def features(self, pictures: Inputs) -> Values:
        """Return float32 [num_pictures, num_features], in the plan's feature space."""
        return _outputs(self._feature_network, self._feature_tensors, pictures)

    def pictures(self, weights: Weights, drawn: Mapping[str, Values]) -> Values:
        """Return the pictures that a model makes of what was drawn, [num_pictures, *shape]."""
        sample, tensors = sample_of(self._plan), self._constants | to_tensors(weights)
        assert sample, "a plan that has pictures evaluated says how they are made"
        networks = {name: networks_of(self._plan)[name] for name in sample.networks}
        evaluate = {name: build_network(network) for name, network in networks.items()}

        def make(rows: slice) -> Values:
            values = {name: torch.from_numpy(numbers[rows]) for name, numbers in drawn.items()}
            for call in sample.calls:
                given = {name: values[source] for name, source in call.inputs.items()}
                values[call.value] = evaluate[call.network](tensors, given, None)
            return values[sample.picture].numpy()

        return _in_batches(make, len(next(iter(drawn.values()))), min(map(examples_at_once, networks.values())))

    @cached_property
    def _model(self) -> Network:
        return network_of(self._plan)

    @cached_property
    def _feature_network(self) -> Network:
        return feature_network_of(self._plan)

    @cached_property
    def _feature_tensors(self) -> dict[str, torch.Tensor]:
        return to_tensors(self._plan.feature_tensors)


def _outputs(network: Network, tensors: Mapping[str, torch.Tensor], examples: Inputs) -> Values:
    forward = build_forward(network)

    def score(rows: slice) -> Values:
        return forward(tensors, torch.from_numpy(examples.inputs(rows)), None).numpy()

    return _in_batches(score, len(examples), examples_at_once(network))


def _in_batches(of: Callable[[slice], Values], num: int, at_once: int) -> Values:
    """Return what `of` gives for all rows, in batches of so many."""

    def batch(start: int) -> Values:
        with torch.inference_mode():
            return of(slice(start, start + at_once))

    before = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(os.cpu_count(), initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return np.concatenate(list(pool.map(batch, range(0, num, at_once))))
    finally:
        torch.set_num_threads(before)
