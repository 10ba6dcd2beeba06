"""What TensorFlow makes of layers, losses, optimizers and clips; run by the Python of TFF's environment.

    python tensorflow_answers.py FOLDER

Reads `questions.json` and the arrays it names in `questions.npz`, which are in the plan's layouts, and writes
`answers.npz`, in the plan's layouts too. Imports nothing of the tests.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from flspec.client_optimizers import ClientOptimizer
from flspec.core.components import parse_component
from flspec.layers import one_network, parse_layers
from flspec.losses import parse_loss
from flspec.protocol.settings import ClipSettings
from flspec.server_optimizers import ServerOptimizer
from flspec_tff.client_optimizers import build_client_optimizer
from flspec_tff.layers import build_forward
from flspec_tff.layout import all_from_tensorflow, channels_last, from_tensorflow, to_tensorflow
from flspec_tff.losses import build_loss, count_correct
from flspec_tff.private_mean import bounded
from flspec_tff.server_optimizers import build_server_optimizer, read_server_state, write_server_state

Arrays = Mapping[str, np.ndarray]


def answer_graph(question: Mapping[str, Any], arrays: Arrays) -> dict[str, np.ndarray]:
    """A model's `outputs`, the gradients of their products with `along` (of `inputs` and of each tensor), and the
    running `statistics` after the pass.
    """
    layers, inputs = parse_layers(question["layers"]), tf.constant(channels_last(arrays["inputs"]))
    tensors = {name: tf.constant(to_tensorflow(value)) for name, value in _below("tensors/", arrays).items()}
    masks = {name: tf.constant(channels_last(mask) != 0) for name, mask in _below("masks/", arrays).items()}
    along = tf.constant(channels_last(arrays["along"]))
    forward = build_forward(one_network(layers, arrays["inputs"].shape[1:]))
    with tf.GradientTape() as tape:
        tape.watch([inputs, *tensors.values()])
        after = dict(tensors)
        outputs = forward(after, inputs, masks if question["training"] else None)
        product = tf.reduce_sum(outputs * along)
    of_inputs, *of_tensors = tape.gradient(
        product, [inputs, *tensors.values()], unconnected_gradients=tf.UnconnectedGradients.ZERO
    )
    gradients = {f"gradients/{n}": from_tensorflow(g.numpy()) for n, g in zip(tensors, of_tensors, strict=True)}
    statistics = {f"statistics/{n}": from_tensorflow(t.numpy()) for n, t in after.items() if "running" in n}
    return {
        "outputs": channels_first(outputs),
        "gradients/inputs": channels_first(of_inputs),
        **gradients,
        **statistics,
    }


def answer_loss(settings: Mapping[str, Any], arrays: Arrays) -> dict[str, np.ndarray]:
    """The `loss` of `outputs`, its gradient, and how many are `correct`."""
    outputs, labels = tf.constant(arrays["outputs"]), arrays["labels"]
    labels = tf.constant(labels if labels.ndim == 2 else labels.astype(np.int32))
    with tf.GradientTape() as tape:
        tape.watch(outputs)
        loss = build_loss(parse_loss(settings["loss"]), settings.get("label_weights", ()))(outputs, labels)
    correct = count_correct(parse_loss(settings["loss"]), outputs, labels)
    return {"loss": loss.numpy(), "gradient": tape.gradient(loss, outputs).numpy(), "correct": correct.numpy()}


def answer_optimizer(question: Mapping[str, Any], arrays: Arrays) -> dict[str, np.ndarray]:
    """The weights after as many steps as there are rows in the `gradients` of each."""
    rule = parse_component(ClientOptimizer, question["optimizer"])
    clip = ClipSettings(**question["clip"]) if question["clip"] else None
    optimizer = build_client_optimizer(rule, rule.learning_rate * question["rate"], clip)
    weights, gradients = _below("weights/", arrays), _below("gradients/", arrays)
    current = tuple(tf.constant(to_tensorflow(weight)) for weight in weights.values())
    state = optimizer.initialize(tuple(tf.TensorSpec(weight.shape, weight.dtype) for weight in current))
    for step in range(question["steps"]):
        state, current = optimizer.next(
            state, current, tuple(tf.constant(to_tensorflow(gradients[n][step])) for n in weights)
        )
    return all_from_tensorflow(list(weights), [weight.numpy() for weight in current])


def answer_server(question: Mapping[str, Any], arrays: Arrays) -> dict[str, np.ndarray]:
    """A server's weights after as many rounds as there are rows in the `deltas`, by TFF's own optimizer.

    Each round begins with flspec's state of the one before.
    """
    rule, weights = parse_component(ServerOptimizer, question["optimizer"]), _below("weights/", arrays)
    optimizer, deltas = build_server_optimizer(rule, [True] * len(weights), native=True), _below("deltas/", arrays)
    current = tuple(tf.constant(to_tensorflow(weight)) for weight in weights.values())
    blank = optimizer.initialize(tuple(tf.TensorSpec(weight.shape, weight.dtype) for weight in current))
    state = rule.initialize(weights)
    for number in range(question["steps"]):
        written = tf.nest.map_structure(tf.convert_to_tensor, write_server_state(rule, blank, state, question["rate"]))
        gradients = tuple(tf.constant(to_tensorflow(-deltas[name][number])) for name in weights)
        after, current = optimizer.next(written, current, gradients)
        state = read_server_state(rule, after, number + 1, list(weights))
    return all_from_tensorflow(list(weights), [weight.numpy() for weight in current])


def answer_private(question: Mapping[str, Any], arrays: Arrays) -> dict[str, np.ndarray]:
    """What a client's update of a `weight` counts in a private mean's sums, under a `clip`."""
    update = {name: tf.constant(value) for name, value in _below("update/", arrays).items()}
    part = bounded(tf.constant(question["clip"], tf.float32), tuple(update.values()), tf.constant(question["weight"]))
    sums = {f"update/{name}": value.numpy() for name, value in zip(update, part["update"], strict=True)}
    return sums | {"within": part["within"].numpy()}


def answer_keras(question: Mapping[str, Any], arrays: Arrays) -> dict[str, np.ndarray]:
    """The same of an optimizer of Keras's own."""
    optimizer = getattr(tf.keras.optimizers, question["kind"])(**question["settings"])
    current = {name: tf.Variable(weight) for name, weight in _below("weights/", arrays).items()}
    gradients = _below("gradients/", arrays)
    for step in range(question["steps"]):
        optimizer.apply_gradients([(tf.constant(gradients[name][step]), weight) for name, weight in current.items()])
    return {name: weight.numpy() for name, weight in current.items()}


def channels_first(values: tf.Tensor) -> np.ndarray:
    array: np.ndarray = values.numpy()
    return array.transpose(0, 3, 1, 2) if values.shape.rank == 4 else array


def _below(prefix: str, arrays: Arrays) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}


def main(folder: Path) -> None:
    answers: dict[str, np.ndarray] = {}
    answer = {
        "graph": answer_graph,
        "loss": answer_loss,
        "optimizer": answer_optimizer,
        "keras": answer_keras,
        "private": answer_private,
        "server": answer_server,
    }
    with np.load(folder / "questions.npz") as file:
        arrays = dict(file)
    for name, question in json.loads((folder / "questions.json").read_text()).items():
        found = answer[question["about"]](question, _below(f"{name}:", arrays))
        answers |= {f"{name}:{key}": value for key, value in found.items()}
    np.savez(folder / "answers.npz", allow_pickle=False, **answers)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
