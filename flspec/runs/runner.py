"""One experiment on one backend, from a spec to a run folder."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flspec.compiler.acting_parts import check_code
from flspec.compiler.compile import compile
from flspec.core.files import numbered_folder
from flspec.core.memory import MemoryMeter
from flspec.errors import InputError
from flspec.execution.noise_key import with_drawn_key
from flspec.execution.parts import acting_parts
from flspec.execution.remote import Limits, open_backend
from flspec.execution.software import software_of
from flspec.privacy.accountant import accountant_version
from flspec.protocol.backend import Backend, Job
from flspec.protocol.devices import CPU, Device
from flspec.protocol.events import RunAttempted
from flspec.protocol.part_scope import using_parts_of
from flspec.protocol.plan import Plan
from flspec.runs.attempt import Attempt, Watch
from flspec.runs.client_rows import wants_client_rows
from flspec.runs.evaluation import Evaluator
from flspec.runs.extending import beginning_of
from flspec.runs.folders import OtherSoftware, prepared_folder
from flspec.runs.following import Followers
from flspec.runs.git_state import git_state_of, record_git_state
from flspec.runs.result import Result
from flspec.runs.resuming import forget_newer_states, forget_old_states
from flspec.spec.spec import Spec
from flspec.spec.study import load_study
from flspec.trackers import Chosen, chosen_trackers

__all__ = ["Experiment", "Watch", "attempt_of", "execute_plan", "planned", "refuse_unsupported", "run", "run_in_folder"]

Experiment = str | Path | Spec | Plan  # a spec's file, a spec, or what it compiled into


def run(
    experiment: Experiment,
    backend: str | None = None,
    out: str | Path | None = None,
    *,
    data: Path | None = None,
    workers: int = 0,
    device: str = "cpu",
    limits: Limits | None = None,
    resume: bool = False,
    anyway: bool = False,
    extend: str | Path | None = None,
    watch: Watch | None = None,
    source: str | None = None,
    spec_folders: Sequence[Path] = (),
    trackers: str | Chosen | Sequence[str | Chosen] = (),
) -> Result:
    """Run an experiment and write its folder.

    `backend` is a NAME or NAME:VARIANT, by default the spec's. `out` is the folder, by default a new one below `runs`.
    `source` is the spec's text to be stored instead of the plan's own, and `spec_folders` is where a plan's spec was
    read; the state in git of the first is recorded. With `resume`, `out` is what an interrupted run of the same plan
    left, in whatever state, and the run goes on after its last stored round; `anyway` allows that where other software
    began it. With `extend`, it goes on from a finished run of fewer rounds in that folder, which stays as it is: see
    `flspec.runs.extending`. `watch` is called with each round's record; what it raises ends the run, which then counts
    as interrupted, and comes out as it is. `trackers` follow the records, given by name, class or instance: see
    `flspec.trackers`. `device` is that of `Backend.find_device`.

    Raises InputError before anything is written, RunError (after writing a result that says so) if the run fails.
    """
    options: dict[str, Any] = {
        "data": data,
        "workers": workers,
        "device": device,
        "limits": limits,
        "resume": resume,
        "anyway": anyway,
        "extend": extend,
        "watch": watch,
    }
    return run_in_folder(
        experiment, backend, out, **options, source=source, spec_folders=spec_folders, trackers=trackers
    )[1]


def run_in_folder(
    experiment: Experiment,
    backend: str | None = None,
    out: str | Path | None = None,
    *,
    data: Path | None = None,
    workers: int = 0,
    device: str = "cpu",
    limits: Limits | None = None,
    resume: bool = False,
    anyway: bool = False,
    extend: str | Path | None = None,
    watch: Watch | None = None,
    source: str | None = None,
    spec_folders: Sequence[Path] = (),
    trackers: str | Chosen | Sequence[str | Chosen] = (),
) -> tuple[Path, Result]:
    """Run an experiment as `run` does, and return its folder, too."""
    if workers < 0:
        raise InputError(f"workers is {workers}; give 0 for one a core, or how many clients to train at once")
    plan, source = planned(experiment, data, source)
    with using_parts_of(plan.settings):
        followed_by = chosen_trackers(plan.spec.get("track", ()), trackers)
    selection = backend or str(plan.spec["backend"])
    with open_backend(selection, limits or Limits()) as engine:
        where = engine.find_device(device)
        refuse_unsupported(engine, selection, plan, where)
        evaluator = Evaluator(plan, where)  # checks that the data exist, before anything is written
        new = numbered_folder(Path("runs"), f"{plan.spec['name']}-{selection}")
        others: OtherSoftware = "go on" if anyway else "refuse"
        attempt = attempt_of(selection, plan, engine, device=where)
        state = git_state_of(_folders_of(experiment) or spec_folders)
        beginning = beginning_of(Path(extend).absolute(), plan, attempt, anyway) if extend else None
        with (
            nullcontext(Path(out).absolute()) if out else new as folder,
            prepared_folder(folder, plan, attempt, source, resume=resume, others=others) as begun,
        ):
            record_git_state(folder, state)
            if beginning and not begun:
                beginning.take_over(folder)
            job = Job(folder, workers=workers, device=where, client_rows=wants_client_rows(plan))
            given: dict[str, Any] = {"evaluator": evaluator, "watch": watch, "trackers": followed_by}
            return folder, execute_plan(engine, selection, plan, job, resume=begun or beginning is not None, **given)


def _folders_of(experiment: Experiment) -> Sequence[Path]:
    """Return the folders of the spec's files; a plan and a text have none."""
    if isinstance(experiment, str | Path):
        return (Path(experiment).absolute().parent,)
    return experiment.folders if isinstance(experiment, Spec) else ()


