"""A small transformer of texts."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator

from flspec.core.tokens import Tokens
from flspec.layers import (
    INPUT,
    Activation,
    Add,
    Attention,
    Dense,
    Embedding,
    LastStep,
    Layer,
    LayerNorm,
    MeanStep,
    Normal,
    Positions,
    chain,
)
from flspec.models.base import MOST_LAYERS, TextModel
from flspec.models.blocks import Rate, dropout

_STD = 0.02  # of GPT-2's initial weights


class TransformerText(TextModel):
    """Embedding and learned positions, blocks of attention and two dense layers, and a dense layer for the classes.

    Each block is x + dense(attention(dense(x))), then x + dense(gelu(dense(x))). With `pre_norm` a layer norm is before
    each of the two sums' other term and one after the last block, as GPT-2 has it (Radford et al., 2019, section 2.3);
    without, one is after each sum, as Vaswani et al., NeurIPS 2017, section 3.1. `dropout` is Vaswani's, section 5.4:
    of the embeddings, and of what each sum adds. Initial values are GPT-2's: weights N(0, 0.02^2), those of layers
    whose output is added divided by sqrt(2 blocks), biases 0; its activation is the exact gelu, not that of tanh.
    """

    kind: Literal["transformer"] = "transformer"
    blocks: Annotated[int, Field(ge=1, le=MOST_LAYERS, description="blocks of attention and two dense layers")] = 2
    width: Annotated[int, Field(ge=1, le=100_000, description="numbers that stand for a step of the text")] = 64
    heads: Annotated[int, Field(ge=1, le=1000, description="heads of each attention, which share `width`")] = 4
    hidden: Annotated[int, Field(ge=1, le=1_000_000, description="units between a block's two dense layers")] = 256
    dropout: Annotated[Rate, Field(description="share of values dropped of embeddings and of what blocks add")] = 0.0
    pre_norm: Annotated[
        bool, Field(description="layer norms before attention and dense layers, as in GPT-2; if not, after each sum")
    ] = True
    causal: Annotated[bool, Field(description="whether a step attends to itself and those before it alone")] = True
    over_steps: Annotated[
        Literal["last", "mean"], Field(description="what the last layer gets of a text: its last step, or their mean")
    ] = "last"

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> TransformerText:
        if self.width % self.heads:
            raise ValueError(f"width: {self.width} is no multiple of heads {self.heads}; change one of them")
        return self

    def text_layers(self, tokens: Tokens, num_steps: int, num_outputs: int) -> tuple[Layer, ...]:
        counted = (INPUT,) if tokens.are_padded else ()
        graph: list[Layer] = [
            Embedding(name="embedding", tokens=tokens.num, features=self.width, initializer=Normal(std=_STD)),
            Positions(name="positions", initializer=Normal(std=_STD)),
            *dropout("embedding_dropout", self.dropout),
        ]
        for number in range(1, self.blocks + 1):
            graph += self._sum(graph[-1].name, f"block_{number}.1", self._attention(f"block_{number}", counted))
            graph += self._sum(graph[-1].name, f"block_{number}.2", self._perceptron(f"block_{number}"))
        graph += [LayerNorm(name="norm")] if self.pre_norm else []
        over = LastStep if self.over_steps == "last" else MeanStep
        graph += [over(name=f"{self.over_steps}_step", inputs=(graph[-1].name, *counted) if counted else ())]
        return chain([*graph, self._dense("output", num_outputs)])

    def _sum(self, source: str, name: str, layers: list[Layer]) -> list[Layer]:
        """Return the layers from the value `source` to its sum with what `layers` make of it."""
        norm = LayerNorm(name=f"{name}_norm", inputs=(source,) if self.pre_norm else ())
        whole = [*([norm] if self.pre_norm else []), *layers, *dropout(f"{name}_dropout", self.dropout)]
        whole = [*chain(whole, start=source)]
        whole.append(Add(name=f"{name}_sum", inputs=(source, whole[-1].name)))
        return [*whole, *([] if self.pre_norm else [norm])]

    def _attention(self, block: str, counted: tuple[str, ...]) -> list[Layer]:
        given = self._dense(f"{block}.attention_in", 3 * self.width)
        inputs = (given.name, *counted)
        return [
            given,
            Attention(name=f"{block}.attention", heads=self.heads, causal=self.causal, inputs=inputs),
            self._dense(f"{block}.attention_out", self.width, is_added=True),
        ]

    def _perceptron(self, block: str) -> list[Layer]:
        return [
            self._dense(f"{block}.dense_1", self.hidden),
            Activation(name=f"{block}.gelu", function="gelu"),
            self._dense(f"{block}.dense_2", self.width, is_added=True),
        ]

    def _dense(self, name: str, units: int, is_added: bool = False) -> Dense:
        std = _STD / math.sqrt(2 * self.blocks) if is_added else _STD
        return Dense(name=name, units=units, initializer=Normal(std=std))
