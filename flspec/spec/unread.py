"""Settings of a spec that its mode does not read: `mode` may be an axis of a matrix, so they are no mistakes."""

from __future__ import annotations

from collections.abc import Sequence

from flspec.spec.study import Cell
from flspec.spec.yaml_reader import KeyPath

__all__ = ["unread_settings"]

_OF_ROUNDS: tuple[KeyPath, ...] = (("cohort",), ("aggregator",), ("client", "algorithm"), ("postprocessors",))


def unread_settings(cells: Sequence[Cell]) -> list[str]:
    """Return a remark for each setting that was written and that no cell reads, with its place."""
    modes = list(dict.fromkeys(cell.spec.mode for cell in cells))
    draft = cells[0].draft
    if draft is None or "federated" in modes:
        return []
    written = [path for path in _OF_ROUNDS if _is_set(draft.value, path)]
    of_mode = f"mode {' and '.join(modes)} does not read it; remove it, or set mode: federated"
    return [str(draft.problem(path, of_mode)) for path in written]


def _is_set(document: object, path: KeyPath) -> bool:
    for key in path:
        document = document.get(key) if isinstance(document, dict) else None
    return document is not None
