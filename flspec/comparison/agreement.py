"""The distance between two executions of one plan, round by round, and the distance that rounding alone can explain."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from flspec.core.components import Document
from flspec.core.randomness import Stream
from flspec.execution.rounds import initial_state
from flspec.protocol.backend import kept_state
from flspec.protocol.named_records import Records
from flspec.protocol.plan import Plan
from flspec.protocol.state import ServerState, load_state

__all__ = ["TOLERANCE_RULE", "Agreement", "Divergence", "Resolution", "RoundAgreement", "compare_states", "nudge"]

_STEP = 2.0**-23  # one float32 step, relative
_OF_VALUE, _OF_MOVEMENT, _OF_SENSITIVITY = 4.0, 64.0, 4.0
_MOST = float(np.finfo(np.float64).max)  # in place of what is not finite, for which JSON has no word
_LARGE = 1e-2  # share of a round's movement; a tolerance above it shows too little

TOLERANCE_RULE = (
    "a tensor's: 2^-23 * (4 * its largest magnitude + 64 * the largest movement of any weight in the round); in rounds "
    "beyond that, if larger, 4 * the most that any weight moves when the reference runs the round 8 times from weights "
    "off by what rounding adds in as many steps; an optimizer's slots likewise"
)


class _Place(NamedTuple):
    """The place of a tensor in a server state."""

    client: int | None  # None: the server's
    record: str
    name: str

    @property
    def group(self) -> str:
        """The tensors whose movement is judged together: all weights, clients' included; or one named record."""
        owner = "" if self.client is None or self.record == "weights" else "clients/"
        return f"{owner}{self.record}"

    def __str__(self) -> str:
        owner = "" if self.client is None else f"clients/{self.client}/"
        return f"{owner}{self.record}/{self.name}".removeprefix("weights/")


Tensors = Mapping[_Place, NDArray[np.generic]]


class RoundAgreement(Document):
    """One round's distance between an execution and the reference, over all weights."""

    round: int
    max_abs_diff: float
    max_rel_diff: float  # the same, divided by the largest movement of any weight in that round
    of_tolerance: float  # largest share that any tensor of the server state uses of its tolerance
    resolution: float  # the largest tolerance of any weight, divided by that movement: a deviation that could hide


class Divergence(Document):
    """The first place where two executions differ by more than rounding explains."""

    round: int
    tensor: str | None


class Resolution(Document):
    """The least deviation that the rounds of a comparison would reveal, as a share of each round's movement.

    A round that moves no weight, such as one of an empty cohort, has no such share: it counts only if none moves any.
    """

    median: float
    worst: float
    worst_round: int

    @classmethod
    def of(cls, rounds: Sequence[RoundAgreement]) -> Resolution:
        moving = [entry for entry in rounds if entry.resolution < _MOST] or rounds
        worst = max(moving, key=lambda entry: entry.resolution)
        middle = median(entry.resolution for entry in moving)
        return cls(median=middle, worst=worst.resolution, worst_round=worst.round)

    @property
    def is_coarse(self) -> bool:
        """Whether most rounds could not reveal a deviation of a hundredth of their movement."""
        return self.median > _LARGE

    @property
    def has_coarse_round(self) -> bool:
        """Whether some round could not reveal a deviation of a hundredth of its movement."""
        return self.worst > _LARGE


class Agreement(Document):
    """An execution compared with the reference over all rounds."""

    max_abs_diff: float
    max_rel_diff: float
    by_round: tuple[RoundAgreement, ...]
    resolution: Resolution
    first_divergence: Divergence | None
    bitwise: bool  # every tensor of every round's server state is the reference's to the last bit

    @property
    def beyond(self) -> list[int]:
        """The rounds whose difference exceeds their tolerance."""
        return [entry.round for entry in self.by_round if entry.of_tolerance > 1.0]


def compare_states(
    plan: Plan, reference: Path, other: Path, nudged: Mapping[int, Sequence[Path]] | None = None
) -> Agreement:
    """Compare the stored states of every round of `plan`, from the folders of two executions.

    `nudged` has, for some rounds, the files of the states after the reference ran them from a `nudge`. Raises
    InputError if a state is missing or damaged.
    """
    entries: list[RoundAgreement] = []
    first: Divergence | None = None
    bitwise = True
    before = _tensors(initial_state(plan))
    for number in range(1, plan.num_rounds + 1):
        ours, theirs = (_tensors(load_state(kept_state(f, number), plan.digest)) for f in (reference, other))
        others = [_tensors(load_state(path, plan.digest)) for path in (nudged or {}).get(number, ())]
        entry, worst = _compare_round(number, before, ours, theirs, others)
        entries.append(entry)
        bitwise = bitwise and _form(ours) == _form(theirs) and all(_same(ours[name], theirs[name]) for name in ours)
        if first is None and entry.of_tolerance > 1.0:
            first = Divergence(round=number, tensor=worst)
        before = ours
    return Agreement(
        max_abs_diff=max(entry.max_abs_diff for entry in entries),
        max_rel_diff=max(entry.max_rel_diff for entry in entries),
        by_round=tuple(entries),
        resolution=Resolution.of(entries),
        first_divergence=first,
        bitwise=bitwise,
    )


