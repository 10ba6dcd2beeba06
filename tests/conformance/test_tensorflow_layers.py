"""TensorFlow's layers are what their definitions say, in training and in evaluation, and wrong ones are caught.

One process in TFF's environment answers all questions; the definitions are computed here in float64, without it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from flspec.layers import Layer, TransposedConv
from flspec.models.cifar_cnn import CifarCnn
from flspec.models.efficientnet_b2 import EfficientNetB2
from flspec.models.lenet import LeNet
from flspec.models.mobilenet_v2 import MobileNetV2
from flspec.models.resnet18 import ResNet18
from tests import numpy_layers
from tests.conformance.tensorflow_questions import STEP, Answers, Arrays, answers_of, ask, below, furthest
from tests.layer_cases import CASES, TEXTS, TOKENS, graph_of, random_inputs, random_masks, random_tensors
from tests.torch_passes import Gradients, largest_deviation, torch_gradients

PICTURE = (3, 32, 32)
ZOO = {
    "resnet18": ResNet18(),
    "resnet18, batch norm": ResNet18(norm="batch", batch_norm="frozen"),
    "mobilenet_v2": MobileNetV2(),
    "efficientnet_b2": EfficientNetB2(batch_norm="frozen", head=(20,)),
    "cifar_cnn": CifarCnn(),
    "lenet": LeNet(),
}
every_graph = pytest.mark.parametrize("name", [*CASES, *TEXTS, *ZOO])


class Graph:
    """A graph and what it is given."""

    def __init__(self, name: str) -> None:
        if name in ZOO:
            shape: tuple[int, ...] = PICTURE
            self.layers, num_examples = ZOO[name].layers(PICTURE, 5), 2
        elif name in TEXTS:
            self.layers, num_examples, shape = TEXTS[name], len(TOKENS), TOKENS.shape[1:]
        else:
            self.layers, shape = graph_of(name)
            num_examples = 4
        self.tensors = random_tensors(self.layers, shape)
        scale = 1.0 if name in ZOO else 4.0
        self.inputs = TOKENS if name in TEXTS else random_inputs(shape, num_examples, scale)
        self.masks = random_masks(self.layers, shape, num_examples)
        # As torch_gradients draws it, but in TensorFlow's float32.
        self.along = np.random.default_rng(5).standard_normal(self.outputs().shape).astype(np.float32)

    def outputs(self, layers: Sequence[Layer] | None = None, masks: Arrays | None = None) -> NDArray[np.float64]:
        given = self.masks if masks is None else masks
        return numpy_layers.forward(layers or self.layers, self.tensors, self.inputs, given).outputs

    def tested(self) -> NDArray[np.float64]:
        return numpy_layers.forward(self.layers, self.tensors, self.inputs).outputs

    def statistics(self) -> dict[str, NDArray[np.float64]]:
        """All running ones after a pass in training, changed or not."""
        changed = numpy_layers.forward(self.layers, self.tensors, self.inputs, self.masks).statistics
        kept = {name: value.astype(np.float64) for name, value in self.tensors.items() if "running" in name}
        return {f"statistics/{name}": value for name, value in (kept | changed).items()}

    def gradients(self) -> dict[str, NDArray[np.float64]]:
        """Torch's in float64, which tests/unit/test_torch_layers.py holds to the definitions."""
        found = torch_gradients(self.layers, self.tensors, self.inputs, self.masks).found
        return {f"gradients/{'inputs' if name == 'input' else name}": value for name, value in found.items()}

    def held_to_numpy(self, answer: Arrays) -> Gradients:
        """The gradients of an answer, beside the pass that they should be the derivatives of."""
        at = {"input": self.inputs} | self.tensors
        return Gradients(
            layers=self.layers,
            at={name: value.astype(np.float64) for name, value in at.items()},
            masks=self.masks,
            cotangent=self.along,
            found={
                name: answer[f"gradients/{'inputs' if name == 'input' else name}"].astype(np.float64)
                for name in at
                if "running" not in name
            },
        )


@pytest.fixture(scope="module")
def graphs() -> dict[str, Graph]:
    return {name: Graph(name) for name in (*CASES, *TEXTS, *ZOO)}


