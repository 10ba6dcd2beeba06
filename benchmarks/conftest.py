"""Measured with `--benchmark-enable` (`make bench`); without, as among the tests, each is run once, on a small size."""

from __future__ import annotations

import os
from typing import Any

import pytest


@pytest.fixture(scope="session")
def is_measured(pytestconfig: pytest.Config) -> bool:
    """Whether this run is there to measure."""
    return bool(pytestconfig.getoption("benchmark_enable"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what only means something where times are measured."""
    if config.getoption("benchmark_enable"):
        return
    timed = [item for item in items if item.get_closest_marker("holds_times")]
    items[:] = [item for item in items if item not in timed]
    config.hook.pytest_deselected(items=timed)


@pytest.hookimpl(optionalhook=True)  # pytest-benchmark's
def pytest_benchmark_update_machine_info(machine_info: dict[str, Any]) -> None:
    """Note the load of the last five minutes, so that a page can tell measurements of a busy machine."""
    machine_info["load"] = round(os.getloadavg()[1], 1)
