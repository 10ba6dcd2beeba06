"""Tokenizers that are saved as Hugging Face's library `tokenizers` does."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field

from flspec.core.locations import Location, locate_known
from flspec.core.reading import JSON_VALUE, read_json
from flspec.encodings.base import Column, Unencodable
from flspec.encodings.tokenizer import MOST_TOKENS, Numberer, Tokenizer

_PADDINGS, _UNKNOWNS = ("[PAD]", "<pad>"), ("[UNK]", "<unk>")


class HuggingFace(Tokenizer):
    """Token numbers by a file `tokenizer.json`, special tokens included. Needs `tokenizers`: pip install tokenizers.

    Numbers are the file's own if its token 0 is [PAD] or <pad>, else one more, because 0 is padding. The file's own
    rules for lengths do not count.
    """

    kind: Literal["hugging_face"] = "hugging_face"
    main: ClassVar[str] = "file"
    file: Annotated[
        Location,
        Field(description="the file, below the data root, beside the spec, or absolute", examples=["tokenizer.json"]),
    ]
    tokens: Annotated[
        tuple[str, ...] | None,
        Field(max_length=MOST_TOKENS, description="its tokens, by their numbers in the file; if absent, read from it"),
    ] = None
    sha256: Annotated[
        str | None, Field(pattern="^[0-9a-f]{64}$", description="of the file; another one is refused")
    ] = None

    def fitted(self, values: Column) -> Self:
        content = self._content()
        known = {"tokens": _tokens_of(self._loaded(content)), "sha256": hashlib.sha256(content).hexdigest()}
        return super(HuggingFace, self.model_copy(update=known)).fitted(values)

    def numberer(self) -> Numberer:
        tokenizer, first = self._loaded(self._content()), self._first
        return lambda text: [number + first for number in tokenizer.encode(text).ids] if text else []

    def names(self) -> Sequence[str]:
        return [*["(padding)"][: self._first], *(self.tokens or ())]

    @property
    def unknown(self) -> int | None:
        return next((number for number, token in enumerate(self.names()) if token in _UNKNOWNS), None)

    @property
    def _first(self) -> int:
        """The number of the file's token 0."""
        return int((self.tokens or ("",))[0] not in _PADDINGS)

    def _content(self) -> bytes:
        content = read_json(path := locate_known(self.file, "dataset.features"), JSON_VALUE)
        if self.sha256 not in (None, hashlib.sha256(content).hexdigest()):
            raise Unencodable(f"{path} has changed: it has not the SHA-256 {self.sha256}", "name the file that has it")
        return content

    def _loaded(self, content: bytes) -> Any:
        try:
            import tokenizers
        except ImportError:
            raise Unencodable(
                "hugging_face needs the library tokenizers", "install it with: pip install tokenizers"
            ) from None
        try:
            loaded = tokenizers.Tokenizer.from_str(content.decode("utf-8"))
        except Exception as error:  # that library raises Exception itself
            raise Unencodable(f"{self.file} is no tokenizer: {error}", "save one with tokenizer.save") from None
        loaded.no_padding()
        loaded.no_truncation()
        return loaded


def _tokens_of(tokenizer: Any) -> tuple[str, ...]:
    """Return its tokens by their numbers; a number that none has is an empty text."""
    by_number = {number: token for token, number in tokenizer.get_vocab().items()}
    return tuple(by_number.get(number, "") for number in range(max(by_number, default=-1) + 1))