@pytest.fixture(scope="module")
def answers(graphs: dict[str, Graph], tmp_path_factory: pytest.TempPathFactory) -> Answers:
    """What TensorFlow answers to each question, by its name."""
    questions: dict[str, Any] = {}
    arrays: dict[str, NDArray[Any]] = {}
    for name, graph in graphs.items():
        told = [layer.model_dump(mode="json") for layer in graph.layers]
        for asked, training in ((name, True), (in_evaluation(name), False)):
            ask(questions, arrays, asked, {"about": "graph", "layers": told, "training": training}, given_to(graph))
    return answers_of(questions, arrays, tmp_path_factory.mktemp("tensorflow_layers"))


def given_to(graph: Graph) -> dict[str, NDArray[Any]]:
    return below(tensors=graph.tensors, masks=graph.masks) | {"inputs": graph.inputs, "along": graph.along}


def in_evaluation(name: str) -> str:
    """The question about the same graph in evaluation."""
    return f"{name}, tested"


def rounding(name: str) -> float:
    """What float32 may be off by, in parts of the largest value; fifty layers pass on what each of them rounds."""
    return (256 if name in ZOO else 8) * STEP


@every_graph
def test_outputs_are_those_of_the_definition(graphs: dict[str, Graph], answers: Answers, name: str) -> None:
    assert largest_deviation(answers(name)["outputs"], graphs[name].outputs()) <= rounding(name)


@every_graph
def test_in_evaluation_they_are_too_and_no_statistic_moves(
    graphs: dict[str, Graph], answers: Answers, name: str
) -> None:
    graph, answer = graphs[name], answers(in_evaluation(name))
    assert largest_deviation(answer["outputs"], graph.tested()) <= rounding(name)
    for key in graph.statistics():
        np.testing.assert_array_equal(answer[key], graph.tensors[key.removeprefix("statistics/")])


@pytest.mark.parametrize("name", [case for case in CASES if case.startswith("batch_norm")])
def test_statistics_are_those_of_the_definition(graphs: dict[str, Graph], answers: Answers, name: str) -> None:
    expected = graphs[name].statistics()
    assert len(expected) == 2
    assert furthest(answers(name), expected) <= rounding(name)


def test_a_running_variance_divided_by_the_number_of_values_is_caught(
    graphs: dict[str, Graph], answers: Answers
) -> None:
    graph, key = graphs["batch_norm, averaged"], "statistics/l.running_var"
    _, seen = numpy_layers.moments(graph.inputs.astype(np.float64), (0, 2, 3))
    wrong = 0.9 * graph.tensors["l.running_var"] + 0.1 * seen
    assert largest_deviation(answers("batch_norm, averaged")[key], wrong) > 1e-4


@every_graph
def test_gradients_are_those_of_torch_in_float64(graphs: dict[str, Graph], answers: Answers, name: str) -> None:
    assert furthest(answers(name), graphs[name].gradients()) <= rounding(name)


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_the_derivatives_of_the_definition(graphs: dict[str, Graph], answers: Answers, name: str) -> None:
    gradients = graphs[name].held_to_numpy(answers(name))
    errors = {tensor: gradients.error_along({tensor: d}) for tensor, d in gradients.directions().items()}
    assert max(errors.values()) < 1e-5
    assert gradients.spoiled("input", 1e-2).error_along({"input": gradients.directions()["input"]}) > 1e-4


def group_norm_with_keras_epsilon(graph: Graph) -> NDArray[np.float64]:
    keras = {"epsilon": 1e-3}
    return graph.outputs(
        [layer.model_copy(update=keras) if "epsilon" in type(layer).model_fields else layer for layer in graph.layers]
    )


def other_masks(graph: Graph) -> NDArray[np.float64]:
    return graph.outputs(masks={name: np.roll(mask, 1, axis=0) for name, mask in graph.masks.items()})


def padded_as_same(graph: Graph) -> NDArray[np.float64]:
    """ "SAME" at stride 2 on even sides: nothing above and to the left, one zero below and to the right."""
    (layer,) = graph.layers
    padded = np.pad(graph.inputs, [(0, 0), (0, 0), (0, 1), (0, 1)])
    return numpy_layers.forward([layer.model_copy(update={"padding": 0})], graph.tensors, padded).outputs


def padded_with_zeros(graph: Graph) -> NDArray[np.float64]:
    (layer,) = graph.layers
    padded = np.pad(graph.inputs, [(0, 0), (0, 0), (1, 1), (1, 1)])
    return numpy_layers.forward([layer.model_copy(update={"padding": 0})], graph.tensors, padded).outputs


