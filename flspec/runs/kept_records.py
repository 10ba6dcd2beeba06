"""The records of a run's rounds, held small: a run of a million rounds goes on while nobody looks at the first."""

from __future__ import annotations

import pickle
import zlib
from collections.abc import Sequence
from typing import overload

from flspec.protocol.records import RoundRecord

__all__ = ["KeptRecords"]


class KeptRecords(Sequence[RoundRecord]):
    """Records, each compressed by what the first one has: a twentieth of their memory, at 15 to 150 microseconds each.

    They are made anew whenever they are read.
    """

    def __init__(self) -> None:
        self._first = b""
        self._packed: list[bytes] = []

    def append(self, record: RoundRecord) -> None:
        content = pickle.dumps(record, pickle.HIGHEST_PROTOCOL)
        self._first = self._first or content
        packer = zlib.compressobj(1, zdict=self._first)
        self._packed.append(packer.compress(content) + packer.flush())

    def __len__(self) -> int:
        return len(self._packed)

    @overload
    def __getitem__(self, place: int) -> RoundRecord: ...
    @overload
    def __getitem__(self, place: slice) -> list[RoundRecord]: ...
    def __getitem__(self, place: int | slice) -> RoundRecord | list[RoundRecord]:
        if isinstance(place, slice):
            return [self[one] for one in range(*place.indices(len(self)))]
        unpacker = zlib.decompressobj(zdict=self._first)
        record: RoundRecord = pickle.loads(unpacker.decompress(self._packed[place]))  # of this process's own making
        return record
