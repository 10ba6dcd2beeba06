"""The former names of keys and values in specs: an error about an old name gives the new one.

A rename costs one line here. A class named here stands for its subclasses, too.
"""

from __future__ import annotations

from pydantic import BaseModel

__all__ = ["renamed_key", "renamed_value"]

_KEYS = {
    "ClientWork.across_passes": "batch_across_epochs",
    "Dataset.test_share": "holdout",
    "Partitioner.held_out": "holdout",
    "Partitioner.held_out_by": "holdout_by",
}
_VALUES = {
    "BestRound.on": {"held_out": "holdout"},
    "Clipping.by": {"variable": "tensor"},
    "Dataset.fit": {"squash": "stretch"},
}


def renamed_key(key: str, owner: type[BaseModel] | None) -> str | None:
    """Return the name that `owner` has today for the former `key`; None if it never had that key, or still has it."""
    if owner is None or key in owner.model_fields:
        return None
    names = (_KEYS.get(f"{cls.__name__}.{key}") for cls in owner.__mro__)
    return next((name for name in names if name in owner.model_fields), None)


def renamed_value(value: object, key: str | int, owner: type[BaseModel] | None) -> str | None:
    """Return the value that replaces a former value of a key of `owner`, if it was renamed."""
    former = (_VALUES.get(f"{cls.__name__}.{key}", {}) for cls in (owner.__mro__ if owner else ()))
    return next((values[value] for values in former if isinstance(value, str) and value in values), None)
