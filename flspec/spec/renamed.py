"""What keys and values of specs were called before: whoever still writes the old name is told the new one.

A rename costs a line here; a class named here stands for its subclasses, too.
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
    """What `owner` calls today what was `key`; None if it never read that, or still does."""
    if owner is None or key in owner.model_fields:
        return None
    names = (_KEYS.get(f"{cls.__name__}.{key}") for cls in owner.__mro__)
    return next((name for name in names if name in owner.model_fields), None)


def renamed_value(value: object, key: str | int, owner: type[BaseModel] | None) -> str | None:
    """What stands today for a value that the key of `owner` used to have, if it was renamed."""
    former = (_VALUES.get(f"{cls.__name__}.{key}", {}) for cls in (owner.__mro__ if owner else ()))
    return next((values[value] for values in former if isinstance(value, str) and value in values), None)
