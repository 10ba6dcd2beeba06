"""One execution of a plan on its way to a result, which is written however the execution ends."""

from __future__ import annotations

import errno
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from flspec.analysis.description import plan_skew
from flspec.core.files import write_atomically
from flspec.core.locations import redact
from flspec.core.memory import MemoryMeter
from flspec.core.tracebacks import PART_FILES, is_from_elsewhere, place_of, raised_in
from flspec.errors import BackendError, InputError, RunError
from flspec.execution.client_state import with_every_participant
from flspec.execution.ledger import num_releases
from flspec.privacy.statement import privacy_record
from flspec.protocol.backend import Job, kept_state
from flspec.protocol.events import Event, RunAttempted
from flspec.protocol.named_records import flatten
from flspec.protocol.plan import Plan
from flspec.protocol.records import PrivacyRecord
from flspec.protocol.state import load_state, save_weights
from flspec.runs.client_rows import ClientTable, unwritten_rows
from flspec.runs.evaluation import Evaluator
from flspec.runs.event_log import EVENTS, read_events, rewrite_events
from flspec.runs.folders import remove_all_partials
from flspec.runs.following import Followers
from flspec.runs.native import native_record
from flspec.runs.pictured import feature_space_of
from flspec.runs.recording import Recorder
from flspec.runs.result import (
    BackendInfo,
    BestRecord,
    FinalRecord,
    Result,
    RoundRecord,
    Seconds,
    WeightsFile,
    describe_environment,
    save_result,
)
from flspec.runs.resuming import take_back

__all__ = ["ERROR", "Attempt", "Watch"]

Watch = Callable[[RoundRecord], None]  # called with each round's record when it is complete

ERROR = "error.txt"  # the traceback of what ended a run and is not flspec's
_LAST_MODEL = "weights.safetensors", "clients.safetensors"
_BEST_MODEL = "best.safetensors", "best_clients.safetensors"
_CHOSEN_ON_TEST = (
    "the round was chosen by the test examples, so its values on them flatter the model; name validation or holdout "
    "in evaluation.best.on to choose by others"
)
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}


