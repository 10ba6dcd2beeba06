"""Evaluation of a model that makes pictures: a tiny generator on digits, and what it makes held against real ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from flspec.analysis.networks import pictures_in_words
from flspec.api import Model
from flspec.compiler.compile import compile
from flspec.compiler.pictures import planned_pictures
from flspec.core.randomness import Stream
from flspec.data.store import open_data
from flspec.errors import InputError
from flspec.layers import Activation, Conv, Network, chain, describe_network, initial_tensors, parameters_of
from flspec.metrics import measure
from flspec.phases import Call, Draw, Sample, draws_of_sample
from flspec.protocol.plan import Plan
from flspec.protocol.state import ServerState
from flspec.quality import ComparedPictures, kernel_distance
from flspec.runs.evaluation import Evaluator
from flspec.runs.pictured import feature_space_of
from flspec.spec.evaluation import Evaluation
from flspec.spec.loading import parse_spec

SPEC = """
flspec: 1
name: tiny
rounds: 1
dataset: {kind: digits}
partition: {kind: iid, clients: 3, holdout: 0.1}
model: {kind: softmax_regression}
client: {epochs: 1, batch_size: 16, optimizer: {kind: sgd, learning_rate: 0.1}}
"""
METRICS = ("image_precision", "image_recall", "kid")
LATENT = (2, 8, 8)
GENERATOR = Network(
    "generator",
    {"latent": LATENT},
    chain(
        [Conv(name="conv", channels=1, kernel_size=3, padding=1), Activation(name="out", function="sigmoid")], "latent"
    ),
)
SAMPLE = Sample(
    draws={"latent": Draw(shape=LATENT)},
    calls=(Call(value="fake", network="generator", inputs={"latent": "latent"}),),
    picture="fake",
)
WEIGHTS = initial_tensors(parameters_of(GENERATOR), Stream(1, "weights"))
OTHERS = initial_tensors(parameters_of(GENERATOR), Stream(2, "weights"))


def generative(plan: Plan, is_local: bool = False, metrics=METRICS, groups=(), **evaluation) -> Plan:
    """The same plan with a generator in place of its classifier."""
    data = open_data(plan.settings.data)
    pictures, features = planned_pictures(Evaluation(**{"generated": 60, **evaluation}), data, Path())
    settings = replace(
        plan.settings,
        layers=(),
        networks={"generator": describe_network(GENERATOR)},
        sample=SAMPLE.model_dump(mode="json"),
        image_seed=7,
        weights=() if is_local else tuple(WEIGHTS),
        local=tuple(WEIGHTS) if is_local else (),
        evaluation=replace(plan.settings.evaluation, metrics=metrics, groups=groups, pictures=pictures),
    )
    kept = {name: array for name, array in plan.arrays.items() if not name.startswith("weights/")}
    where = "local" if is_local else "weights"
    tensors = {f"{where}/{name}": value for name, value in WEIGHTS.items()}
    return Plan(settings, kept | tensors | {f"features/{n}": v for n, v in features.items()}, plan.spec)


@pytest.fixture(scope="module")
def classifier() -> Plan:
    return compile(parse_spec(SPEC))


@pytest.fixture(scope="module")
def plan(classifier: Plan) -> Plan:
    return generative(classifier)


@pytest.fixture(scope="module")
def measured(plan: Plan):
    return Evaluator(plan)(ServerState(1, WEIGHTS))


def generated(weights=WEIGHTS, num=60):
    """The pictures by definition, as bytes: correlation with zeros around, then a sigmoid."""
    latent = Stream(7, "sample", "latent").normal(num * 128).reshape(num, *LATENT).astype(np.float32)
    padded = np.pad(latent.astype(np.float64), ((0, 0), (0, 0), (1, 1), (1, 1)))
    w, b = weights["generator.conv.weight"].astype(np.float64), weights["generator.conv.bias"]
    out = sum(
        np.einsum("bchw,c->bhw", padded[:, :, i : i + 8, j : j + 8], w[0, :, i, j]) for i in range(3) for j in range(3)
    )
    return np.floor(255 / (1 + np.exp(-(out + b[0]))) + 0.5).astype(np.uint8)[:, None]


def by_random_conv(pictures):
    """Features by definition: three times a correlation, ReLU and a mean of squares, of pixels from -1 to 1."""
    x = pictures / 127.5 - 1.0
    for number, (inputs, outputs) in enumerate(((x.shape[1], 16), (16, 32), (32, 64))):
        stream = Stream(0, "features", f"conv{number}", "weight")
        w = stream.normal(outputs * inputs * 9).reshape(outputs, inputs, 3, 3) * np.sqrt(2 / (inputs * 9))
        h, padded = x.shape[2], np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
        x = sum(
            np.einsum("bchw,oc->bohw", padded[:, :, i : i + h, j : j + h], w[:, :, i, j])
            for i in range(3)
            for j in range(3)
        )
        x = np.maximum(x, 0.0)
        x = x.reshape(*x.shape[:2], h // 2, 2, h // 2, 2).mean(axis=(3, 5))
    return x.mean(axis=(2, 3))


def stored_as_bytes(split):
    return np.floor(split.features / split.divisor * 255 + 0.5).astype(np.uint8)


def test_generated_pictures_are_held_against_real_ones(plan, measured):
    test = open_data(plan.settings.data).test
    real, fake = by_random_conv(stored_as_bytes(test)), by_random_conv(generated())
    values, _ = measure(ComparedPictures(real, fake), METRICS)
    assert measured.values["test"]["kid"] == pytest.approx(values["kid"], rel=1e-4)
    assert measured.values["test"]["image_recall"] == pytest.approx(values["image_recall"], abs=0.01)
    assert set(measured.values["test"]) == set(METRICS)
    wrong = kernel_distance(by_random_conv(255 - stored_as_bytes(test)), fake)
    assert abs(wrong - values["kid"]) > 0.01 * abs(values["kid"])


def test_other_real_pictures_stand_beside_as_many_as_the_set_has(plan, measured):
    data = open_data(plan.settings.data)
    num, train = len(data.test), data.train_as_tested
    others = stored_as_bytes(train.part(np.arange(num) * len(train) // num))
    expected = kernel_distance(by_random_conv(stored_as_bytes(data.test)), by_random_conv(others))
    assert measured.values["test/other real"]["kid"] == pytest.approx(expected, abs=1e-6)
    assert abs(expected) < 0.01 * measured.values["test"]["kid"]


def test_holdouts_are_sets_like_others_pooled_and_by_client(plan, measured):
    train, fake = open_data(plan.settings.data).train_as_tested, by_random_conv(generated())
    each = [kernel_distance(by_random_conv(stored_as_bytes(train.part(held))), fake) for held in plan.holdout]
    pooled = kernel_distance(by_random_conv(stored_as_bytes(train.part(np.concatenate(plan.holdout)))), fake)
    assert measured.values["holdout"]["kid"] == pytest.approx(pooled, rel=1e-4)
    assert measured.values["clients/mean"]["kid"] == pytest.approx(np.mean(each), rel=1e-4)
    assert measured.values["clients/worst"]["kid"] == pytest.approx(max(each), rel=1e-4)  # lower is better


def test_the_grid_is_the_first_pictures_and_stands_beside_real_ones(classifier):
    grids = Evaluator(generative(classifier, images={"rows": 2, "columns": 3}))(ServerState(1, WEIGHTS)).images
    pixels = grids["generated"].pixels
    assert pixels.shape == (2 * 8 + 2, 3 * 8 + 4, 3)
    made = generated()
    assert np.array_equal(pixels[:8, :8, 0], made[0, 0])
    assert np.array_equal(pixels[10:, 20:, 1], made[5, 0])
    test = open_data(classifier.settings.data).test
    assert np.array_equal(grids["real"].pixels[10:, 20:, 2], stored_as_bytes(test)[5 * len(test) // 6, 0])
    assert grids["generated"].clients == ()


def test_a_grid_may_have_more_pictures_than_are_measured(classifier):
    few = generative(classifier, generated=5, images={"rows": 4, "columns": 4})
    measured = Evaluator(few)(ServerState(1, WEIGHTS))
    assert measured.images["generated"].pixels.shape == (4 * 8 + 6, 4 * 8 + 6, 3)
    test = open_data(few.settings.data).test
    expected = kernel_distance(by_random_conv(stored_as_bytes(test)), by_random_conv(generated(num=5)))
    assert measured.values["test"]["kid"] == pytest.approx(expected, rel=1e-4)


def test_clients_with_generators_of_their_own_are_measured_one_by_one(classifier, plan):
    own = generative(classifier, is_local=True)
    clients = {0: {"weights": WEIGHTS}, 1: {"weights": OTHERS}, 2: {"weights": WEIGHTS}}
    measured = Evaluator(own)(ServerState(1, {}, clients=clients))
    first, second = (Evaluator(plan)(ServerState(1, weights)).values["test"]["kid"] for weights in (WEIGHTS, OTHERS))
    assert first != second
    assert measured.values["test"]["kid"] == pytest.approx((2 * first + second) / 3)
    assert measured.values["test/clients/worst"]["kid"] == max(first, second)
    grid = measured.images["generated"]
    assert grid.clients == (0, 1, 2, 0, 1, 2, 0, 1)  # eight rows
    assert np.array_equal(grid.pixels[:8, :8, 0], generated(WEIGHTS, 64)[0, 0])
    assert np.array_equal(grid.pixels[10:18, 10:18, 0], generated(OTHERS, 64)[9, 0])
    data = open_data(own.settings.data)
    fakes = np.concatenate([by_random_conv(generated(w)[:20]) for w in (WEIGHTS, OTHERS, WEIGHTS)])
    held = by_random_conv(stored_as_bytes(data.train_as_tested.part(np.concatenate(own.holdout))))
    assert measured.values["holdout"]["kid"] == pytest.approx(kernel_distance(held, fakes), rel=1e-4)


def test_each_label_and_each_group_is_a_set_of_real_pictures(classifier):
    measured = Evaluator(generative(classifier, by_label=True))(ServerState(1, WEIGHTS))
    test = open_data(classifier.settings.data).test
    fake = by_random_conv(generated())
    for digit in range(10):
        real = by_random_conv(stored_as_bytes(test)[test.labels == digit])
        assert measured.values[f"test/label={digit}"]["kid"] == pytest.approx(kernel_distance(real, fake), rel=1e-4)


def test_pictures_that_are_no_numbers_have_no_metric_and_a_black_grid(plan):
    broken = {name: np.full_like(value, np.nan) for name, value in WEIGHTS.items()}
    measured = Evaluator(plan)(ServerState(1, broken))
    assert measured.values["test"] == {}
    assert set(measured.undefined["test"].values()) == {"the generated pictures are not finite"}
    assert (measured.images["generated"].pixels[:8, :8] == 0).all()


def test_the_same_state_gives_the_same_bits(plan, measured):
    again = Evaluator(plan)(ServerState(1, WEIGHTS))
    assert again.values == measured.values
    assert all(np.array_equal(again.images[name].pixels, grid.pixels) for name, grid in measured.images.items())


def test_a_feature_space_is_told_by_its_layers_and_tensors(classifier, plan):
    def told(plan):
        space = feature_space_of(plan)
        return (space.title, space.sha256) if space else None

    title, digest = told(plan)
    assert title == "random_conv"
    assert told(generative(classifier, generated=5, images={"rows": 1, "columns": 1})) == (title, digest)
    assert told(generative(classifier, features={"kind": "random_conv", "standardise": True}))[1] != digest
    name = next(name for name in plan.arrays if name.startswith("features/"))
    changed = Plan(plan.settings, {**plan.arrays, name: plan.arrays[name] + 1}, plan.spec)
    assert told(changed)[1] != digest
    assert changed.digest != plan.digest
    assert told(classifier) is None


def test_a_plan_says_how_its_pictures_will_be_measured_and_shown(classifier, plan):
    assert pictures_in_words(plan) == (
        "60 made in each of 1 evaluated rounds, compared by 64 features (random_conv)",
        "a grid of 8 by 8 of them in images/",
    )
    assert pictures_in_words(classifier) == ()


def test_a_model_of_a_run_generates_the_pictures_that_it_was_evaluated_by(plan):
    model = Model(plan, WEIGHTS, 1, Path("run"))
    assert np.abs(model.generate(60).astype(int) - generated().astype(int)).max() <= 1  # rounding of float32
    assert np.array_equal(model.generate(20), model.generate(60)[:20])
    assert not np.array_equal(model.generate(20, seed=8), model.generate(20))
    latent = draws_of_sample(SAMPLE, 5, 7)["latent"]
    made = model.torch()["generator"](torch.from_numpy(latent)).detach().numpy()
    assert np.array_equal(np.floor(made * 255 + 0.5).astype(np.uint8), model.generate(5))
    for ask in (model.predict, model.probabilities):
        with pytest.raises(InputError, match=r"^(predict|probabilities): the model \(.*\) makes pictures"):
            ask(np.zeros((1, 1, 8, 8)))
    with pytest.raises(InputError, match=r"^generate: 0 pictures"):
        model.generate(0)
