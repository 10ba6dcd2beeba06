"""Interruptions, for tests of what goes on after them."""

from __future__ import annotations

from collections.abc import Callable

from flspec.runs.result import RoundRecord

__all__ = ["stop_after"]


def stop_after(number: int) -> Callable[[RoundRecord], None]:
    """A watch by which a run is interrupted after a round."""

    def watch(record: RoundRecord) -> None:
        if record.round == number:
            raise KeyboardInterrupt

    return watch
