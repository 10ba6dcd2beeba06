"""Certificates: one plan executed by several backends, and their distances from the reference, round by round.

Agreement is judged in lockstep: every round starts from the reference's server state. Two engines that run freely drift
apart even if they differ only in the order of their sums, because a ReLU or max-pool tie flipped by 1e-8 snowballs. In
lockstep they agree to the float floor, and a real difference stands out in the round that makes it.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from flspec.comparison.agreement import TOLERANCE_RULE, Agreement, Divergence, compare_states
from flspec.comparison.diagnosis import Trials, diagnose
from flspec.comparison.nudging import nudge, nudged_outcome
from flspec.comparison.verdicts import DEFINITION, NOT_CERTIFIED, BackendVerdict, Certificate, Diagnosis, Verdict
from flspec.compiler.first_steps import first_steps_of
from flspec.core.files import is_empty, numbered_folder, write_atomically
from flspec.core.reading import PYDANTIC_VALUE, read_json
from flspec.errors import FlspecError, InputError, PlanViolation
from flspec.execution.client_state import with_every_participant
from flspec.execution.remote import Limits, open_backend
from flspec.execution.rounds import initial_state
from flspec.protocol.backend import CHECKPOINTS, STAGES, Backend, Job, kept_state
from flspec.protocol.devices import Device
from flspec.protocol.events import RoundFinished
from flspec.protocol.native import is_native
from flspec.protocol.plan import Plan
from flspec.protocol.registry import find_backend
from flspec.protocol.state import ServerState, load_state, save_state
from flspec.runs.event_log import EVENTS
from flspec.runs.folders import prepared_folder
from flspec.runs.recording import Recorder
from flspec.runs.result import Result, RoundRecord, load_result
from flspec.runs.runner import Experiment, attempt_of, execute_plan, planned, refuse_unsupported

__all__ = [
    "CERTIFICATE",
    "BackendVerdict",
    "Certificate",
    "Phase",
    "certify",
    "check_certifiable",
    "check_repeatable",
    "load_certificate",
]

Phase = Literal["free-running", "lockstep"]
CertifyWatch = Callable[[str, Phase, RoundRecord], None]

CERTIFICATE = "certificate.json"
_LOCKSTEP, _SENSITIVITY, _DIAGNOSIS = "lockstep", "sensitivity", "diagnosis"  # temporary folders in a backend's folder
_LEAST_SECONDS = 60.0  # to look for the cause of a difference
_NUDGES = 8  # draws that measure the reference's sensitivity to rounding
_COARSE_REASON = (
    "within rounding, but rounding alone moves most rounds by more than a hundredth of what they learn, so little is "
    "shown; certify fewer first steps of each task (--first-steps), or with fewer steps a round"
)


def certify(
    experiment: Experiment,
    backends: str | Sequence[str] = ("local", "flower", "tff"),
    out: str | Path | None = None,
    *,
    first_steps: int | None = None,
    data: Path | None = None,
    workers: int = 0,
    device: str = "cpu",
    limits: Limits | None = None,
    watch: CertifyWatch | None = None,
    engines: Mapping[str, Backend] | None = None,
    source: str | None = None,
    explain: bool = True,
) -> Certificate:
    """Run an experiment on each of `backends`, the first being the reference, and compare them.

    Writes `certificate.json` and one run folder for each backend into `out`, by default a new folder below
    `certificates`; what a killed session of the same plan and backends left there is replaced. `engines` are open
    backends by name, which stay open: they serve several certificates. `source` is the spec's text to be stored instead
    of the plan's own. With `first_steps`, each client task is cut to so many steps: rounding grows in long ones. All
    backends train on `device`; those that cannot are refused. With `explain` it is looked for where
    and why a backend differs, as long as the reference ran, or a minute.

    Raises InputError before anything is written; a backend that fails later gets the verdict `failed`.
    """
    plan, source = planned(experiment, data, source)
    plan = plan if first_steps is None else first_steps_of(plan, first_steps)
    check_repeatable(plan)
    if isinstance(backends, str):
        backends = [name.strip() for name in backends.split(",") if name.strip()]
    names = list(dict.fromkeys(backends))
    if len(names) < 2:
        raise InputError(f"backends: two different ones are needed to compare, got {', '.join(names) or 'none'}")
    known = dict(engines or {}) | {name: find_backend(name) for name in names if name not in (engines or {})}
    where = known[names[0]].find_device(device)
    attempt = attempt_of(",".join(names), plan, *(known[name] for name in names), device=where)
    new = numbered_folder(Path("certificates"), str(plan.spec["name"]))
    with nullcontext(Path(out).absolute()) if out else new as folder:
        check_certifiable(folder)
        with prepared_folder(folder, plan, attempt, source, resume=True, others="begin again"):
            opener = _Opener(engines or {}, limits or Limits())
            session = _Session(plan, names[0], folder, workers, where, watch, opener, explain)
            return session.certify(names[1:])


def check_repeatable(plan: Plan) -> None:
    """Raise InputError if no two runs of a plan are the same."""
    if plan.is_noise_secret:
        raise InputError(
            "privacy.seed: secret has each run draw noise of its own, which no other run repeats, so no two backends "
            "can be compared; certify with seed: planned"
        )


def check_certifiable(folder: Path) -> None:
    """Raise InputError unless a certificate can be made in a folder: it is not there, empty, or left by a kill."""
    if folder.is_dir() and not is_empty(folder) and ((folder / CERTIFICATE).exists() or not (folder / EVENTS).exists()):
        raise InputError(f"out: {folder} is not empty; choose another folder")


def load_certificate(folder: Path) -> Certificate:
    """Read a certificate; raises InputError if there is none."""
    try:
        return Certificate.model_validate_json(read_json(folder / CERTIFICATE, PYDANTIC_VALUE))
    except (InputError, ValueError) as error:
        raise InputError(f"{folder}: no readable certificate.json: {error}") from None


@dataclass(frozen=True)
class _Opener:
    """A lender of backends: open ones stay open, others are opened for as long as they are needed."""

    engines: Mapping[str, Backend]
    limits: Limits

    def __call__(self, name: str) -> AbstractContextManager[Backend]:
        return nullcontext(self.engines[name]) if name in self.engines else open_backend(name, self.limits)

    def stages(self, name: str, plan: Plan) -> Mapping[str, str]:
        """Return whose code does each stage of a plan's rounds."""
        return (self.engines[name] if name in self.engines else find_backend(name)).stages(plan)


