"""Training and scoring on a device that is not the CPU: everything is made there, and every bit is the CPU's.

The device is make-believe (`tests.make_believe`), so its kernels are the CPU's. Which bits a real one gives is another
question; that nothing is left behind, or read more often than need be, is the same one.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from flspec.analysis.memory_estimate import estimate_device_memory
from flspec.compiler.compile import compile
from flspec.data.examples import NORMALISATIONS, Split
from flspec.data.store import open_data
from flspec.errors import RunError
from flspec.execution.parts import sample_of
from flspec.execution.rounds import initial_state
from flspec.execution.server_step import finish_round
from flspec.layers import one_network
from flspec.losses import parse_loss
from flspec.phases import draws_of_sample
from flspec.protocol.named_records import flatten
from flspec.protocol.updates import ClientUpdate
from flspec.spec.loading import parse_spec
from flspec_torch.batches import Batches
from flspec_torch.devices import HOST, TorchDevice
from flspec_torch.gradient import ByAutograd, WrittenOut, has_derivatives
from flspec_torch.layers.linear import DenseInTorch
from flspec_torch.losses import build_loss
from flspec_torch.model import build_forward, translations_of
from flspec_torch.scoring import TorchScorer
from flspec_torch.stored_examples import StoredExamples
from flspec_torch.training import Trainer
from tests.algorithm_cases import CASES as ALGORITHMS
from tests.algorithm_cases import plan_of
from tests.layer_cases import CASES as LAYERS
from tests.layer_cases import TEXTS, TOKENS, graph_of, random_inputs, random_masks, random_tensors
from tests.make_believe import Traffic, make_believe

SGD = {"kind": "sgd", "learning_rate": 0.1}
CNN = {"kind": "cnn", "channels": [2], "kernel_size": 3, "dense": [4]}
CROPS = {
    "train_transforms": [{"kind": "random_crop", "size": 6}],
    "test_transforms": [{"kind": "centre_crop", "size": 6}],
}
GAN = """
flspec: 1
name: small-gan
rounds: 2
dataset: {kind: celeba, twin: {clients: 8, examples: 40}, split: published, size: 16, fit: crop, normalise: half}
partition: {kind: iid, clients: 2}
model: {kind: dcgan, latent: 2, width: 1, batch_norm: averaged}
client: {steps: 2, batch_size: 3, objective: {kind: gan}, optimizer: {kind: adam, learning_rate: 0.01}}
evaluation: {metrics: [kid], generated: 20}
"""
MODULE = """
import torch
from torch import nn