class Attempt:
    """One execution on its way to a result."""

    def __init__(
        self,
        attempted: RunAttempted,
        plan: Plan,
        job: Job,
        evaluator: Evaluator,
        memory: MemoryMeter,
        followers: Followers,
        algorithm: str = "",  # the engine's own, in words, if the plan asks for one
    ) -> None:
        table = ClientTable(plan, job.folder) if job.client_rows else None
        self.recorder = Recorder(plan, job.folder, evaluator, keeps_all=job.keep == "all", table=table)
        self.memory = memory
        self._followers, self._algorithm = followers, algorithm
        self._attempted, self._plan, self._folder = attempted, plan, job.folder
        self._began = time.perf_counter()
        self._startup: float | None = None
        self._of_the_caller: Exception | None = None

    def begin(self) -> None:
        """Begin the record, unless the folder has been prepared with its beginning."""
        if not (self._folder / EVENTS).exists():
            rewrite_events(self._folder, [self._attempted])
        self.recorder.replay([self._attempted])

    def resume(self) -> Path | None:
        """Keep the record of an interrupted execution up to its last usable state; returns that state."""
        state = take_back(self._folder, self._plan, self._attempted)
        self.recorder.replay(read_events(self._folder))
        return state

    def clocked(self, events: Iterable[Event]) -> Iterator[Event]:
        """Yield the same events, and record when the first came."""
        for event in events:
            if self._startup is None:
                self._startup = time.perf_counter() - self._began
            yield event

    def tell(self, watch: Watch | None, record: RoundRecord) -> None:
        """Pass a record on to the caller, and remember what the caller raises."""
        try:
            if watch:
                watch(record)
        except Exception as error:
            self._of_the_caller = error
            raise

    @contextmanager
    def ending(self) -> Iterator[None]:
        """Write a result if the execution is interrupted or fails, and raise what the caller of a run is to see."""
        try:
            yield
        except KeyboardInterrupt:
            self._stop("interrupted", "interrupted")
            raise
        except SystemExit as stop:
            if raised_in(stop, PART_FILES):  # not by a signal, which may arrive at any moment
                raise self._failed(stop) from stop
            self._stop("interrupted", "interrupted")
            raise
        except Exception as error:
            if error is self._of_the_caller:
                self._stop("interrupted", f"the caller's watch raised {type(error).__name__}: {error}")
                raise
            failure = self._failed(error)
            if failure is error:
                raise
            raise failure from error

    def _failed(self, error: BaseException) -> RunError:
        """Write a result that says what ended the execution; returns the RunError to be raised for it."""
        failure = self._failure(error)
        self._stop("failed", str(failure))
        return failure

    def _failure(self, error: BaseException) -> RunError:
        """Return the RunError to be raised for what ended the execution; a foreign traceback is kept in a file."""
        name = self._attempted.backend
        if isinstance(error, OSError) and error.errno in _NO_ROOM and error.filename:
            return RunError(
                f"{name}: {error.filename} cannot be written: {error.strerror}; make room, and go on with --resume"
            )
        if isinstance(error, InputError):
            return RunError(str(error))
        if not is_from_elsewhere(error):
            return error if isinstance(error, RunError) else RunError(str(error))
        kept = self._keep_traceback(error)
        if isinstance(error, RunError):
            return RunError(f"{error}{kept}") if type(error) is RunError else error
        place = place_of(error, PART_FILES)
        return BackendError(f"{name}: {type(error).__name__}: {error}{f' ({place})' if place else ''}{kept}")

    def _keep_traceback(self, error: BaseException) -> str:
        """Write the whole traceback into the folder, and return where it is, to end a message."""
        path = self._folder / ERROR
        with suppress(OSError):
            write_atomically(path, redact("".join(traceback.format_exception(error))).encode(errors="replace"))
            return f"; the traceback is in {path}"
        return ""

    def _stop(self, status: Literal["failed", "interrupted"], error: str) -> None:
        """Write a result as far as that can be done: why the execution ended matters more."""
        with suppress(OSError):
            self.finish(status, error)

    def finish(self, status: Literal["completed", "failed", "interrupted"], error: str | None = None) -> Result:
        """Write the result, and return it."""
        plan, rounds, completed = self._plan, self.recorder.rounds, status == "completed"
        software = [attempted.software for attempted in self.recorder.attempts]
        last = rounds[-1].evaluation if rounds else None
        confusion = self.recorder.confusion.get(len(rounds), {})
        result = Result(
            status=status,
            error=redact(error) if error else None,
            name=plan.spec["name"],
            plan_digest=plan.digest,
            spec=dict(plan.spec),
            seed=plan.spec["seed"],
            backend=BackendInfo(
                name=self._attempted.backend, versions=self.recorder.versions, workers=self.recorder.workers
            ),
            environment=describe_environment(),
            software=software[-1],
            earlier=tuple(one for at, one in enumerate(software[:-1]) if one not in software[at + 1 :]),
            started=self.recorder.attempts[0].started,
            extends=self.recorder.attempts[0].extends,
            seconds=Seconds(startup=self._startup, total=time.perf_counter() - self._began),
            overhead=self.recorder.overheads.record(self._startup),
            memory={"peak_bytes": self.memory.peak_bytes},
            skew=plan_skew(plan),
            rounds=tuple(rounds),
            clients=self.recorder.table.record if self.recorder.table else unwritten_rows(plan),
            stopped=self.recorder.stopped if completed else None,
            final=FinalRecord(evaluation=last, confusion=confusion) if completed and last else None,
            best=self._best(),
            weights=self._save_model(len(rounds), *_LAST_MODEL) if completed else None,
            privacy=self._privacy(),
            first_steps=plan.settings.first_steps or None,
            features=feature_space_of(plan),
            native=native_record(self._algorithm, rounds),
        )
        if completed:
            (self._folder / ERROR).unlink(missing_ok=True)  # of an earlier attempt
        remove_all_partials(self._folder)
        save_result(self._folder, result)
        self._followers.finish(result)
        return result

    def _privacy(self) -> PrivacyRecord | None:
        """Return what was spent: a round that began counts, even where it was not finished."""
        rounds = max(num_releases(self._folder), len(self.recorder.rounds))
        return privacy_record(self._plan, rounds) if self._plan.settings.privacy and rounds else None

    def _best(self) -> BestRecord | None:
        """Return the best round, with its model saved beside the last one."""
        best = self.recorder.best
        if best.rule is None or best.value is None:
            return None
        record, weights = self.recorder.rounds[best.rounds[-1] - 1], None
        with suppress(InputError):  # the state is damaged or gone, but its evaluation is known
            weights = self._save_model(record.round, *_BEST_MODEL)
        return BestRecord(
            round=record.round,
            value=best.value,
            evaluation=record.evaluation or {},
            undefined=record.undefined,
            confusion=self.recorder.confusion.get(record.round, {}),
            weights=weights,
            note=_CHOSEN_ON_TEST if best.rule.on.partition("/")[0] == "test" else None,
            metric=best.rule.metric,
            on=best.rule.on,
        )

    def _save_model(self, round_number: int, name: str, name_of_clients: str) -> WeightsFile:
        """Save the model after a round whose state is stored, and the clients' own tensors beside it."""
        stored = load_state(kept_state(self._folder, round_number), self._plan.digest)
        state = with_every_participant(self._plan, stored)
        if state.clients:
            own = {
                f"{who}/{path}": value for who, owned in state.clients.items() for path, value in flatten(owned).items()
            }
            save_weights(self._folder / name_of_clients, own)
        # Constants too, so that the file has the whole model by name, except for the clients' own tensors.
        whole = {**self._plan.constants, **state.weights}
        return WeightsFile(path=name, sha256=save_weights(self._folder / name, whole))
