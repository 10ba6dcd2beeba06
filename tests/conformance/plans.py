"""The experiments on which every backend must agree.

All have uneven clients (Dirichlet), partial last batches (16 does not divide a client's examples) and a cohort that
changes from round to round. A difference shows in the first round, so most have six; those in which drift would show,
of a plan for each server optimizer, have twenty.
"""

from __future__ import annotations

import warnings
from dataclasses import replace

from flspec.compiler.compile import compile
from flspec.protocol.plan import Plan
from flspec.spec.loading import parse_spec
from tests.conformance.graphs import GRAPHS, Pictures, Relabelled, Texts

MODELS = {
    "mlp": "{kind: mlp, hidden: [32]}",
    "tanh": "{kind: mlp, hidden: [32], activation: tanh}",
    "cnn": "{kind: cnn, channels: [4, 8], kernel_size: 3, dense: [16]}",
    "tanh_cnn": "{kind: cnn, channels: [4], kernel_size: 5, pool: average, activation: tanh, dense: []}",
    "softmax": "{kind: softmax_regression, initializer: glorot_uniform}",
    "resnet18": "{kind: resnet18}",
    "mobilenet_v2": "{kind: mobilenet_v2}",
    "efficientnet_b2": "{kind: efficientnet_b2, batch_norm: frozen, head: [20]}",
    "wide_dcgan": "{kind: dcgan, latent: 32, width: 16, batch_norm: averaged}",
    "dcgan": "{kind: dcgan, latent: 6, width: 4, batch_norm: averaged}",
}
# Two steps, because a generative pair amplifies what rounding adds; epsilon as for "adam" below.
_PLAYER = "{kind: adam, learning_rate: 0.002, beta_1: 0.5, epsilon: 0.001}"
CLIENTS = {
    "sgd": "{epochs: 1, batch_size: 16, optimizer: {kind: sgd, learning_rate: 0.1}}",
    "epochs": "{epochs: 3, batch_size: 16, optimizer: {kind: sgd, learning_rate: 0.05}}",
    "steps": "{steps: 7, batch_size: 16, optimizer: {kind: sgd, learning_rate: 0.1}}",
    "ordered": "{epochs: 2, batch_size: 10, shuffle: false, optimizer: {kind: sgd, learning_rate: 0.1}}",
    "momentum": "{epochs: 2, batch_size: 16, optimizer: {kind: sgd, learning_rate: 0.05, momentum: 0.9}}",
    "nesterov": "{epochs: 1, batch_size: 16, optimizer: {kind: sgd, learning_rate: 0.05, momentum: 0.9,"
    " nesterov: true, weight_decay: 0.01}}",
    # With an epsilon that a gradient of next to nothing does not outweigh: its sign would then be a whole step.
    "adam": "{epochs: 2, batch_size: 16, optimizer: {kind: adam, learning_rate: 0.01, epsilon: 0.001,"
    " weight_decay: 0.01, schedule: {kind: cosine}}}",
    "adamw": "{epochs: 1, batch_size: 16, optimizer: {kind: adamw, learning_rate: 0.01, epsilon: 0.001}}",
    "keras_adam": "{epochs: 1, batch_size: 16, optimizer: {kind: adam, learning_rate: 0.01, epsilon: 0.001,"
    " epsilon_hat: true}}",
    "decay": "{epochs: 1, batch_size: 16, optimizer: {kind: sgd, learning_rate: 0.05, weight_decay: 0.1}}",
    "stepped": "{epochs: 1, batch_size: 16, optimizer: {kind: sgd, learning_rate: 0.1, momentum: 0.5,"
    " schedule: {kind: step, every: 2, decay: 0.5}}}",
    "clipped": "{epochs: 1, batch_size: 16, clip: {norm: 0.5}, optimizer: {kind: sgd, learning_rate: 0.1}}",
    "clipped_each": "{epochs: 1, batch_size: 16, clip: {norm: 0.2, by: tensor},"
    " optimizer: {kind: sgd, learning_rate: 0.1}}",
    "squared": "{epochs: 1, batch_size: 16, loss: mean_squared_error, optimizer: {kind: sgd, learning_rate: 0.1}}",
    "bounded": "{epochs: 1, batch_size: 16, loss: {kind: huber, delta: 0.3},"
    " optimizer: {kind: sgd, learning_rate: 0.1}}",
    "weighted": "{epochs: 1, batch_size: 16, label_weights: [1, 1, 1, 4, 1, 1, 0.5, 1, 1, 1],"
    " optimizer: {kind: sgd, learning_rate: 0.1}}",
    "one_output": "{epochs: 1, batch_size: 16, loss: binary_cross_entropy, label_weights: [2.5],"
    " optimizer: {kind: sgd, learning_rate: 0.1}}",
    "many_outputs": "{epochs: 1, batch_size: 16, loss: binary_cross_entropy, optimizer: {kind: sgd,"
    " learning_rate: 0.1}}",
    "many_weighted": "{epochs: 1, batch_size: 16, loss: binary_cross_entropy, label_weights: [1, 3, 0.5],"
    " optimizer: {kind: sgd, learning_rate: 0.1}}",
    # A client with many steps overflows; what one of few steps sends is huge, and is bounded to what is anyone's.
    "diverging": "{epochs: 1, batch_size: 16, loss: mean_squared_error, optimizer: {kind: sgd, learning_rate: 1.0e6}}",
    "gan": f"{{steps: 2, batch_size: 4, objective: {{kind: gan}}, optimizer: {_PLAYER}}}",
    # With the published epsilon, where the smallest gradients take whole steps in whichever direction rounding gives.
    "gan_published": "{steps: 1, batch_size: 8, objective: {kind: gan}, optimizer: {kind: adam, learning_rate: 0.0002,"
    " beta_1: 0.5}}",
    "gan_seldom": f"{{steps: 5, batch_size: 4, objective: {{kind: gan}}, optimizer: {_PLAYER}}}",
    "gan_hinge": f"{{steps: 2, batch_size: 4, clip: {{norm: 0.5}}, objective: {{kind: gan, loss: hinge}}, optimizer:"
    f" {_PLAYER}, optimizers: {{discriminator: {{kind: sgd, learning_rate: 0.01, momentum: 0.5}}}}}}",
    "gan_squares": "{epochs: 1, batch_size: 64, objective: {kind: gan, loss: least_squares}, optimizer:"
    " {kind: sgd, learning_rate: 0.05, schedule: {kind: step, every: 2, decay: 0.5}}}",
    "few": "{steps: 2, batch_size: 4, optimizer: {kind: sgd, learning_rate: 0.01}}",
}
AGGREGATORS = {
    "fedavg": "{kind: fedavg}",
    "uniform": "{kind: fedavg, weighting: uniform, learning_rate: 0.7}",
    "fedavgm": "{kind: fedavgm, learning_rate: 0.5, momentum: 0.9}",
    "fedadam": "{kind: fedadam, learning_rate: 0.01}",
    "uniform_fedadam": "{kind: fedadam, learning_rate: 0.01, weighting: uniform}",
    "uniform_fedavgm": "{kind: fedavgm, momentum: 0.5, weighting: uniform}",
    "fedadam_uncorrected": "{kind: fedadam, learning_rate: 0.01, bias_correction: false}",
    "keras_fedadam": "{kind: fedadam, learning_rate: 0.01, epsilon_hat: true}",
    "fedyogi": "{kind: fedyogi, learning_rate: 0.01}",
    "fedadagrad": "{kind: fedadagrad, learning_rate: 0.01}",
    "fedavg_warm": "{kind: fedavgm, momentum: 0.5, schedule: {kind: warmup, rounds: 3, start: 0.1}}",
    "fedadam_warm": "{kind: fedadam, learning_rate: 0.01, schedule: {kind: warmup, rounds: 3, start: 0.1}}",
}
# Rules of updates; those that need some come with the cohort "seven".
AGGREGATORS |= {
    "bulyan": "{kind: bulyan, f: 1, server_optimizer: {kind: adam, learning_rate: 0.01}}",
    "centered": "{kind: centered_clipping, tau: 0.3, iterations: 2, server_optimizer: {kind: sgd, momentum: 0.5}}",
    "geometric": "{kind: geometric_median}",
}
SERVER_OPTIMIZERS = ("fedavgm", "fedadam", "fedyogi", "fedadagrad")

