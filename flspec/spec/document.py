"""The keys that a spec's file may have beside an experiment: `extends`, `matrix` and `small`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from flspec.spec.matrix import Matrix
from flspec.spec.spec import Spec

__all__ = ["NOT_IN_SMALL", "SMALL", "Experiment", "SpecFile"]

SMALL = "values that differ with --small, written as in a file that extends this one"

NOT_IN_SMALL = ("flspec", "extends")  # keys of an experiment that `small` cannot have; the others are optional there


class Experiment(Spec):
    """A federated-learning experiment, or with a matrix many of them."""

    extends: Annotated[
        str | None,
        Field(description="a file beside or below this one, over which this file is laid", examples=["base.yaml"]),
    ] = None
    matrix: Annotated[Matrix | None, Field(description="many experiments: each combination of values")] = None


class SpecFile(Experiment):
    """All keys that the file of a spec may have."""

    small: Annotated[Experiment | None, Field(description=SMALL)] = None
