"""Experiments of sweeps that left no folder, since they could not be compiled or were not begun."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from flspec.errors import InputError
from flspec.measurements.axes import settings_by_path
from flspec.runs.sweep_summary import CellRecord, load_sweep

__all__ = ["LostCell", "lost_cells"]


@dataclass(frozen=True)
class LostCell:
    """An experiment without a result."""

    sweep: Path
    label: str
    status: str  # failed, interrupted, pending
    error: str | None
    settings: Mapping[str, JsonValue]  # those that the matrix varies, by path


def lost_cells(sweeps: Sequence[Path], folders: Sequence[Path]) -> tuple[LostCell, ...]:
    """Return the experiments that are not done, of sweeps whose record can be read, and have none of the folders."""
    have_results = {folder.resolve() for folder in folders}
    return tuple(
        LostCell(sweep, cell.label, cell.status, cell.error, settings_by_path(cell.values))
        for sweep in sweeps
        for cell in _cells(sweep)
        if cell.status != "completed" and not (cell.folder and (sweep / cell.folder).resolve() in have_results)
    )


def _cells(sweep: Path) -> Iterator[CellRecord]:
    try:
        yield from load_sweep(sweep).cells
    except InputError:  # its runs tell of themselves
        return
