"""Texts of any length as token numbers of one length: bytes or words, cut off at the end or filled up with 0."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["MOST_WORDS", "NUM_BYTES", "most_frequent", "number_bytes", "number_words", "words_of"]

NUM_BYTES = 256  # a byte is its own token; 0, which no text holds, is padding
MOST_WORDS = 2**24 - 2  # token numbers are stored as float32, which is exact below 2^24
_WORDS = re.compile(r"[\w']+|[.,!?;]")
_UNKNOWN, _FIRST = 1, 2  # tokens of words: 0 is padding


def words_of(text: str) -> list[str]:
    """Return the words of a text, without regard to case, and its marks . , ! ? ;."""
    return _WORDS.findall(text.lower())


def most_frequent(texts: Iterable[str], num: int) -> tuple[str, ...]:
    """Return the `num` words that occur most often, or all; of equally frequent ones the first by the alphabet."""
    counts = Counter(word for text in texts for word in words_of(text))
    return tuple(sorted(counts, key=lambda word: (-counts[word], word))[:num])


def number_words(texts: Sequence[str], vocabulary: Sequence[str], length: int) -> NDArray[np.float32]:
    """Return the place of each word in `vocabulary`, from 2, or 1 if it has none: float32 [num_texts, length]."""
    places = {word: place for place, word in enumerate(vocabulary, start=_FIRST)}
    numbers = np.zeros((len(texts), length), np.float32)
    for row, text in enumerate(texts):
        known = [places.get(word, _UNKNOWN) for word in words_of(text)[:length]]
        numbers[row, : len(known)] = known
    return numbers


def number_bytes(texts: Sequence[str], length: int) -> NDArray[np.uint8]:
    """Return the first bytes of each text in UTF-8, uint8 [num_texts, length]."""
    numbers = np.zeros((len(texts), length), np.uint8)
    for row, text in enumerate(texts):
        known = np.frombuffer(text.encode("utf-8", "surrogatepass")[:length], np.uint8)
        numbers[row, : len(known)] = known
    return numbers
