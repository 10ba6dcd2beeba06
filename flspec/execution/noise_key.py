"""`noise.key`: the secret that a run's private noise follows from, where the spec says `privacy.seed: secret`.

The system draws it when a run begins. It stays in the run's folder, readable by its owner alone, because a run that
goes on after an interruption must draw the same noise again: other noise on the same updates would be a second release.
It is in no plan, result, event or message; every process reads it from the folder.
"""

from __future__ import annotations

import secrets
from dataclasses import replace
from pathlib import Path

from flspec.core.files import write_atomically
from flspec.core.reading import read_regular
from flspec.errors import InputError
from flspec.execution.ledger import num_releases
from flspec.protocol.plan import Plan

__all__ = ["NOISE_KEY", "with_drawn_key", "with_noise_key"]

NOISE_KEY = "noise.key"
_NUM_BYTES = 32


def with_noise_key(plan: Plan, folder: Path) -> Plan:
    """Return the plan with the key of the run in `folder`, if its noise is secret; raises InputError without one."""
    if not plan.is_noise_secret:
        return plan
    path = folder / NOISE_KEY
    try:
        key = bytes.fromhex(read_regular(path).decode("ascii"))
    except ValueError:
        key = b""
    if len(key) != _NUM_BYTES:
        raise InputError(f"{path} is damaged, and without it the run cannot go on; begin a new one")
    return replace(plan, noise_key=key)


def with_drawn_key(plan: Plan, folder: Path) -> Plan:
    """Return the plan with the key of the run in `folder`, which is drawn if nothing has been released with one.

    Raises InputError if something has: its noise could not be drawn again.
    """
    path = folder / NOISE_KEY
    if plan.is_noise_secret and not path.exists():
        if num_releases(folder):
            raise InputError(
                f"{path} is gone, and with other noise the rounds of this run would be released twice; begin a new one"
            )
        write_atomically(path, secrets.token_bytes(_NUM_BYTES).hex().encode(), is_secret=True)
    return with_noise_key(plan, folder)
