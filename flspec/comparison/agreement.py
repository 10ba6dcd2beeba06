"""The distance between two executions of one plan, round by round, and the distance that rounding alone can explain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from flspec.core.components import Document
from flspec.core.distances import MOST, largest_magnitude, share_of
from flspec.execution.client_state import with_every_participant
from flspec.execution.rounds import initial_state
from flspec.protocol.backend import kept_state
from flspec.protocol.named_records import Records
from flspec.protocol.plan import Plan
from flspec.protocol.state import ServerState, load_state

__all__ = ["TOLERANCE_RULE", "Agreement", "Divergence", "Resolution", "RoundAgreement", "compare_states"]

_STEP = 2.0**-23  # one float32 step, relative
_OF_VALUE, _OF_MOVEMENT, _OF_SENSITIVITY = 4.0, 64.0, 4.0
_WEIGHTS, _STATISTICS = "weights", "weights/statistics"  # groups of tensors
_MANY = 1_000  # weights of a tensor, of which rounding does not by chance cancel a deviation
_LARGE = 1e-2  # share of a round's movement; a tolerance above it shows too little

TOLERANCE_RULE = (
    "a tensor's: 2^-23 * (4 * its largest magnitude + 64 * the largest movement of any weight in the round); in rounds "
    "beyond that, if larger, 4 * the most that any weight moves when the reference runs the round 8 times from weights "
    "off by what rounding adds in as many steps; running statistics, and an optimizer's slots, likewise by theirs"
)


class _Place(NamedTuple):
    """The place of a tensor in a server state."""

    client: int | None  # None: the server's
    record: str
    name: str
    is_statistic: bool = False  # training updates it without a gradient, such as a running variance

    @property
    def group(self) -> str:
        """The tensors whose movement is judged together: all weights, clients' included; statistics; or one record.

        A running variance moves a thousand times as far as weights, which would make theirs a thousand times as wide.
        """
        if self.is_statistic:
            return _STATISTICS
        owner = "" if self.client is None or self.record == _WEIGHTS else "clients/"
        return f"{owner}{self.record}"

    def __str__(self) -> str:
        owner = "" if self.client is None else f"clients/{self.client}/"
        return f"{owner}{self.record}/{self.name}".removeprefix("weights/")


Tensors = Mapping[_Place, NDArray[np.generic]]


class RoundAgreement(Document):
    """One round's distance between an execution and the reference, over all weights and statistics."""

    round: int
    max_abs_diff: float
    max_rel_diff: float  # the same, divided by the largest movement of any weight in that round, or of any statistic
    of_tolerance: float  # largest share that any tensor of the server state uses of its tolerance
    # The deviation that could hide, as a share of a weight tensor's movement, and of all tensors the median: by its
    # tolerance; or where rounding had to be measured, if that is less, by how far large tensors are off as a whole.
    resolution: float


class Divergence(Document):
    """The first place where two executions differ by more than rounding explains."""

    round: int
    tensor: str | None


class Resolution(Document):
    """The least deviation that the rounds of a comparison would reveal, as a share of what a tensor moves in a round.

    Half of the weight tensors of a round would reveal as little. A round that moves none, such as one of an empty
    cohort, has no such share: it counts only if none moves any.
    """

    median: float
    worst: float
    worst_round: int

    @classmethod
    def of(cls, rounds: Sequence[RoundAgreement]) -> Resolution:
        moving = [entry for entry in rounds if entry.resolution < MOST] or rounds
        worst = max(moving, key=lambda entry: entry.resolution)
        middle = _middle([entry.resolution for entry in moving])
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
    before = _tensors(with_every_participant(plan, initial_state(plan)), plan.statistics)
    for number in range(1, plan.num_rounds + 1):
        paths = (kept_state(reference, number), kept_state(other, number), *(nudged or {}).get(number, ()))
        states = (with_every_participant(plan, load_state(path, plan.digest)) for path in paths)
        ours, theirs, *others = (_tensors(state, plan.statistics) for state in states)
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


