"""What is worth knowing of the texts of a data set: how many tokens they have, and how many of these are unknown."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from flspec.core.text import join_some
from flspec.data.examples import Data
from flspec.encodings import Column, Steps, Text, Tokenizer, Unencodable, text_of
from flspec.encodings.table import encode, fit
from flspec.encodings.tokenizer import PADDING

__all__ = ["remarks_on_column", "text_remarks"]

_MOST_NAMED = 6  # tokens
Numbers = NDArray[np.floating] | NDArray[np.uint8]  # [num_texts, length]


def text_remarks(data: Data) -> Iterator[str]:
    """Yield a sentence each on the texts of a data set, if it has any: by the numbers that are stored."""
    if text := text_of(data.encodings):
        yield from remarks_on_texts(text, {name: split.features for name, split in data.splits.items()})


def remarks_on_column(text: tuple[str, Steps] | None, read: Callable[[str], Column]) -> Iterator[str]:
    """Yield the sentences on a column of one file, by its encodings, as if all rows were for training."""
    if text is None:
        return
    values = read(text[0])
    try:
        *_, last = steps = fit(values, text[1])
        numbers = encode(values, steps)
    except Unencodable as error:
        yield f"{text[0]}: {error}"
        return
    assert isinstance(last, Tokenizer)
    yield from remarks_on_texts(Text(text[0], last), {"rows": numbers})


def remarks_on_texts(text: Text, numbers: Mapping[str, Numbers]) -> Iterator[str]:
    """Yield a sentence each on texts with these token numbers; the first of the splits is that of training."""
    names, first = text.tokenizer.names(), next(iter(numbers))
    frequent = [names[number] for number in _most_frequent(text.tokenizer, numbers[first])]
    yield (
        f"{text.column} is texts, of {len(names):,} token numbers with padding"
        + (" and the unknown token" if text.tokenizer.unknown is not None else "")
        + (f"; most frequent: {join_some(list(map(_quoted, frequent)), _MOST_NAMED)}" if frequent else "")
    )
    lengths = {name: (of != PADDING).sum(axis=1) for name, of in numbers.items()}
    yield _lengths_in_words(text, lengths[first])
    if text.tokenizer.unknown is not None:
        shares = {name: _share_unknown(text.tokenizer, of, lengths[name]) for name, of in numbers.items()}
        told = ", ".join(f"{share:.1%} of {name}" for name, share in shares.items())
        yield f"tokens of {text.column} that are unknown: {told}"
    if empty := {name: int((of == 0).sum()) for name, of in lengths.items() if (of == 0).any()}:
        told = ", ".join(f"{num:,} of {len(lengths[name]):,} {name}" for name, num in empty.items())
        yield f"texts of {text.column} without a token, missing ones among them, are padding alone: {told}"


def _lengths_in_words(text: Text, lengths: NDArray[np.int64]) -> str:
    length = text.tokenizer.length or 0
    middle, most = (int(np.sort(lengths)[int(np.ceil(share * len(lengths))) - 1]) for share in (0.5, 0.95))
    full = float((lengths == length).mean())
    return (
        f"texts of {text.column} have {middle:,} tokens in the median, and 95% of them up to {most:,}; {full:.1%} fill "
        f"all {length:,}, and what more they have is cut off"
    )


def _share_unknown(tokenizer: Tokenizer, numbers: Numbers, lengths: NDArray[np.int64]) -> float:
    return float((numbers == tokenizer.unknown).sum() / max(1, lengths.sum()))


def _most_frequent(tokenizer: Tokenizer, numbers: Numbers) -> list[int]:
    """Return the numbers that occur most often, padding and the unknown token apart; of equals the smaller."""
    counts = np.bincount(numbers.astype(np.int64).reshape(-1), minlength=1)
    counts[[number for number in (PADDING, tokenizer.unknown) if number is not None and number < len(counts)]] = 0
    order = np.argsort(-counts, kind="stable")[:_MOST_NAMED]
    return [int(number) for number in order if counts[number]]


def _quoted(token: str) -> str:
    return repr(token) if not token.strip() or token in ".,;" else token
