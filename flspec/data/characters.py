"""Texts of one length as numbers of characters, by an alphabet."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["LEAF_LETTERS", "letter_name", "number_letters"]

# ALL_LETTERS of LEAF (models/utils/language_utils.py), in its order: a character's place is its number and its class.
LEAF_LETTERS = "\n !\"&'(),-.0123456789:;>?ABCDEFGHIJKLMNOPQRSTUVWXYZ[]abcdefghijklmnopqrstuvwxyz}"
_NONE = 255


def number_letters(texts: Sequence[str], length: int, letters: str = LEAF_LETTERS) -> NDArray[np.uint8]:
    """Return the place in `letters` of each character, uint8 [num_texts, length].

    Raises ValueError, which counts texts from 1, if one has another length or a character that is no letter.
    """
    for number, text in enumerate(texts, start=1):
        if not isinstance(text, str):
            raise ValueError(f"example {number} is no text")
        if len(text) != length:
            raise ValueError(f"example {number} has {len(text):,} characters; each should have {length}")
    places = np.full(0x110000, _NONE, np.uint8)
    places[[ord(letter) for letter in letters]] = np.arange(len(letters))
    points = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), "<u4")
    numbers: NDArray[np.uint8] = places[points].reshape(len(texts), length)
    if (numbers == _NONE).any():
        row, place = (int(index) for index in np.argwhere(numbers == _NONE)[0])
        raise ValueError(f"example {row + 1} has {texts[row][place]!a}, which is none of the {len(letters)} letters")
    return numbers


def letter_name(letter: str) -> str:
    """Return a letter as tables and pictures show it."""
    return {"\n": "newline", " ": "space"}.get(letter, letter)