def nudge(state: ServerState, steps: int, number: int) -> ServerState:
    """Return the state with every weight moved by sqrt(`steps`) float32 steps, up or down by chance; `number` seeds the
    draw.

    That is what rounding adds up to, as a random walk, in as many steps of training.
    """
    stream = Stream(number, "nudge", state.round)

    def moved(name: str, weight: NDArray[np.float32], own: Stream) -> NDArray[np.float32]:
        signs = 1.0 - 2.0 * (own.child(name).words(weight.size).reshape(weight.shape) & np.uint64(1))
        # Exact zeros stay: rounding does not move them, and one may decide a tie that no engine breaks.
        step = np.where(weight == 0.0, 0.0, np.spacing(np.abs(weight)).astype(np.float64))
        nudged: NDArray[np.float32] = (weight + signs * math.sqrt(steps) * step).astype(np.float32)
        return nudged

    def with_moved_weights(client: int, records: Records) -> Records:
        own = stream.child("client", client)
        weights = records.get("weights", {})
        return {**records, "weights": {name: moved(f"weights/{name}", value, own) for name, value in weights.items()}}

    return replace(
        state,
        weights={name: moved(name, weight, stream) for name, weight in state.weights.items()},
        clients={client: with_moved_weights(client, records) for client, records in state.clients.items()},
    )


def _compare_round(
    number: int, before: Tensors, ours: Tensors, theirs: Tensors, nudged: Sequence[Tensors]
) -> tuple[RoundAgreement, str]:
    """Return the distance of one round, and the tensor that uses the largest share of its tolerance."""
    if odd := _form(ours) ^ _form(theirs):  # a tensor is missing, extra or of another shape, which no number describes
        most = _MOST
        entry = RoundAgreement(round=number, max_abs_diff=most, max_rel_diff=most, of_tolerance=most, resolution=0.0)
        return entry, min(str(place) for place, _, _ in odd)
    differences = {name: _distance(value, theirs[name]) for name, value in ours.items()}
    movements: dict[str, float] = {}  # of all weights together, and of each optimizer slot
    for place, value in ours.items():
        moved = _distance(value, before.get(place, np.zeros_like(value)))  # a new entry of a client's state starts at 0
        movements[place.group] = max(moved, movements.get(place.group, 0.0))
    # All weights share the largest effect too: a tie seldom flips in the same place twice, and each time it moves
    # other tensors most.
    sensitivities: dict[str, float] = dict.fromkeys(movements, 0.0)
    for place, value in ours.items():
        moved = max((_distance(value, other[place]) for other in nudged), default=0.0)
        sensitivities[place.group] = max(moved, sensitivities[place.group])
    tolerances = {
        name: max(
            _STEP * (_OF_VALUE * _largest(value) + _OF_MOVEMENT * movements[name.group]),
            _OF_SENSITIVITY * sensitivities[name.group],
        )
        for name, value in ours.items()
    }
    shares = {name: _share(difference, tolerances[name]) for name, difference in differences.items()}
    worst = max(shares, key=lambda name: shares[name])
    weights = [name for name in ours if name.group == "weights"]  # the server's and the clients'
    entry = RoundAgreement(
        round=number,
        max_abs_diff=max(differences[name] for name in weights),
        max_rel_diff=_share(max(differences[name] for name in weights), movements["weights"]),
        of_tolerance=shares[worst],
        resolution=_share(max(tolerances[name] for name in weights), movements["weights"]),
    )
    return entry, str(worst)


def _tensors(state: ServerState) -> dict[_Place, NDArray[np.generic]]:
    """Return all tensors of a state; the records of optimizers and algorithms count as much as the weights."""
    owned: list[tuple[int | None, Records]] = [(None, state.carried), *state.clients.items()]
    tensors: dict[_Place, NDArray[np.generic]] = {
        _Place(owner, record, name): value
        for owner, records in owned
        for record, values in records.items()
        for name, value in values.items()
    }
    return tensors | {_Place(None, "optimizer", "step"): np.array(state.optimizer.step, np.int64)}


def _form(tensors: Tensors) -> set[tuple[_Place, str, tuple[int, ...]]]:
    return {(name, value.dtype.str, value.shape) for name, value in tensors.items()}


def _same(ours: NDArray[np.generic], theirs: NDArray[np.generic]) -> bool:
    return ours.tobytes() == theirs.tobytes()


def _distance(ours: NDArray[np.generic], theirs: NDArray[np.generic]) -> float:
    return 0.0 if _same(ours, theirs) else _largest(ours.astype(np.float64) - theirs.astype(np.float64))


def _largest(values: NDArray[np.generic]) -> float:
    """Return the largest magnitude; a value that is not finite counts as larger than any."""
    largest = float(np.max(np.abs(values.astype(np.float64)), initial=0.0))
    return largest if np.isfinite(largest) else _MOST


def _share(difference: float, whole: float) -> float:
    if difference == 0.0:
        return 0.0
    return min(difference / whole, _MOST) if whole else _MOST
