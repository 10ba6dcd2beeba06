"""The experiments on which every backend must agree.

All have uneven clients (Dirichlet), partial last batches (16 does not divide a client's examples) and a cohort that
changes from round to round; 20 rounds, because that is where drift would show.
"""

from __future__ import annotations

from flspec.compiler import compile
from flspec.loading import parse_spec
from flspec.plan import Plan

MODELS = {
    "mlp": "{kind: mlp, hidden: [32]}",
    "tanh": "{kind: mlp, hidden: [32], activation: tanh}",
    "cnn": "{kind: cnn, channels: [4, 8], kernel_size: 3, dense: [16]}",
    "tanh_cnn": "{kind: cnn, channels: [4], kernel_size: 5, pool: average, activation: tanh, dense: []}",
    "softmax": "{kind: softmax_regression, initializer: glorot_uniform}",
}
CLIENTS = {
    "sgd": "{epochs: 1, batch_size: 16, optimizer: {kind: sgd, learning_rate: 0.1}}",
    "epochs": "{epochs: 3, batch_size: 16, optimizer: {kind: sgd, learning_rate: 0.05}}",
    "steps": "{steps: 7, batch_size: 16, optimizer: {kind: sgd, learning_rate: 0.1}}",
    "ordered": "{epochs: 2, batch_size: 10, shuffle: false, optimizer: {kind: sgd, learning_rate: 0.1}}",
    "momentum": "{epochs: 2, batch_size: 16, optimizer: {kind: sgd, learning_rate: 0.05, momentum: 0.9}}",
    "nesterov": "{epochs: 1, batch_size: 16, optimizer: {kind: sgd, learning_rate: 0.05, momentum: 0.9,"
    " nesterov: true, weight_decay: 0.01}}",
}
AGGREGATORS = {
    "fedavg": "{kind: fedavg}",
    "uniform": "{kind: fedavg, weighting: uniform, learning_rate: 0.7}",
    "fedavgm": "{kind: fedavgm, learning_rate: 0.5, momentum: 0.9}",
    "fedadam": "{kind: fedadam, learning_rate: 0.01}",
    "fedadam_uncorrected": "{kind: fedadam, learning_rate: 0.01, bias_correction: false}",
    "fedyogi": "{kind: fedyogi, learning_rate: 0.01}",
    "fedadagrad": "{kind: fedadagrad, learning_rate: 0.01}",
}
SERVER_OPTIMIZERS = ("fedavgm", "fedadam", "fedyogi", "fedadagrad")

# How the pictures are transformed, at random and otherwise, before a model is given them.
DATASETS = {
    "plain": "{kind: digits}",
    "transformed": "{kind: digits, normalise: half,"
    " test_transforms: [{kind: centre_crop, size: 6}, {kind: resize, size: 8}],"
    " train_transforms: [{kind: rotation, degrees: 20}, {kind: random_crop, size: 7, padding: 1},"
    " {kind: random_resized_crop, size: 8, scale: [0.5, 1]}, {kind: horizontal_flip}]}",
}

NAMES = (
    *(f"{model}-{client}-fedavg" for model in ("mlp", "cnn") for client in ("sgd", "momentum")),
    *(f"{model}-sgd-{aggregator}" for model in ("mlp", "cnn") for aggregator in SERVER_OPTIMIZERS),
    *(f"mlp-{client}-fedavg" for client in ("epochs", "steps", "ordered", "nesterov")),
    "mlp-steps-uniform",
    "mlp-sgd-fedadam_uncorrected",
    "tanh_cnn-sgd-fedavg",
    "softmax-sgd-fedavg",
    "cnn-sgd-fedavg-transformed",
)
# For comparison with float64, whose sums differ from float32's by far more than two engines' do: without kinks, since
# a ReLU whose input is nearly zero then opens in one and not in the other.
SMOOTH = (*(name.replace("mlp", "tanh") for name in NAMES if name.startswith("mlp")), "softmax-sgd-fedavg")


def compile_named(name: str, rounds: int = 20) -> Plan:
    """The plan of `MODEL-CLIENT-AGGREGATOR`, or `MODEL-CLIENT-AGGREGATOR-DATASET`."""
    model, client, aggregator, dataset = (*name.split("-"), "plain")[:4]
    return compile(
        parse_spec(f"""
flspec: 1
name: {name}
seed: 7
rounds: {rounds}
dataset: {DATASETS[dataset]}
partition: {{kind: dirichlet, clients: 10, alpha: 0.5, min_examples: 5}}
model: {MODELS[model]}
client: {CLIENTS[client]}
cohort: {{kind: uniform, size: 4}}
aggregator: {AGGREGATORS[aggregator]}
evaluation: {{every: 20}}
""")
    )
