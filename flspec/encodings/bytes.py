"""Bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from flspec.encodings.tokenizer import Numberer, Tokenizer

_NUM_BYTES = 256


class Bytes(Tokenizer):
    """The bytes of a text in UTF-8 as token numbers 1 to 255. They need no vocabulary, and none is unknown."""

    kind: Literal["bytes"] = "bytes"

    def numberer(self) -> Numberer:
        return lambda text: list(text.encode("utf-8", "surrogatepass"))  # 0, which is padding, is in no text

    def names(self) -> Sequence[str]:
        return ["(padding)", *map(_name, range(1, _NUM_BYTES))]


def _name(byte: int) -> str:
    return chr(byte) if 32 <= byte < 127 else f"0x{byte:02x}"
