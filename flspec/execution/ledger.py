"""`privacy.jsonl`: the releases of a private run, each written before it is made, so that no crash lowers their number.

One line a round that begins: `{"round":3}`. A round that is run again after a crash draws the same noise from its
planned seed and gives the same weights, so it is the same release, and counts once. Where a budget ended the run, the
last line is `{"ended_after":23,"budget":2.0}`.
"""

from __future__ import annotations

import json
from pathlib import Path

from flspec.core.files import append_durably
from flspec.core.reading import open_regular
from flspec.errors import InputError

__all__ = ["LEDGER", "note_end", "note_release", "num_releases"]

LEDGER = "privacy.jsonl"


def note_release(folder: Path, round_number: int) -> None:
    """Write down, before a round, that it will be released. Durable on return; raises OSError, which names the file."""
    # A line that a crash cut short is ended first, so that it spoils no other.
    append_durably(folder / LEDGER, b'\n{"round":%d}\n' % round_number)


def note_end(folder: Path, round_number: int, budget: float) -> None:
    """Write down that this round is the last because the next would pass the budget."""
    append_durably(folder / LEDGER, b"%s\n" % json.dumps({"ended_after": round_number, "budget": budget}).encode())


def num_releases(folder: Path) -> int:
    """Return how many rounds were released, or may have been: those that began."""
    try:
        with open_regular(folder / LEDGER) as file:
            return len({number for line in file if (number := _round_of(line))})
    except InputError:  # no round has begun
        return 0


def _round_of(line: bytes) -> int | None:
    try:
        return int(json.loads(line)["round"])
    except (ValueError, KeyError, TypeError):  # cut short, or empty
        return None
