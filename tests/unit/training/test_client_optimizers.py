"""Client optimizers against torch's own bit for bit, and against the papers' equations in float64 loops."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from flspec.aggregators import Aggregator
from flspec.client_optimizers import ClientOptimizer
from flspec.client_optimizers.adam import Adam
from flspec.client_optimizers.adamw import AdamW
from flspec.client_optimizers.sgd import Sgd
from flspec.core.components import parse_component
from flspec.protocol.named_records import flatten, unflatten
from flspec.schedules.plateau import Plateau
from flspec_torch.optimizers import build_stepper

RNG = np.random.default_rng(0)
SHAPES = {"dense.weight": (4, 3), "dense.bias": (4,), "scale": ()}
START = {name: RNG.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}
STEPS = [{name: RNG.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()} for _ in range(24)]
RULES = [
    Sgd(learning_rate=0.3),
    Sgd(learning_rate=0.3, momentum=0.9),
    Sgd(learning_rate=0.3, momentum=0.9, nesterov=True),
    Sgd(learning_rate=0.3, weight_decay=0.1),
    Sgd(learning_rate=0.3, momentum=0.5, nesterov=True, weight_decay=0.1),
    Adam(learning_rate=0.01),
    Adam(learning_rate=0.02, beta_1=0.5, beta_2=0.9, epsilon=1e-3, weight_decay=0.1),
    Adam(learning_rate=0.02, beta_1=0.0, beta_2=0.0, epsilon=0.1),
    AdamW(learning_rate=0.01),
    AdamW(learning_rate=0.02, beta_1=0.8, epsilon=1e-2, weight_decay=0.3),
    AdamW(learning_rate=0.01, weight_decay=0.0),
]
STATEFUL = [rule for rule in RULES if rule.initial_slots()]
HATTED = [  # which torch has not
    Adam(learning_rate=0.01, epsilon_hat=True),
    Adam(learning_rate=0.02, beta_1=0.5, epsilon=1e-2, epsilon_hat=True, weight_decay=0.1),
    AdamW(learning_rate=0.02, beta_1=0.8, beta_2=0.9, epsilon=1e-3, epsilon_hat=True, weight_decay=0.3),
]
MOMENTS = [*(rule for rule in RULES if isinstance(rule, Adam | AdamW)), *HATTED]


def leaves(dtype=torch.float32):
    return {name: torch.tensor(value, dtype=dtype, requires_grad=True) for name, value in START.items()}


def gradients(step, dtype=torch.float32):
    return [torch.tensor(value, dtype=dtype) for value in step.values()]


def torchs_own(rule, weights):
    shared = {"lr": rule.learning_rate, "weight_decay": rule.weight_decay, "foreach": False}
    if isinstance(rule, Sgd):
        return torch.optim.SGD(weights, momentum=rule.momentum, nesterov=rule.nesterov, **shared)
    kind = torch.optim.Adam if isinstance(rule, Adam) else torch.optim.AdamW
    return kind(weights, betas=(rule.beta_1, rule.beta_2), eps=rule.epsilon, **shared)


def take(reference, weights, step):
    for weight, gradient in zip(weights.values(), gradients(step), strict=True):
        weight.grad = gradient
    reference.step()


def equal(ours, theirs):
    return all(torch.equal(ours[name], theirs[name]) for name in SHAPES)


# -------------------------------------------------------------------------------------------------------- torch's own


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_every_step_is_torchs_own_bit_for_bit(rule):
    ours, theirs = leaves(), leaves()
    stepper, reference = build_stepper(rule, ours), torchs_own(rule, theirs.values())
    for step in STEPS:
        stepper(gradients(step))
        take(reference, theirs, step)
        assert equal(ours, theirs)


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_a_rate_scales_the_learning_rate_from_the_next_step_on(rule):
    ours, theirs = leaves(), leaves()
    stepper, reference = build_stepper(rule, ours, 0.7), torchs_own(rule, theirs.values())
    for number, step in enumerate(STEPS):
        stepper.rate = 0.7 if number < 5 else 0.7 * 0.2
        reference.param_groups[0]["lr"] = rule.learning_rate * stepper.rate
        stepper(gradients(step))
        take(reference, theirs, step)
        assert equal(ours, theirs)
    assert not equal(ours, unscaled(rule))


def unscaled(rule):
    weights = leaves()
    stepper = build_stepper(rule, weights)
    for step in STEPS:
        stepper(gradients(step))
    return weights


@pytest.mark.parametrize("rule", HATTED, ids=str)
def test_epsilon_hat_is_torchs_own_with_less_epsilon_from_step_to_step(rule):
    ours, theirs, fixed = leaves(), leaves(), leaves()
    stepper, reference = build_stepper(rule, ours), torchs_own(rule, theirs.values())
    unhatted = build_stepper(rule.model_copy(update={"epsilon_hat": False}), fixed)
    for number, step in enumerate(STEPS, 1):
        reference.param_groups[0]["eps"] = rule.epsilon / (1 - rule.beta_2**number) ** 0.5
        stepper(gradients(step))
        unhatted(gradients(step))
        take(reference, theirs, step)
        assert equal(ours, theirs)
    assert not equal(ours, fixed)


@pytest.mark.parametrize("rule", STATEFUL, ids=str)
def test_what_is_carried_over_goes_on_as_if_never_interrupted(rule):
    ours, theirs, reset = leaves(), leaves(), leaves()
    reference, carried = torchs_own(rule, theirs.values()), dict[Any, Any]()
    for start in range(0, len(STEPS), 7):
        stepper, fresh = build_stepper(rule, ours, 1.0, carried), build_stepper(rule, reset)
        for step in STEPS[start : start + 7]:
            stepper(gradients(step))
            fresh(gradients(step))
            take(reference, theirs, step)
        carried = stepper.carry()
    assert equal(ours, theirs)
    assert not equal(ours, reset) or without_memory(rule)


def without_memory(rule):
    return isinstance(rule, Adam | AdamW) and rule.beta_1 == rule.beta_2 == 0.0


@pytest.mark.parametrize("rule", STATEFUL, ids=str)
def test_what_is_carried_is_float32_by_slot_and_name_and_a_copy(rule):
    weights = leaves()
    stepper = build_stepper(rule, weights)
    stepper(gradients(STEPS[0]))
    records = stepper.carry()
    expected = {f"optimizer/{slot}/{name}": SHAPES[name] for slot in rule.initial_slots() for name in SHAPES}
    carried: Any = flatten(records)
    assert {key: value.shape for key, value in carried.items()} == expected | (
        {"optimizer/step": ()} if rule.counts_steps else {}
    )
    assert {value.dtype for value in carried.values()} == {np.dtype(np.float32)}
    before = {key: value.copy() for key, value in carried.items()}
    stepper(gradients(STEPS[1]))
    build_stepper(rule, weights, 1.0, unflatten(carried))(gradients(STEPS[2]))
    assert all(np.array_equal(carried[key], before[key]) for key in carried)


def test_plain_descent_remembers_nothing():
    stepper = build_stepper(Sgd(learning_rate=0.1, weight_decay=0.1), leaves())
    stepper(gradients(STEPS[0]))
    assert stepper.carry() == {}


def test_a_rate_of_zero_leaves_the_weights_but_not_the_moments():
    weights = leaves()
    stepper = build_stepper(AdamW(learning_rate=0.1), weights, 0.0)
    stepper(gradients(STEPS[0]))
    assert equal(weights, leaves())
    assert stepper.carry()["optimizer/first_moment"]["scale"] == pytest.approx(0.1 * STEPS[0]["scale"])


# ------------------------------------------------------------------------------------------------------- the equations


def by_hand(rule, wrong=""):
    """Where each weight ends, one number after the other."""
    after = {name: value.astype(np.float64) for name, value in START.items()}
    for name, weights in after.items():
        for at in np.ndindex(weights.shape):
            weights[at] = descend(rule, weights[at], [float(step[name][at]) for step in STEPS], wrong)
    return after


def descend(rule, w, slopes, wrong):
    """Kingma and Ba's Algorithm 1, and Loshchilov and Hutter's Algorithm 2, of one weight."""
    decoupled = isinstance(rule, AdamW) != (wrong == "the other decay")
    m = v = 0.0
    for t, g in enumerate(slopes, 1):
        penalty = rule.weight_decay * w
        if decoupled:
            w = w - (1.0 if wrong == "decay without the rate" else rule.learning_rate) * penalty
        slope = g if decoupled else g + penalty
        m = rule.beta_1 * m + (1 - rule.beta_1) * slope
        v = rule.beta_2 * v + (1 - rule.beta_2) * slope**2
        power = {"no bias correction": math.inf, "a step late": t + 1}.get(wrong, t)
        first, second = m / (1 - rule.beta_1**power), v / (1 - rule.beta_2**power)
        if rule.epsilon_hat != (wrong == "the other place of epsilon"):  # the end of Kingma and Ba's Section 2
            rate = rule.learning_rate * math.sqrt(1 - rule.beta_2**power) / (1 - rule.beta_1**power)
            w = w - rate * m / (math.sqrt(v) + rule.epsilon)
            continue
        inside, outside = (rule.epsilon, 0.0) if wrong == "epsilon inside" else (0.0, rule.epsilon)
        w = w - rule.learning_rate * first / (math.sqrt(second + inside) + outside)
    return w


def in_float64(rule):
    weights = leaves(torch.float64)
    stepper = build_stepper(rule, weights)
    for step in STEPS:
        stepper(gradients(step, torch.float64))
    return {name: weight.detach().numpy() for name, weight in weights.items()}


def furthest(one, other):
    return max(np.abs(one[name] - other[name]).max() for name in SHAPES)


@pytest.mark.parametrize("rule", MOMENTS, ids=str)
def test_moments_follow_the_papers_equations(rule):
    assert furthest(in_float64(rule), by_hand(rule)) < 1e-13


@pytest.mark.parametrize("kind", [Adam, AdamW])
def test_of_a_constant_gradient_epsilon_hat_takes_steps_of_its_closed_form(kind):
    weight, slope = {"w": torch.zeros((), dtype=torch.float64)}, 0.05
    rule = kind(learning_rate=0.1, epsilon=0.01, epsilon_hat=True, weight_decay=0.0)
    stepper, before, steps = build_stepper(rule, weight), 0.0, []
    for _ in range(6):
        stepper([torch.tensor(slope, dtype=torch.float64)])
        steps.append(float(weight["w"]) - before)
        before = float(weight["w"])
    form = [-0.1 * slope / (slope + 0.01 / math.sqrt(1 - 0.999**t)) for t in range(1, 7)]
    assert steps == pytest.approx(form, rel=1e-9)
    assert steps[0] == pytest.approx(-0.1 * slope / (slope + 0.01 * 31.6228), rel=1e-5)
    assert steps != pytest.approx([-0.1 * slope / (slope + 0.01)] * 6, rel=1e-1)  # after the correction


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        *((kind, wrong) for kind in (Adam, AdamW) for wrong in ("no bias correction", "a step late", "epsilon inside")),
        *((kind, "the other place of epsilon") for kind in (Adam, AdamW)),
        (Adam, "the other decay"),
        (AdamW, "the other decay"),
        (AdamW, "decay without the rate"),
    ],
)
def test_a_wrong_equation_is_noticed(kind, wrong):
    rule = kind(learning_rate=0.01, beta_1=0.8, beta_2=0.9, epsilon=1e-3, weight_decay=0.1)
    assert furthest(in_float64(rule), by_hand(rule)) < 1e-13
    assert furthest(in_float64(rule), by_hand(rule, wrong)) > 1e-5


@pytest.mark.parametrize("wrong", ["a step late", "the other place of epsilon"])
@pytest.mark.parametrize("rule", HATTED[1:], ids=str)
def test_a_wrong_epsilon_hat_is_noticed(rule, wrong):
    assert furthest(in_float64(rule), by_hand(rule, wrong)) > 1e-5


# ------------------------------------------------------------------------------------------------------------ documents


def test_what_came_later_does_not_change_how_an_older_optimizer_is_told():
    assert Sgd(learning_rate=0.1).model_dump(mode="json") == {
        "kind": "sgd",
        "learning_rate": 0.1,
        "momentum": 0.0,
        "nesterov": False,
        "weight_decay": 0.0,
    }
    assert "epsilon_hat" not in Adam(learning_rate=0.1).model_dump(mode="json")
    assert Adam(learning_rate=0.1, epsilon_hat=True).model_dump(mode="json")["epsilon_hat"]
    fedavg = parse_component(Aggregator, {"kind": "fedavg"}).model_dump(mode="json")
    assert fedavg == {"kind": "fedavg", "weighting": "examples", "learning_rate": 1.0}


@pytest.mark.parametrize("rule", [*RULES, *HATTED], ids=str)
def test_an_optimizer_is_read_back_with_its_state_and_schedule(rule):
    schedule = {"kind": "plateau", "metric": "roc_auc", "decay": 0.2, "patience": 1}
    document = rule.model_dump(mode="json") | {"state": "kept", "schedule": schedule}
    read = parse_component(ClientOptimizer, document)
    assert read.state == "kept"
    assert isinstance(read.schedule, Plateau)
    assert read.schedule.patience == 1
    assert parse_component(ClientOptimizer, read.model_dump(mode="json")) == read


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({"kind": "adam"}, "learning_rate"),
        ({"kind": "adam", "learning_rate": 0.1, "beta_1": 1.0}, "beta_1"),
        ({"kind": "adamw", "learning_rate": 0.1, "epsilon": 0.0}, "epsilon"),
        ({"kind": "adamw", "learning_rate": 0.1, "momentum": 0.9}, "momentum"),
        ({"kind": "sgd", "learning_rate": 0.1, "state": "forgotten"}, "state"),
        ({"kind": "sgd", "learning_rate": 0.1, "schedule": {"kind": "sudden"}}, "sudden"),
    ],
    ids=json.dumps,
)
def test_a_wrong_parameter_is_refused_by_name(document, field):
    with pytest.raises(ValidationError, match=field):
        parse_component(ClientOptimizer, document)
