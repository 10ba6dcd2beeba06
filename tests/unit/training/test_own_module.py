"""Somebody's own torch module, held to a loop of plain torch: the module itself, torch's SGD, seeds set by hand."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from flspec.compiler.compile import compile
from flspec.core.randomness import Stream
from flspec.data.store import open_data
from flspec.errors import SpecError
from flspec.execution.parts import bytes_per_client
from flspec.protocol.plan import Plan
from flspec.spec.loading import parse_spec
from flspec_torch.private_steps import sum_of_clipped
from flspec_torch.supervised import SupervisedStep
from flspec_torch.training import Trainer
from tests.first_round import first_round

NET = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, width=4, rate=0.3):
        super().__init__()
        self.conv = nn.Conv2d(1, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.drop = nn.Dropout(rate)
        self.out = nn.Linear(width * 64, 10)

    def forward(self, x):
        return self.out(self.drop(torch.relu(self.norm(self.conv(x)))).flatten(1))
"""
SPEC = """
flspec: 1
name: own
seed: 5
rounds: 2
dataset: {kind: digits}
partition: {kind: iid, clients: 30}
model: {kind: torch, module: "MODULE:Net"MORE}
cohort: {kind: uniform, size: 3}
client: {epochs: 1, batch_size: 16, optimizer: {kind: sgd, learning_rate: 0.1}}
"""
_numbers = iter(range(1000))


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Compile a spec whose model is the class `Net` of a source."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def compiled(source: str = NET, more: str = ", batch_norm: averaged", changes: tuple[str, str] = ("", "")) -> Plan:
        name = f"own_module_{next(_numbers)}"
        (tmp_path / f"{name}.py").write_text(source)
        return compile(parse_spec(SPEC.replace("MODULE", name).replace("MORE", more).replace(*changes)))

    return compiled


def module_of(plan: Plan, **arguments):
    name, cls = plan.settings.layers[0]["module"].split(":")
    return getattr(sys.modules[name], cls)(**arguments)


def seed_of(task, number: int) -> int:
    """The planned seed of a step, from its definition: the first word of the step's stream, halved."""
    return int(Stream(task.seed, "step", number).child("module", "module").words(1)[0] >> np.uint64(1))


def trained(plan: Plan, seed=seed_of, average_statistics: bool = True) -> dict[str, np.ndarray]:
    """The state after the first round by plain torch: the weighted mean of what the cohort's modules become."""
    train, cohort = open_data(plan.settings.data).train, plan.cohort(1)
    start = {name: torch.from_numpy(value.copy()) for name, value in (plan.weights | plan.constants).items()}
    total, after = sum(task.weight for task in cohort), []
    for task in cohort:
        module = module_of(plan)
        module.load_state_dict(start, strict=False)
        module.train()
        optimizer = torch.optim.SGD([p for p in module.parameters() if p.requires_grad], lr=0.1)
        for number, batch in enumerate(task.batches):
            torch.manual_seed(seed(task, number))
            optimizer.zero_grad()
            outputs = module(torch.from_numpy(train.inputs(batch)))
            torch.nn.functional.cross_entropy(outputs, torch.from_numpy(train.labels[batch])).backward()
            optimizer.step()
        after.append({name: value.detach().double().numpy() for name, value in module.state_dict().items()})
    mean = {name: sum(t.weight / total * one[name] for t, one in zip(cohort, after, strict=True)) for name in start}
    if not average_statistics:
        mean |= {name: start[name].numpy() for name in plan.statistics}
    return mean


def far(one, other, atol=1e-6) -> list[str]:
    return [name for name in one if not np.allclose(one[name], other[name], atol=atol)]


# ------------------------------------------------------------------------------------------------------ a round of it


def test_a_round_is_that_of_plain_torch_with_the_planned_seeds(own):
    plan = own()
    assert far(first_round(plan), trained(plan)) == []