PARTITIONS = {
    "by_label": "{kind: dirichlet, clients: 10, alpha: 0.5, min_examples: 5}",
    "by_size": "{kind: dirichlet_sizes, clients: 10, alpha: 3}",
    "one_large": "{kind: sizes, sizes: [16, 16, 400]}",
}
_FIXED = "clip: {kind: fixed, norm: 0.5}"
_ADAPTIVE = "clip: {kind: adaptive, initial: 0.8, noise_on_count: 1}"
# Who takes part, and what bounds and hides it. Of cohorts of 1 of 10 clients, expected, a third are empty.
COHORTS = {
    "four": ("{kind: uniform, size: 4}", ""),
    "seven": ("{kind: uniform, size: 7}", ""),
    "coins": ("{kind: poisson, size: 1}", ""),
    "clipped": ("{kind: poisson, size: 4}", f"{_FIXED}, noise_multiplier: 0"),
    "noised": ("{kind: poisson, size: 4}", f"{_FIXED}, noise_multiplier: 0.5"),
    "adaptive": ("{kind: poisson, size: 4}", f"{_ADAPTIVE}, noise_multiplier: 0.5"),
    "noised_coins": ("{kind: poisson, size: 1}", f"{_ADAPTIVE}, noise_multiplier: 0.5, noise_cohort: 2"),
    "again": ("{kind: with_replacement, size: 6}", f"{_ADAPTIVE}, noise_multiplier: 0.5"),
    "everybody": ("{kind: all}", f"{_FIXED}, noise_multiplier: 0.5"),
}

