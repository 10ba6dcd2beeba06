"""TensorFlow Federated's own loop: build_weighted_fed_avg of a Keras model, in flspec's environment of TFF."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.base import Absent, Simulator, client_arrays
from flspec.errors import InputError
from flspec.execution.environments import environment_python, find_environment
from flspec.execution.parts import network_of
from flspec.layers import Activation, Conv, Dense, Dropout, Flatten, MaxPool, trace
from flspec.protocol.plan import Plan


class TffLoop(Simulator):
    """Its default executor; clients' examples as tf.data, made once."""

    name = "tff"
    title = "TFF 0.87, its weighted FedAvg"

    def python(self) -> Path:
        try:
            return environment_python(find_environment("tff"))
        except InputError as error:
            raise Absent(str(error)) from None

    def run(self, plan: Plan, rounds: int, after_round: Callable[[], None]) -> None:
        import tensorflow as tf
        import tensorflow_federated as tff

        rate, batch = plan.settings.client_optimizer["learning_rate"], max(plan.batch_sizes)
        clients = [(_channels_last(x), y.reshape(-1, 1)) for x, y in client_arrays(plan)]
        data = [tf.data.Dataset.from_tensor_slices(pair).batch(batch) for pair in clients]

        def model() -> Any:
            return tff.learning.models.from_keras_model(
                tf.keras.Sequential(list(_keras_layers(plan, tf.keras.layers, clients[0][0].shape[1:]))),
                loss=tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
                input_spec=data[0].element_spec,
            )

        process = tff.learning.algorithms.build_weighted_fed_avg(
            model,
            client_optimizer_fn=tff.learning.optimizers.build_sgdm(learning_rate=rate),
            server_optimizer_fn=tff.learning.optimizers.build_sgdm(learning_rate=1.0),
        )
        state = process.initialize()
        for _ in range(rounds):
            state = process.next(state, data).state
            after_round()


def _channels_last(x: np.ndarray) -> np.ndarray:
    return np.moveaxis(x, 1, -1) if x.ndim == 4 else x


def _keras_layers(plan: Plan, keras: Any, shape: tuple[int, ...]) -> Iterator[Any]:
    network = network_of(plan)
    shapes = trace(network)
    yield keras.InputLayer(shape)
    for layer in network.layers:
        match layer:
            case Flatten():
                yield keras.Flatten()
            case Dense():
                yield keras.Dense(layer.units)
            case Conv():
                same = shapes[layer.name][1:] == shapes[layer.inputs[0]][1:]
                yield keras.Conv2D(layer.channels, layer.kernel_size, padding="same" if same else "valid")
            case MaxPool():
                yield keras.MaxPool2D(layer.size)
            case Dropout():
                yield keras.Dropout(layer.rate)
            case Activation(function="relu"):
                yield keras.ReLU()
            case _:
                raise ValueError(f"no Keras layer for {layer!r}; add it to {__name__}")