def test_a_mask_that_all_clients_and_steps_share_is_another_experiment(own):
    plan = own()
    assert far(first_round(plan), trained(plan, seed=lambda task, number: 1))


def test_statistics_that_are_not_averaged_are_another_experiment(own):
    plan = own()
    assert far(first_round(plan), trained(plan, average_statistics=False)) == ["norm.running_mean", "norm.running_var"]


def test_seeds_differ_between_clients_and_steps(own):
    plan = own()
    seeds = [seed_of(task, number) for task in plan.cohort(1) for number in range(len(task.batches))]
    assert len(set(seeds)) == len(seeds) > 3


def test_statistics_without_a_rule_are_refused(own):
    with pytest.raises(SpecError, match=r"\(norm.running_mean, norm.running_var\), which need a rule: add batch_norm"):
        own(more="")


def test_frozen_statistics_are_in_the_plan_and_used_in_training(own):
    plan = own(more=", batch_norm: frozen")
    assert set(plan.constants) == {"norm.running_mean", "norm.running_var"}
    assert plan.statistics == frozenset()
    after = first_round(plan)
    module = module_of(plan)
    module.load_state_dict({n: torch.from_numpy(v.copy()) for n, v in (plan.weights | plan.constants).items()}, False)
    assert set(after) == {n for n, _ in module.named_parameters()}


def test_local_statistics_keep_their_layers_weights_with_the_client(own):
    plan = own(more=", batch_norm: local")
    assert set(plan.local) == {"norm.weight", "norm.bias", "norm.running_mean", "norm.running_var"}
    assert set(plan.weights) == {"conv.weight", "conv.bias", "out.weight", "out.bias"}


def test_counts_of_batches_are_no_tensors(own):
    assert not [name for name in own().arrays if "num_batches_tracked" in name]


# ------------------------------------------------------------------------------------------------------ initial weights


def test_initial_weights_are_what_the_class_draws_under_the_seed(own):
    plan = own()
    seed = int(Stream(5).child("weights").child("module").words(1)[0] >> np.uint64(1))
    torch.manual_seed(seed)
    module = module_of(plan)
    assert all(np.array_equal(plan.weights[name], p.detach().numpy()) for name, p in module.named_parameters())


def test_another_seed_draws_other_weights_and_the_same_the_same(own):
    one, again, other = own(), own(), own(changes=("seed: 5", "seed: 6"))
    assert np.array_equal(one.weights["out.weight"], again.weights["out.weight"])
    assert not np.array_equal(one.weights["out.weight"], other.weights["out.weight"])


# ------------------------------------------------------------------------------------------ frozen and tied parameters


def test_frozen_parameters_are_in_the_plan_and_never_sent(own):
    plan = own(NET.replace("self.out = ", "self.conv.requires_grad_(False)\n        self.out = "))
    assert set(plan.constants) == {"conv.weight", "conv.bias"}
    assert far(first_round(plan), trained(plan)) == []
    sent = sum(4 * value.size for name, value in plan.weights.items())
    assert bytes_per_client(plan) == (sent, sent)
    assert sent == 4 * (4 * 4 + 64 * 4 * 10 + 10)


TIED = """
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(64, 64)
        self.second = nn.Linear(64, 64)
        self.second.weight = self.first.weight
        self.out = nn.Linear(64, 10)

    def forward(self, x):
        return self.out(self.second(self.first(x.flatten(1)).relu()).relu())
"""


def test_tied_weights_are_one_tensor_with_the_sum_of_their_gradients(own):
    plan = own(TIED, more="")
    assert list(plan.weights) == ["first.weight", "first.bias", "second.bias", "out.weight", "out.bias"]
    assert far(first_round(plan), trained(plan)) == []


