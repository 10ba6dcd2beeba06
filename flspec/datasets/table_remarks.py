"""What is worth knowing of the features of a table: their sizes, and what their encodings took from whom."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from flspec.core.text import in_flow, join_all, join_some
from flspec.data.examples import Data
from flspec.data.spread import SMALL, unfit_sizes
from flspec.datasets.features import OTHERS
from flspec.datasets.text_remarks import text_remarks
from flspec.encodings import Steps, parse_steps, text_of, write_steps
from flspec.encodings.as_is import AsIs
from flspec.encodings.standardise import Standardise

__all__ = ["size_remarks", "sizes_remark", "table_remarks"]

_MOST = 6  # columns that a remark names


def table_remarks(data: Data, wanted: Mapping[str, Steps] | None) -> Iterator[str]:
    """Yield a sentence each; `wanted` is the spec's key `features`."""
    yield from text_remarks(data)
    yield from size_remarks(data, wanted)
    if fitted := _fitted(data, wanted or {}):
        yield (
            f"encodings of {join_some(fitted, _MOST)} are fitted on the training examples of all clients, holdouts "
            "included, so each client gets to know something of the others; no privacy budget covers that, and values "
            "in the spec avoid it"
        )
    yield from _unseen(data)


def size_remarks(data: Data, wanted: Mapping[str, Steps] | None) -> Iterator[str]:
    """Yield a sentence if sizes of features would spoil training. Token numbers have none."""
    if text_of(data.encodings):
        return
    if remark := sizes_remark(unfit_sizes(data), _columns(data), wanted):
        yield remark


def sizes_remark(sizes: Mapping[str, float], columns: Mapping[str, str], wanted: Mapping[str, Steps] | None) -> str:
    """Return which features have a size that would spoil training, and what to write; empty if none has.

    `sizes` are of these features alone, by name; `columns` have the column of each.
    """
    if not sizes:
        return ""
    found = [
        f"{name} about {size:,.3g}" if size <= SMALL else f"{name} about {size:,.0f}" for name, size in sizes.items()
    ]
    names = list(dict.fromkeys(columns.get(name, name) for name in sizes))
    lines = {name: _standardised((wanted or {}).get(name)) for name in names[:_MOST]}
    if wanted is None:
        lines |= {OTHERS: "as_is" if len(names) <= _MOST else "standardise"}
    return (
        f"sizes of features far from 1 spoil training with usual learning rates: {join_some(found, _MOST)}; "
        f"standardise them: features: {in_flow(lines)}"
    )


def _standardised(steps: Steps | None) -> object:
    """Return what a spec says to have a column standardised after what is done with it already."""
    kept = tuple(step for step in steps or () if not isinstance(step, AsIs | Standardise))
    return write_steps((*kept, Standardise()))


def _columns(data: Data) -> dict[str, str]:
    return {output: one["column"] for one in data.encodings for output in one["outputs"]}


def _fitted(data: Data, wanted: Mapping[str, Steps]) -> list[str]:
    """Return the columns of which something was taken from training examples."""
    return [
        one["column"]
        for one in data.encodings
        if parse_steps(one["steps"]) != wanted.get(one["column"], wanted.get(OTHERS, (AsIs(),)))
    ]


def _unseen(data: Data) -> Iterator[str]:
    """Yield how many test examples have a category that training examples do not have."""
    start, found = 0, {}
    for one in data.encodings:
        end = start + len(one["outputs"])
        if one["steps"][-1]["kind"] == "one_hot" and data.test.features.ndim == 2:
            hot = [start + number for number, name in enumerate(one["outputs"]) if not name.endswith(" missing")]
            found[one["column"]] = int((data.test.features[:, hot].sum(axis=1) == 0).sum())
        start = end
    if several := [f"{num:,} of {name}" for name, num in found.items() if num]:
        yield f"test examples with a category that no training example has, which is all zeros: {join_all(several)}"