@dataclass(frozen=True)
class _Session:
    """The executions behind one certificate."""

    plan: Plan
    reference: str
    folder: Path
    workers: int
    device: Device
    watch: CertifyWatch | None
    open: _Opener
    explain: bool

    def certify(self, names: Sequence[str]) -> Certificate:
        """Run the reference and each of these backends, and write the certificate."""
        for name in (self.reference, *names):
            shutil.rmtree(self._home(name), ignore_errors=True)  # of a session that was killed
        try:
            stated = self._measured(names) if is_native(self.plan) else self._judged(names)
        finally:
            self.forget_states()
        certificate = Certificate(
            name=self.plan.spec["name"],
            plan_digest=self.plan.digest,
            rounds=self.plan.num_rounds,
            first_steps=self.plan.settings.first_steps or None,
            device=str(self.device),
            **stated,
        )
        content = certificate.model_dump_json(indent=2) + "\n"
        write_atomically(self.folder / CERTIFICATE, content.encode())
        return certificate

    def _judged(self, names: Sequence[str]) -> dict[str, Any]:
        self.run_reference()
        verdicts = {name: self.with_stages(name, self.judge(name, self._compare)) for name in names}
        return {"reference": self.reference, "tolerance": TOLERANCE_RULE, "backends": verdicts}

    def _measured(self, names: Sequence[str]) -> dict[str, Any]:
        """Run the own algorithm of each backend: what differs by intent has no reference among them."""
        verdicts = {name: self.judge(name, self._measure) for name in (self.reference, *names)}
        return {"reference": DEFINITION, "tolerance": "none", "not_compared": NOT_CERTIFIED, "backends": verdicts}

    def run_reference(self) -> Result:
        with self.open(self.reference) as engine:
            refuse_unsupported(engine, self.reference, self.plan, self.device)
            return self._run_freely(engine, self.reference)

    def judge(self, name: str, judge: Callable[[Backend, str], BackendVerdict]) -> BackendVerdict:
        """Have `judge` execute the plan on one backend, unless it is refused."""
        with ExitStack() as stack:
            try:
                engine = stack.enter_context(self.open(name))
                engine.find_device(self.device.name)
                refuse_unsupported(engine, name, self.plan, self.device)
            except InputError as error:
                return BackendVerdict(verdict="refused", reason="; ".join(str(error).splitlines()))
            try:
                return judge(engine, name)
            except PlanViolation as error:
                divergence = Divergence(round=error.round, tensor=None)
                return BackendVerdict(verdict="different", reason=str(error), first_divergence=divergence)
            except Exception as error:  # whatever an engine raises, the other backends are still judged
                reason = str(error) if isinstance(error, FlspecError) else repr(error)
                return BackendVerdict(verdict="failed", reason=reason)

    def with_stages(self, name: str, verdict: BackendVerdict) -> BackendVerdict:
        """Add which stages of a round the two backends do by themselves, and which by the same code."""
        theirs, ours = (self.open.stages(one, self.plan) for one in (name, self.reference))
        known = [stage for stage in STAGES if stage in theirs and stage in ours]
        return verdict.model_copy(
            update={
                "independent": tuple(stage for stage in known if theirs[stage] != ours[stage]),
                "shared": {stage: theirs[stage] for stage in known if theirs[stage] == ours[stage]},
            }
        )

    def forget_states(self) -> None:
        """Delete the states of every round, which are large and no longer needed; each run keeps its last weights."""
        for pattern in (f"**/{CHECKPOINTS}", *(f"**/{one}" for one in (_LOCKSTEP, _SENSITIVITY, _DIAGNOSIS))):
            for folder in list(self.folder.glob(pattern)):
                shutil.rmtree(folder, ignore_errors=True)

    def _measure(self, engine: Backend, name: str) -> BackendVerdict:
        """Execute the plan freely; the run itself states how far it is from the definition."""
        native = self._run_freely(engine, name).native
        assert native, "a native run states its deviation"
        return BackendVerdict(verdict="native", native=native, reason=native.in_words)

    def _compare(self, engine: Backend, name: str) -> BackendVerdict:
        """Execute the plan freely and then in lockstep, and compare both with the reference."""
        rounds = self._run_freely(engine, name).rounds
        free = compare_states(self.plan, self._home(self.reference), self._home(name))
        lockstep, folders = free, (self._home(self.reference), self._home(name))
        if not free.bitwise and self.plan.num_rounds > 1:  # else every round started from the reference's state already
            rounds = self._run_in_lockstep(engine, name)
            folders = self._home(self.reference), self._home(name) / _LOCKSTEP
            lockstep = compare_states(self.plan, *folders)
        if lockstep.beyond:  # measure whether rounding alone would do as much in these rounds
            lockstep = compare_states(self.plan, *folders, self._nudge(lockstep.beyond))
        divergence = _earliest(lockstep.first_divergence, self._metrics_diverge(rounds))
        verdict, reason = _verdict(lockstep, divergence)
        return BackendVerdict(
            verdict=verdict,
            lockstep=lockstep,
            free_running=free,
            first_divergence=divergence,
            diagnosis=self._diagnose(engine, divergence.round, *folders) if divergence and self.explain else None,
            reason=reason,
            bitwise=free.bitwise,
        )

    def _diagnose(self, engine: Backend, number: int, ours: Path, theirs: Path) -> Diagnosis:
        states = [load_state(kept_state(folder, number), self.plan.digest) for folder in (ours, theirs)]
        seconds = max(_LEAST_SECONDS, load_result(ours).seconds.total)
        trials = Trials(theirs / _DIAGNOSIS, self.workers, time.monotonic() + seconds, self.device)
        with self.open(self.reference) as reference:
            weights = states[0].weights, states[1].weights
            return diagnose(self.plan, self._state_before(number), weights, reference, engine, trials)

    def _run_freely(self, engine: Backend, name: str) -> Result:
        home = self._home(name)
        self.plan.save(home / "plan")
        return execute_plan(
            engine,
            name,
            self.plan,
            self._job(home),
            watch=lambda record: self._tell(name, "free-running", record),
        )

    def _job(self, folder: Path, start: Path | None = None, follow: Path | None = None) -> Job:
        return Job(folder, start=start, follow=follow, keep="all", workers=self.workers, device=self.device)

    def _run_in_lockstep(self, engine: Backend, name: str) -> tuple[RoundRecord, ...]:
        job = self._job(self._home(name) / _LOCKSTEP, follow=self._home(self.reference))
        return self._record(engine, job, lambda record: self._tell(name, "lockstep", record))

    def _nudge(self, rounds: Sequence[int]) -> dict[int, list[Path]]:
        """Return files of the states after these rounds, which the reference ran from weights moved by rounding."""
        with self.open(self.reference) as engine:
            return {number: [self._run_nudged(engine, number, draw) for draw in range(_NUDGES)] for number in rounds}

    def _run_nudged(self, engine: Backend, number: int, draw: int) -> Path:
        folder = self._home(self.reference) / _SENSITIVITY / f"{number}-{draw}"
        if not (after := kept_state(folder, number)).exists():
            before = self._state_before(number)
            steps = max((len(task.batches) for task in self.plan.cohort(number)), default=0)
            start = kept_state(folder / "start", number - 1)
            start.parent.mkdir(parents=True, exist_ok=True)
            save_state(start, nudge(before, steps, draw), self.plan.digest)
            with closing(engine.execute(self.plan, self._job(folder, start=start))) as events:
                next(event for event in events if isinstance(event, RoundFinished))
            outcome = nudged_outcome(load_state(after, self.plan.digest), before, steps, draw)
            save_state(after, outcome, self.plan.digest)
        return after

    def _state_before(self, number: int) -> ServerState:
        if number == 1:
            return with_every_participant(self.plan, initial_state(self.plan))
        path = kept_state(self._home(self.reference), number - 1)
        return with_every_participant(self.plan, load_state(path, self.plan.digest))

    def _record(self, engine: Backend, job: Job, watch: Callable[[RoundRecord], None]) -> tuple[RoundRecord, ...]:
        job.folder.mkdir(parents=True, exist_ok=True)
        recorder = Recorder(self.plan, job.folder, evaluator=None, keeps_all=True)
        with closing(engine.execute(self.plan, job)) as events:
            for record in recorder.record(events):
                watch(record)
        return tuple(recorder.rounds)

    def _metrics_diverge(self, rounds: Sequence[RoundRecord]) -> Divergence | None:
        """Return where a backend's training metrics differ from the reference's, from the same weights."""
        for ours, theirs in zip(load_result(self._home(self.reference)).rounds, rounds, strict=True):
            for metric, value in ours.train.items():
                # Tolerance: a thousandth, and two examples that may fall on the other side of a tie.
                num_trained = sum(task.num_trained for task in self.plan.cohort(ours.round))
                tolerance = 1e-3 * abs(value) + 2 / num_trained
                if not abs(theirs.train.get(metric, math.inf) - value) <= tolerance:
                    return Divergence(round=ours.round, tensor=f"train {metric}")
        return None

    def _tell(self, name: str, phase: Phase, record: RoundRecord) -> None:
        if self.watch:
            self.watch(name, phase, record)

    def _home(self, name: str) -> Path:
        return self.folder / name.replace(":", "-")


def _earliest(*divergences: Divergence | None) -> Divergence | None:
    return min((d for d in divergences if d), key=lambda divergence: divergence.round, default=None)


def _verdict(lockstep: Agreement, divergence: Divergence | None) -> tuple[Verdict, str | None]:
    """Return the verdict of an agreement, and its reason in words."""
    if divergence is None:
        coarse = not lockstep.bitwise and lockstep.resolution.is_coarse
        return ("inconclusive", _COARSE_REASON) if coarse else ("equivalent", None)
    where = f"beyond rounding first in round {divergence.round}, in {divergence.tensor}"
    return "different", where
