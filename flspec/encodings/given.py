"""Tokens of a list of one's own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from flspec.core.locations import Location, locate_known
from flspec.core.reading import read_regular
from flspec.data.column_types import Cells
from flspec.data.texts import words_of
from flspec.encodings.base import Unencodable
from flspec.encodings.tokenizer import Listed

_LONGEST_FILE = 2**27  # bytes


class Given(Listed):
    """Token numbers by a list in a file, one token a line in UTF-8: the token of line n has the number n + 1."""

    kind: Literal["given"] = "given"
    main: ClassVar[str] = "file"
    file: Annotated[
        Location,
        Field(
            description="the list, below the data root, beside the spec, or absolute; it is in the plan afterwards",
            examples=["vocabulary.txt"],
        ),
    ]
    cut: Annotated[
        Literal["words", "characters"], Field(description="what a text is cut into, as the encodings of these names")
    ] = "words"
    lower: Annotated[bool, Field(description="texts in small letters, before they are cut")] = True

    def pieces(self, text: str) -> Sequence[str]:
        if self.cut == "words":
            return words_of(text, self.lower)
        return text.lower() if self.lower else text

    def found(self, texts: Cells) -> tuple[str, ...]:
        path = locate_known(self.file, "dataset.features")
        try:
            lines = read_regular(path, _LONGEST_FILE).decode("utf-8-sig").split("\n")
        except UnicodeDecodeError as error:
            raise Unencodable(f"{path} is no UTF-8 from byte {error.start} on", "save it as UTF-8") from None
        tokens = [line.removesuffix("\r") for line in (lines[:-1] if lines[-1] == "" else lines)]
        if not tokens or "" in tokens:
            where = f"line {tokens.index('') + 1} of {path} is empty" if tokens else f"{path} is empty"
            raise Unencodable(where, "give each token a line")
        if twice := [token for token, times in Counter(tokens).items() if times > 1]:
            raise Unencodable(f"{twice[0]!r} is in {path} twice", "remove one")
        return tuple(tokens)
