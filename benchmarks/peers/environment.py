"""The Python environment of pfl-research: `python -m benchmarks.peers.environment` makes it."""

from __future__ import annotations

from pathlib import Path

from tests.pinned_environment import PinnedEnvironment

__all__ = ["ENVIRONMENT"]

ENVIRONMENT = PinnedEnvironment(
    "pfl", Path(__file__).with_name("requirements.txt"), "pfl.model.pytorch", sees_ours=True
)

if __name__ == "__main__":
    ENVIRONMENT.make()
