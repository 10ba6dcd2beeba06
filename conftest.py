"""What tests and benchmarks share: a cache of their own, and engines that are started once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from flspec.core.cache import cache_folder
from tests.conformance.harness import Engines

# Where tests run in several processes, those of an engine stay in one, by the backend that they ask for.
GROUPS = {"tff": "engines", "flower:inprocess": "engines", "flower": "ray", "flower:ray": "ray"}

# Python compiles a module once; the hundreds of processes that the tests start would otherwise do it each time.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist looks at the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put what asks for an engine into the engine's group, unless it says another."""
    for item in items:
        call = getattr(item, "callspec", None)
        group = GROUPS.get(str(call.params.get("backend"))) if call else None
        if group and not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group(group))


@pytest.fixture(scope="session", autouse=True)
def private_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the user's cache out of the tests, except the environments, which take minutes to make."""
    environments = cache_folder() / "environments"
    private = tmp_path_factory.mktemp("cache")
    if environments.is_dir():
        (private / "environments").symlink_to(environments, target_is_directory=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLSPEC_CACHE", str(private))
        yield


@pytest.fixture(scope="session")
def engines(private_cache: None) -> Iterator[Engines]:
    """Backends by name, each opened when it is first asked for."""
    with ExitStack() as stack:
        yield Engines(stack)