def _compare_round(
    number: int, before: Tensors, ours: Tensors, theirs: Tensors, nudged: Sequence[Tensors]
) -> tuple[RoundAgreement, str]:
    """Return the distance of one round, and the tensor that uses the largest share of its tolerance."""
    if odd := _form(ours) ^ _form(theirs):  # a tensor is missing, extra or of another shape, which no number describes
        most = MOST
        entry = RoundAgreement(round=number, max_abs_diff=most, max_rel_diff=most, of_tolerance=most, resolution=0.0)
        return entry, min(str(place) for place, _, _ in odd)
    differences = {name: _distance(value, theirs[name]) for name, value in ours.items()}
    # A new entry of a client's state starts at 0.
    movements = {name: _distance(value, before.get(name, np.zeros_like(value))) for name, value in ours.items()}
    tolerances = _tolerances(ours, movements, nudged)
    shares = {name: share_of(difference, tolerances[name]) for name, difference in differences.items()}
    worst = max(shares, key=lambda name: shares[name])
    model, moved = [name for name in ours if name.group in (_WEIGHTS, _STATISTICS)], _largest_of_groups(movements)
    entry = RoundAgreement(
        round=number,
        max_abs_diff=max(differences[name] for name in model),
        max_rel_diff=max(share_of(differences[name], moved[name.group]) for name in model),
        of_tolerance=shares[worst],
        resolution=min(_resolution(tolerances, movements), _shown(before, ours, theirs) if nudged else MOST),
    )
    return entry, str(worst)


def _tolerances(ours: Tensors, movements: Mapping[_Place, float], nudged: Sequence[Tensors]) -> dict[_Place, float]:
    """Return how far each tensor may be off; `nudged` has the same tensors after rounding was exaggerated."""
    moved = _largest_of_groups(movements)
    # A group shares the largest effect, too: a tie seldom flips in the same place twice, and each time it moves other
    # tensors most.
    sensitive = _largest_of_groups(
        {name: max((_distance(value, other[name]) for other in nudged), default=0.0) for name, value in ours.items()}
    )
    return {
        name: max(
            _STEP * (_OF_VALUE * largest_magnitude(value) + _OF_MOVEMENT * moved[name.group]),
            _OF_SENSITIVITY * sensitive[name.group],
        )
        for name, value in ours.items()
    }


def _largest_of_groups(distances: Mapping[_Place, float]) -> dict[str, float]:
    largest: dict[str, float] = {}
    for name, distance in distances.items():
        largest[name.group] = max(distance, largest.get(name.group, 0.0))
    return largest


def _resolution(tolerances: Mapping[_Place, float], movements: Mapping[_Place, float]) -> float:
    """Return the median over weights of the tolerance as a share of the tensor's own movement, if it has one.

    One tensor of large values, whose tolerance is wide, then does not speak for all others.
    """
    moving = [name for name, moved in movements.items() if moved and name.group == _WEIGHTS]
    return _middle([share_of(tolerances[name], movements[name]) for name in moving] or [MOST])


def _shown(before: Tensors, ours: Tensors, theirs: Tensors) -> float:
    """Return the median over large weight tensors of how far each is off as a whole, as a share of its movement.

    An optimizer that divides by the gradient's size takes a whole step where a gradient of next to nothing changes
    its sign. So its rounds are sensitive in single weights, and no largest difference says much. But rounding does
    not point where a deviation does: of many weights it does not cancel one, so that, in Euclidean norms, a deviation
    is no larger than what both together come to, which is the difference.
    """
    shares = []
    for name in (name for name in ours if name.group == _WEIGHTS and ours[name].size >= _MANY):
        after = ours[name].astype(np.float64)
        moved = _norm(after - before.get(name, np.zeros_like(after)).astype(np.float64))
        least = _STEP * (_OF_VALUE * _norm(after) + _OF_MOVEMENT * moved)
        if moved:
            shares.append(share_of(max(_norm(after - theirs[name].astype(np.float64)), least), moved))
    return _middle(shares or [MOST])


def _norm(values: NDArray[np.float64]) -> float:
    norm = float(np.linalg.norm(values))
    return norm if np.isfinite(norm) else MOST


def _middle(values: Sequence[float]) -> float:
    return min(median(values), MOST)  # the mean of two that are not finite would be infinite


def _tensors(state: ServerState, statistics: frozenset[str]) -> dict[_Place, NDArray[np.generic]]:
    """Return all tensors of a state; the records of optimizers and algorithms count as much as the weights."""
    owned: list[tuple[int | None, Records]] = [(None, state.carried), *state.clients.items()]
    tensors: dict[_Place, NDArray[np.generic]] = {
        _Place(owner, record, name, record == _WEIGHTS and name in statistics): value
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
    return 0.0 if _same(ours, theirs) else largest_magnitude(ours.astype(np.float64) - theirs.astype(np.float64))
