"""Base classes of tokenizers: encodings that make a text token numbers, which a model of texts reads."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Annotated, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from flspec.core.tokens import Tokens
from flspec.data.column_types import Cells
from flspec.encodings.base import Column, Encoding, Gives, Takes, Unencodable

__all__ = ["MOST_TOKENS", "PADDING", "UNKNOWN", "Listed", "Numberer", "Tokenizer", "Vocabulary"]

MOST_TOKENS = 2**24 - 2  # token numbers are stored as float32, which is exact below 2^24
PADDING, UNKNOWN = 0, 1  # of vocabularies, whose own tokens follow
_USUAL, _LONGEST_USUAL = 0.95, 512  # the share of training texts that fit, and the most tokens, if none are given

Numberer = Callable[[str], Sequence[int]]


class Tokenizer(Encoding, ABC):
    """A rule that cuts a text into tokens and numbers them: texts [num_texts] become numbers [num_texts, length].

    A text has its first `length` tokens, and 0 behind them, which is padding. A missing text is an empty one.
    """

    gives: ClassVar[Gives] = "tokens"
    length: Annotated[
        int | None,
        Field(
            ge=1,
            le=100_000,
            description="tokens of a text; more are cut off, and fewer filled up with 0, padding; if absent, the least "
            f"that {_USUAL:.0%} of the training texts fit into, up to {_LONGEST_USUAL}",
        ),
    ] = None

    @abstractmethod
    def numberer(self) -> Numberer:
        """Return the function that gives the number of each token of a text, from 1, in order."""

    @abstractmethod
    def names(self) -> Sequence[str]:
        """Return what each number stands for, from 0, which is padding."""

    @property
    def takes(self) -> Takes:
        return "texts"

    @property
    def unknown(self) -> int | None:
        """The number of all tokens that have none of their own; None if there is none such."""
        return None

    @property
    def tokens_of(self) -> Tokens:
        """What the numbers are to a model."""
        return Tokens(len(self.names()), are_padded=True)

    def fitted(self, values: Column) -> Self:
        assert isinstance(values, Cells)
        if self.length is not None:
            return self
        number = self.numberer()
        lengths = np.array([len(number(text)) for text in values.distinct] or [0], np.int64)[values.codes]
        fits = np.sort(lengths)[int(np.ceil(_USUAL * len(lengths))) - 1]
        return self.model_copy(update={"length": min(max(1, int(fits)), _LONGEST_USUAL)})

    def encoded(self, values: Cells) -> NDArray[np.float64]:
        number, table = self.numberer(), np.zeros((max(1, len(values.distinct)), self.length or 0))
        for row, text in enumerate(values.distinct):
            found = number(text)[: self.length]
            table[row, : len(found)] = found
        numbers: NDArray[np.float64] = table[values.codes]
        return numbers

    def outputs(self, names: list[str]) -> list[str]:
        return [f"{names[0]}[{place}]" for place in range(self.length or 0)]


class Listed(Tokenizer, ABC):
    """A tokenizer with a list of tokens: 0 is padding, 1 any token that is not in it, and from 2 on come its own."""

    tokens: Annotated[
        tuple[Annotated[str, Field(min_length=1)], ...] | None,
        Field(
            min_length=1,
            max_length=MOST_TOKENS,
            description="the tokens themselves, in the order of their numbers from 2; if absent, they are found out",
        ),
    ] = None

    @abstractmethod
    def pieces(self, text: str) -> Sequence[str]:
        """Return the tokens of a text, in order."""

    @property
    def unknown(self) -> int:
        return UNKNOWN

    def numberer(self) -> Numberer:
        places = {token: place for place, token in enumerate(self.tokens or (), start=UNKNOWN + 1)}
        return lambda text: [places.get(piece, UNKNOWN) for piece in self.pieces(text)]

    def names(self) -> Sequence[str]:
        return ["(padding)", "(unknown)", *(self.tokens or ())]

    def fitted(self, values: Column) -> Self:
        assert isinstance(values, Cells)
        found = {} if self.tokens else {"tokens": self.found(values)}
        return super(Listed, self.model_copy(update=found)).fitted(values)

    @abstractmethod
    def found(self, texts: Cells) -> tuple[str, ...]:
        """Return the tokens, in order. Raises Unencodable."""


class Vocabulary(Listed, ABC):
    """A tokenizer with the tokens that occur most often in the training texts, the most frequent first.

    Of equally frequent ones the one whose text is smaller comes first, and counts. A subclass says what the pieces of
    a text are.
    """

    main: ClassVar[str] = "vocabulary"
    vocabulary: Annotated[
        int, Field(ge=1, le=MOST_TOKENS, description="how many tokens have a number of their own, at most")
    ] = 10_000

    def found(self, texts: Cells) -> tuple[str, ...]:
        counts: Counter[str] = Counter()
        for text, num in zip(texts.distinct, texts.counts(), strict=True):
            for piece in self.pieces(text):
                counts[piece] += num
        if not counts:
            raise Unencodable("no training text has a token", "leave the column out, or mend it")
        return tuple(sorted(counts, key=lambda token: (-counts[token], token))[: self.vocabulary])
