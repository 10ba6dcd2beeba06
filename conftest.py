"""What tests and benchmarks share: a cache of their own, and engines that are started once."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from flspec.core.cache import cache_folder
from tests.conformance.harness import Engines

# Tests that ask engines which are started once, for pytest-xdist: with several processes of tests, all are in one.
ASK_ENGINES = re.compile(
    r"conformance/test_(agreement|numpy|by_hand|algorithms_on_engines|faults|flower|long_rounds|private_clients"
    r"|secure_aggregation|support|watch)\.py"
    r"|conformance/test_specs\.py::test_a_shipped_spec_is_"
    r"|benchmarks/test_rounds\.py"
)

# Python compiles a module once; the hundreds of processes that the tests start would otherwise do it each time.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@pytest.hookimpl(optionalhook=True)  # there without pytest-xdist, too
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Deal files of tests to the processes, since fixtures are shared in a file, and engines across files.

    Not `--dist=loadgroup`, because pytest-xdist 3.8 loses its groups with pytest 9.2 and says nothing.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByFileAndEngine(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "engines" if ASK_ENGINES.search(nodeid) else nodeid.partition("::")[0]

    return ByFileAndEngine(config, log)


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