# How the pictures are transformed, at random and otherwise, before a model is given them.
DATASETS = {
    "plain": "{kind: digits}",
    "transformed": "{kind: digits, normalise: half,"
    " test_transforms: [{kind: centre_crop, size: 6}, {kind: resize, size: 8}],"
    " train_transforms: [{kind: rotation, degrees: 20}, {kind: random_crop, size: 7, padding: 1},"
    " {kind: random_resized_crop, size: 8, scale: [0.5, 1]}, {kind: horizontal_flip}]}",
}

OTHER_DATASETS = {
    "halves": Relabelled(multi_label=False),
    "multi_label": Relabelled(multi_label=True),
    "pictures": Pictures(normalise="half"),
    "small_pictures": Pictures(normalise="half", times=2),
    "texts": Texts(),
}

# Twenty rounds each, because that is where drift would show; every other plan has six.
LONG = tuple(f"tanh-sgd-{aggregator}" for aggregator in SERVER_OPTIMIZERS)
NAMES = (
    *LONG,
    *(f"mlp-{client}-fedavg" for client in ("sgd", "momentum")),
    "cnn-sgd-fedavg",
    "cnn-momentum-fedavg",
    *(f"tanh-{client}-fedavg" for client in ("sgd", "momentum", "epochs", "steps", "ordered", "nesterov")),
    "tanh-steps-uniform",
    "tanh-sgd-fedadam_uncorrected",
    "tanh_cnn-sgd-fedavg",
    "softmax-sgd-fedavg",
    "cnn-sgd-fedavg-transformed",
)
# What came with layers, losses and recipes; the published networks, of up to eleven million weights, have one round.
RECIPES = (
    *(f"{graph}-sgd-fedavg" for graph in GRAPHS if graph != "read"),
    "read-momentum-fedavg-texts",
    "residual-adam-fedadam_warm",
    "averaged-adam-fedadam_warm",
    "tanh-keras_adam-keras_fedadam",
    *(
        f"tanh-{client}-fedavg"
        for client in ("adamw", "decay", "clipped", "clipped_each", "squared", "bounded", "weighted")
    ),
    "tanh-stepped-fedavg_warm",
    "tanh-one_output-fedavg-halves",
    "tanh-many_outputs-fedavg-multi_label",
    "tanh-many_weighted-fedavg-multi_label",
    "tanh-squared-fedavg-multi_label",
)
# Cohorts drawn by coins, and private means. All but the first have dense layers alone.
PRIVATE = (
    "tanh_cnn-sgd-uniform-plain-noised",
    "tanh-sgd-uniform-plain-clipped",
    "tanh-sgd-uniform_fedadam-plain-adaptive",
    "tanh-sgd-uniform_fedavgm-plain-noised_coins",
    "softmax-diverging-uniform-one_large-everybody",
    "tanh-sgd-uniform_fedavgm-plain-again",
    "softmax-diverging-uniform-one_large-again",
)
RULES = ("softmax-sgd-bulyan-plain-seven", "softmax-sgd-centered", "softmax-sgd-geometric")
SAMPLED = ("tanh-sgd-fedavg-plain-coins", *PRIVATE)
# Two networks, with a step for each of them. Batches of the last plan are uneven.
GANS = (
    "dcgan-gan-fedavg-small_pictures",
    "dcgan-gan_hinge-fedadam_warm-small_pictures",
    "dcgan-gan_squares-fedavgm-plain",
    "dcgan-gan_seldom-fedadam_uncorrected-plain",
    "wide_dcgan-gan_published-fedavg-small_pictures",
)
ZOO = tuple(f"{model}-few-fedavg-pictures" for model in ("resnet18", "mobilenet_v2", "efficientnet_b2"))
# For comparison with float64, whose sums differ from float32's by far more than two engines' do: without kinks, since
# a ReLU whose input is nearly zero then opens in one and not in the other.
SMOOTH = tuple(name for name in NAMES if name.startswith(("tanh-", "softmax-")))