def planned(experiment: Experiment, data: Path | None = None, source: str | None = None) -> tuple[Plan, str | None]:
    """Return the plan of an experiment in any of its forms, and the text of its spec, if it has one."""
    if isinstance(experiment, Plan):
        return experiment, source
    if isinstance(experiment, Spec):
        return compile(experiment, data), source
    cell = load_study(experiment).cell(None)
    return compile(cell, data), source or cell.text


def refuse_unsupported(engine: Backend, selection: str, plan: Plan, device: Device = CPU) -> None:
    """Raise InputError, naming the fields, if the backend cannot execute the plan, a part cannot be read here or has
    other code, or what a private run costs cannot be accounted for.
    """
    acting_parts(plan)
    on_device = [] if device == CPU else engine.unsupported_on(plan, device)
    if problems := [*engine.refusals(plan), *on_device]:
        raise InputError("\n".join(f"{selection} cannot run this plan: {problem}" for problem in problems))
    check_code(plan.settings)
    if plan.settings.privacy:
        accountant_version()  # the result names it: without it, a run would be lost at its end


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
    with using_parts_of(plan.settings):
        return _execute(engine, selection, plan, job, evaluator, resume, watch, memory, trackers)


def _execute(
    engine: Backend,
    selection: str,
    plan: Plan,
    job: Job,
    evaluator: Evaluator | None,
    resume: bool,
    watch: Watch | None,
    memory: MemoryMeter | None,
    trackers: Sequence[Chosen],
) -> Result:
    followers = Followers(trackers, job.folder)
    attempted = attempt_of(selection, plan, engine, device=job.device)
    own = engine.declaration.natives.get(plan.settings.aggregator["kind"])
    parts = (evaluator or Evaluator(plan, job.device), memory or MemoryMeter(), followers)
    attempt = Attempt(attempted, plan, job, *parts, algorithm=own.title if own else "")
    if resume:
        job = replace(job, start=attempt.resume())
    else:
        attempt.begin()
    with attempt.ending():
        followers.start(plan, attempt.recorder.rounds)
        with attempt.memory, closing(engine.execute(with_drawn_key(plan, job.folder), job)) as events:
            for record in attempt.recorder.record(attempt.clocked(events)):
                followers.round(record)
                attempt.tell(watch, record)
                if job.keep == "planned":
                    # A run may go on from the newest two states, so the best rounds before both must be stored, too.
                    forget_old_states(job.folder, record.round, attempt.recorder.best.rounds[-2:])
        forget_newer_states(job.folder, len(attempt.recorder.rounds))
        return attempt.finish("completed")


def attempt_of(selection: str, plan: Plan, *engines: Backend, device: Device = CPU) -> RunAttempted:
    """Return the event with which a run on these engines begins now."""
    started = datetime.now(UTC).isoformat(timespec="seconds")
    software = software_of(*engines, device=device)
    return RunAttempted(backend=selection, plan=plan.digest, started=started, software=software)
