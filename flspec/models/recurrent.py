"""Recurrent networks of texts."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from flspec.core.tokens import Tokens
from flspec.layers import INPUT, Dense, Embedding, Gru, LastStep, Layer, Lstm, MeanStep, chain
from flspec.models.base import MOST_LAYERS, TextModel


class RecurrentText(TextModel):
    """An embedding, recurrent layers one upon the other, and a dense layer on the last step before padding.

    With embedding 8 and units [256, 256] this is the network of McMahan et al., AISTATS 2017, section 3, for
    Shakespeare. Initial values are torch's: of the embedding N(0, 1), of recurrent layers U(-1 / sqrt(units),
    1 / sqrt(units)); those of the dense layer are Glorot uniform, its bias zero.
    """

    kind: Literal["recurrent"] = "recurrent"
    cell: Annotated[Literal["lstm", "gru"], Field(description="the recurrent layers")] = "lstm"
    embedding: Annotated[int, Field(ge=1, le=100_000, description="numbers that stand for a token")] = 8
    units: Annotated[
        tuple[PositiveInt, ...],
        Field(min_length=1, max_length=MOST_LAYERS, description="numbers of the state of each recurrent layer"),
    ] = (256, 256)
    over_steps: Annotated[
        Literal["last", "mean"], Field(description="what the dense layer gets of a text: its last step, or their mean")
    ] = "last"

    def text_layers(self, tokens: Tokens, num_steps: int, num_outputs: int) -> tuple[Layer, ...]:
        cell, over = (Lstm if self.cell == "lstm" else Gru), (LastStep if self.over_steps == "last" else MeanStep)
        graph: list[Layer] = [Embedding(name="embedding", tokens=tokens.num, features=self.embedding)]
        graph += [cell(name=f"{self.cell}_{number}", units=units) for number, units in enumerate(self.units, start=1)]
        counted = (graph[-1].name, INPUT) if tokens.are_padded else ()
        graph += [over(name=f"{self.over_steps}_step", inputs=counted), Dense(name="output", units=num_outputs)]
        return chain(graph)
