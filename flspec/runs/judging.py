"""The interface between an evaluation and what it measures: scores of examples, or pictures beside real ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from flspec.data.examples import Split
from flspec.errors import InputError
from flspec.execution.parts import sample_of
from flspec.metrics import Confusion, Measurable
from flspec.protocol.devices import CPU, Device
from flspec.protocol.plan import Plan
from flspec.protocol.registry import REFERENCE, find_backend
from flspec.protocol.scoring import Scorer
from flspec.protocol.state import Weights
from flspec.runs.measured import Grid
from flspec.runs.own_models import first_own_tensors

__all__ = ["Found", "Judge", "JudgedModel", "has_own_models", "scorer_of"]


class Found(Measurable, Protocol):
    """What a model gave on a set of examples."""

    def __len__(self) -> int: ...

    def part(self, rows: Any) -> Found:
        """Return the same of some of the examples."""
        ...


class JudgedModel(Protocol):
    """One model, with what it gave so far."""

    def on(self, name: str, split: Split) -> Found:
        """Return what it gives on a set of examples. A set has one name throughout a run."""
        ...


class Judge(Protocol):
    """What makes models into what metrics are functions of."""

    has_own_models: bool  # whether each client's model is another, as far as it is measured

    def model(self, weights: Weights) -> JudgedModel:
        """Return the model with these tensors, which is then measured on any number of sets."""
        ...

    def together(self, each: Sequence[Any]) -> Found:
        """Return what clients' models gave as one, each model on its own set."""
        ...

    def beside(self, name: str, split: Split) -> Mapping[str, Found]:
        """Return what is measured beside a set, whatever the model, by a name of its own."""
        ...

    def confusion(self, found: Any) -> Confusion | None:
        """Return the confusion table of what a model gave, if there is one."""
        ...

    def images(self, models: Mapping[int, Any]) -> dict[str, Grid]:
        """Return what there is to be looked at. `models` are clients' own, or one by any number."""
        ...


def has_own_models(plan: Plan) -> bool:
    """Return whether each client's model is another, as far as it is measured: of a gan the generator."""
    sample = sample_of(plan)
    networks = tuple(f"{name}." for name in sample.networks) if sample else ""
    return any(name.startswith(networks) for name in first_own_tensors(plan))


def scorer_of(plan: Plan, device: Device = CPU) -> Scorer:
    """Return the reference backend's scorer, whichever backend trains, so that engines differ
    in their training alone.
    """
    scorer = find_backend(REFERENCE).scorer(plan, device)
    if scorer is None:
        raise InputError(f"evaluation: backend {REFERENCE!r} does not score models; install flspec again")
    return scorer
