"""The Python environment of Flower Datasets: `python -m tests.flower_datasets.environment` makes it."""

from __future__ import annotations

from pathlib import Path

from tests.pinned_environment import PinnedEnvironment

__all__ = ["ENVIRONMENT"]

ENVIRONMENT = PinnedEnvironment(
    "flwr-datasets", Path(__file__).with_name("requirements.txt"), "flwr_datasets.partitioner"
)

if __name__ == "__main__":
    ENVIRONMENT.make()
