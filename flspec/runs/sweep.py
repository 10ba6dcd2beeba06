"""Sweeps: every experiment of a study, each in its own run folder, several at once.

Each of several threads takes one cell after another to a worker process of its own. So an engine starts once a thread
and not once a cell, and a cell that breaks its process hurts no other cell. A cell is done if its folder says so. The
folder is named by the plan's digest, so the same command continues a killed sweep, and a changed experiment starts
anew. `matrix.json` is written for readers; flspec never reads it.
"""

from __future__ import annotations

import hashlib
import os
import queue
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from flspec.compiler.compile import compile
from flspec.core.files import locked_folder, write_atomically
from flspec.core.locations import redact
from flspec.core.memory import MemoryMeter
from flspec.errors import FlspecError, InputError, printable
from flspec.execution.remote import Limits, Remote, open_apart, open_backend
from flspec.protocol.backend import Job
from flspec.protocol.plan import Plan
from flspec.runs.evaluation import Evaluator
from flspec.runs.result import Result, RoundRecord, load_result
from flspec.runs.runner import execute_plan, prepared_folder, refuse_unsupported
from flspec.runs.sweep_summary import BestRound, CellRecord, Sweep, groups_of
from flspec.spec.study import Cell, Study
from flspec.trackers import Chosen, Tracker, find_trackers

__all__ = ["Standing", "SweepWatch", "cell_folder", "sweep"]

_MATRIX = "matrix.json"
_JOB_BYTES = 2 * 2**30  # measured: 0.4 GiB for a worker that trains mnist_cnn, 0.7 GiB for TFF, 1.1 GiB for Ray
_TICK_SECONDS = 0.5
_LONGEST_NAME = 130  # characters of a label in a folder's name; file systems take 255 bytes


@dataclass(frozen=True)
class Standing:
    """The progress of a sweep."""

    num_cells: int
    num_done: int  # completed or failed, reused ones included
    num_failed: int
    num_reused: int
    running: Mapping[str, float]  # by label, the share of its rounds that is done


SweepWatch = Callable[[Standing], None]  # called at every change, from several threads but one at a time


