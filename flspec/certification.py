"""Certificates: one plan executed by several backends, and how far apart they are, round by round.

Agreement is judged in lockstep: every round starts from the reference's server state. Left to run freely, two
engines that differ only in the order of their sums drift apart, because a ReLU or max-pool tie flipped by 1e-8
snowballs; in lockstep they agree to the float floor, and a real difference stands out in the round that makes it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from flspec.agreement import TOLERANCE_RULE, Agreement, Divergence, compare_states
from flspec.backend import CHECKPOINTS, Backend, Job
from flspec.components import Document
from flspec.errors import FlspecError, InputError, PlanViolation
from flspec.plan import Plan
from flspec.recording import Recorder
from flspec.remote import Limits, open_backend
from flspec.result import Result, RoundRecord
from flspec.runner import Experiment, execute_plan, new_folder, plan_of, refuse_unsupported
from flspec.state import write_atomically

__all__ = ["BackendVerdict", "Certificate", "Phase", "certify", "load_certificate"]

Phase = Literal["free-running", "lockstep"]
CertifyWatch = Callable[[str, Phase, RoundRecord], None]


class BackendVerdict(Document):
    """What became of one backend."""

    verdict: Literal["equivalent", "different", "refused", "failed"]
    lockstep: Agreement | None = None
    free_running: Agreement | None = None
    first_divergence: Divergence | None = None  # in lockstep
    reason: str | None = None
    bitwise: bool = False  # every round's state, running freely, is the reference's to the last bit


class Certificate(Document):
    """Which backends carried out one plan alike."""

    schema_version: Literal[1] = 1
    name: str
    plan_digest: str
    reference: str
    tolerance: str
    rounds: int
    backends: dict[str, BackendVerdict]

    @property
    def is_equivalent(self) -> bool:
        """Whether every backend that was asked carried out the plan."""
        return all(verdict.verdict == "equivalent" for verdict in self.backends.values())


def certify(
    experiment: Experiment,
    backends: Sequence[str] = ("local", "flower", "tff"),
    out: str | Path | None = None,
    *,
    data: Path | None = None,
    workers: int = 0,
    limits: Limits | None = None,
    watch: CertifyWatch | None = None,
    engines: Mapping[str, Backend] | None = None,
) -> Certificate:
    """Run an experiment on each of `backends`, the first being the reference, and compare them.

    Writes `certificate.json` and a run folder a backend into `out`, by default a new folder below `certificates`.
    `engines` are backends that are open already, by name, and stay so: they serve several certificates.
    Raises InputError before anything is written; a backend that fails later gets the verdict `failed`.
    """
    plan = plan_of(experiment, data)
    names = list(dict.fromkeys(backends))
    if len(names) < 2:
        raise InputError(f"backends: at least two are needed to compare, got {', '.join(names) or 'none'}")
    folder = Path(out).absolute() if out else new_folder(Path("certificates"), str(plan.spec["name"]))
    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"out: {folder} is not empty; choose another folder")
    session = _Session(plan, names[0], folder, workers, watch, _Opener(engines or {}, limits or Limits()))
    try:
        session.run_reference()
        verdicts = {name: session.judge(name) for name in names[1:]}
    finally:
        session.forget_states()
    certificate = Certificate(
        name=plan.spec["name"],
        plan_digest=plan.digest,
        reference=names[0],
        tolerance=TOLERANCE_RULE,
        rounds=plan.num_rounds,
        backends=verdicts,
    )
    write_atomically(folder / "certificate.json", (certificate.model_dump_json(indent=2) + "\n").encode())
    return certificate


def load_certificate(folder: Path) -> Certificate:
    """Read a certificate back; raises InputError if there is none."""
    try:
        return Certificate.model_validate_json((folder / "certificate.json").read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"{folder}: no readable certificate.json: {error}") from None


@dataclass(frozen=True)
class _Opener:
    """Lends out backends: those that are open already, or others for as long as they are needed."""

    engines: Mapping[str, Backend]
    limits: Limits

    def __call__(self, name: str) -> AbstractContextManager[Backend]:
        return nullcontext(self.engines[name]) if name in self.engines else open_backend(name, self.limits)


@dataclass(frozen=True)
class _Session:
    """The executions behind one certificate."""

    plan: Plan
    reference: str
    folder: Path
    workers: int
    watch: CertifyWatch | None
    open: _Opener

    def run_reference(self) -> Result:
        with self.open(self.reference) as engine:
            refuse_unsupported(engine, self.reference, self.plan)
            return self._run_freely(engine, self.reference)

    def judge(self, name: str) -> BackendVerdict:
        """Execute the plan on one backend, freely and then in lockstep, and compare both with the reference."""
        try:
            with self.open(name) as engine:
                if problems := engine.unsupported(self.plan):
                    return BackendVerdict(verdict="refused", reason="; ".join(problems))
                self._run_freely(engine, name)
                free = compare_states(self.plan, self._home(self.reference), self._home(name))
                # Where every state is the reference's already, every round did start from the reference's.
                lockstep = free if free.is_bitwise else self._run_in_lockstep(engine, name)
        except PlanViolation as error:
            divergence = Divergence(round=error.round, tensor=None)
            return BackendVerdict(verdict="different", reason=str(error), first_divergence=divergence)
        except InputError as error:
            return BackendVerdict(verdict="refused", reason=str(error))
        except FlspecError as error:
            return BackendVerdict(verdict="failed", reason=str(error))
        return BackendVerdict(
            verdict="different" if lockstep.first_divergence else "equivalent",
            lockstep=lockstep,
            free_running=free,
            first_divergence=lockstep.first_divergence,
            reason=_describe(lockstep.first_divergence),
            bitwise=free.is_bitwise,
        )

    def forget_states(self) -> None:
        """States of every round are large and have served; each run keeps its last weights."""
        for folder in self.folder.glob(f"**/{CHECKPOINTS}"):
            shutil.rmtree(folder, ignore_errors=True)
        for folder in self.folder.glob("*/lockstep"):
            shutil.rmtree(folder, ignore_errors=True)

    def _run_freely(self, engine: Backend, name: str) -> Result:
        home = self._home(name)
        self.plan.save(home / "plan")
        return execute_plan(
            engine,
            name,
            self.plan,
            Job(home, keep="all", workers=self.workers),
            watch=lambda record: self._tell(name, "free-running", record),
        )

    def _run_in_lockstep(self, engine: Backend, name: str) -> Agreement:
        folder = self._home(name) / "lockstep"
        folder.mkdir(parents=True)
        job = Job(folder, follow=self._home(self.reference), keep="all", workers=self.workers)
        recorder = Recorder(self.plan, folder, evaluator=None)
        with closing(engine.execute(self.plan, job)) as events:
            for record in recorder.record(events):
                self._tell(name, "lockstep", record)
        return compare_states(self.plan, self._home(self.reference), folder)

    def _tell(self, name: str, phase: Phase, record: RoundRecord) -> None:
        if self.watch:
            self.watch(name, phase, record)

    def _home(self, name: str) -> Path:
        return self.folder / name.replace(":", "-")


def _describe(divergence: Divergence | None) -> str | None:
    if divergence is None:
        return None
    return f"beyond rounding from round {divergence.round} on, first in {divergence.tensor}"
