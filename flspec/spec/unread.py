"""Settings of a spec that its mode or objective does not read: these may be axes of a matrix, so it is no mistake."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from flspec.spec.study import Cell
from flspec.spec.yaml_reader import KeyPath

__all__ = ["unread_settings"]

_OF_ROUNDS: tuple[KeyPath, ...] = (
    ("cohort",),
    ("aggregator",),
    ("client", "algorithm"),
    ("postprocessors",),
    ("compression",),
    ("faults",),
    ("secure_aggregation",),
    ("min_clients",),
)
_OF_OUTPUTS: tuple[KeyPath, ...] = (("client", "loss"),)


def unread_settings(cells: Sequence[Cell]) -> list[str]:
    """Return a remark for each setting that was written and that no cell reads, with its place."""
    draft = cells[0].draft
    if draft is None:
        return []
    return [
        str(draft.problem(path, why)) for paths, why in _unread(cells) for path in paths if _is_set(draft.value, path)
    ]


def _unread(cells: Sequence[Cell]) -> Iterator[tuple[Sequence[KeyPath], str]]:
    """Yield settings that no cell reads, and why."""
    modes = list(dict.fromkeys(cell.spec.mode for cell in cells))
    if "federated" not in modes:
        yield _OF_ROUNDS, f"mode {' and '.join(modes)} does not read it; remove it, or set mode: federated"
    if all(cell.spec.client.objective.has_phases for cell in cells):
        yield _OF_OUTPUTS, "the objective has terms of its own and does not read it; remove it"


def _is_set(document: object, path: KeyPath) -> bool:
    for key in path:
        document = document.get(key) if isinstance(document, dict) else None
    return document is not None
