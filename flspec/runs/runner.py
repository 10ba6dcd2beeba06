"""One experiment on one backend, from a spec to a run folder."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from flspec.analysis.description import plan_skew
from flspec.compiler.compile import compile
from flspec.core.files import is_empty, locked_folder, new_folder, write_atomically
from flspec.core.locations import redact
from flspec.core.memory import MemoryMeter
from flspec.errors import BackendError, InputError, RunError
from flspec.execution.remote import Limits, open_backend
from flspec.protocol.backend import Backend, Job, kept_state
from flspec.protocol.events import Event, RoundEvaluated, RoundFinished, RunAttempted, dump_event
from flspec.protocol.named_records import flatten
from flspec.protocol.plan import Plan
from flspec.protocol.state import load_state, save_weights
from flspec.runs.best_round import BestSoFar
from flspec.runs.evaluation import Evaluator
from flspec.runs.following import Followers
from flspec.runs.recording import Recorder, read_events
from flspec.runs.result import (
    BackendInfo,
    BestRecord,
    FinalRecord,
    Result,
    RoundRecord,
    Seconds,
    WeightsFile,
    describe_environment,
    load_result,
    save_result,
)
from flspec.spec.spec import Spec
from flspec.spec.study import load_study
from flspec.spec.yaml_writer import write_yaml
from flspec.trackers import Chosen, find_trackers

__all__ = [
    "Experiment",
    "Watch",
    "execute_plan",
    "forget_old_states",
    "planned",
    "prepared_folder",
    "refuse_unsupported",
    "run",
]

Experiment = str | Path | Spec | Plan  # a spec's file, a spec, or what it compiled into
Watch = Callable[[RoundRecord], None]  # called with each round's record when it is complete

_LAST_MODEL = "weights.safetensors", "clients.safetensors"
_BEST_MODEL = "best.safetensors", "best_clients.safetensors"
_CHOSEN_ON_TEST = (
    "the round was chosen by the test examples, so its values on them flatter the model; name validation or holdout "
    "in evaluation.best.on to choose by others"
)


def run(
    experiment: Experiment,
    backend: str | None = None,
    out: str | Path | None = None,
    *,
    data: Path | None = None,
    workers: int = 0,
    limits: Limits | None = None,
    resume: bool = False,
    watch: Watch | None = None,
    source: str | None = None,
    trackers: str | Chosen | Sequence[str | Chosen] = (),
) -> Result:
    """Run an experiment and write its folder.

    `backend` is a NAME or NAME:VARIANT, by default the spec's. `out` is the folder, by default a new one below `runs`.
    `source` is the spec's text to be stored instead of the plan's own. With `resume`, `out` is an interrupted run of
    the same plan, which goes on after its last stored round. `trackers` follow its records, given by name, class or
    instance: see `flspec.trackers`.

    Raises InputError before anything is written, RunError (after writing a result that says so) if the run fails.
    """
    if workers < 0:
        raise InputError(f"workers is {workers}; give 0 for one a core, or how many clients to train at once")
    followed_by = find_trackers(trackers)
    plan, source = planned(experiment, data, source)
    selection = backend or str(plan.spec["backend"])
    with open_backend(selection, limits or Limits()) as engine:
        refuse_unsupported(engine, selection, plan)
        evaluator = Evaluator(plan)  # checks that the data exist, before anything is written
        folder = Path(out).absolute() if out else new_folder(Path("runs"), f"{plan.spec['name']}-{selection}")
        with prepared_folder(folder, plan, source, resume_on=selection if resume else None):
            job = Job(folder, workers=workers)
            return execute_plan(
                engine, selection, plan, job, evaluator=evaluator, resume=resume, watch=watch, trackers=followed_by
            )


def planned(experiment: Experiment, data: Path | None = None, source: str | None = None) -> tuple[Plan, str | None]:
    """Return the plan of an experiment in any of its forms, and the text of its spec, if it has one."""
    if isinstance(experiment, Plan):
        return experiment, source
    if isinstance(experiment, Spec):
        return compile(experiment, data), source
    cell = load_study(experiment).cell(None)
    return compile(cell.spec, data), source or cell.text


def refuse_unsupported(engine: Backend, selection: str, plan: Plan) -> None:
    """Raise InputError, naming the fields, if the backend cannot execute the plan."""
    if problems := engine.refusals(plan):
        raise InputError("\n".join(f"{selection} cannot run this plan: {problem}" for problem in problems))


def execute_plan(
    engine: Backend,
    selection: str,
    plan: Plan,
    job: Job,
    *,
    evaluator: Evaluator | None = None,
    resume: bool = False,
    watch: Watch | None = None,
    memory: MemoryMeter | None = None,
    trackers: Sequence[Chosen] = (),
) -> Result:
    """Execute a plan into a folder that is ready, and write `result.json` however it ends.

    `memory` measures the run, by default this process and all that it starts. Raises RunError for whatever goes wrong
    from here on: the input was right, and something has been written.
    """
    followers = Followers(trackers, job.folder)
    attempt = _Attempt(selection, plan, job, evaluator or Evaluator(plan), memory or MemoryMeter(), followers)
    if resume:
        job = replace(job, start=attempt.resume())
    try:
        followers.start(plan, attempt.recorder.rounds)
        with attempt.memory, closing(engine.execute(plan, job)) as events:
            for record in attempt.recorder.record(attempt.clocked(events)):
                followers.round(record)
                if watch:
                    watch(record)
                if job.keep == "planned":
                    # A run may go on from the newest two states, so the best rounds before both must be stored, too.
                    forget_old_states(job.folder, record.round, attempt.recorder.best.rounds[-2:])
        return attempt.finish("completed")
    except (KeyboardInterrupt, SystemExit):
        attempt.finish("interrupted", error="interrupted")
        raise
    except RunError as error:
        attempt.finish("failed", error=str(error))
        raise
    except InputError as error:
        attempt.finish("failed", error=str(error))
        raise RunError(str(error)) from error
    except Exception as error:
        attempt.finish("failed", error=repr(error))
        raise BackendError(f"{selection}: {type(error).__name__}: {error}") from error


class _Attempt:
    """One execution on its way to a result."""

    def __init__(
        self,
        selection: str,
        plan: Plan,
        job: Job,
        evaluator: Evaluator,
        memory: MemoryMeter,
        followers: Followers,
    ) -> None:
        folder = job.folder
        self.recorder = Recorder(plan, folder, evaluator, keeps_all=job.keep == "all")
        self.memory = memory
        self._followers = followers
        self._selection, self._plan, self._folder = selection, plan, folder
        self._began, self._started = time.perf_counter(), datetime.now(UTC).isoformat(timespec="seconds")
        self._startup: float | None = None

    def clocked(self, events: Iterable[Event]) -> Iterator[Event]:
        """Yield the same events, and record when the first came."""
        yield RunAttempted(backend=self._selection, started=self._started)
        for event in events:
            if self._startup is None:
                self._startup = time.perf_counter() - self._began
            yield event

    def resume(self) -> Path | None:
        """Keep the record of an interrupted execution up to its last usable state; returns that state."""
        events = read_events(self._folder)
        last, state = _last_state(self._folder, self._plan, events)
        recorded = [event for event in events if getattr(event, "round", 0) <= last and event.event != "run_finished"]
        write_atomically(self._folder / "events.jsonl", "".join(dump_event(e) + "\n" for e in recorded).encode())
        self.recorder.replay(recorded)
        return state

    def finish(self, status: Literal["completed", "failed", "interrupted"], error: str | None = None) -> Result:
        """Write the result, and return it."""
        plan, rounds, completed = self._plan, self.recorder.rounds, status == "completed"
        last = rounds[-1].evaluation if rounds else None
        confusion = self.recorder.confusion.get(len(rounds), {})
        result = Result(
            status=status,
            error=redact(error) if error else None,
            name=plan.spec["name"],
            plan_digest=plan.digest,
            spec=dict(plan.spec),
            seed=plan.spec["seed"],
            backend=BackendInfo(name=self._selection, versions=self.recorder.versions),
            environment=describe_environment(),
            started=self.recorder.started or self._started,
            seconds=Seconds(startup=self._startup, total=time.perf_counter() - self._began),
            memory={"peak_bytes": self.memory.peak_bytes},
            skew=plan_skew(plan),
            rounds=tuple(rounds),
            final=FinalRecord(evaluation=last, confusion=confusion) if completed and last else None,
            best=self._best(),
            weights=self._save_model(plan.num_rounds, *_LAST_MODEL) if completed else None,
        )
        save_result(self._folder, result)
        self._followers.finish(result)
        return result

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
        state = load_state(kept_state(self._folder, round_number), self._plan.digest)
        if state.clients:
            own = {
                f"{who}/{path}": value for who, owned in state.clients.items() for path, value in flatten(owned).items()
            }
            save_weights(self._folder / name_of_clients, own)
        # Constants too, so that the file has the whole model by name, except for the clients' own tensors.
        whole = {**self._plan.constants, **state.weights}
        return WeightsFile(path=name, sha256=save_weights(self._folder / name, whole))


@contextmanager
def prepared_folder(
    folder: Path, plan: Plan, source: str | None = None, resume_on: str | None = None
) -> Iterator[None]:
    """Make a run's folder, or check that the one to resume is of this plan and backend; lock it against other runs.

    `source` is the spec's text to be stored, by default the spec of the plan.
    """
    made = not resume_on and _make(folder)  # only a folder made here may be removed again
    try:
        with locked_folder(folder):
            if resume_on:
                _check_resumable(folder, plan, resume_on)
            else:
                _fill(folder, plan, source)
            yield
    except InputError:
        if made:
            shutil.rmtree(folder, ignore_errors=True)
        raise


def _make(folder: Path) -> bool:
    """Make a folder; returns whether it is new."""
    try:
        existed = folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise InputError(f"out: {folder} cannot be made: {error}") from None
    return not existed


def _check_resumable(folder: Path, plan: Plan, selection: str) -> None:
    if (found := Plan.load(folder / "plan").digest) != plan.digest:
        raise InputError(
            f"{folder} is a run of plan {found[:12]}, but this spec compiles into {plan.digest[:12]}; "
            "resume with the spec and data that it began with"
        )
    if (folder / "result.json").exists() and load_result(folder).status == "completed":
        raise InputError(f"{folder} is complete; there is nothing to resume")
    for event in read_events(folder):
        if isinstance(event, RunAttempted) and event.backend != selection:
            raise InputError(f"{folder} is a run on {event.backend}, not {selection}; resume it there")


def _fill(folder: Path, plan: Plan, source: str | None) -> None:
    if not is_empty(folder):
        raise InputError(f"out: {folder} is not empty; choose another folder, or go on with --resume")
    try:
        plan.save(folder / "plan")
        text = write_yaml(dict(plan.spec)) if source is None else source
        (folder / "spec.yaml").write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"out: {folder} cannot be written: {error}") from None


def _last_state(folder: Path, plan: Plan, events: Sequence[Event]) -> tuple[int, Path | None]:
    """Return the last round whose state can be read, and its file; round 0 if there is none.

    A round whose planned evaluation is missing is trained again, so that no evaluation is lost. If the best round
    before a state cannot be read, an earlier state is taken, so that the best round is found again.
    """
    evaluated = {event.round: event.evaluation for event in events if isinstance(event, RoundEvaluated)}
    for event in reversed(events):
        if isinstance(event, RoundFinished) and event.state and event.round in evaluated:
            path = kept_state(folder, event.round)
            with suppress(InputError):  # damaged or gone: the one before it is used
                state = load_state(path, plan.digest)
                for best in _best_until(plan, evaluated, state.round):
                    load_state(kept_state(folder, best), plan.digest)
                return state.round, path
    return 0, None


def _best_until(plan: Plan, evaluated: Mapping[int, Mapping[str, Mapping[str, float]]], last: int) -> list[int]:
    """Return the best round up to `last`, if there is one."""
    best = BestSoFar(plan.settings.evaluation.best)
    for number in sorted(evaluated):
        if number <= last:
            best.see(number, evaluated[number])
    return best.rounds[-1:]


def forget_old_states(folder: Path, round_number: int, spared: Collection[int] = ()) -> None:
    """Delete stored states up to a round, except for the newest two: one to go on from, one as its replacement.

    The states after the rounds `spared` stay as well. Newer states stay too, because a backend in its own process may
    be some rounds ahead, and these states are still to be evaluated.
    """
    last = kept_state(folder, round_number)
    stored = sorted(path for path in last.parent.glob("*.safetensors") if path <= last)  # names sort as rounds do
    for old in set(stored[:-2]) - {kept_state(folder, number) for number in spared}:
        old.unlink()
