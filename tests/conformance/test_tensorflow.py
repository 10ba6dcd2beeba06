"""TensorFlow's losses and client optimizers are what their definitions say, and wrong ones are caught.

One process in TFF's environment answers all questions; the definitions are computed here in float64, without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from flspec.client_optimizers import ClientOptimizer
from flspec.client_optimizers.adam import Adam
from flspec.client_optimizers.adamw import AdamW
from flspec.client_optimizers.sgd import Sgd
from flspec.server_optimizers import ServerOptimizer
from flspec.server_optimizers.adagrad import Adagrad
from flspec.server_optimizers.adam import Adam as ServerAdam
from flspec.server_optimizers.sgd import Sgd as ServerSgd
from flspec.server_optimizers.yogi import Yogi
from tests.conformance.tensorflow_questions import STEP, Answers, Arrays, answers_of, ask, below, furthest
from tests.torch_passes import largest_deviation

RNG = np.random.default_rng(11)
OUTPUTS = {n: (3 * RNG.standard_normal((9, n))).astype(np.float32) for n in (1, 4)}
CLASSES, BITS = RNG.integers(0, 4, 9), RNG.integers(0, 2, 9)
SEVERAL = RNG.integers(0, 2, (9, 4)).astype(np.uint8)
LABEL_WEIGHTS = [1.0, 3.0, 0.25, 2.0]
LOSSES: dict[str, tuple[dict[str, Any], NDArray[Any], NDArray[Any]]] = {
    "classes": ({"loss": "cross_entropy"}, OUTPUTS[4], CLASSES),
    "weighted classes": ({"loss": "cross_entropy", "label_weights": LABEL_WEIGHTS}, OUTPUTS[4], CLASSES),
    "one output": ({"loss": "binary_cross_entropy"}, OUTPUTS[1], BITS),
    "one weighted output": ({"loss": "binary_cross_entropy", "label_weights": [5.0]}, OUTPUTS[1], BITS),
    "several labels": ({"loss": "binary_cross_entropy"}, OUTPUTS[4], SEVERAL),
    "several weighted labels": (
        {"loss": "binary_cross_entropy", "label_weights": LABEL_WEIGHTS},
        OUTPUTS[4],
        SEVERAL,
    ),
    "squares of classes": ({"loss": "mean_squared_error"}, OUTPUTS[4], CLASSES),
    "squares of several": ({"loss": "mean_squared_error"}, OUTPUTS[4], SEVERAL),
    "bounded classes": ({"loss": {"kind": "huber", "delta": 0.5}}, OUTPUTS[4], CLASSES),
    "bounded of several": ({"loss": {"kind": "huber", "delta": 0.5}}, OUTPUTS[4], SEVERAL),
}
MOMENTS: dict[str, Any] = {"learning_rate": 0.1, "beta_1": 0.8, "beta_2": 0.9, "epsilon": 1e-2}
OPTIMIZERS: dict[str, tuple[ClientOptimizer, dict[str, Any] | None]] = {
    "sgd": (Sgd(learning_rate=0.1), None),
    "momentum": (Sgd(learning_rate=0.1, momentum=0.9), None),
    "decay": (Sgd(learning_rate=0.1, weight_decay=0.1), None),
    "momentum and decay": (Sgd(learning_rate=0.1, momentum=0.9, weight_decay=0.1), None),
    "nesterov": (Sgd(learning_rate=0.1, momentum=0.9, nesterov=True, weight_decay=0.1), None),
    "adam": (Adam(**MOMENTS), None),
    "adam and decay": (Adam(**MOMENTS, weight_decay=0.1), None),
    "adamw": (AdamW(**MOMENTS, weight_decay=0.1), None),
    "keras adam": (Adam(**MOMENTS, epsilon_hat=True), None),
    "keras adamw": (AdamW(**MOMENTS, epsilon_hat=True, weight_decay=0.1), None),
    "clipped": (Sgd(learning_rate=0.1), {"norm": 1.5, "by": "global"}),
    "clipped each": (Sgd(learning_rate=0.1), {"norm": 1.5, "by": "tensor"}),
    "hardly clipped": (Adam(**MOMENTS), {"norm": 1e6, "by": "global"}),
}
KERAS = {"keras adam": "Adam", "keras adamw": "AdamW"}  # what Keras calls them
# TFF's own, which `implementation: native` asks for; Adam and Yogi have the one form that TFF has.
SERVERS: dict[str, ServerOptimizer] = {
    "tff sgd": ServerSgd(learning_rate=0.1),
    "tff momentum": ServerSgd(learning_rate=0.1, momentum=0.9),
    "tff adam": ServerAdam(**MOMENTS, epsilon_hat=True),
    "tff yogi": Yogi(**MOMENTS, epsilon_hat=True, bias_correction=True, initial_accumulator=0.05),
    "tff adagrad": Adagrad(learning_rate=0.1, epsilon=1e-2, initial_accumulator=0.05),
}
RATE, NUM_STEPS = 0.5, 5  # the factor of the learning rates, and how many steps are taken
SHAPES = {"conv.weight": (4, 3, 3, 3), "conv.bias": (4,), "output.weight": (2, 5), "output.bias": (2,)}
WEIGHTS = {name: RNG.standard_normal(shape).astype(np.float32) for name, shape in SHAPES.items()}
GRADIENTS = {name: RNG.standard_normal((NUM_STEPS, *shape)).astype(np.float32) for name, shape in SHAPES.items()}


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Answers:
    """What TensorFlow answers to each question, by its name."""
    questions: dict[str, Any] = {}
    arrays: dict[str, NDArray[Any]] = {}
    folder = tmp_path_factory.mktemp("tensorflow")
    for name, (settings, outputs, labels) in LOSSES.items():
        ask(questions, arrays, name, {"about": "loss", **settings}, {"outputs": outputs, "labels": labels})
    for name, (rule, clip) in OPTIMIZERS.items():
        question: dict[str, Any] = {
            "optimizer": rule.model_dump(mode="json"),
            "clip": clip,
            "rate": RATE,
            "steps": NUM_STEPS,
        }
        ask(questions, arrays, name, {"about": "optimizer", **question}, below(weights=WEIGHTS, gradients=GRADIENTS))
    for name, kind in KERAS.items():
        question = {"kind": kind, "settings": in_keras_words(OPTIMIZERS[name][0]), "steps": NUM_STEPS}
        given = below(weights=WEIGHTS, gradients=GRADIENTS)
        ask(questions, arrays, f"{name} itself", {"about": "keras", **question}, given)
    for name, served in SERVERS.items():
        question = {"optimizer": served.model_dump(mode="json"), "rate": RATE, "steps": NUM_STEPS}
        ask(questions, arrays, name, {"about": "server", **question}, below(weights=WEIGHTS, deltas=GRADIENTS))
    return answers_of(questions, arrays, folder)


def in_keras_words(rule: ClientOptimizer) -> dict[str, float]:
    told = rule.model_dump(include={"beta_1", "beta_2", "epsilon"})
    decay = {"weight_decay": rule.weight_decay} if isinstance(rule, AdamW) else {}
    return told | decay | {"learning_rate": rule.learning_rate * RATE}


# ------------------------------------------------------------------------------------------------------------- losses


def loss_by_hand(
    settings: Mapping[str, Any], outputs: NDArray[Any], labels: NDArray[Any], weigh_absent: bool = False
) -> dict[str, NDArray[Any]]:
    """`flspec.losses` in float64, and its gradient; `weigh_absent` weighs, wrongly, the labels that are not held."""
    z, loss = outputs.astype(np.float64), settings["loss"]
    num_examples, num_outputs = z.shape
    one_hot = (labels[:, None] == np.arange(num_outputs)) if num_outputs > 1 else labels[:, None]
    t = (labels if labels.ndim == 2 else one_hot).astype(np.float64)
    weights = np.array(settings.get("label_weights") or np.ones(num_outputs))
    argmax_is_right = (z.argmax(axis=1) == t.argmax(axis=1)).sum()
    if loss == "cross_entropy":
        p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
        w = (t * weights).sum(axis=1, keepdims=True)
        value, gradient, correct = -(w * t * np.log(p)).sum(axis=1).mean(), w * (p - t) / num_examples, argmax_is_right
    elif loss == "binary_cross_entropy":
        s = 1 / (1 + np.exp(-z))
        held, absent = (np.ones(num_outputs), weights) if weigh_absent else (weights, np.ones(num_outputs))
        value = -(held * t * np.log(s) + absent * (1 - t) * np.log(1 - s)).mean()
        gradient = (absent * (1 - t) * s - held * t * (1 - s)) / z.size
        correct = ((z > 0) == (t > 0)).mean(axis=1).sum()
    else:
        if loss == "mean_squared_error":
            value, gradient = ((z - t) ** 2).mean(), 2 * (z - t) / z.size
        else:
            far, delta = np.abs(z - t), loss["delta"]
            value = np.where(far <= delta, far**2 / 2, delta * (far - delta / 2)).mean()
            gradient = np.clip(z - t, -delta, delta) / z.size
        correct = ((z > 0.5) == (t > 0)).mean(axis=1).sum() if labels.ndim == 2 else argmax_is_right
    return {"loss": np.array(value), "gradient": gradient, "correct": np.array(correct)}


@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_those_of_the_definition(answers: Answers, name: str) -> None:
    assert furthest(answers(name), loss_by_hand(*LOSSES[name])) <= 8 * STEP


def test_a_weight_on_the_labels_that_are_not_held_is_caught(answers: Answers) -> None:
    wrong = loss_by_hand(*LOSSES["several weighted labels"], weigh_absent=True)
    assert largest_deviation(answers("several weighted labels")["loss"], wrong["loss"]) > 1e-2


# --------------------------------------------------------------------------------------------------- client optimizers


def descend_by_hand(rule: Any, clip: Mapping[str, Any] | None, wrong: str = "") -> Arrays:
    """The weights after each optimizer's docstring, in float64; `wrong` is what is done in another way."""
    w = {name: weight.astype(np.float64) for name, weight in WEIGHTS.items()}
    rate, first = rule.learning_rate * RATE, {name: np.zeros_like(weight) for name, weight in w.items()}
    second = dict(first)
    for t in range(1, NUM_STEPS + 1):
        step = {name: GRADIENTS[name][t - 1].astype(np.float64) for name in w}
        for name, gradient in bounded(step, clip).items():
            g = gradient if isinstance(rule, AdamW) else gradient + rule.weight_decay * w[name]
            if isinstance(rule, Sgd):
                first[name] = rule.momentum * first[name] + g
                w[name] = w[name] - rate * (g + rule.momentum * first[name] if rule.nesterov else first[name])
                continue
            first[name] = rule.beta_1 * first[name] + (1 - rule.beta_1) * g
            second[name] = rule.beta_2 * second[name] + (1 - rule.beta_2) * g**2
            if isinstance(rule, AdamW):
                w[name] = w[name] * (1 - rate * rule.weight_decay)
            m, v = first[name] / (1 - rule.beta_1**t), second[name] / (1 - rule.beta_2**t)
            if wrong == "epsilon inside the root":
                w[name] = w[name] - rate * m / np.sqrt(v + rule.epsilon)
            elif rule.epsilon_hat != (wrong == "epsilon in the other place"):
                corrected = np.sqrt(1 - rule.beta_2**t)
                w[name] = w[name] - rate * m / ((np.sqrt(second[name]) + rule.epsilon) / corrected)
            else:
                w[name] = w[name] - rate * m / (np.sqrt(v) + rule.epsilon)
    return w


