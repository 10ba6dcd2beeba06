"""Scoring in torch: a model's outputs for examples, the pictures that it makes, and features of pictures."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flspec.data.examples import Split
from flspec.execution.parts import feature_network_of, network_of, networks_of, sample_of
from flspec.layers import Network
from flspec.protocol.part_scope import using_parts_of
from flspec.protocol.plan import Plan
from flspec.protocol.scoring import Inputs
from flspec.protocol.state import Weights
from flspec_torch.devices import HOST, TorchDevice
from flspec_torch.model import build_forward, build_network
from flspec_torch.scoring_batches import examples_at_once
from flspec_torch.stored_examples import StoredExamples, store_examples

Values = NDArray[np.float32]


class TorchScorer:
    """A scorer of batches, so that equal weights give equal scores: on the host on a thread pool, with one intra-op
    thread each, on a device one after the other.
    """

    def __init__(self, plan: Plan, device: TorchDevice = HOST) -> None:
        self._plan, self._device = plan, device
        self._constants = device.copies(plan.constants)
        self._stored = WeakKeyDictionary[Split, StoredExamples | None]()

    def logits(self, weights: Weights, examples: Inputs) -> Values:
        """Return float32 [num_examples, num_outputs]. `weights` has all of the model's tensors except its constants."""
        with using_parts_of(self._plan.settings):
            return self._outputs(self._model, self._constants | self._device.copies(weights), examples)

    def features(self, pictures: Inputs) -> Values:
        """Return float32 [num_pictures, num_features], in the plan's feature space."""
        return self._outputs(self._feature_network, self._feature_tensors, pictures)

    def pictures(self, weights: Weights, drawn: Mapping[str, Values]) -> Values:
        """Return the pictures that a model makes of what was drawn, [num_pictures, *shape]."""
        sample, tensors = sample_of(self._plan), self._constants | self._device.copies(weights)
        assert sample, "a plan that has pictures evaluated says how they are made"
        networks = {name: networks_of(self._plan)[name] for name in sample.networks}
        evaluate = {name: build_network(network) for name, network in networks.items()}

        def make(rows: slice) -> Tensor:
            values = {name: self._device.put(numbers[rows]) for name, numbers in drawn.items()}
            for call in sample.calls:
                given = {name: values[source] for name, source in call.inputs.items()}
                values[call.value] = evaluate[call.network](tensors, given, None)
            return values[sample.picture]

        return self._in_batches(make, len(next(iter(drawn.values()))), min(map(examples_at_once, networks.values())))

    @cached_property
    def _model(self) -> Network:
        return network_of(self._plan)

    @cached_property
    def _feature_network(self) -> Network:
        return feature_network_of(self._plan)

    @cached_property
    def _feature_tensors(self) -> dict[str, Tensor]:
        return self._device.copies(self._plan.feature_tensors)

    def _outputs(self, network: Network, tensors: Mapping[str, Tensor], examples: Inputs) -> Values:
        forward, stored = build_forward(network), self._store(examples)

        def score(rows: slice) -> Tensor:
            inputs = stored.inputs(rows) if stored else self._device.put(examples.inputs(rows))
            return forward(tensors, inputs, None)

        return self._in_batches(score, len(examples), examples_at_once(network))

    def _store(self, examples: Inputs) -> StoredExamples | None:
        """Return examples on the device, where they stay as long as they are in use here: a set is scored often."""
        if not isinstance(examples, Split):
            return None
        if examples not in self._stored:
            self._stored[examples] = store_examples(examples, self._device)
        return self._stored[examples]

    def _in_batches(self, of: Callable[[slice], Tensor], num: int, at_once: int) -> Values:
        """Return what `of` gives for all rows, in batches of so many."""

        parts = [slice(start, start + at_once) for start in range(0, num, at_once)]
        if not self._device.is_host:
            with self._device.in_words("evaluation"), torch.inference_mode():
                return torch.cat(list(map(of, parts))).cpu().numpy()
        before = torch.get_num_threads()
        try:
            with ThreadPoolExecutor(os.cpu_count(), initializer=torch.set_num_threads, initargs=(1,)) as pool:
                return np.concatenate([outputs.numpy() for outputs in pool.map(torch.inference_mode()(of), parts)])
        finally:
            torch.set_num_threads(before)
