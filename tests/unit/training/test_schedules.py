"""Schedules against torch's own, round by round, and the plateau against torch's pass by pass."""

from __future__ import annotations

import math
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch.optim import lr_scheduler

from flspec.aggregators import Aggregator
from flspec.core.components import parse_component
from flspec.metrics import METRICS
from flspec.schedules import Schedule
from flspec.schedules.cosine import Cosine
from flspec.schedules.exponential import Exponential
from flspec.schedules.plateau import Plateau, PlateauTracker
from flspec.schedules.step import Step
from flspec.schedules.warmup import Warmup

PFL = Warmup(rounds=30, final=0.2)  # the server's schedule in pfl's FLAIR benchmark, whose rate is 0.1


def factors(schedule, total):
    return [schedule.factor(number, total) for number in range(1, total + 1)]


def torchs(schedule, total, rate=1.0):
    """The rate in each round by one of torch's schedulers, told after each."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=rate)
    scheduler, rates = schedule(optimizer), []
    for _ in range(total):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def polynomial(step, init, end, total, warmup):
    """The rate at a step by pfl's get_polynomial_decay_schedule_with_warmup, of power 1."""
    if step < warmup:
        return init * step / max(1, warmup)
    return (init - end) * (1 - (step - warmup) / (total - warmup)) + end


# ----------------------------------------------------------------------------------------------------- known in advance


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (Step(every=3), lambda o: lr_scheduler.StepLR(o, 3)),
        (Step(every=1, decay=0.5), lambda o: lr_scheduler.StepLR(o, 1, 0.5)),
        (Exponential(decay=0.9), lambda o: lr_scheduler.ExponentialLR(o, 0.9)),
        (Cosine(), lambda o: lr_scheduler.CosineAnnealingLR(o, 20)),
        (Cosine(final=0.1), lambda o: lr_scheduler.CosineAnnealingLR(o, 20, 0.1)),
        (Warmup(rounds=6, start=0.25), lambda o: lr_scheduler.LinearLR(o, 0.25, total_iters=6)),
        (
            Warmup(rounds=6, start=0.25, final=0.1),
            lambda o: lr_scheduler.SequentialLR(
                o, [lr_scheduler.LinearLR(o, 0.25, 1.0, 6), lr_scheduler.LinearLR(o, 1.0, 0.1, 14)], [6]
            ),
        ),
        (Warmup(rounds=4, final=0.2), lambda o: lr_scheduler.LambdaLR(o, lambda t: polynomial(t, 1.0, 0.2, 20, 4))),
        (
            Cosine(warmup=5),
            lambda o: lr_scheduler.LambdaLR(
                o, lambda t: t / 5 if t < 5 else max(0.0, 0.5 * (1 + math.cos(math.pi * 2 * 0.5 * (t - 5) / 15)))
            ),
        ),
    ],
    ids=lambda value: "theirs" if callable(value) else str(value),  # a function's address differs between processes
)
def test_a_schedule_is_torchs_round_by_round(ours, theirs):
    got, expected = factors(ours, 20), torchs(theirs, 20)
    assert got == pytest.approx(expected, rel=1e-12, abs=1e-15)
    late = [ours.factor(max(number - 1, 1), 20) for number in range(1, 21)]
    assert late != pytest.approx(expected, rel=1e-3)


def test_the_servers_schedule_of_pfls_flair_benchmark_is_told_exactly():
    rates = [0.1 * factor for factor in factors(PFL, 5000)]
    expected = torchs(lambda o: lr_scheduler.LambdaLR(o, lambda t: polynomial(t, 0.1, 0.02, 5000, 30) / 0.1), 5000, 0.1)
    assert rates == pytest.approx(expected, rel=1e-13)
    assert rates[:2] == [0.0, 0.1 / 30]
    assert max(rates) == rates[30] == 0.1
    assert rates[-1] == pytest.approx(0.02 + 0.08 / 4970, rel=1e-12)
    assert rates[0] != 0.1 * Warmup(rounds=30, start=1 / 30, final=0.2).factor(1, 5000)


def test_a_warm_up_that_is_not_followed_by_a_decay_stays():
    assert factors(Warmup(rounds=2), 5) == [0.0, 0.5, 1.0, 1.0, 1.0]


SCHEDULES = st.one_of(
    st.builds(Step, every=st.integers(1, 9), decay=st.floats(0.01, 1)),
    st.builds(Exponential, decay=st.floats(0.01, 1)),
    st.builds(Cosine, final=st.floats(0, 1), warmup=st.integers(0, 60)),
    st.builds(Warmup, rounds=st.integers(1, 60), start=st.floats(0, 1), final=st.floats(0, 1)),
    st.just(Plateau()),
)


@given(SCHEDULES, st.integers(1, 40))
def test_every_factor_is_between_none_and_one_however_few_the_rounds(schedule, total):
    assert all(0.0 <= factor <= 1.0 for factor in factors(schedule, total))


# ------------------------------------------------------------------------------------------------------------- measured


def float32s(number, seed):
    """Values that wander, and often stand still: float32 within 0 and 1."""
    steps = np.random.default_rng(seed).choice([0.0, 1e-5, -1e-5, 0.02, -0.02, 0.1, -0.1], size=number)
    return np.clip(0.5 + np.cumsum(steps), 0, 1).astype(np.float32).tolist()