def bounded(gradients: dict[str, NDArray[np.float64]], clip: Mapping[str, Any] | None) -> Arrays:
    if clip is None:
        return gradients
    norms = {name: np.sqrt((gradient**2).sum()) for name, gradient in gradients.items()}
    if clip["by"] == "global":
        norms = dict.fromkeys(norms, np.sqrt(sum(norm**2 for norm in norms.values())))
    return {name: gradient * min(1.0, clip["norm"] / norms[name]) for name, gradient in gradients.items()}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_client_optimizers_take_the_steps_of_their_definitions(answers: Answers, name: str) -> None:
    assert furthest(answers(name), descend_by_hand(*OPTIMIZERS[name])) <= 8 * STEP


@pytest.mark.parametrize("name", KERAS)
def test_epsilon_hat_is_where_keras_itself_adds_epsilon(answers: Answers, name: str) -> None:
    assert furthest(answers(f"{name} itself"), descend_by_hand(*OPTIMIZERS[name])) <= 8 * STEP
    assert furthest(answers(f"{name} itself"), answers(name)) <= 8 * STEP
    elsewhere = descend_by_hand(*OPTIMIZERS[name], wrong="epsilon in the other place")
    assert furthest(answers(f"{name} itself"), elsewhere) > 1e-4


@pytest.mark.parametrize("wrong", ["epsilon inside the root", "epsilon in the other place"])
@pytest.mark.parametrize("name", ["adam", "adamw", *KERAS])
def test_another_place_of_epsilon_is_caught(answers: Answers, name: str, wrong: str) -> None:
    assert furthest(answers(name), descend_by_hand(*OPTIMIZERS[name], wrong=wrong)) > 1e-4


