"""The part of a plan that was settled rather than drawn: one frozen document a part, plain JSON when written.

A field at its default is not written, so a field that comes later moves no digest of a plan that does not use it. Like
the plan, this module needs the standard library alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from functools import cache
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

__all__ = [
    "BestSettings",
    "ClipSettings",
    "ComponentDocument",
    "DataSettings",
    "EvaluationSettings",
    "PlanSettings",
    "read_settings",
    "write_settings",
]

# Some words have changed in specs and not in plans of this format, so that digests stay: today's, and that of plans.
_OLDER_WORDS = {"holdout": "held_out", "tensor": "variable"}
_TODAYS_WORDS = {older: word for word, older in _OLDER_WORDS.items()}

ComponentDocument = Mapping[str, Any]  # a component as JSON: its `kind` and its parameters


@dataclass(frozen=True)
class DataSettings:
    """Where the examples are found, by content, and their shapes."""

    digest: str  # SHA-256 of all that is stored
    input_shape: tuple[int, ...]  # of one example as the model sees it
    num_classes: int  # or how many labels an example may have
    feature_type: str  # as stored: uint8 or float32
    divisor: float  # the model sees features / divisor
    num_train: int
    num_test: int
    num_validation: int = 0
    multi_label: bool = False
    label_names: tuple[str, ...] = ()
    columns: Mapping[str, Any] = field(default_factory=dict)  # names of the columns of each split, sorted
    client_column: str | None = None
    mean: tuple[float, ...] = ()  # of each channel, taken from what is left after the division,
    std: tuple[float, ...] = ()  # which is then divided by this
    transforms: Mapping[str, Any] = field(default_factory=dict)  # of each split, component documents in order


@dataclass(frozen=True)
class ClipSettings:
    """A bound on the Euclidean norm of each step's gradient."""

    norm: float
    by: str = field(metadata={"older_words": True})  # "global": of all tensors together; "tensor": of each by itself


@dataclass(frozen=True)
class BestSettings:
    """The metric by which a round is the best, and the set of examples that it is measured on."""

    metric: str
    on: str = field(metadata={"older_words": True})


@dataclass(frozen=True)
class EvaluationSettings:
    """The rounds after which the aggregated model is measured, and by what."""

    every: int
    metrics: tuple[str, ...]
    groups: tuple[Any, ...] = ()  # documents of `flspec.data.groups.ExampleGroup`
    best: BestSettings | None = None


@dataclass(frozen=True)
class PlanSettings:
    """All that a plan settles. Names of tensors are in the order in which engines keep them."""

    data: DataSettings
    layers: tuple[ComponentDocument, ...]
    loss: Any  # its name, or a component document if it has parameters
    client_optimizer: ComponentDocument
    aggregator: ComponentDocument
    evaluation: EvaluationSettings
    weights: tuple[str, ...]  # that the server holds and sends
    constants: tuple[str, ...] = ()  # that never change and are never sent
    local: tuple[str, ...] = ()  # that each client has for itself
    statistics: tuple[str, ...] = ()  # of weights and local, those that training keeps without learning them
    code: Mapping[str, str] = field(default_factory=dict)  # SHA-256 of the source of acting parts from elsewhere
    clip: ClipSettings | None = None
    epochs: int = 0  # passes of a client in a round, where its schedule measures after each of them
    label_weights: tuple[float, ...] = ()
    client_algorithm: ComponentDocument | None = None  # absent: plain steps of the client's optimizer
    objective: ComponentDocument | None = None  # absent: the loss, of the model's outputs
    postprocessors: tuple[ComponentDocument, ...] = ()  # of updates, in the order in which they take place


S = TypeVar("S")


def write_settings(part: Any) -> dict[str, Any]:
    """A document as plain JSON values, without the fields that are at their default."""
    told: dict[str, Any] = {}
    for one in fields(part):
        value = getattr(part, one.name)
        if value != _default(one):
            written: Any = write_settings(value) if is_dataclass(value) else _as_json(value)
            told[one.name] = _OLDER_WORDS.get(written, written) if one.metadata.get("older_words") else written
    return told


def read_settings(cls: type[S], document: Mapping[str, Any]) -> S:
    """The document that `write_settings` wrote; raises ValueError for a key that this flspec does not know."""
    hints = _hints(cls)  # type: ignore[arg-type]
    if unknown := [key for key in document if key not in hints]:
        raise ValueError(f"it settles {', '.join(unknown)}, which this flspec does not know; upgrade flspec")
    older = {one.name for one in fields(cls) if one.metadata.get("older_words")}  # type: ignore[arg-type]
    given = {key: _TODAYS_WORDS.get(value, value) if key in older else value for key, value in document.items()}
    return cls(**{key: _read(hints[key], value) for key, value in given.items()})


def _default(one: Any) -> Any:
    return one.default_factory() if one.default_factory is not MISSING else one.default


@cache
def _hints(cls: Any) -> dict[str, Any]:
    return get_type_hints(cls)


def _read(hint: Any, value: Any) -> Any:
    options = get_args(hint) if get_origin(hint) is UnionType else (hint,)
    if documents := [option for option in options if is_dataclass(option) and value is not None]:
        return read_settings(documents[0], value)  # type: ignore[arg-type]  # a dataclass is a type here
    return tuple(value) if get_origin(hint) is tuple else value


def _as_json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _as_json(inner) for key, inner in value.items()}
    return [_as_json(inner) for inner in value] if isinstance(value, list | tuple) else value
