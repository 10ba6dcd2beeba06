"""What a run's folder says of its plan, read without its arrays."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flspec.core.reading import JSON_VALUE, read_json
from flspec.errors import InputError

__all__ = ["planned_data", "planned_spec"]


def planned_spec(folder: Path) -> Mapping[str, Any]:
    """Return the spec that a run's plan was compiled from; empty if it has no readable plan."""
    found = _document(folder).get("spec")
    return found if isinstance(found, dict) else {}


def planned_data(folder: Path) -> str | None:
    """Return the name in the store of the examples that a run's plan names; None if it has no readable plan."""
    try:
        return str(_document(folder)["settings"]["data"]["digest"])
    except (KeyError, TypeError):
        return None


def _document(folder: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(read_json(folder / "plan" / "plan.json", JSON_VALUE))
    except (InputError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
