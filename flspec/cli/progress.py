"""Progress: on a terminal a bar with loss, accuracy and the time left; elsewhere, as in a log, a line a round."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from flspec.cli.progress_log import Log
from flspec.runs.metric_words import digits_of
from flspec.runs.result import RoundRecord

__all__ = ["CertifyProgress", "RunProgress", "decoding_progress"]

_MOST_METRICS = 2  # beside a bar
_FIRST = ("loss", "accuracy", "kid")


@contextmanager
def decoding_progress(console: Console) -> Iterator[None]:
    """Show a bar, on a terminal, while pictures are decoded into the store, which is done once."""
    from flspec.data.image_store import Progress as Decoded
    from flspec.data.image_store import reporting

    bar = Progress(
        TextColumn("decoding {task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )
    tasks: dict[str, TaskID] = {}

    def update(decoded: Decoded) -> None:
        if decoded.folder not in tasks:
            bar.start()
            tasks[decoded.folder] = bar.add_task(decoded.folder, total=decoded.total)
        bar.update(tasks[decoded.folder], completed=decoded.done)

    try:
        with reporting(update):
            yield
    finally:
        _stop(bar)


def _stop(bar: Progress) -> None:
    if not bar.disable:  # rich before 14.3 would otherwise end a line that it never began
        bar.stop()


class _Bars:
    """Bars on a terminal; elsewhere, or with `as_json`, a line for each round."""

    def __init__(self, console: Console, as_json: bool = False) -> None:
        self._console = console
        self._log = Log(console, as_json)
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[metrics]}", markup=False),
            TimeRemainingColumn(),
            console=console,
            disable=self._log.is_on,
            transient=True,
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _stop(self._progress)

    def _tell(self, what: str, record: RoundRecord, num_rounds: int) -> None:
        """Write a line of a completed round, unless there is a bar."""
        seconds = sum(record.seconds.values())
        line = f"{what}: round {record.round} of {num_rounds}, {_metrics(record)}, {seconds:.2f} s"
        values = {"what": what, "round": record.round, "rounds": num_rounds, "seconds": seconds}
        measured = record.model_dump(mode="json", include={"train", "evaluation"})
        self._log.line(what, line, record.round, num_rounds, values | measured)


class RunProgress(_Bars):
    """The bar of one run."""

    def __init__(self, console: Console, num_rounds: int, backend: str, as_json: bool = False) -> None:
        super().__init__(console, as_json)
        self._task = self._progress.add_task(f"{backend}: starting", total=num_rounds, metrics="")
        self._backend, self._num_rounds = backend, num_rounds
        self.last_round = 0

    def update(self, record: RoundRecord) -> None:
        """Show a completed round."""
        self.last_round = record.round
        self._progress.update(self._task, description=self._backend, completed=record.round, metrics=_metrics(record))
        self._tell(self._backend, record, self._num_rounds)


class CertifyProgress(_Bars):
    """A bar for each backend and phase, in order of appearance."""

    def __init__(self, console: Console, num_rounds: int, as_json: bool = False) -> None:
        super().__init__(console, as_json)
        self._num_rounds = num_rounds
        self._tasks: dict[str, TaskID] = {}

    def update(self, backend: str, phase: str, record: RoundRecord) -> None:
        """Show a completed round of a backend's phase."""
        label = f"{backend} {phase}"
        if label not in self._tasks:
            self._tasks[label] = self._progress.add_task(label, total=self._num_rounds, metrics="")
        self._progress.update(self._tasks[label], completed=record.round, metrics=_metrics(record))
        self._tell(label, record, self._num_rounds)


def _metrics(record: RoundRecord) -> str:
    """Return the evaluation if there is one, else the training metrics, never both."""
    if record.evaluation:
        return "test " + _brief(record.evaluation["test"])
    return "train " + _brief(record.train)


def _brief(metrics: Mapping[str, float]) -> str:
    """Return as many metrics as there is room for: loss and accuracy, then the first others."""
    shown = sorted(metrics.items(), key=lambda metric: metric[0] not in _FIRST)[:_MOST_METRICS]
    return " ".join(f"{name} {value:.{digits_of(name)}f}" for name, value in shown)
