"""What compression of updates cannot stand beside.

The clip of central privacy bounds an update as it arrives, restored, whatever a client sent. Noise of examples is on
every step before anything is compressed. A compressor without memory therefore changes no promise of these two.
"""

from __future__ import annotations

from collections.abc import Iterator

from flspec.compressors import Compressor
from flspec.privacy import Privacy
from flspec.spec.rules.base import Contradiction, rule


@rule
def _promised_of_what_is_sent(privacy: Privacy | None, compression: Compressor | None) -> Iterator[Contradiction]:
    if privacy is None or compression is None or privacy.in_training:
        return
    from flspec.privacy.local import Local  # with the accountant, which few specs need

    if isinstance(privacy, Local):
        message = (
            "would round or leave out what a client then noises, so it would send the noise in full; remove "
            "compression or privacy"
        )
        yield Contradiction(("compression",), ("privacy",), message)
    elif compression.error_feedback:
        message = (
            "carries what a client has in one round into later ones, but each round is accounted for by itself; set "
            "error_feedback: false, or remove privacy"
        )
        yield Contradiction(("compression", "error_feedback"), ("privacy",), message)