def compile_named(name: str, rounds: int | None = None) -> Plan:
    """The plan of `MODEL-CLIENT-AGGREGATOR[-DATASET[-COHORT]]`."""
    given = name.split("-")
    model, client, aggregator, dataset, cohort = (*given, *("", "", "", "plain", "four")[len(given) :])
    sampler, privacy = COHORTS[cohort]
    partition = {"multi_label": "by_size", "one_large": "one_large"}.get(dataset, "by_label")
    spec = parse_spec(f"""
flspec: 1
name: {name}
seed: 7
rounds: {rounds or (20 if name in LONG else 1 if name in ZOO else 2 if model == "read" else 6)}
dataset: {DATASETS.get(dataset, DATASETS["plain"])}
partition: {PARTITIONS[partition]}
model: {MODELS.get(model, MODELS["mlp"])}
client: {CLIENTS[client]}
cohort: {"{kind: uniform, size: 2}" if name in ZOO else sampler}
aggregator: {AGGREGATORS[aggregator]}
evaluation: {{every: 20{", metrics: [kid], generated: 20, features: {kind: random_conv}" if name in GANS else ""}}}
{f"privacy: {{kind: central, delta: 0.01, {privacy}}}" if privacy else ""}
""")
    changed = {"dataset": OTHER_DATASETS.get(dataset, spec.dataset), "model": GRAPHS.get(model, spec.model)}
    with warnings.catch_warnings(action="ignore"):  # pydantic's, of parts that no spec can name
        plan = compile(spec.model_copy(update=changed))
    return _with_seldom_phases(plan) if client == "gan_seldom" else plan


def _with_seldom_phases(plan: Plan) -> Plan:
    """The plan with a generator that steps in every second step, and in every third again, on other pictures."""
    discriminator, generator = plan.settings.phases
    again = {
        "name": "again",
        "every": 3,
        "draws": {"other": {"kind": "uniform", "shape": [6, 1, 1]}},
        "calls": [
            {"value": "another", "network": "generator", "inputs": {"latent": "other"}},
            {"value": "judged_again", "network": "discriminator", "inputs": {"image": "another"}},
        ],
        "terms": [{"kind": "least_squares", "of": "judged_again", "real": True, "factor": 0.5}],
        "optimizer": "generator",
    }
    phases = (discriminator, {**generator, "every": 2}, again)
    return replace(plan, settings=replace(plan.settings, phases=phases))
