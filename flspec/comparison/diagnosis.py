"""Where two engines part, and why: the client, its step, the tensor, and the known causes that give the same weights.

An engine is asked as a black box. Its round is run again with half of the cohort, a quarter, one client, then with that
client's first steps, each time on the reference, too, from the same state: as long as a part differs by itself, it is
divided. A cause is one if the reference, made to do it, ends with the engine's weights.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from flspec.comparison.causes import CAUSES, Cause, Scene, with_cohort
from flspec.comparison.verdicts import Diagnosis, Explanation
from flspec.compiler.first_steps import first_steps_of
from flspec.protocol.backend import Backend, Job, kept_state
from flspec.protocol.devices import CPU, Device
from flspec.protocol.events import RoundFinished
from flspec.protocol.named_records import Weights
from flspec.protocol.plan import Plan
from flspec.protocol.state import ServerState, load_state, save_state

__all__ = ["Trials", "diagnose"]

_EXPLAINED = 0.05  # at most this share of the difference is left by a cause
_SHOWS = 0.05  # a part of the round that is off by so much of what the whole is off by, differs by itself
_MOST_CAUSES = 3
_BETWEEN_ROUNDS = "run by itself the round gives the same: it comes of what the backend keeps from the rounds before"
_BEGINNING = "run from the planned state the round gives the same: the backend begins with other weights"
_COMBINING = "no client's training differs by itself: it is in what the server makes of updates"


@dataclass(frozen=True, eq=False)
class Trials:
    """Single rounds of altered plans, on either engine, in a folder that is empty again afterwards."""

    folder: Path
    workers: int
    until: float  # time.monotonic() at which no more is tried
    device: Device = CPU

    def outcome(self, engine: Backend, plan: Plan, number: int, before: ServerState | None) -> Weights:
        """Return the server's weights after round `number` of a plan, from the state before it, or from the start."""
        self.folder.mkdir(parents=True, exist_ok=True)
        home = Path(tempfile.mkdtemp(dir=self.folder))
        try:
            start = None
            if before is not None:
                start = kept_state(home / "start", number - 1)
                start.parent.mkdir(parents=True)
                save_state(start, before, plan.digest)
            job = Job(home, start=start, keep="all", workers=self.workers, device=self.device)
            with closing(engine.execute(plan, job)) as events:
                next(event for event in events if isinstance(event, RoundFinished) and event.round == number)
            return load_state(kept_state(home, number), plan.digest).weights
        finally:
            shutil.rmtree(home, ignore_errors=True)

    @property
    def is_over(self) -> bool:
        return time.monotonic() > self.until


def diagnose(
    plan: Plan,
    before: ServerState,
    after: tuple[Weights, Weights],
    reference: Backend,
    other: Backend,
    trials: Trials,
) -> Diagnosis:
    """Say where the round after `before` differs, and why; `after` has the reference's weights and the other's.

    What cannot be found out is left open: engines may refuse parts of a plan, or time may be over.
    """
    number, (ours, theirs) = before.round + 1, after
    scene = Scene(
        plan,
        number,
        before,
        ours,
        theirs,
        run=lambda altered, state: trials.outcome(reference, altered, number, state),
        run_from_start=lambda altered: trials.outcome(reference, altered, number, None),
    )
    if not (whole := scene.apart(ours, theirs)):
        return Diagnosis(round=number, note="the server's weights are the same; what it keeps beside them is not")

    def apart(part: Plan) -> tuple[float, str]:
        pair = [trials.outcome(engine, part, number, before) for engine in (reference, other)]
        return scene.apart(*pair), _furthest(scene, *pair)

    place, note = _Parts(plan, number, whole, apart, trials).locate()
    scene = replace(scene, position=place.position)
    causes, num_tried = _causes(scene, trials)
    if trials.is_over:
        note = "; ".join(filter(None, (note, "time was over before all was tried")))
    return Diagnosis(
        round=number,
        client=None if place.position is None else scene.cohort[place.position].client,
        others_too=place.others_too,
        step=place.step,
        tensor=place.tensor or _furthest(scene, ours, theirs),
        causes=tuple(causes),
        tried=num_tried,
        note=note or None,
    )


