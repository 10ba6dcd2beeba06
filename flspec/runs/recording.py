"""The one consumer of a backend's events: it checks them against the plan, evaluates models, and keeps the record."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path

import numpy as np

from flspec.errors import BackendError, PlanViolation, RunError
from flspec.execution.faults import lost_updates
from flspec.execution.parts import acts_without_updates, bytes_per_client, faults_of
from flspec.metrics import Confusion
from flspec.privacy.accountant import finite, points_of
from flspec.privacy.spending import cost_after
from flspec.protocol.events import (
    Event,
    RoundEvaluated,
    RoundFinished,
    RunAttempted,
    RunStarted,
    Workers,
)
from flspec.protocol.native import is_native
from flspec.protocol.plan import ClientTask, Plan
from flspec.protocol.records import Stopped
from flspec.protocol.state import load_state
from flspec.runs.best_round import BestSoFar
from flspec.runs.client_rows import ClientTable
from flspec.runs.evaluation import Evaluator
from flspec.runs.event_log import append_events
from flspec.runs.image_files import save_images
from flspec.runs.kept_records import KeptRecords
from flspec.runs.overheads import Overheads
from flspec.runs.result import Failure, RoundRecord
from flspec.runs.stopping import Stopping

__all__ = ["Recorder"]


class Recorder:
    """A writer of `events.jsonl` into a run's folder, and of the records of its rounds."""

    def __init__(
        self,
        plan: Plan,
        folder: Path,
        evaluator: Evaluator | None,
        keeps_all: bool = False,
        table: ClientTable | None = None,
    ) -> None:
        self.table = table  # of rows by client, if they are written
        self.versions: dict[str, str] = {}
        self.workers: Workers | None = None  # that trained the last round
        self.attempts: list[RunAttempted] = []
        self.rounds = KeptRecords()
        self.overheads = Overheads()
        self.best = BestSoFar(plan.settings.evaluation.best)
        self.confusion: dict[int, dict[str, Confusion]] = {}  # for the last round, and for each best round so far
        self._plan, self._folder, self._evaluator, self._keeps_all = plan, folder, evaluator, keeps_all
        self._bytes_down, self._bytes_up = bytes_per_client(plan)
        self._titles = [fault.title for fault in faults_of(plan)]
        self._stopping = Stopping(plan)
        self._first_bad = ""  # round, client and tensor of the first update that was not finite
        self._accounted = set(points_of(plan.num_rounds)) if plan.settings.privacy else set()

    def record(self, events: Iterable[Event]) -> Iterator[RoundRecord]:
        """Follow a run to its end, and yield each round's record when it is complete.

        Raises PlanViolation if the execution differs from the plan, BackendError if it ends too early, RunError if no
        client update of a round is usable and the plan does nothing without one.
        """
        if self.stopped:  # before it was interrupted
            return
        with append_events(self._folder) as log:
            for event in events:
                log.write(event)
                self._note(event)
                if isinstance(event, RoundFinished):
                    self._check(event)
                    evaluated = self._evaluate(event)
                    if evaluated:
                        log.write(evaluated)
                    yield self._complete(event, evaluated)
                    if self.stopped:
                        return
        if len(self.rounds) != self._plan.num_rounds:
            raise BackendError(f"the backend ended after round {len(self.rounds)} of {self._plan.num_rounds}")

    def replay(self, events: Iterable[Event]) -> None:
        """Take the recorded rounds of an earlier, interrupted execution."""
        finished: RoundFinished | None = None
        for event in events:
            self._note(event)
            match event:
                case RoundFinished():
                    if finished:
                        self._complete_again(finished, None)
                    finished = event
                case RoundEvaluated() if finished and finished.round == event.round:
                    self._complete_again(finished, event)
                    finished = None
        if finished:
            self._complete_again(finished, None)
        self._stopping.decide(len(self.rounds))

    def _complete_again(self, event: RoundFinished, evaluated: RoundEvaluated | None) -> None:
        seconds = sum(event.seconds.values()) + (evaluated.seconds if evaluated else 0.0)
        is_better = self.best.improves(evaluated.evaluation if evaluated else None)
        self._stopping.see_again(event.round, self._num_bytes(event), is_better, seconds)
        self._complete(event, evaluated)

    def _num_bytes(self, event: RoundFinished) -> int:
        return (self._bytes_down + self._bytes_up) * len(event.cohort)

    @property
    def stopped(self) -> Stopped | None:
        """Why the run ends before its last planned round, once it does; one that keeps all states never does."""
        return None if self._keeps_all else self._stopping.stopped

    def _note(self, event: Event) -> None:
        match event:
            case RunAttempted():
                self.attempts.append(event)
            case RunStarted():
                self.versions = event.versions
                self.overheads.start()
            case RoundFinished():
                self.workers = event.workers
                self._first_bad = self._first_bad or _first_bad(event)
                self.overheads.add(event)

    def _check(self, event: RoundFinished) -> None:
        """Check a backend's report of a round against the plan."""
        due = len(self.rounds) + 1
        if event.round != due or due > self._plan.num_rounds:
            raise PlanViolation(due, f"the backend reports round {event.round} of {self._plan.num_rounds}")
        if (self._keeps_all or self._plan.keeps(due)) and not (event.state and (self._folder / event.state).is_file()):
            raise BackendError(f"round {due}: the backend did not store the state that it was asked to store")
        if is_native(self._plan) and event.native is None:
            raise BackendError(f"round {due}: the backend did not state how far its own algorithm is from flspec's")
        tasks = self._plan.cohort(due)
        planned = tuple(task.client for task in tasks)
        if event.cohort != planned:
            raise PlanViolation(
                event.round,
                f"the backend trained clients {_brief(event.cohort)}, the plan says {_brief(planned)}",
            )
        if strange := [place for place in event.dropped if not 0 <= place < len(tasks)]:
            raise PlanViolation(event.round, f"the backend dropped update {strange[0]} of a cohort of {len(tasks)}")
        if arrived := [place for place in lost_updates(self._plan, due) if place not in event.dropped]:
            raise PlanViolation(
                event.round, f"the backend counted the update of client {planned[arrived[0]]}, which the plan loses"
            )
        expected = sum(task.num_trained for place, task in enumerate(tasks) if place not in event.dropped)
        if event.num_trained != expected:
            raise PlanViolation(
                event.round, f"the backend trained on {event.num_trained} examples, the plan says {expected}"
            )
        # A private round goes on with noise alone: whether a run ends must not hang on one client of a small cohort.
        # What a fault hit says nothing of the model.
        whole = [place for place, task in enumerate(tasks) if not task.faults]
        is_diverged = whole and all(event.dropped.get(place, "").endswith("not finite") for place in whole)
        if is_diverged and not acts_without_updates(self._plan):
            first = f" (first not: {self._first_bad})" if self._first_bad else ""
            raise RunError(
                f"round {event.round}: no client's update is finite{first}, so the model has diverged; "
                "lower client.optimizer.learning_rate"
            )

    def _evaluate(self, event: RoundFinished) -> RoundEvaluated | None:
        if self._evaluator is None or event.state is None or not self._plan.keeps(event.round):
            self._stopping.see(event.round, self._num_bytes(event), is_better=False)
            return None  # not evaluated here, or in this round
        started = time.perf_counter()
        measured = self._evaluator(load_state(self._folder / event.state, self._plan.digest))
        is_better = self.best.improves(measured.values)
        self._stopping.see(event.round, self._num_bytes(event), is_better)
        is_last = event.round == self._plan.num_rounds or self.stopped is not None
        return RoundEvaluated(
            round=event.round,
            evaluation=measured.values,
            undefined=measured.undefined,
            confusion=measured.confusion if is_last or is_better else {},
            images=save_images(self._folder, event.round, measured.images),
            seconds=time.perf_counter() - started,
        )

    def _epsilon_after(self, round_number: int) -> float | None:
        """Return what the rounds up to this one cost, at some rounds: it takes a part of a second."""
        if round_number not in self._accounted or self._plan.settings.privacy is None:
            return None
        return finite(cost_after(self._plan, round_number).spent.epsilon)

    def _absent(self, event: RoundFinished) -> Iterator[Failure]:
        """Yield the clients that a fault kept from training."""
        for client, number in self._plan.faults_in(event.round).tolist():
            if client not in event.cohort:
                yield Failure(client=client, reason=self._titles[number])

    def _faults(self, round_number: int) -> dict[str, int]:
        """Return how many tasks of a round each fault hit."""
        return dict(Counter(self._titles[number] for _, number in self._plan.faults_in(round_number).tolist()))

    def _complete(self, event: RoundFinished, evaluated: RoundEvaluated | None) -> RoundRecord:
        record = RoundRecord(
            round=event.round,
            cohort=event.cohort,
            num_examples=_num_examples(self._plan.cohort(event.round)),
            train=event.train,
            evaluation=evaluated.evaluation if evaluated else None,
            undefined=evaluated.undefined if evaluated else {},
            images=evaluated.images if evaluated else {},
            bytes_down=self._bytes_down * len(event.cohort),
            bytes_up=self._bytes_up * len(event.cohort),
            seconds=event.seconds | {"evaluate": evaluated.seconds if evaluated else 0.0},
            epsilon=self._epsilon_after(event.round),
            failures=(*self._absent(event), *_dropped(event)),
            faults=self._faults(event.round),
            sums=event.sums,
            native=event.native,
        )
        self.rounds.append(record)
        if self.table:
            self.table.add(event, record.failures)
        self.best.see(record.round, record.evaluation)
        if evaluated and evaluated.confusion:
            self.confusion[record.round] = evaluated.confusion
        return record


def _first_bad(event: RoundFinished) -> str:
    """Return the client and tensor of the round's first update that is not finite; empty if all are."""
    for place, why in sorted(event.dropped.items()):
        if why.endswith("not finite"):
            name = event.not_finite.get(place)
            return f"round {event.round}, client {event.cohort[place]}{f', {name}' if name else ''}"
    return ""


def _dropped(event: RoundFinished) -> Iterator[Failure]:
    """Yield the clients that trained and whose update did not count."""
    for place, why in sorted(event.dropped.items()):
        yield Failure(client=event.cohort[place], reason=why)


def _num_examples(tasks: Iterable[ClientTask]) -> int:
    """Return how many different examples the tasks of a cohort train on, those of a client that is drawn again once."""
    by_client = (list(some) for _, some in groupby(tasks, key=lambda task: task.client))
    return sum(len(np.unique(np.concatenate([batch for one in some for batch in one.batches]))) for some in by_client)


def _brief(clients: tuple[int, ...]) -> str:
    shown = ", ".join(map(str, clients[:8]))
    return f"[{shown}{', …' if len(clients) > 8 else ''}]"