def sweep(
    study: Study,
    backend: str | None,
    folder: str | Path,
    *,
    data: Path | None = None,
    jobs: int = 0,
    limits: Limits | None = None,
    watch: SweepWatch | None = None,
    trackers: Sequence[str | type[Tracker]] = (),
) -> Sweep:
    """Run the cells of a study that are not done in `folder`, and write `matrix.json` there.

    `jobs` cells run at once, sharing the cores; 0 means one a core, as far as 2 GiB are free for each. Measured on two
    cores, with one job and with two: eight cells of 100 rounds of the quickstart on local take 22 and 13 s; two of
    mnist_cnn, whose clients use both cores, 20 and 23 s; eight of 10 rounds on flower:inprocess 7.1 and 5.1 s; four on
    flower, which mostly wait for Ray to start, 55 and 26 s.

    A failed cell is recorded and stops no other. Each cell has its own `trackers`. Raises InputError before anything
    runs if nothing can run.
    """
    if jobs < 0:
        raise InputError(f"jobs is {jobs}; give 0 for the default, or the number of cells to run at once")
    selection, folder, stop = backend or study.backend, Path(folder).absolute(), threading.Event()
    classes = find_trackers(trackers)
    with open_backend(selection):
        pass  # checks the backend and its environment before anything is written
    num_jobs = min(jobs or _default_jobs(), len(study.cells))
    _make(folder)
    with locked_folder(folder), ExitStack() as stack:
        board = _Board(study, selection, folder, watch)
        engines = [
            stack.enter_context(open_apart(selection, limits or Limits(), folder / f"worker-{number}.log", stop))
            for number in range(1, num_jobs + 1)
        ]
        cores = max(1, (os.cpu_count() or 1) // num_jobs)
        _run_all(_CellRunner(study.cells, selection, folder, data, cores, stop, board, classes), engines)
        return board.sweep()


def cell_folder(label: str, plan_digest: str) -> str:
    """Return the name of a cell's folder; different labels get different names, whatever their characters."""
    safe = re.sub(r"[^A-Za-z0-9._=,+~-]", "-", label).lstrip("-.~")[:_LONGEST_NAME] or "cell"
    if safe != label:
        safe = f"{safe}~{hashlib.sha256(label.encode()).hexdigest()[:8]}"
    return f"{safe}-{plan_digest[:8]}"


def _default_jobs() -> int:
    return max(1, min(os.cpu_count() or 1, psutil.virtual_memory().available // _JOB_BYTES))


def _make(folder: Path) -> None:
    """Create a folder for the sweep, or check that it may use an existing one."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise InputError(f"out: {folder} cannot be made: {error}") from None
    if (folder / "plan").exists() or (folder / "events.jsonl").exists():
        raise InputError(f"out: {folder} is the folder of a single run; choose another")


def _run_all(server: _CellRunner, engines: Sequence[Remote]) -> None:
    """Run cells in a thread for each engine until none is left; after Ctrl-C, until each has stored its cell."""
    try:
        with ThreadPoolExecutor(len(engines), thread_name_prefix="cells") as pool:
            try:
                due = {pool.submit(server.serve, engine) for engine in engines}
                while due:
                    # Wait in short spells: a signal that reaches another thread does not end a wait of this one.
                    done, due = wait(due, timeout=_TICK_SECONDS)
                    for thread in done:
                        thread.result()
            except BaseException:
                server.stop.set()
                raise
    finally:
        server.board.write()


class _CellRunner:
    """A runner of cells in any number of threads."""

    def __init__(
        self,
        cells: Sequence[Cell],
        selection: str,
        folder: Path,
        data: Path | None,
        cores: int,
        stop: threading.Event,
        board: _Board,
        trackers: Sequence[Chosen],
    ) -> None:
        self.stop, self.board, self._trackers = stop, board, trackers
        self._selection, self._folder, self._data, self._cores = selection, folder, data, cores
        self._waiting: queue.SimpleQueue[Cell] = queue.SimpleQueue()
        for cell in cells:
            self._waiting.put(cell)

    def serve(self, engine: Remote) -> None:
        """Run one waiting cell after another on this engine."""
        while not self.stop.is_set():
            try:
                cell = self._waiting.get_nowait()
            except queue.Empty:
                return
            self.board.advance(cell.label, 0.0)
            self.board.end(self._record(cell, engine))

    def _record(self, cell: Cell, engine: Remote) -> CellRecord:
        """Return the record of a cell, whatever happens in it."""
        record, folder = _pending(cell), None
        try:
            plan = compile(cell.spec, self._data)
            folder = self._folder / cell_folder(cell.label, plan.digest)
            record = record.model_copy(update={"plan_digest": plan.digest})
            done = _finished(folder, plan, self._selection)
            if done is None and not folder.exists():  # perhaps under the label of an axis that has changed since
                for other in sorted(self._folder.glob(f"*-{plan.digest[:8]}")):
                    if done := _finished(other, plan, self._selection):
                        folder = other
                        break
            result = done or self._run(cell, plan, folder, engine)
            outcome = {"status": "completed", "reused": done is not None, **_what_came_of(result)}
        except KeyboardInterrupt:
            outcome = {"status": "interrupted"}
        except Exception as error:  # whatever a component or an engine raises, the other cells still run
            status = (
                "interrupted" if self.stop.is_set() else "failed"
            )  # a cell that is being stopped may fail in any way
            outcome = {"status": status, "error": redact(_in_one_line(error))}
        written = folder.name if folder and folder.is_dir() else None
        return record.model_copy(update={**outcome, "folder": written})

    def _run(self, cell: Cell, plan: Plan, folder: Path, engine: Remote) -> Result:
        self._heed_stop()
        refuse_unsupported(engine, self._selection, plan)
        evaluator = Evaluator(plan)

        def watch(record: RoundRecord) -> None:
            self.board.advance(cell.label, record.round / plan.num_rounds)
            self._heed_stop()

        if begun := folder.exists():
            _mend(folder, plan, cell.text, self._selection)
        with prepared_folder(folder, plan, cell.text, resume_on=self._selection if begun else None):
            return execute_plan(
                engine,
                self._selection,
                plan,
                Job(folder, cores=self._cores),
                evaluator=evaluator,
                resume=begun,
                watch=watch,
                memory=MemoryMeter(lambda: engine.process),  # not this process, which serves other cells too
                trackers=self._trackers,
            )

    def _heed_stop(self) -> None:
        if self.stop.is_set():
            raise KeyboardInterrupt


class _Board:
    """The records of all cells so far: for `matrix.json`, and for `watch`."""

    def __init__(self, study: Study, selection: str, folder: Path, watch: SweepWatch | None) -> None:
        self._name, self._selection, self._watch = study.name, selection, watch
        self._path = folder / _MATRIX
        self._records = {cell.label: _pending(cell) for cell in study.cells}
        self._running: dict[str, float] = {}
        self._lock = threading.Lock()
        for partial in folder.glob(f".{_MATRIX}.*.partial"):  # left by a sweep that was killed while it wrote
            partial.unlink(missing_ok=True)
        try:
            self.write()
        except OSError as error:
            raise InputError(f"out: {self._path} cannot be written: {error}") from None

    def advance(self, label: str, share: float) -> None:
        """Record that a cell is running and how far it is."""
        with self._lock:
            self._running[label] = share
            self._tell()

    def end(self, record: CellRecord) -> None:
        """Record that a cell has ended."""
        with self._lock:
            self._running.pop(record.label, None)
            self._records[record.label] = record
            self._tell()
        if not record.reused:  # reused cells may be thousands, and nobody waits for them
            self.write()

    def write(self) -> None:
        with self._lock:
            write_atomically(self._path, (self.sweep().model_dump_json(indent=2) + "\n").encode())

    def sweep(self) -> Sweep:
        cells = tuple(self._records.values())
        return Sweep(name=self._name, backend=self._selection, cells=cells, groups=groups_of(cells))

    def _tell(self) -> None:
        if not self._watch:
            return
        records = self._records.values()
        failed = sum(record.status == "failed" for record in records)
        self._watch(
            Standing(
                num_cells=len(records),
                num_done=sum(record.status == "completed" for record in records) + failed,
                num_failed=failed,
                num_reused=sum(record.reused for record in records),
                running=dict(self._running),
            )
        )


# The contents of a folder


def _finished(folder: Path, plan: Plan, selection: str) -> Result | None:
    """Return the result of a completed run of this plan on this backend, if the folder has one with intact weights."""
    try:
        result = load_result(folder)
        if result.status != "completed" or not result.weights:
            return None
        content = (folder / result.weights.path).read_bytes()
    except (InputError, OSError):
        return None
    is_intact = hashlib.sha256(content).hexdigest() == result.weights.sha256
    return result if is_intact and (result.plan_digest, result.backend.name) == (plan.digest, selection) else None


def _mend(folder: Path, plan: Plan, source: str, selection: str) -> None:
    """Repair an unfinished run, in whatever state a kill or a full disk left it, so that it can go on.

    Nothing is deleted: what is missing is added, a plan that cannot be read is replaced by the same plan, and an
    invalid result is put aside. States are checked when they are read, and name their plan.
    """
    result = folder / "result.json"
    with locked_folder(folder):
        try:
            if result.exists() and _is_damaged(folder, selection):
                result.replace(folder / "result.json.damaged")
            if _is_unreadable(folder / "plan"):
                plan.save(folder / "plan")
            if not (folder / "spec.yaml").exists():
                (folder / "spec.yaml").write_text(source, encoding="utf-8")
            if not (folder / "events.jsonl").exists():
                (folder / "events.jsonl").touch()
        except OSError as error:
            raise InputError(f"{folder} cannot be written: {error}") from None


def _is_damaged(folder: Path, selection: str) -> bool:
    """Return whether the result in the folder claims more than is there; raises InputError if
    it is of another backend.
    """
    try:
        found = load_result(folder)
    except InputError:
        return True
    if found.backend.name != selection:
        raise InputError(f"{folder} is a run on {found.backend.name}, not {selection}; choose another folder")
    return found.status == "completed"


def _is_unreadable(plan_folder: Path) -> bool:
    try:
        Plan.load(plan_folder)
    except InputError:
        return True
    return False


# Records


def _what_came_of(result: Result) -> dict[str, Any]:
    """Return the evaluation of a run's last model, its best model if one is chosen, and the version of flspec."""
    best = result.best
    return {
        "version": result.environment.get("flspec"),
        "evaluation": result.final.evaluation if result.final else None,
        "best": best and BestRound(round=best.round, metric=best.metric, on=best.on, evaluation=best.evaluation),
    }


def _pending(cell: Cell) -> CellRecord:
    return CellRecord(label=cell.label, values=dict(cell.values))


def _in_one_line(error: Exception) -> str:
    lines = str(error).splitlines() if isinstance(error, FlspecError) else [repr(error)]
    return printable("; ".join(line.strip() for line in lines if line.strip())) or type(error).__name__
