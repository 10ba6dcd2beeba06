"""Sweeps: every experiment of a study, each in its own run folder, several at once.

Each of several threads takes one cell after another to a worker process of its own. So an engine starts once a thread
and not once a cell, and a cell that breaks its process hurts no other cell. A cell is done if its folder says so. The
folder is named by the plan's digest, so the same command continues a killed sweep, and a changed experiment starts
anew. `matrix.json` is written for readers; no sweep goes by it.
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
from flspec.core.files import locked_folder, remove_partials, write_atomically
from flspec.core.locations import redact
from flspec.core.memory import MemoryMeter
from flspec.core.part_files import using
from flspec.errors import FlspecError, InputError, printable
from flspec.execution.remote import Limits, Remote, open_apart, open_backend
from flspec.execution.software import software_differences, software_of
from flspec.protocol.backend import Job
from flspec.protocol.devices import Device
from flspec.protocol.events import Software
from flspec.protocol.plan import Plan
from flspec.protocol.records import Promise
from flspec.runs.client_rows import wants_client_rows
from flspec.runs.evaluation import Evaluator
from flspec.runs.folders import OtherSoftware, finished_result, prepared_folder
from flspec.runs.git_state import GitState, git_state_of, record_git_state
from flspec.runs.result import Result, RoundRecord
from flspec.runs.runner import attempt_of, execute_plan, refuse_unsupported
from flspec.runs.sweep_summary import MATRIX, BestRound, CellRecord, Sweep, groups_of
from flspec.spec.study import Cell, Study
from flspec.trackers import Chosen, Tracker, chosen_trackers

__all__ = ["Standing", "SweepWatch", "cell_folder", "sweep"]

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
    device: str = "cpu",
    limits: Limits | None = None,
    anyway: bool = False,
    watch: SweepWatch | None = None,
    trackers: Sequence[str | type[Tracker]] = (),
) -> Sweep:
    """Run the cells of a study that are not done in `folder`, and write `matrix.json` there.

    `jobs` cells run at once, sharing the cores; 0 means one a core, as far as 2 GiB are free for each. Measured on two
    cores, with one job and with two: eight cells of 100 rounds of the quickstart on local take 22 and 13 s; two of
    mnist_cnn, whose clients use both cores, 20 and 23 s; eight of 10 rounds on flower:inprocess 7.1 and 5.1 s; four on
    flower, which mostly wait for Ray to start, 55 and 26 s.

    A failed cell is recorded and stops no other. A cell that other software left unfinished begins again, so that none
    mixes the two; with `anyway` it goes on. One that other software finished is not run again, and its record
    says so. Each cell has its own `trackers`, beside those of its `track`. Raises InputError before anything runs if
    nothing can run.
    """
    if jobs < 0:
        raise InputError(f"jobs is {jobs}; give 0 for the default, or the number of cells to run at once")
    selection, folder, stop = backend or study.backend, Path(folder).absolute(), threading.Event()
    with using(study.cells[0].spec.part_files):
        followed_by = {track: chosen_trackers(track, trackers) for track in {cell.spec.track for cell in study.cells}}
    with open_backend(selection) as checked:  # with its environment, before anything is written
        where = checked.find_device(device)
    num_jobs = min(jobs or _default_jobs(), len(study.cells))
    _make(folder)
    with locked_folder(folder), ExitStack() as stack:
        board = _Board(study, selection, folder, watch)
        engines = [
            stack.enter_context(open_apart(selection, limits or Limits(), folder / f"worker-{number}.log", stop))
            for number in range(1, num_jobs + 1)
        ]
        cores = max(1, (os.cpu_count() or 1) // num_jobs)
        others: OtherSoftware = "go on" if anyway else "begin again"
        state = git_state_of(study.cells[0].spec.folders)
        runner = _CellRunner(
            study.cells, selection, folder, data, cores, stop, board, followed_by, others, state, where
        )
        _run_all(runner, engines)
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
        trackers: Mapping[tuple[str, ...], Sequence[Chosen]],  # by what a spec's `track` names
        others: OtherSoftware,
        state: GitState | None,
        device: Device,
    ) -> None:
        self.stop, self.board, self._trackers, self._others, self._state = stop, board, trackers, others, state
        self._device = device
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
            plan = compile(cell, self._data)
            folder = self._folder / cell_folder(cell.label, plan.digest)
            record = record.model_copy(update={"plan_digest": plan.digest})
            done = finished_result(folder, plan, self._selection)
            if done is None and not folder.exists():  # perhaps under the label of an axis that has changed since
                for other in sorted(self._folder.glob(f"*-{plan.digest[:8]}")):
                    if done := finished_result(other, plan, self._selection):
                        folder = other
                        break
            result = done or self._run(cell, plan, folder, engine)
            now = software_of(engine, device=self._device)
            outcome = {"status": "completed", "reused": done is not None, **_what_came_of(result, now)}
        except KeyboardInterrupt:
            outcome = {"status": "interrupted"}
        except Exception as error:  # whatever a component or an engine raises, the other cells still run
            if error is self.board.of_the_caller:
                raise
            status = (
                "interrupted" if self.stop.is_set() else "failed"
            )  # a cell that is being stopped may fail in any way
            outcome = {"status": status, "error": redact(_in_one_line(error))}
        written = folder.name if folder and folder.is_dir() else None
        return record.model_copy(update={**outcome, "folder": written})

    def _run(self, cell: Cell, plan: Plan, folder: Path, engine: Remote) -> Result:
        self._heed_stop()
        refuse_unsupported(engine, self._selection, plan, self._device)
        evaluator = Evaluator(plan, self._device)

        def watch(record: RoundRecord) -> None:
            self.board.advance(cell.label, record.round / plan.num_rounds)
            self._heed_stop()

        attempt, others = attempt_of(self._selection, plan, engine, device=self._device), self._others
        with prepared_folder(folder, plan, attempt, cell.text, resume=True, others=others) as begun:
            record_git_state(folder, self._state)
            return execute_plan(
                engine,
                self._selection,
                plan,
                Job(folder, client_rows=wants_client_rows(plan), cores=self._cores, device=self._device),
                evaluator=evaluator,
                resume=begun,
                watch=watch,
                memory=MemoryMeter(lambda: engine.process),  # not this process, which serves other cells too
                trackers=self._trackers[cell.spec.track],
            )

    def _heed_stop(self) -> None:
        if self.stop.is_set():
            raise KeyboardInterrupt


class _Board:
    """The records of all cells so far: for `matrix.json`, and for `watch`."""

    def __init__(self, study: Study, selection: str, folder: Path, watch: SweepWatch | None) -> None:
        self._name, self._selection, self._watch = study.name, selection, watch
        self._path = folder / MATRIX
        self._records = {cell.label: _pending(cell) for cell in study.cells}
        self._running: dict[str, float] = {}
        self.of_the_caller: Exception | None = None  # what `watch` raised; it ends the sweep
        self._lock = threading.Lock()
        remove_partials(folder)
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
        try:
            self._watch(self._standing())
        except Exception as error:
            self.of_the_caller = error
            raise

    def _standing(self) -> Standing:
        records = self._records.values()
        failed = sum(record.status == "failed" for record in records)
        return Standing(
            num_cells=len(records),
            num_done=sum(record.status == "completed" for record in records) + failed,
            num_failed=failed,
            num_reused=sum(record.reused for record in records),
            running=dict(self._running),
        )


# Records


def _what_came_of(result: Result, now: Software) -> dict[str, Any]:
    """Return the evaluation of a run's last model, its best model if one is chosen, what it promises, and what other
    software ran it.
    """
    best, privacy = result.best, result.privacy
    return {
        "other_software": _other_software(result, now),
        "evaluation": result.final.evaluation if result.final else None,
        "undefined": result.rounds[-1].undefined if result.rounds else {},
        "best": best and BestRound(round=best.round, metric=best.metric, on=best.on, evaluation=best.evaluation),
        "features": result.features,
        "privacy": privacy and Promise(**privacy.model_dump(include=set(Promise.model_fields))),
    }


def _other_software(result: Result, now: Software) -> tuple[str, ...]:
    every = (*result.earlier, result.software)
    return tuple(dict.fromkeys(what for software in every for what in software_differences(software, now)))


def _pending(cell: Cell) -> CellRecord:
    return CellRecord(label=cell.label, values=dict(cell.values))


def _in_one_line(error: Exception) -> str:
    lines = str(error).splitlines() if isinstance(error, FlspecError) else [repr(error)]
    return printable("; ".join(line.strip() for line in lines if line.strip())) or type(error).__name__