@pytest.mark.parametrize(("name", "other"), [("clipped", "clipped each"), ("clipped each", "clipped")])
def test_clipping_all_together_is_not_clipping_each(answers: Answers, name: str, other: str) -> None:
    assert furthest(answers(name), descend_by_hand(*OPTIMIZERS[other])) > 1e-3


# -------------------------------------------------------------------------------------------- TFF's server optimizers


def serve_by_hand(rule: Any) -> Arrays:
    """The weights by the formulas in TFF's source, in float64; g is the gradient, -Delta."""
    w = {name: weight.astype(np.float64) for name, weight in WEIGHTS.items()}
    first = {name: np.zeros_like(weight) for name, weight in w.items()}
    second = {name: np.full_like(weight, getattr(rule, "initial_accumulator", 0.0)) for name, weight in w.items()}
    for t in range(1, NUM_STEPS + 1):
        for name, weight in w.items():
            g, rate = -GRADIENTS[name][t - 1].astype(np.float64), rule.learning_rate * RATE
            if isinstance(rule, ServerSgd):
                first[name] = rule.momentum * first[name] + g
                w[name] = weight - rate * first[name]
            elif isinstance(rule, Adagrad):
                second[name] = second[name] + g**2
                w[name] = weight - rate * g / np.sqrt(second[name] + rule.epsilon)
            else:
                first[name] = first[name] + (g - first[name]) * (1 - rule.beta_1)
                square = np.sign(g**2 - second[name]) * g**2 if isinstance(rule, Yogi) else g**2 - second[name]
                second[name] = second[name] + (1 - rule.beta_2) * square
                rate *= np.sqrt(1 - rule.beta_2**t) / (1 - rule.beta_1**t)
                w[name] = weight - rate * first[name] / (np.sqrt(second[name]) + rule.epsilon)
    return w


def serve_by_definition(rule: ServerOptimizer) -> Arrays:
    weights: Arrays = WEIGHTS
    state = rule.initialize(weights)
    for t in range(NUM_STEPS):
        delta = {name: GRADIENTS[name][t].astype(np.float64) for name in weights}
        state, weights = rule.apply(state, weights, delta, RATE)
    return weights


@pytest.mark.parametrize("name", SERVERS)
def test_tffs_own_server_optimizers_are_the_definitions_except_for_adagrad(answers: Answers, name: str) -> None:
    """Whose epsilon is inside of the root: that is what a native run states."""
    assert furthest(answers(name), serve_by_hand(SERVERS[name])) <= 16 * STEP
    assert (furthest(answers(name), serve_by_definition(SERVERS[name])) > 1e-4) == (name == "tff adagrad")
