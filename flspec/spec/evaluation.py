"""The section `evaluation` of a spec."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PositiveInt, field_validator

from flspec.core.components import Document, OneOf
from flspec.data.groups import NamedGroup
from flspec.features import FeatureSpace
from flspec.metrics.names import MetricName
from flspec.spec.renamed import renamed_value

__all__ = ["BestRound", "Evaluation", "ImageGrid", "PictureSubsets", "measured_metrics"]

_OF_SCORES = ("loss", "accuracy")
_OF_PICTURES = ("kid", "image_precision", "image_recall")


class BestRound(Document):
    """The rule that chooses the best of the evaluated rounds, the first if several are equal."""

    metric: Annotated[MetricName, Field(description="one of evaluation.metrics", examples=["loss"])]
    on: Annotated[
        str | None,
        Field(description="a set of examples, as holdout or clients/mean; absent: validation if there is one, or test"),
    ] = None

    @field_validator("on")
    @classmethod
    def _has_its_name(cls, on: str | None) -> str | None:
        if name := renamed_value(on, "on", cls):
            raise ValueError(f"{on} is now called {name}; rename it")
        return on


class ImageGrid(Document):
    """Size of a grid of pictures."""

    rows: Annotated[int, Field(ge=1, le=64, description="rows of pictures")] = 8
    columns: Annotated[int, Field(ge=1, le=64, description="pictures in each row")] = 8


class PictureSubsets(Document):
    """Random subsets of real and of generated pictures, drawn once for the whole experiment."""

    count: Annotated[int, Field(ge=2, le=1000, description="number of subsets")] = 100
    size: Annotated[int, Field(ge=2, le=100_000, description="pictures of either kind in each")] = 1000


class Evaluation(Document):
    """When the aggregated model is evaluated, and by which metrics."""

    every: Annotated[
        PositiveInt, Field(description="rounds between evaluations; the last round is always evaluated")
    ] = 1
    metrics: Annotated[
        tuple[MetricName, ...] | None,
        Field(
            min_length=1,
            max_length=100,
            description="metrics on the test examples, and on validation examples and holdouts, if any; absent: loss "
            "and accuracy, or of a generative objective kid, image_precision and image_recall",
            examples=[["loss", "accuracy"]],
        ),
    ] = None
    groups: Annotated[
        tuple[NamedGroup, ...],
        Field(
            max_length=100,
            description="columns of the test examples: each value is measured separately, and the gap between the "
            "values; numbers can be binned: {column: age, edges: [30, 50]}",
            examples=[["Male"]],
        ),
    ] = ()
    best: Annotated[
        BestRound | None,
        Field(description="save the model of the best round", examples=[{"metric": "loss"}]),
    ] = None
    generated: Annotated[
        int | None,
        Field(
            ge=1,
            le=100_000,
            description="number of pictures that a generative model makes to be measured; absent: 1000",
            examples=[1000],
        ),
    ] = None
    features: Annotated[
        OneOf[FeatureSpace] | None,
        Field(
            description="what pictures are compared by; absent: random_conv, or pixels where pictures are too small "
            "or examples are no pictures",
            examples=[{"kind": "random_conv"}],
        ),
    ] = None
    images: Annotated[
        ImageGrid | None,
        Field(
            description="grid of generated pictures of each evaluated round, in the run's folder; absent: 8 by 8",
            examples=[{"rows": 8, "columns": 8}],
        ),
    ] = None
    subsets: Annotated[
        PictureSubsets | None,
        Field(
            description="kid as the mean over random subsets, with kid_deviation, as some tools have it; absent: of "
            "all pictures",
            examples=[{"count": 100, "size": 1000}],
        ),
    ] = None
    by_label: Annotated[
        bool, Field(description="also compare with the real pictures of each label on their own (test/label=…)")
    ] = False

    @field_validator("metrics")
    @classmethod
    def _once_each(cls, metrics: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if metrics and len(set(metrics)) < len(metrics):
            raise ValueError(f"a metric is named twice in [{', '.join(metrics)}]; remove one")
        return metrics


def measured_metrics(evaluation: Evaluation, is_generative: bool) -> tuple[str, ...]:
    """Return the metrics that are measured, of a model that makes pictures or of one that gives scores."""
    return evaluation.metrics or (_OF_PICTURES if is_generative else _OF_SCORES)
