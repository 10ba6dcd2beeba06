"""The floors of the parts around training: what each cannot do without, in numpy or in the library that it asks."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from flspec.protocol.plan import Plan
from flspec.protocol.updates import ClientUpdate

__all__ = [
    "add_up",
    "copy_all",
    "draw_batches",
    "draw_rows",
    "epsilon_of",
    "read_and_hash",
    "shuffle",
    "split_by_python",
]


def draw_batches(plan: Plan) -> None:
    """Draw an order of all examples, and one of each task's, by numpy's generator."""
    rng = np.random.default_rng(0)
    rng.permutation(plan.settings.data.num_train)
    for number in range(1, plan.num_rounds + 1):
        for task in plan.cohort(number):
            rng.permutation(task.num_trained)


def read_and_hash(folder: Path) -> list[str]:
    """Read all files of a folder, and digest them."""
    return [hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(folder.iterdir()) if file.is_file()]


def add_up(updates: Sequence[ClientUpdate]) -> dict[str, np.ndarray]:
    """The weighted sum alone, in float32 and in place."""
    total = sum(update.weight for update in updates)
    mean = {name: np.zeros_like(value) for name, value in updates[0].delta.items()}
    for update in updates:
        for name in mean:
            mean[name] += np.float32(update.weight / total) * update.delta[name]
    return mean


def copy_all(updates: Sequence[ClientUpdate]) -> None:
    """Copy every update, one over the other: what memory takes to read and write as many bytes."""
    into = {name: np.empty_like(value) for name, value in updates[0].delta.items()}
    for update in updates:
        for name, value in update.delta.items():
            np.copyto(into[name], value)


def epsilon_of(noise: float, probability: float, rounds: int, delta: float) -> float:
    """The same number from dp-accounting alone: the privacy loss of a release, composed with itself."""
    from dp_accounting.pld import privacy_loss_distribution as pld

    release = pld.from_gaussian_mechanism(
        noise, sampling_prob=probability, value_discretization_interval=1e-4, use_connect_dots=True
    )
    return float(release.self_compose(rounds).get_epsilon_for_delta(delta))


def draw_rows(rows: int, values: int) -> np.ndarray:
    """Standard normal numbers."""
    return np.random.default_rng(0).standard_normal((rows, values), np.float32)


def shuffle(rows: int) -> np.ndarray:
    """An order of rows."""
    return np.random.default_rng(0).permutation(rows)


def split_by_python(path: Path) -> int:
    """The cells of a table, by Python's csv module."""
    with path.open(encoding="utf-8", newline="") as file:
        return sum(len(row) for row in csv.reader(file))
