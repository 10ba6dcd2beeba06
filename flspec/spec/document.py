"""What a spec's file may hold beside an experiment: what it extends, a matrix, and its small variant."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from flspec.spec.matrix import Matrix
from flspec.spec.spec import Spec

__all__ = ["NOT_IN_SMALL", "SMALL", "Experiment", "SpecFile"]

SMALL = "what is otherwise with --small, as a file that extends this one would say it"

NOT_IN_SMALL = ("flspec", "extends")  # of an experiment's keys; of the others none is required there


class Experiment(Spec):
    """A federated-learning experiment, or with a matrix many of them."""

    extends: Annotated[
        str | None,
        Field(description="a file beside or below this one; what is said here goes over it", examples=["base.yaml"]),
    ] = None
    matrix: Annotated[Matrix | None, Field(description="many experiments: each combination of values")] = None


class SpecFile(Experiment):
    """Every key that the file of a spec may have."""

    small: Annotated[Experiment | None, Field(description=SMALL)] = None
