"""How far two executions of one plan are apart, round by round, and how far apart rounding alone may put them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flspec.backend import initial_state, kept_state
from flspec.components import Document
from flspec.plan import Plan
from flspec.state import ServerState, load_state

__all__ = ["TOLERANCE_RULE", "Agreement", "Divergence", "RoundAgreement", "compare_states"]

_STEP = 2.0**-23  # one float32 step, relative
_OF_VALUE, _OF_MOVEMENT = 4.0, 64.0

TOLERANCE_RULE = (
    "2^-23 * (4 * largest magnitude of the tensor + 64 * largest movement of any weight in the round), "
    "by the reference; an optimizer's slots likewise"
)


class RoundAgreement(Document):
    """One round's distance between an execution and the reference, over all weights."""

    round: int
    max_abs_diff: float
    max_rel_diff: float  # the same, divided by the largest movement of any weight in that round
    of_tolerance: float  # largest share of its tolerance that any tensor of the server state uses up


class Divergence(Document):
    """The first place where two executions are further apart than rounding explains."""

    round: int
    tensor: str | None


class Agreement(Document):
    """An execution against the reference, over all rounds."""

    max_abs_diff: float
    max_rel_diff: float
    by_round: tuple[RoundAgreement, ...]
    first_divergence: Divergence | None

    @property
    def is_bitwise(self) -> bool:
        """Whether every round's state is the reference's to the last bit."""
        return all(entry.max_abs_diff == 0.0 and entry.of_tolerance == 0.0 for entry in self.by_round)


def compare_states(plan: Plan, reference: Path, other: Path) -> Agreement:
    """Compare the states that two executions kept of every round of `plan`, in their folders."""
    entries: list[RoundAgreement] = []
    first: Divergence | None = None
    before = _tensors(initial_state(plan))
    for number in range(1, plan.num_rounds + 1):
        ours, theirs = (_tensors(load_state(kept_state(f, number), plan.digest)) for f in (reference, other))
        entry, worst = _compare_round(number, before, ours, theirs)
        entries.append(entry)
        if first is None and entry.of_tolerance > 1.0:
            first = Divergence(round=number, tensor=worst)
        before = ours
    return Agreement(
        max_abs_diff=max(entry.max_abs_diff for entry in entries),
        max_rel_diff=max(entry.max_rel_diff for entry in entries),
        by_round=tuple(entries),
        first_divergence=first,
    )


Tensors = Mapping[str, NDArray[np.float32]]


def _compare_round(number: int, before: Tensors, ours: Tensors, theirs: Tensors) -> tuple[RoundAgreement, str]:
    """The distance of one round, and the tensor that uses up most of its tolerance."""
    differences = {name: _largest(value.astype(np.float64) - theirs[name]) for name, value in ours.items()}
    movements: dict[str, float] = {}  # of all weights together, and of each slot of the optimizer
    for name, value in ours.items():
        movement = _largest(value.astype(np.float64) - before[name])
        movements[_group(name)] = max(movement, movements.get(_group(name), 0.0))
    shares = {
        name: _share(difference, _tolerance(ours[name], movements[_group(name)]))
        for name, difference in differences.items()
    }
    worst = max(shares, key=lambda name: shares[name])
    difference = max(value for name, value in differences.items() if _group(name) == "weights")
    entry = RoundAgreement(
        round=number,
        max_abs_diff=difference,
        max_rel_diff=_share(difference, movements["weights"]),
        of_tolerance=shares[worst],
    )
    return entry, worst.removeprefix("weights/")


def _tolerance(value: NDArray[np.float32], movement: float) -> float:
    """TOLERANCE_RULE."""
    return _STEP * (_OF_VALUE * _largest(value) + _OF_MOVEMENT * movement)


def _group(name: str) -> str:
    """`weights`, or the slot of the optimizer that a tensor belongs to."""
    return "weights" if name.startswith("weights/") else "/".join(name.split("/")[:2])


def _tensors(state: ServerState) -> dict[str, NDArray[np.float32]]:
    """All that a state holds, by name; the optimizer's slots count as much as the weights."""
    return dict(_named(state))


def _named(state: ServerState) -> Iterator[tuple[str, NDArray[np.float32]]]:
    for name, value in state.weights.items():
        yield f"weights/{name}", value
    for slot, values in state.optimizer.slots.items():
        for name, value in values.items():
            yield f"optimizer/{slot}/{name}", value
    yield "optimizer/step", np.array(state.optimizer.step, np.float32)


def _largest(values: NDArray[np.floating]) -> float:
    """The largest magnitude; one that is not finite counts as larger than any."""
    largest = float(np.max(np.abs(values), initial=0.0))
    return largest if np.isfinite(largest) else float(np.finfo(np.float64).max)


def _share(difference: float, whole: float) -> float:
    if difference == 0.0:
        return 0.0
    return min(difference / whole, float(np.finfo(np.float64).max)) if whole else float(np.finfo(np.float64).max)