def test_tied_weights_that_were_two_are_another_experiment(own):
    plan = own(TIED, more="")
    untied = TIED.replace("        self.second.weight = self.first.weight\n", "")
    other = own(untied, more="")
    alike = plan.weights | {"second.weight": plan.weights["first.weight"]}
    twice = Plan(other.settings, other.arrays | {f"weights/{n}": v for n, v in alike.items()}, other.spec)
    assert "first.weight" in far(first_round(plan), first_round(twice))


# ---------------------------------------------------------------------------------------------- other kinds of modules

REASSIGNS = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.Linear(64, 10)
        self.register_buffer("mean", torch.zeros(64))

    def forward(self, x):
        x = x.flatten(1)
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * x.mean(0)
        return self.out(x - self.mean)
"""
LSTM = """
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.steps = nn.LSTM(8, 8, 2, dropout=0.2, batch_first=True)
        self.out = nn.LazyLinear(10)

    def forward(self, x):
        return self.out(self.steps(x[:, 0])[0][:, -1])
"""


@pytest.mark.parametrize(("source", "more"), [(REASSIGNS, ", batch_norm: averaged"), (LSTM, "")], ids=["new", "lstm"])
def test_statistics_that_a_module_replaces_and_recurrent_and_lazy_modules_train_as_in_plain_torch(own, source, more):
    plan = own(source, more)
    assert far(first_round(plan), trained(plan)) == []


HEAD = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.Linear(64, 10)
        self.calls = 0
        SETUP

    def forward(self, x):
        logits = self.out(x.flatten(1))
        RETURN
"""
WRONG = {
    "tuple": ("", "return logits, x", r"forward gave a tuple; return its logits, a tensor"),
    "dict": ("", "return {'scores': logits}", r"forward gave a dict; return its logits, .* or by the name logits"),
    "state": ("", "self.calls += 1; return logits * self.calls", r"computes something else when it is called again"),
    "unread state": ("", "self.calls += 1; return logits", r"changes calls at each call"),
    "draws in evaluation": ("", "return logits + torch.rand(10)", r"draws random numbers in evaluation"),
    "float64": ("self.double()", "return logits", r"parameter out.weight is float64; make it float32"),
    "unused": ("self.more = nn.Linear(2, 2)", "return logits", r"outputs do not depend on more.weight, more.bias"),
    "detached": ("", "return logits.detach()", r"outputs do not depend on its parameters"),
    "nothing learned": ("self.requires_grad_(False)", "return logits", r"no parameter requires gradients"),
    "line": ("", "return logits + self.bais", r"raised AttributeError: .*own_module_\d+.py:14; repair it"),
    "in the class": ("1 / 0", "return logits", r"__init__ raised ZeroDivisionError: .*own_module_\d+.py:10; repair it"),
    "exit": ("", "raise SystemExit(3)", r"forward raised SystemExit: 3 in"),
    "outputs": ("", "return logits[:, :7]", r"gives outputs \[batch, 7\], but there should be \[batch, 10\]"),
    "policy": (", batch_norm: averaged", "return logits", r"averaged, but .* has no statistics that training changes"),
    "counts": (
        "self.norm = nn.BatchNorm1d(64, momentum=None)",
        "return self.out(self.norm(x.flatten(1)))",
        r"computes by how often it was called \(norm.num_batches_tracked\)",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_no_plan_can_hold_is_refused_in_one_line(own, case):
    setup, returned, message = WRONG[case]
    more = ", batch_norm: averaged" if case in ("policy", "counts") else ""
    with pytest.raises(SpecError, match=message) as caught:
        own(HEAD.replace("SETUP", "pass" if case == "policy" else setup or "pass").replace("RETURN", returned), more)
    assert "\n" not in str(caught.value)


def test_a_private_steps_gradient_is_the_sum_of_clipped_ones_each_with_a_seed_of_its_own(own):
    net = NET.replace("self.norm = nn.BatchNorm2d(width)", "self.norm = nn.Identity()")
    plan = own(net, more="")
    trainer, task = Trainer(plan), plan.cohort(1)[0]
    tensors = {name: torch.from_numpy(value.copy()).requires_grad_() for name, value in plan.weights.items()}
    assert isinstance(trainer.step, SupervisedStep)
    step = trainer.step.inputs(task, 0, tensors)
    sums, _ = sum_of_clipped(step, tensors, 0.5)
    seeds = Stream(task.seed, "step", 0).child("module", "module").words(len(step.labels)) >> np.uint64(1)
    assert far(sums, by_hand(plan, step, seeds), atol=1e-6) == []
    assert far(sums, by_hand(plan, step, [seeds[0]] * len(seeds)), atol=1e-6)


def by_hand(plan: Plan, step, seeds) -> dict[str, np.ndarray]:
    """Each example's gradient by the module itself, clipped to 0.5 and added up."""
    module = module_of(plan).train()
    module.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in plan.weights.items()})
    total = {name: np.zeros(value.shape) for name, value in plan.weights.items()}
    for x, label, seed in zip(step.inputs, step.labels, seeds, strict=True):
        torch.manual_seed(int(seed))
        module.zero_grad()
        torch.nn.functional.cross_entropy(module(x[None]), torch.tensor([label])).backward()
        own = {name: parameter.grad.double().numpy() for name, parameter in module.named_parameters()}
        norm = np.sqrt(sum((value**2).sum() for value in own.values()))
        total = {name: total[name] + value * min(1.0, 0.5 / norm) for name, value in own.items()}
    return total