def tracked(plateau, values):
    tracker = PlateauTracker(plateau)
    return [tracker.after_pass(value) for value in values]


def torchs_plateau(values, **settings):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler, rates = lr_scheduler.ReduceLROnPlateau(optimizer, eps=0.0, **settings), []
    for value in values:
        scheduler.step(value)
        rates.append(optimizer.param_groups[0]["lr"])
    return rates


@pytest.mark.parametrize("metric", ["loss", "roc_auc"])
@pytest.mark.parametrize(("patience", "threshold"), [(0, 1e-4), (1, 1e-4), (3, 0.0), (2, 0.1)])
def test_a_plateau_is_torchs_pass_by_pass(metric, patience, threshold):
    settings = {"patience": patience, "threshold": threshold}
    mode = "min" if metric == "loss" else "max"
    falls, wrong = 0, {"mode": 0, "patience": 0, "threshold_mode": 0}
    for seed in range(20):
        values = float32s(40, seed)
        got = tracked(Plateau(metric=metric, decay=0.2, **settings), values)
        assert got == pytest.approx(torchs_plateau(values, mode=mode, factor=0.2, **settings), rel=1e-12)
        falls += got[-1] < 1
        for name, value in (
            ("mode", "maxmin".replace(mode, "")),
            ("patience", patience + 1),
            ("threshold_mode", "abs"),
        ):
            other = {"mode": mode, "factor": 0.2, **settings, name: value}
            wrong[name] += got != pytest.approx(torchs_plateau(values, **other), rel=1e-3)
    assert falls
    assert wrong["mode"]
    assert wrong["patience"]
    assert wrong["threshold_mode"] or threshold < 0.1  # below that the two agree on these values


def test_the_dermatology_recipe_falls_to_a_fifth_after_the_second_pass_without_improvement():
    recipe = Plateau(metric="roc_auc", decay=0.2, patience=1)
    assert tracked(recipe, [0.7, 0.7, 0.6, 0.6, 0.75, 0.75, 0.75]) == [
        1.0,
        1.0,
        0.2,
        0.2,
        0.2,
        0.2,
        pytest.approx(0.04),
    ]


@pytest.mark.parametrize("metric", ["loss", "roc_auc"])
def test_a_tracker_that_is_carried_over_goes_on_as_if_never_interrupted(metric):
    plateau = Plateau(metric=metric, patience=2, decay=0.5)
    differ = False
    for seed in range(5):
        values = [value * math.pi for value in float32s(30, seed)]  # no float32
        whole, parts, reset, carried = tracked(plateau, values), [], [], None
        for start in range(0, 30, 7):
            part = values[start : start + 7]
            tracker = PlateauTracker(plateau, carried)
            parts += [tracker.after_pass(value) for value in part]
            reset += tracked(plateau, part)
            carried = tracker.carry()
            assert carried.dtype == np.float32
            assert np.isfinite(carried).all()
        assert parts == whole
        differ |= reset != whole
    assert differ


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf, 1e39])
def test_a_pass_without_a_value_changes_nothing(value):
    plateau = Plateau(patience=0, decay=0.5)
    fresh, going = PlateauTracker(plateau), PlateauTracker(plateau)
    going.after_pass(1.0)
    assert going.after_pass(2.0) == 0.5
    for tracker in (fresh, going):
        before = tracker.carry().tolist()
        tracker.after_pass(value)
        assert tracker.carry().tolist() == before
    assert fresh.after_pass(3.0) == 1.0  # the first value is the best so far


def test_a_plateau_knows_its_metrics_and_which_of_them_should_fall():
    names = set(get_args(Plateau.model_fields["metric"].annotation))
    assert names <= set(METRICS)
    assert {name for name in names if METRICS[name].better == "lower"} == {"loss"}


# ------------------------------------------------------------------------------------------------------------ documents


def test_a_server_has_any_schedule_that_is_known_before_training():
    warmup = {"kind": "warmup", "rounds": 30, "final": 0.2}
    aggregator: Any = parse_component(Aggregator, {"kind": "fedadam", "learning_rate": 0.1, "schedule": warmup})
    assert aggregator.schedule == PFL
    assert parse_component(Aggregator, aggregator.model_dump(mode="json")) == aggregator
    assert aggregator.server_optimizer.learning_rate == 0.1


def test_a_server_that_should_wait_for_a_plateau_is_refused():
    with pytest.raises(ValidationError, match=r"client\.optimizer\.schedule"):
        parse_component(Aggregator, {"kind": "fedavg", "schedule": {"kind": "plateau"}})


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({"kind": "step"}, "every"),
        ({"kind": "step", "every": 0}, "every"),
        ({"kind": "exponential", "decay": 0.0}, "decay"),
        ({"kind": "warmup", "rounds": 3, "final": 1.5}, "final"),
        ({"kind": "cosine", "warmup": -1}, "warmup"),
        ({"kind": "plateau", "metric": "luck"}, "metric"),
        ({"kind": "plateau", "decay": 1.0}, "decay"),
    ],
    ids=str,
)
def test_a_wrong_parameter_is_refused_by_name(document, field):
    with pytest.raises(ValidationError, match=field):
        parse_component(Schedule, document)