def cut_behind(graph: Graph) -> NDArray[np.float64]:
    """Cut off below and to the right alone, where "SAME" begins otherwise than the plan."""
    (layer,) = graph.layers
    assert isinstance(layer, TransposedConv)
    whole = graph.outputs([layer.model_copy(update={"padding": 0})])
    return whole[:, :, : whole.shape[2] - 2 * layer.padding, : whole.shape[3] - 2 * layer.padding]


def kernel_turned(graph: Graph) -> NDArray[np.float64]:
    """The kernel's positions transposed, as where a layout is that of another convolution."""
    turned = graph.tensors | {"l.weight": graph.tensors["l.weight"].swapaxes(2, 3)}
    return numpy_layers.forward(graph.layers, turned, graph.inputs, graph.masks).outputs


def keras_slope(graph: Graph) -> NDArray[np.float64]:
    return graph.outputs([layer.model_copy(update={"slope": 0.3}) for layer in graph.layers])


def gates_in_keras_order(graph: Graph) -> NDArray[np.float64]:
    """As in numbers of cuDNN and others: i, f, o, g."""
    order = np.concatenate([np.arange(4) + 4 * block for block in (0, 1, 3, 2)])
    turned = {name: value[order] for name, value in graph.tensors.items()}
    return numpy_layers.forward(graph.layers, turned, graph.inputs).outputs


def update_the_other_way(graph: Graph) -> NDArray[np.float64]:
    """h = u n + (1 - u) h, as in the paper of 2014."""
    sign = np.repeat([1, -1, 1], 4)
    turned = {name: (value.T * sign).T for name, value in graph.tensors.items()}
    return numpy_layers.forward(graph.layers, turned, graph.inputs).outputs


def padding_counted(graph: Graph) -> NDArray[np.float64]:
    alone = [layer.model_copy(update={"inputs": layer.inputs[:1]}) for layer in graph.layers]
    return graph.outputs(alone)


def seeing_what_comes(graph: Graph) -> NDArray[np.float64]:
    return graph.outputs([*graph.layers[:-1], graph.layers[-1].model_copy(update={"causal": False})])


def unscaled(graph: Graph) -> NDArray[np.float64]:
    """Queries and keys multiplied without 1 / sqrt(size): here with queries larger by sqrt(2)."""
    grown = np.concatenate([np.full(4, math.sqrt(2)), np.ones(8)])
    turned = graph.tensors | {f"m.{name}": (graph.tensors[f"m.{name}"].T * grown).T for name in ("weight", "bias")}
    return numpy_layers.forward(graph.layers, turned, graph.inputs).outputs


def multiplied_in_turn(graph: Graph) -> NDArray[np.float64]:
    """A depthwise convolution whose outputs go around the channels instead of staying with each."""
    outputs = graph.outputs()
    return outputs.reshape(4, 6, 2, *outputs.shape[2:]).swapaxes(1, 2).reshape(outputs.shape)


def flattened_channels_last(graph: Graph) -> NDArray[np.float64]:
    _, dense = graph.layers
    rows = graph.inputs.transpose(0, 2, 3, 1).reshape(4, -1)
    return numpy_layers.forward([dense.model_copy(update={"inputs": ("input",)})], graph.tensors, rows).outputs


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("group_norm", group_norm_with_keras_epsilon),
        ("dropout", other_masks),
        ("dropout of examples", other_masks),
        ("conv, stride on even sides", padded_as_same),
        ("max_pool, overlapping", padded_with_zeros),
        ("conv, depthwise with stride", multiplied_in_turn),
        ("flatten and dense", flattened_channels_last),
        ("transposed_conv, as in DCGAN", cut_behind),
        ("transposed_conv, as in DCGAN", kernel_turned),
        ("leaky_relu", keras_slope),
        ("lstm", gates_in_keras_order),
        ("gru", update_the_other_way),
        ("last step of a text", padding_counted),
        ("mean step of a text", padding_counted),
        ("attention to a text", padding_counted),
        ("attention, causal", seeing_what_comes),
        ("attention", unscaled),
        ("cifar_cnn", other_masks),
        ("resnet18", group_norm_with_keras_epsilon),
    ],
)
def test_a_wrong_layer_is_caught(
    graphs: dict[str, Graph], answers: Answers, name: str, wrong: Callable[[Graph], NDArray[np.float64]]
) -> None:
    assert largest_deviation(answers(name)["outputs"], wrong(graphs[name])) > 5 * rounding(name)