# ------------------------------------------------------------------------------------------------------------- adapters

ADAPTERS = """
import torch
from torch import nn

class Adapted(nn.Module):
    \"\"\"LoRA: Hu et al., ICLR 2022: W x + B A x, of which A and B are learned.\"\"\"

    def __init__(self, base, rank):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.down = nn.Linear(base.in_features, rank, bias=False)
        self.up = nn.Linear(rank, base.out_features, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, x):
        return self.base(x) + self.up(self.down(x))

class Net(nn.Module):
    def __init__(self, rank=2):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, dropout=0.1, batch_first=True).requires_grad_(False)
        self.norm = nn.LayerNorm(8).requires_grad_(False)
        self.hidden = Adapted(nn.Linear(8, 16), rank)
        self.out = Adapted(nn.Linear(16, 10), rank)

    def forward(self, x):
        rows = x[:, 0]
        rows = self.norm(rows + self.attention(rows, rows, rows, need_weights=False)[0])
        return self.out(self.hidden(rows).relu().mean(1))
"""


def test_of_a_transformer_with_adapters_only_these_are_sent_and_its_base_never(own):
    plan = own(ADAPTERS, more="")
    adapters = {f"{place}.{part}.weight" for place in ("hidden", "out") for part in ("down", "up")}
    assert set(plan.weights) == adapters
    assert bytes_per_client(plan) == (2 * 4 * (8 + 16 + 16 + 10),) * 2
    assert "out.base.weight" in plan.constants
    after = first_round(plan)
    assert set(after) == adapters
    assert far(after, trained(plan)) == []
    assert far(after, plan.weights)


def test_adapters_start_from_a_file_by_the_modules_own_names(own, tmp_path):
    plan = own(ADAPTERS, more="")
    module = module_of(plan)
    torch.save(module.state_dict(), tmp_path / "base.pt")
    started = own(ADAPTERS, more=f", pretrained: {tmp_path / 'base.pt'}")
    saved = {name: value.numpy() for name, value in module.state_dict().items()}
    assert far(started.weights | started.constants, saved, atol=0) == []
    assert far(plan.constants, saved)


def test_a_file_of_tied_weights_and_counts_has_more_names_than_the_model(own, tmp_path):
    plan = own(TIED, more="")
    torch.save(module_of(plan).state_dict(), tmp_path / "tied.pt")
    started = own(TIED, more=f", pretrained: {tmp_path / 'tied.pt'}")
    assert list(started.weights) == list(plan.weights)
