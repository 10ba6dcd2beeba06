"""EfficientNet-B2 (Tan and Le, ICML 2019), as the dermatology study of AI Sweden uses it."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

from pydantic import Field, PositiveInt

from flspec.layers import (
    Activation,
    Add,
    Conv,
    Dense,
    Flatten,
    GlobalAveragePool,
    Layer,
    Multiply,
    Shape,
    chain,
)
from flspec.models.base import MOST_LAYERS, Model
from flspec.models.blocks import Policy, Rate, conv_norm, dropout

_STAGES = (  # Table 1, of B0: expansion, kernel, stride of the first block, channels, blocks
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
_WIDTH, _DEPTH = 1.1, 1.2  # of B2, as multiples of B0's
_SQUEEZE = 4  # ratio of a block's input channels to those between its two excitation layers


class EfficientNetB2(Model):
    """Inverted residual blocks with channel attention (Tan and Le, Table 1, 1.1 times as wide, 1.2 times as deep).

    9,109,994 parameters with 1,000 outputs. With head [500] and one output it is the dermatology study's: 8,405,995.
    There is no activation between dense layers of the head. Convolutions start He normal, dense layers Glorot uniform.
    Names are those of torchvision's `efficientnet_b2`.
    """

    head_layers: ClassVar[tuple[str, ...]] = ("classifier",)

    kind: Literal["efficientnet_b2"] = "efficientnet_b2"
    batch_norm: Annotated[Policy, Field(examples=["averaged"])]
    head: Annotated[
        tuple[PositiveInt, ...],
        Field(max_length=MOST_LAYERS, description="units of each dense layer before the output"),
    ] = ()
    dropout: Annotated[Rate, Field(description="share of the features that the head drops in training")] = 0.3
    stochastic_depth: Annotated[
        Rate,
        Field(description="probability that the last block is skipped for an example; earlier ones in proportion"),
    ] = 0.2

    def layers(self, input_shape: Shape, num_outputs: int) -> tuple[Layer, ...]:
        units = [*self.head, num_outputs]
        return chain(
            [
                *self._features(),
                GlobalAveragePool(name="avgpool"),
                Flatten(name="flatten"),
                *dropout("classifier.0", self.dropout),
                *(Dense(name=f"classifier.{number}", units=size) for number, size in enumerate(units, start=1)),
            ]
        )

    def _features(self) -> list[Layer]:
        before = _widened(32)
        graph = conv_norm("features.0", before, 3, self.batch_norm, "silu", stride=2)
        counts = [math.ceil(num_blocks * _DEPTH) for *_, num_blocks in _STAGES]
        number = 0
        for stage, (expansion, kernel, first_stride, channels, _) in enumerate(_STAGES):
            for block in range(counts[stage]):
                graph += self._block(
                    name=f"features.{stage + 1}.{block}",
                    source=graph[-1].name,
                    before=before,
                    hidden=_widened(before, by=expansion),
                    channels=_widened(channels),
                    kernel=kernel,
                    stride=1 if block else first_stride,
                    drop=self.stochastic_depth * number / sum(counts),
                )
                before, number = _widened(channels), number + 1
        return [*graph, *conv_norm(f"features.{len(_STAGES) + 1}", 4 * before, 1, self.batch_norm, "silu")]

    def _block(
        self, name: str, source: str, before: int, hidden: int, channels: int, kernel: int, stride: int, drop: float
    ) -> list[Layer]:
        """Build an MBConv block: expand, filter each channel, excite, project; add the input if shapes are equal."""
        statistics, at = self.batch_norm, int(hidden != before)
        expand = conv_norm(f"{name}.block.0", hidden, 1, statistics, "silu") if at else []
        filtered = conv_norm(f"{name}.block.{at}", hidden, kernel, statistics, "silu", stride, groups=hidden)
        block = list(chain([*expand, *filtered], source))
        block += _excite(f"{name}.block.{at + 1}", block[-1].name, before // _SQUEEZE, hidden)
        block += conv_norm(f"{name}.block.{at + 2}", channels, 1, statistics)
        if stride == 1 and before == channels:
            block += dropout(f"{name}.stochastic_depth", drop, drops="example")
            block.append(Add(name=f"{name}.add", inputs=(block[-1].name, source)))
        return list(chain(block))


def _excite(name: str, source: str, squeezed: int, channels: int) -> list[Layer]:
    """Multiply each channel of x by sigmoid(W2 silu(W1 mean(x))): Hu et al., CVPR 2018, Eq. (2) and (3)."""
    gate: list[Layer] = [
        GlobalAveragePool(name=f"{name}.avgpool"),
        Conv(name=f"{name}.fc1", channels=squeezed, kernel_size=1, initializer="he_normal"),
        Activation(name=f"{name}.activation", function="silu"),
        Conv(name=f"{name}.fc2", channels=channels, kernel_size=1, initializer="he_normal"),
        Activation(name=f"{name}.scale_activation", function="sigmoid"),
    ]
    return [*chain(gate, source), Multiply(name=f"{name}.multiply", inputs=(source, gate[-1].name))]


def _widened(channels: int, by: float = _WIDTH) -> int:
    """Return the multiple of 8 nearest to `channels` times `by`, or the next one if that loses more than a tenth."""
    wide = channels * by
    nearest = max(8, int(wide + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * wide else nearest
