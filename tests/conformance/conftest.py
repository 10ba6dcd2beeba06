"""One suite over every backend: each plan is certified once, on engines that are started once, and asked many things.

FLSPEC_REQUIRE=local,flower,tff makes the absence of a backend fail instead of skip.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.conformance.harness import Certified, Engines
from tests.conformance.plans import compile_named


@pytest.fixture(scope="session")
def engines() -> Iterator[Engines]:
    with ExitStack() as stack:
        yield Engines(stack)


@pytest.fixture(scope="session")
def certified(engines: Engines, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Certified]:
    """The certificate of a named plan on one backend against `local`, made when first asked for."""
    made: dict[tuple[str, str], Certified] = {}

    def get(name: str, backend: str) -> Certified:
        if (name, backend) not in made:
            folder = tmp_path_factory.mktemp(name) / "certificate"
            made[name, backend] = engines.certify(compile_named(name), backend, folder)
        return made[name, backend]

    return get
