"""MobileNetV2 (Sandler et al., CVPR 2018), trained completely or as a fixed feature extractor with a linear head."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from flspec.layers import Add, Dense, Flatten, GlobalAveragePool, Layer, Shape, chain
from flspec.models.base import Model
from flspec.models.blocks import Policy, PolicyIfAny, Rate, batch_norm_policy_missing, conv_norm, dropout, freeze

_STAGES = (  # Table 2: expansion, channels, blocks, stride of the first of them
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class MobileNetV2(Model):
    """Inverted residual blocks with a linear head (Sandler et al., Table 2).

    2,223,872 parameters of features, and 1,281 for each output in the head, which is a dropout and a dense layer.
    Convolutions start He normal, the dense layer Glorot uniform. Names are those of torchvision's `mobilenet_v2`.
    """

    omitted: ClassVar[dict[str, Any]] = Model.omitted | {"batch_norm": None}
    head_layers: ClassVar[tuple[str, ...]] = ("classifier",)

    kind: Literal["mobilenet_v2"] = "mobilenet_v2"
    train: Annotated[
        Literal["head", "all"],
        Field(description="head: the rest are constants that are never sent; or all of it"),
    ] = "head"
    dropout: Annotated[Rate, Field(description="share of the features that the head drops in training")] = 0.4
    batch_norm: PolicyIfAny = None

    @model_validator(mode="after")
    def _has_one_policy(self) -> MobileNetV2:
        if self.train == "all" and self.batch_norm is None:
            raise batch_norm_policy_missing("train: all")
        if self.train == "head" and self.batch_norm not in (None, "frozen"):
            raise ValueError(
                f"batch_norm: {self.batch_norm} contradicts train: head, which changes no features; "
                "set train: all, or leave it out"
            )
        return self

    def layers(self, input_shape: Shape, num_outputs: int) -> tuple[Layer, ...]:
        features = self._features()
        head: list[Layer] = [
            GlobalAveragePool(name="avgpool"),
            Flatten(name="flatten"),
            *dropout("classifier.0", self.dropout),
            Dense(name="classifier.1", units=num_outputs),
        ]
        return chain([*(features if self.train == "all" else freeze(features)), *head])

    def _features(self) -> list[Layer]:
        graph = conv_norm("features.0", 32, 3, self._statistics, "relu6", stride=2)
        before, number = 32, 1
        for expansion, channels, num_blocks, first_stride in _STAGES:
            for block in range(num_blocks):
                stride = 1 if block else first_stride
                name = f"features.{number}"
                graph += self._block(name, graph[-1].name, before, before * expansion, channels, stride)
                before, number = channels, number + 1
        return [*graph, *conv_norm(f"features.{number}", 1280, 1, self._statistics, "relu6")]

    def _block(self, name: str, source: str, before: int, hidden: int, channels: int, stride: int) -> list[Layer]:
        """Build an inverted residual (Table 1): expand, filter channels, project; add the input if shapes are equal."""
        statistics, expands = self._statistics, hidden != before
        expand = conv_norm(f"{name}.conv.0", hidden, 1, statistics, "relu6") if expands else []
        at = int(expands)
        depthwise = conv_norm(f"{name}.conv.{at}", hidden, 3, statistics, "relu6", stride, groups=hidden)
        project, norm = conv_norm(f"{name}.conv", channels, 1, statistics)
        block = [
            *expand,
            *depthwise,
            project.model_copy(update={"name": f"{name}.conv.{at + 1}"}),
            norm.model_copy(update={"name": f"{name}.conv.{at + 2}"}),
        ]
        if stride == 1 and before == channels:
            block.append(Add(name=f"{name}.add", inputs=(block[-1].name, source)))
        return list(chain(block, source))

    @property
    def _statistics(self) -> Policy:
        return self.batch_norm or "frozen"
