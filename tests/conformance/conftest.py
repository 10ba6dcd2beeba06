"""One suite over every backend: each plan is certified once, on engines that are started once, and asked many things.

FLSPEC_REQUIRE=local,flower,tff makes the absence of a backend fail instead of skip.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conformance.harness import BACKENDS, Certified, Engines
from tests.conformance.plans import compile_named


@pytest.fixture(scope="session")
def certified(engines: Engines, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Certified]:
    """The certificate of a named plan, made when first asked for: `local` and every other backend execute it once.

    `flower` alone, on Ray, has certificates of its own.
    """
    made: dict[tuple[str, tuple[str, ...]], Certified] = {}

    def get(name: str, backend: str) -> Certified:
        engines(backend)  # skips, or fails, where it is missing
        backends = tuple(engines.available(BACKENDS)) if backend in ("local", *BACKENDS) else (backend,)
        if (name, backends) not in made:
            folder = tmp_path_factory.mktemp(name) / "certificate"
            made[name, backends] = engines.certify(compile_named(name), backends, folder)
        return made[name, backends]

    return get
