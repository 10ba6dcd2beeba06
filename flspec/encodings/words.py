"""Words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from flspec.data.texts import words_of
from flspec.encodings.tokenizer import Vocabulary


class Words(Vocabulary):
    """Token numbers of a text's words: runs of letters, digits, _ and ', and each of the marks . , ! ? ; by itself.

    These are the matches of `[\\w']+|[.,!?;]` in the text in small letters, from left to right.
    """

    kind: Literal["words"] = "words"
    lower: Annotated[bool, Field(description="small letters for all: The and the are one word")] = True

    def pieces(self, text: str) -> Sequence[str]:
        return words_of(text, self.lower)
