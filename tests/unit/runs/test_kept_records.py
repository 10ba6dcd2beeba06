"""Records that are held small are the records that were given."""

from __future__ import annotations

import tracemalloc

from flspec.core.randomness import Stream
from flspec.runs.kept_records import KeptRecords
from flspec.runs.result import RoundRecord

MOST_BYTES = 400  # a round; as objects in a list it takes 3,000


def record(number: int) -> RoundRecord:
    loss, accuracy, seconds = Stream(0, number).uniform(3).tolist()
    return RoundRecord(
        round=number,
        cohort=(number % 7, 7 + number % 5),
        num_examples=6,
        train={"loss": loss, "accuracy": accuracy},
        evaluation={"test": {"loss": loss}},
        bytes_down=288,
        bytes_up=288,
        seconds={"train": seconds},
    )


def bytes_a_round(kept: KeptRecords | list[RoundRecord]) -> float:
    tracemalloc.start()
    for number in range(500):
        kept.append(record(number))
    size = tracemalloc.get_traced_memory()[0] / 500
    tracemalloc.stop()
    return size


def test_they_are_what_was_given():
    kept = KeptRecords()
    assert (list(kept), bool(kept)) == ([], False)
    for number in range(1, 6):
        kept.append(record(number))
    assert list(kept) == [record(number) for number in range(1, 6)]
    assert (kept[-1], kept[1:3], len(kept)) == (record(5), [record(2), record(3)], 5)


def test_they_take_a_fraction_of_what_objects_take():
    assert bytes_a_round(KeptRecords()) < MOST_BYTES < bytes_a_round([]) / 3
