"""One client's work in a round: its steps, its optimizer, and what it keeps for the next."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flspec.layers import Layer
from tests.by_hand import network
from tests.by_hand.schedules import Plateau

Tensors = dict[str, NDArray[np.float64]]
Records = Mapping[str, Mapping[str, NDArray[Any]]]
_SLOTS = {"sgd": ("momentum",), "adam": ("first_moment", "second_moment"), "adamw": ("first_moment", "second_moment")}


@dataclass(frozen=True)
class Work:
    """What a plan has every client do."""

    layers: Sequence[Layer]
    learned: Sequence[str]  # names of the tensors that gradients change; the others are statistics
    optimizer: Mapping[str, Any]  # the document of `client.optimizer`
    clip: Mapping[str, Any] | None
    epochs: int


@dataclass
class Trained:
    """A client after its steps."""

    tensors: Tensors  # all of the model
    records: dict[str, Tensors] = field(default_factory=dict)  # of the optimizer and its schedule, if they are kept
    loss: float = 0.0  # sum over the examples, each measured before the step that uses it
    right: int = 0


def train(
    work: Work,
    start: Mapping[str, NDArray[Any]],
    kept: Records,
    rate: float,
    batches: Sequence[tuple[NDArray[np.float64], NDArray[np.integer[Any]]]],
    measure: Callable[[Mapping[str, NDArray[Any]]], float],
) -> Trained:
    """Take the steps of a round at `rate`, from the tensors at its `start` and the records that were `kept`.

    `measure` gives the metric of a plateau for the tensors after a pass.
    """
    rule, schedule = work.optimizer, work.optimizer.get("schedule") or {}
    now = Trained({name: value.astype(np.float64) for name, value in start.items()})
    slots = {slot: _slot(kept, slot, work.learned, now.tensors) for slot in _SLOTS[rule["kind"]]}
    done = int(kept.get("optimizer", {}).get("step", 0))
    plateau = _plateau(schedule, kept) if schedule.get("kind") == "plateau" else None
    for number, (x, labels) in enumerate(batches, start=1):
        loss, right, gradient, statistics = network.step(work.layers, now.tensors, work.learned, x, labels)
        now.loss, now.right, done = now.loss + loss * len(labels), now.right + right, done + 1
        scale = rate * rule["learning_rate"] * (plateau.factor if plateau else 1.0)
        for name, g in clipped(gradient, work.clip).items():
            own = {slot: values[name] for slot, values in slots.items()}
            now.tensors[name], after = stepped(rule, scale, done, now.tensors[name], g, own)
            for slot, value in after.items():
                slots[slot][name] = value
        now.tensors |= statistics
        if plateau and number % (len(batches) // work.epochs) == 0:
            plateau.after_pass(measure(now.tensors))
    if rule.get("state") == "kept":
        now.records = {f"optimizer/{slot}": values for slot, values in slots.items() if _is_used(rule, slot)}
        now.records |= {} if rule["kind"] == "sgd" else {"optimizer": {"step": np.array(float(done))}}
        now.records |= {"schedule": {"plateau": np.array(plateau.numbers())}} if plateau else {}
    return now


def clipped(gradient: Tensors, clip: Mapping[str, Any] | None) -> Tensors:
    """g min(1, norm / ||g||), of all tensors together or of each: Pascanu, Mikolov and Bengio 2013, Algorithm 1."""
    if clip is None:
        return gradient
    lengths = {name: float(np.sqrt((g**2).sum())) for name, g in gradient.items()}
    if clip["by"] == "global":
        lengths = dict.fromkeys(lengths, float(np.sqrt(sum(length**2 for length in lengths.values()))))
    return {name: g * min(1.0, clip["norm"] / lengths[name]) if lengths[name] else g for name, g in gradient.items()}


def stepped(
    rule: Mapping[str, Any], rate: float, t: int, w: NDArray[np.float64], g: NDArray[np.float64], slots: Tensors
) -> tuple[NDArray[np.float64], Tensors]:
    """A weight and its slots after step t, from 1, of SGD as torch has it, Adam (Kingma and Ba 2015) or AdamW."""
    decay = rule["weight_decay"]
    if rule["kind"] == "sgd":
        g = g + decay * w
        v = rule["momentum"] * slots["momentum"] + g
        return w - rate * (g + rule["momentum"] * v if rule["nesterov"] else v), {"momentum": v}
    if rule["kind"] == "adamw":  # Loshchilov and Hutter 2019, with the decay scaled by the learning rate
        w = (1 - rate * decay) * w
    else:
        g = g + decay * w
    m = rule["beta_1"] * slots["first_moment"] + (1 - rule["beta_1"]) * g
    v = rule["beta_2"] * slots["second_moment"] + (1 - rule["beta_2"]) * g**2
    unbiased = m / (1 - rule["beta_1"] ** t), v / (1 - rule["beta_2"] ** t)
    return w - rate * unbiased[0] / (np.sqrt(unbiased[1]) + rule["epsilon"]), {"first_moment": m, "second_moment": v}


def _slot(kept: Records, slot: str, names: Sequence[str], tensors: Tensors) -> Tensors:
    carried = kept.get(f"optimizer/{slot}", {})
    return {name: np.asarray(carried.get(name, np.zeros_like(tensors[name])), np.float64) for name in names}


def _is_used(rule: Mapping[str, Any], slot: str) -> bool:
    return slot != "momentum" or bool(rule["momentum"])


def _plateau(schedule: Mapping[str, Any], kept: Records) -> Plateau:
    best, waited, falls = kept.get("schedule", {}).get("plateau", (0.0, -1, 0))
    return Plateau(schedule, float(best), int(waited), int(falls))
