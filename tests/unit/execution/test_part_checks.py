"""Mistakes of a part from another package: each stops the run with the part's field, class and method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from flspec.client_algorithms import ClientAlgorithm, ClientOutcome
from flspec.errors import RunError
from flspec.execution import client_step, postprocessing, server_step
from flspec.execution.rounds import initial_state
from flspec.execution.server_step import finish_round
from flspec.objectives import Objective
from flspec.postprocessors import Postprocessor
from flspec.protocol.plan import Plan
from flspec_torch import supervised, training
from flspec_torch.training import Trainer


# Classes without `kind` are in no family, so no other test finds them there.
class Right(ClientAlgorithm):
    """Stores and sends what it declares."""

    server_slots, client_slots, sends = {"mean": 0.0}, {"last": 0.0}, ("change",)

    def finish(self, work):
        delta = super().finish(work).delta
        return ClientOutcome(delta, {"last": delta}, {"change": delta})


class Halves(Postprocessor):
    """Halves each update, and counts rounds."""

    def on_each(self, delta, record, stream):
        return {name: value / 2 for name, value in delta.items()}

    def on_combined(self, combined, stream):
        return combined.delta, {"rounds": combined.record.get("rounds", np.zeros(())) + 1}


class Plain(Objective):
    """The loss."""

    def torch(self, step):
        loss = step.loss(step.forward(step.inputs))
        return loss, {"loss": loss * len(step.labels)}


def round_of(
    monkeypatch: pytest.MonkeyPatch, make_plan: Callable[..., Plan], part: Any, field: str, **changes: Any
) -> Any:
    """Run one round with a part whose methods are changed."""
    plan = make_plan(rounds=1)
    part = type("Changed", (type(part),), {"__module__": __name__, **changes})()
    settings: dict[str, Any] = {
        "client.algorithm": {"client_algorithm": {"kind": "changed"}},
        "postprocessors": {},
    }.get(field, {})
    plan = replace(plan, settings=replace(plan.settings, **settings))
    for module in (server_step, client_step, postprocessing, training, supervised):
        for name, of in (("client.algorithm", "client_algorithm_of"), ("client.objective", "objective_of")):
            if field == name and hasattr(module, of):
                monkeypatch.setattr(module, of, lambda plan: part)
    if field == "postprocessors":
        monkeypatch.setattr(postprocessing, "postprocessors_of", lambda plan: (part,))
    state, trainer = initial_state(plan), Trainer(plan)
    return finish_round(plan, state, [trainer.train_from(state, task) for task in plan.cohort(1)])


def without_first(tensors):
    return dict(list(tensors.items())[1:])


def raising(*arguments):
    raise KeyError("boom")


def spoilt_start(self, work):
    work.start[next(iter(work.start))][...] = 7.0
    return Right.finish(self, work)


def outcome(delta=lambda x: x, own=lambda x: x, sent=lambda x: x):
    def finish(self, work):
        right = Right.finish(self, work)
        return ClientOutcome(delta(right.delta), own(right.own), sent(right.sent))

    return finish


def sums_of(values):
    """An objective whose steps give these names one after the other."""
    left = list(values)
    return lambda self, step: (Plain.torch(self, step)[0], {left.pop(0) if left else values[-1]: 1.0})


WRONG = {
    "correct raises": ("client.algorithm", "correct", raising, "raised KeyError: 'boom'"),
    "correct broadcasts": ("client.algorithm", "correct", lambda s, g, *_: g.sum(), "not a tensor of shape"),
    "correct gives numpy": ("client.algorithm", "correct", lambda s, g, *_: g.numpy(), "gave ndarray for"),
    "finish gives nothing": ("client.algorithm", "finish", lambda s, w: None, "not a ClientOutcome"),
    "finish changes what others read": ("client.algorithm", "finish", spoilt_start, "read-only"),
    "finish drops a tensor": ("client.algorithm", "finish", outcome(without_first), "gave delta without"),
    "finish broadcasts": (
        "client.algorithm",
        "finish",
        outcome(lambda delta: {name: value.sum() for name, value in delta.items()}),
        "of shape [], not",
    ),
    "finish omits a client's record": ("client.algorithm", "finish", outcome(own=lambda _: {}), "records without last"),
    "finish sends nothing": ("client.algorithm", "finish", outcome(sent=lambda _: {}), "records without change"),
    "finish sends another": (
        "client.algorithm",
        "finish",
        outcome(sent=lambda sent: sent | {"other": sent["change"]}),
        "records with other, which should not be there",
    ),
    "combine gives the mean alone": ("client.algorithm", "combine", lambda s, work: work.mean, "not the update and"),
    "combine omits a record": ("client.algorithm", "combine", lambda s, work: (work.mean, {}), "records without mean"),
    "combine is not finite": (
        "client.algorithm",
        "combine",
        lambda s, work: (work.mean, {"mean": {n: v + np.nan for n, v in work.server["mean"].items()}}),
        "gave record mean: ",
    ),
    "initial_server omits one": ("client.algorithm", "initial_server", lambda s, w: {}, "records without mean"),
    "on_each raises": ("postprocessors.0", "on_each", raising, "raised KeyError"),
    "on_each drops a tensor": ("postprocessors.0", "on_each", lambda s, d, *_: without_first(d), "update without"),
    "on_each broadcasts": (
        "postprocessors.0",
        "on_each",
        lambda s, delta, *_: {name: value.sum() for name, value in delta.items()},
        "of shape [], not",
    ),
    "on_each is not finite": (
        "postprocessors.0",
        "on_each",
        lambda s, delta, *_: {name: value * np.nan for name, value in delta.items()},
        "values that are not finite",
    ),
    "on_each draws undeclared": (
        "postprocessors.0",
        "on_each",
        lambda s, delta, record, stream: stream.child("noise").normal(1),
        "is_random = True",
    ),
    "on_combined adds a tensor": (
        "postprocessors.0",
        "on_combined",
        lambda s, combined, _: ({**combined.delta, "more": np.ones(1)}, {}),
        "update with more",
    ),
    "on_combined names with a slash": (
        "postprocessors.0",
        "on_combined",
        lambda s, combined, _: (combined.delta, {"a/b": np.ones(1)}),
        "'a/b'; a name is text without a slash",
    ),
    "torch gives a loss each": (
        "client.objective",
        "torch",
        lambda s, step: (step.forward(step.inputs).square().mean(1), {}),
        "gave a loss of shape",
    ),
    "torch gives a number": ("client.objective", "torch", lambda s, step: (1.0, {}), "loss as a float"),
    "torch does not depend": (
        "client.objective",
        "torch",
        lambda s, step: (step.forward(step.inputs).mean().detach(), {}),
        "does not depend on the weights",
    ),
    "torch leaves weights out": (
        "client.objective",
        "torch",
        lambda s, step: (next(iter(step.tensors.values())).sum(), {}),
        "does not depend on",
    ),
    "torch measures text": (
        "client.objective",
        "torch",
        lambda s, step: (step.forward(step.inputs).mean(), {"loss": "low"}),
        "sums that are not numbers",
    ),
    "torch measures otherwise in a step": ("client.objective", "torch", sums_of(["loss", "cost"]), "in a step after"),
}
RIGHT = {"client.algorithm": Right, "postprocessors.0": Halves, "client.objective": Plain}


@pytest.mark.parametrize("case", WRONG)
def test_a_mistake_of_a_part_is_reported_by_its_field_class_and_method(case, monkeypatch, make_plan):
    field, method, changed, wrong = WRONG[case]
    with pytest.raises(RunError) as raised:
        round_of(monkeypatch, make_plan, RIGHT[field](), field.removesuffix(".0"), **{method: changed})
    message = str(raised.value)
    assert message.startswith(f"{field}: ")
    assert f"{__name__}.Changed): {method} " in message
    assert wrong in message
    assert message.endswith(f"; repair {method} there, or remove {field}")
    assert "\n" not in message


@pytest.mark.parametrize("field", RIGHT)
def test_a_right_part_is_not_reported(field, monkeypatch, make_plan):
    assert not round_of(monkeypatch, make_plan, RIGHT[field](), field.removesuffix(".0")).dropped


def test_a_delta_in_another_order_is_the_same(monkeypatch, make_plan):
    usual, other = (
        round_of(monkeypatch, make_plan, Right(), "client.algorithm", finish=outcome(order)).state.weights
        for order in (dict, lambda delta: dict(reversed(delta.items())))
    )
    assert list(usual) == list(other)
    assert all(np.array_equal(usual[name], other[name]) for name in usual)


def test_clients_that_measure_different_metrics_are_reported(monkeypatch, make_plan):
    plan = make_plan(rounds=1)
    state, trainer = initial_state(plan), Trainer(plan)
    first, *others = [trainer.train_from(state, task) for task in plan.cohort(1)]
    with pytest.raises(RunError, match="torch measured accuracy, loss for client"):
        finish_round(plan, state, [first, *(replace(one, sums={"loss": 1.0}) for one in others)])


@pytest.mark.parametrize(
    ("slots", "wrong"),
    [
        ({"weights": 0.0}, "'weights', which flspec uses itself"),
        ({"postprocessors": 0.0}, "'postprocessors', which flspec uses itself"),
        ({"optimizer/step": 0.0}, "text without a slash"),
        ({"": 0.0}, "text without a slash"),
        ({"m": float("nan")}, "a finite number"),
        ({"m": "x"}, "a finite number"),
        (["m"], "a mapping"),
    ],
)
@pytest.mark.parametrize("attribute", ["server_slots", "client_slots"])
def test_records_that_could_not_be_stored_are_refused_with_the_class(attribute, slots, wrong):
    with pytest.raises(ValueError, match=wrong) as raised:
        type("Wrong", (ClientAlgorithm,), {attribute: slots})
    assert f"Wrong.{attribute}" in str(raised.value)


def test_names_to_send_are_not_a_text():
    with pytest.raises(ValueError, match=r"Wrong.sends is 'change'; it should be a tuple"):
        type("Wrong", (ClientAlgorithm,), {"sends": "change"})
