"""The documents of phases: `Phase`, its `Draw`s, `Call`s and `Term`s, and `Sample`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, PositiveInt, TypeAdapter

from flspec.core.components import OmitDefaults

__all__ = ["REAL", "Call", "Draw", "Phase", "Sample", "Term", "parse_phases", "parse_sample"]

REAL = "real"  # the name of the value that every step is given: its batch's inputs

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,99}$")]


class Draw(OmitDefaults):
    """Numbers drawn anew for each row: of N(0, 1), or uniform in (0, 1)."""

    kind: Literal["normal", "uniform"] = "normal"
    shape: tuple[PositiveInt, ...]  # of one row


class Call(OmitDefaults):
    """One evaluation of a network, whose output becomes a value."""

    omitted: ClassVar[dict[str, Any]] = {"detached": False}

    value: Name  # the name of its output
    network: Name
    inputs: Mapping[Name, Name]  # a value for each of the network's inputs
    detached: bool = False  # whether its inputs carry no derivative


class Term(OmitDefaults):
    """A part of a phase's loss: the mean over the rows of a function of one score z a row.

    | kind          | as real         | as not real     |                                               |
    |---------------|-----------------|-----------------|-----------------------------------------------|
    | logistic      | softplus(-z)    | softplus(z)     | Goodfellow et al., NeurIPS 2014              |
    | hinge         | max(0, 1 - z)   | max(0, 1 + z)   | Lim and Ye, arXiv:1705.02894                  |
    | least_squares | (z - 1)^2       | z^2             | Mao et al., ICCV 2017                         |
    | wasserstein   | -z              | z               | Arjovsky et al., ICML 2017                    |

    softplus(z) = log(1 + e^z), so that `logistic` is the binary cross entropy of the sigmoid of z.
    """

    omitted: ClassVar[dict[str, Any]] = {"factor": 1.0}

    kind: Literal["logistic", "hinge", "least_squares", "wasserstein"]
    of: Name  # a value of shape [rows, 1]
    real: bool  # whether the scores are taken as those of real examples
    factor: float = 1.0


class Phase(OmitDefaults):
    """A part of a step, after which one optimizer steps on the gradient of one loss."""

    omitted: ClassVar[dict[str, Any]] = {"every": 1, "draws": {}}

    name: Name
    every: PositiveInt = 1  # it takes place in step 0 of a task, and in every so many-th after it
    draws: Mapping[Name, Draw] = {}
    calls: tuple[Call, ...]  # in order
    terms: Annotated[tuple[Term, ...], Field(min_length=1)]
    optimizer: Name  # the player whose networks are trained


class Sample(OmitDefaults):
    """How a picture is made of a trained model: draws, calls of networks in evaluation, and the value that it is."""

    draws: Mapping[Name, Draw]
    calls: Annotated[tuple[Call, ...], Field(min_length=1)]
    picture: Name  # the value that is the picture, in the form of the model's inputs, that is, normalised

    @property
    def networks(self) -> tuple[str, ...]:
        """The networks that make a picture, each once."""
        return tuple(dict.fromkeys(call.network for call in self.calls))


@cache
def _phases() -> TypeAdapter[tuple[Phase, ...]]:
    return TypeAdapter(tuple[Phase, ...])


def parse_phases(documents: Sequence[Mapping[str, Any]]) -> tuple[Phase, ...]:
    """Return the phases that a plan describes."""
    return _phases().validate_json(json.dumps(documents))


def parse_sample(document: Mapping[str, Any]) -> Sample:
    """Return the `Sample` that a plan describes."""
    return Sample.model_validate_json(json.dumps(document))