@dataclass(frozen=True)
class _Place:
    position: int | None = None  # of the task in its cohort
    others_too: bool = False
    step: int | None = None
    tensor: str = ""


@dataclass(frozen=True, eq=False)
class _Parts:
    """The round, divided as long as a part differs by itself."""

    plan: Plan
    number: int
    whole: float  # how far the engines are apart after all of it
    apart: Callable[[Plan], tuple[float, str]]  # of a part, and the tensor that is furthest
    trials: Trials

    def locate(self) -> tuple[_Place, str]:
        """Return the smallest part, and why it is no smaller."""
        place = _Place()
        try:
            if (tensor := self._differs(range(len(self.plan.cohort(self.number))))) is None:
                return place, _BETWEEN_ROUNDS if self.number > 1 else _BEGINNING
            place = self._one_task(tensor)
            if place.position is None:
                return place, _COMBINING
            return self._first_step(place), ""
        except Exception as error:  # whatever an engine says to half of a cohort, the rest is still told
            return place, f"not divided further: {str(error).splitlines()[0] if str(error) else repr(error)}"

    def _differs(self, positions: Sequence[int]) -> str | None:
        """Return the tensor that is furthest apart after these tasks alone; None if they give the same."""
        tasks = self.plan.cohort(self.number)
        distance, furthest = self.apart(with_cohort(self.plan, self.number, [tasks[place] for place in positions]))
        return furthest if distance > _SHOWS * self.whole else None

    def _one_task(self, tensor: str) -> _Place:
        """Return a task that differs by itself, by halves; none if no half does. All differ most in `tensor`."""
        positions: Sequence[int] = range(len(self.plan.cohort(self.number)))
        others_too = False
        while len(positions) > 1:
            middle = (len(positions) + 1) // 2
            halves = (positions[:middle], positions[middle:])
            differ = [(half, furthest) for half in halves if (furthest := self._differs(half))]
            if not differ:
                return _Place()
            others_too = others_too or len(differ) > 1
            positions, tensor = differ[0]
        return _Place(positions[0], others_too, None, tensor)

    def _first_step(self, place: _Place) -> _Place:
        assert place.position is not None
        task = self.plan.cohort(self.number)[place.position]
        alone, tensor = with_cohort(self.plan, self.number, [task]), place.tensor
        same, other = 0, len(task.batches)  # so many steps are the same, and so many differ
        while other - same > 1 and not self.trials.is_over:
            middle = (same + other) // 2
            distance, furthest = self.apart(first_steps_of(alone, middle))
            if distance > _SHOWS * self.whole:
                other, tensor = middle, furthest
            else:
                same = middle
        return replace(place, step=other, tensor=tensor)


def _causes(scene: Scene, trials: Trials, causes: Sequence[Cause] = CAUSES) -> tuple[list[Explanation], int]:
    """Return the causes that give the engine's weights, the nearest first, and how many were tried."""
    found: list[Explanation] = []
    num_tried = 0
    for cause in causes:
        if trials.is_over:
            break
        num_tried += 1
        try:
            left = min(((scene.left_by(guess.weights), guess.detail) for guess in cause.guesses(scene)), default=None)
        except Exception:  # what the reference cannot be made to do is no cause
            continue
        if left is not None and left[0] <= _EXPLAINED:
            words = ", ".join(filter(None, (cause.words, left[1])))
            found.append(Explanation(cause=cause.name, words=words, left=left[0]))
    return sorted(found, key=lambda one: one.left)[:_MOST_CAUSES], num_tried


def _furthest(scene: Scene, ours: Weights, theirs: Weights) -> str:
    """Return the tensor that is furthest apart, by the scale of its movement."""
    apart = {
        name: float(np.max(np.abs(ours[name].astype(np.float64) - theirs[name]), initial=0.0)) / scale
        for name, scale in scene.scales.items()
    }
    return max(apart, key=apart.__getitem__)
