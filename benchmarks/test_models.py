"""A client's steps on the published networks, beside torchvision's modules in a bare torch loop of one thread."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from pytest_benchmark.fixture import BenchmarkFixture
from torch import nn

from benchmarks.measuring import measure
from flspec.compiler.compile import compile
from flspec.data.store import open_data
from flspec.protocol.plan import ClientTask, Plan
from flspec.spec.loading import parse_spec
from flspec_torch.training import Trainer
from tests.published import torchvision_models

LABELS, STEPS, BATCH, PIXELS = 17, 4, 8, 64
MEASURED = 5


def _mobilenet_head(models: ModuleType) -> nn.Module:
    model: nn.Module = models.mobilenet_v2(num_classes=LABELS)
    model.requires_grad_(False)
    model.eval()
    model.get_submodule("classifier").requires_grad_(True).train()
    return model


Build = Callable[[ModuleType], nn.Module]
MODELS: dict[str, tuple[str, Build]] = {
    "resnet18, group norm": (
        "{kind: resnet18}",
        lambda models: models.resnet18(num_classes=LABELS, norm_layer=partial(nn.GroupNorm, 32)),
    ),
    "mobilenet_v2, head": ("{kind: mobilenet_v2}", _mobilenet_head),
    "efficientnet_b2": (
        "{kind: efficientnet_b2, batch_norm: averaged}",
        lambda models: models.efficientnet_b2(num_classes=LABELS).train(),
    ),
}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module", params=MODELS)
def case(request: pytest.FixtureRequest, is_measured: bool) -> tuple[str, Plan, Build]:
    model, build = MODELS[request.param]
    spec = parse_spec(f"""
flspec: 1
name: models
rounds: 1
dataset: {{kind: flair, size: {PIXELS}, twin: {{clients: 10, examples: 300}}}}
partition: {{kind: natural}}
model: {model}
client:
  steps: {STEPS if is_measured else 1}
  batch_size: {BATCH}
  loss: binary_cross_entropy
  optimizer: {{kind: sgd, learning_rate: 0.01}}
aggregator: {{kind: fedavg}}
""")
    return request.param, compile(spec), build


def test_steps(benchmark: BenchmarkFixture, case: tuple[str, Plan, Build]) -> None:
    name, plan, build = case
    model, data, task = build(torchvision_models()), open_data(plan.settings.data), largest(plan)
    batches = [
        (torch.from_numpy(data.train.inputs(batch)), torch.from_numpy(data.train.labels[batch]).float())
        for batch in task.batches
    ]
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(learned, lr=0.01)

    def train() -> None:
        for inputs, labels in batches:
            optimizer.zero_grad()
            F.binary_cross_entropy_with_logits(model(inputs), labels).backward()
            optimizer.step()

    group = f"{STEPS} steps of {BATCH} pictures of {PIXELS} pixels: {name}"
    measure(benchmark, group, partial(Trainer(plan).train, task, plan.weights), train, pairs=MEASURED)


def largest(plan: Plan) -> ClientTask:
    """The client with most examples: its batches are whole."""
    return max(plan.cohort(1), key=lambda task: task.num_trained)