class Counting(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.out = nn.BatchNorm2d(1), nn.Linear(64, 10)

    def forward(self, x):
        return self.out(self.norm(x).flatten(1))

class Ordering(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.Linear(64, 10)
        self.register_buffer("signs", torch.arange(64) % 2 * 2 - 1)

    def forward(self, x):
        return self.out(x.flatten(1) * self.signs)
"""


def work(**changes):
    return {"client": {"epochs": 2, "batch_size": 4, "optimizer": SGD} | changes}


def pictures(model, **dataset):
    return {
        "dataset": {"kind": "digits", **dataset},
        "partition": {"kind": "iid", "clients": 60},
        "model": model,
        "client": {"steps": 2, "batch_size": 3, "optimizer": SGD},
    }


PLANS = {
    "adam that is kept": work(optimizer={"kind": "adam", "learning_rate": 0.01, "state": "kept"}),
    "momentum": work(optimizer=SGD | {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    "clipped": work(clip={"norm": 0.1}),
    "weighted labels": work(label_weights=[1.0, 2.0, 0.5]),
    "squared error": work(loss="mean_squared_error"),
    "plateau": work(optimizer=SGD | {"schedule": {"kind": "plateau"}})
    | {"partition": {"kind": "iid", "clients": 5, "holdout": 0.25}},
    "private": work() | {"privacy": {"kind": "example", "clip": {"norm": 0.3}, "noise_multiplier": 0.8, "delta": 0.01}},
    "pictures": pictures(CNN, normalise="half"),
    "crops": pictures(CNN, **CROPS),
}


def rounds(plan, device=HOST, num=2) -> list[list[ClientUpdate]]:
    """What the clients of each round send."""
    torch.set_num_threads(1)
    state, trainer, sent = initial_state(plan), Trainer(plan, device=device), []
    for number in range(1, num + 1):
        sent.append([trainer.train_from(state, task) for task in plan.cohort(number)])
        state = finish_round(plan, state, sent[-1]).state
    return sent


def contents(update: ClientUpdate):
    """All of it, as numbers and bytes."""
    arrays = {**update.delta, **flatten(update.client_state), **flatten(update.sent), **update.payload}
    return update.sums, update.numbers, {name: np.asarray(value).tobytes() for name, value in arrays.items()}


def check_same(plan) -> Traffic:
    """Fail unless two rounds are the same on both devices."""
    here = rounds(plan)
    with make_believe() as (device, traffic):
        there = rounds(plan, device)
    for ours, theirs in zip(here, there, strict=True):
        assert list(map(contents, ours)) == list(map(contents, theirs))
    return traffic


@pytest.mark.parametrize("case", PLANS)
def test_a_device_trains_to_the_same_bits(make_plan, case):
    check_same(make_plan(**PLANS[case]))


@pytest.mark.parametrize("case", ALGORITHMS)
def test_every_client_algorithm_trains_there(make_plan, case):
    check_same(plan_of(make_plan, case))


def test_adversaries_train_there_and_make_pictures():
    plan = compile(parse_spec(GAN, "small-gan.yaml"))
    assert check_same(plan).items == 0
    sample = sample_of(plan)
    assert sample
    drawn = draws_of_sample(sample, 5, plan.settings.image_seed)
    here = TorchScorer(plan).pictures(plan.weights, drawn)
    with make_believe() as (device, _):
        assert TorchScorer(plan, device).pictures(plan.weights, drawn).tobytes() == here.tobytes()


@pytest.mark.parametrize(("name", "policy"), [("Counting", {"batch_norm": "averaged"}), ("Ordering", {})])
def test_somebodys_module_trains_there_with_the_buffers_that_its_class_makes(
    make_plan, tmp_path, monkeypatch, name, policy
):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / f"{name.lower()}_of_a_device.py").write_text(MODULE)
    model = {"kind": "torch", "module": f"{name.lower()}_of_a_device:{name}", **policy}
    check_same(make_plan(**pictures(model)))


def passes(layers, shape, inputs, device=HOST) -> dict[str, bytes]:
    """The loss, outputs and gradients of a graph in a step, its outputs in evaluation, and its tensors afterwards."""
    network, loss = one_network(layers, shape), build_loss(parse_loss("mean_squared_error"), device=device)
    tensors, translations = device.copies(random_tensors(layers, shape)), translations_of(network)
    learned = [name for name in tensors if "running" not in name]
    given, forward = device.put(inputs), build_forward(network)
    masks = {name: device.put(mask) for name, mask in random_masks(layers, shape, len(inputs)).items()}
    is_written = has_derivatives(translations, loss)
    way = WrittenOut(translations, loss) if is_written else ByAutograd(forward, loss)
    found: dict[str, torch.Tensor | None] = {}
    with torch.no_grad():
        found["evaluated"] = evaluated = forward(tensors, given, None)
        if learned:
            batches = way(tensors, learned)(torch.ones_like(evaluated), [len(inputs)])
            found |= zip(learned, batches(given, masks), strict=True)
            found |= {"outputs": batches.outputs[0], "mean": batches.means[0]}
    found |= {f"{name} after": tensor for name, tensor in tensors.items()}
    return {name: value.detach().cpu().numpy().tobytes() for name, value in found.items() if value is not None}


@pytest.mark.parametrize("case", [*LAYERS, *TEXTS])
def test_every_layer_is_there_in_a_step_and_in_evaluation(case):
    layers, shape = graph_of(case) if case in LAYERS else (TEXTS[case], TOKENS.shape[1:])
    inputs = random_inputs(shape) if case in LAYERS else TOKENS
    here = passes(layers, shape, inputs)
    with make_believe() as (device, _):
        assert passes(layers, shape, inputs, device) == here


def test_data_are_sent_once_weights_once_a_round_and_a_task_is_read_three_times(make_plan):
    plan = make_plan(**pictures(CNN))
    traffic, cohort = check_same(plan), len(plan.cohort(1))
    split = open_data(plan.settings.data).train
    assert traffic.sent[split.features.shape] == 1
    sizes = [value.shape for value in plan.weights.values()]
    assert all(traffic.sent[shape] == 2 * sizes.count(shape) for shape in sizes)
    assert (traffic.read, traffic.items) == (2 * cohort * 2, 2 * cohort)  # losses and weights; correct predictions


def test_where_there_is_no_room_for_the_data_batches_are_sent(make_plan, monkeypatch):
    monkeypatch.setattr(TorchDevice, "has_room", lambda self, num_bytes: False)
    plan = make_plan(**pictures(CNN, normalise="half"))
    assert check_same(plan).sent[open_data(plan.settings.data).train.features.shape] == 0


@pytest.mark.parametrize("case", ["pictures", "crops"])
def test_a_device_scores_to_the_same_bits_and_keeps_the_examples(make_plan, case):
    plan = make_plan(**PLANS[case])
    test = open_data(plan.settings.data).test
    here = TorchScorer(plan).logits(plan.weights, test)
    with make_believe() as (device, traffic):
        scorer = TorchScorer(plan, device)
        assert all(scorer.logits(plan.weights, test).tobytes() == here.tobytes() for _ in range(2))
    assert traffic.read == 2
    assert traffic.sent[test.features.shape] == (0 if test.transforms else 1)


def test_a_stray_tensor_is_caught_wherever_it_is_made(make_plan, monkeypatch):
    """What is made without its device, in a layer, a batch or a loss, is on the CPU."""
    wrong = {
        (DenseInTorch, "own"): lambda self, tensors, suffix: torch.ones(tensors[self.layer.tensor_name(suffix)].shape),
        (Batches, "_read"): lambda self, rows: torch.from_numpy(self.split.inputs(rows)),
        (TorchDevice, "copies_of_round"): lambda self, weights: HOST.copies(weights),
    }
    plan = make_plan()
    for (cls, name), stray in wrong.items():
        with monkeypatch.context() as patch, make_believe() as (device, _):
            patch.setattr(cls, name, stray)
            with pytest.raises((RuntimeError, TypeError), match="two devices"):
                rounds(plan, device, num=1)


def test_pixels_are_scaled_to_the_same_bits_and_not_by_the_inverse_of_255():
    """torch divides tensors of a GPU by a number by multiplying with its inverse, which is seen."""
    mean, std = NORMALISATIONS["imagenet"]
    pixels = np.arange(3 * 256, dtype=np.uint8).reshape(64, 3, 2, 2)
    split = Split(pixels, np.zeros(64, np.int64), 255.0, mean, std)
    rows = np.random.default_rng(1).permutation(64)
    with make_believe() as (device, _):
        stored = StoredExamples(split, device)
        found = stored.inputs(device.put(rows)).cpu().numpy()
        stored._divisor = 1 / stored._divisor
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch.Tensor, "div", torch.Tensor.mul)
            by_inverse = stored.inputs(device.put(rows)).cpu().numpy()
    assert found.tobytes() == split.inputs(rows).tobytes()
    assert by_inverse.tobytes() != found.tobytes()


def test_a_device_without_memory_is_named_and_the_run_can_go_on(make_plan, monkeypatch):
    plan = make_plan()

    def exhausted(self, rows):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore")

    monkeypatch.setattr(Batches, "_read", exhausted)
    message = r"meta \(make-believe\) is out of memory .*2.00 GiB.*--resume"
    with make_believe() as (device, _), pytest.raises(RunError, match=message) as caught:
        rounds(plan, device)
    assert "\n" not in str(caught.value)


def test_the_estimate_of_its_memory_is_near_what_tensors_there_hold_at_once(make_plan):
    """In training and evaluation. That of another optimizer, without Adam's two slots, is seen to be another."""
    sections = pictures({"kind": "mlp", "hidden": [2000, 200]}) | {"cohort": {"kind": "uniform", "size": 1}}
    adam = {"steps": 2, "batch_size": 20, "optimizer": {"kind": "adam", "learning_rate": 0.01}}
    plan = make_plan(**sections | {"client": adam})
    with make_believe() as (device, traffic):
        Trainer(plan, device=device).train_from(initial_state(plan), plan.cohort(1)[0])
        TorchScorer(plan, device).logits(plan.weights, open_data(plan.settings.data).test)
    assert 0.8 < estimate_device_memory(plan) / traffic.peak < 1.4
    assert estimate_device_memory(make_plan(**sections)) / traffic.peak < 0.8
