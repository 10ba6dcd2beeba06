"""The comparison can fail: it catches backends that are wrong on purpose."""

from __future__ import annotations

from pathlib import Path

import pytest

from flspec.comparison.certification import certify
from flspec.protocol.backend import Backend
from flspec_local import LocalBackend
from tests.conformance.plans import compile_named
from tests.conformance.wrong import ALWAYS_WRONG, WRONG_WITH_ADAM, WRONG_WITH_RECIPES, WRONG_WITH_TRANSFORMS

CASES = [
    *(("mlp-momentum-fedavg", wrong) for wrong in ALWAYS_WRONG),
    *(("cnn-sgd-fedadam", wrong) for wrong in (*ALWAYS_WRONG, *WRONG_WITH_ADAM)),
    *(("cnn-sgd-fedavg-transformed", wrong) for wrong in WRONG_WITH_TRANSFORMS),
    *WRONG_WITH_RECIPES,
]


@pytest.mark.parametrize(("name", "wrong"), CASES, ids=lambda value: getattr(value, "name", value))
def test_a_wrong_backend_is_caught_in_its_first_wrong_round(name: str, wrong: type[Backend], tmp_path: Path) -> None:
    engines = {"local": LocalBackend(), wrong.name: wrong()}
    certificate = certify(compile_named(name, rounds=3), list(engines), tmp_path / "c", engines=engines)
    verdict = certificate.backends[wrong.name]
    assert verdict.verdict == "different"
    assert verdict.lockstep is not None  # the weights told, not what the backend said of itself
    assert verdict.lockstep.first_divergence is not None
    assert verdict.lockstep.first_divergence.round == 1


def test_the_right_backend_is_not_caught(tmp_path: Path) -> None:
    plan, engines = compile_named("mlp-momentum-fedavg", rounds=3), {"local": LocalBackend(), "again": LocalBackend()}
    certificate = certify(plan, list(engines), tmp_path / "c", engines=engines)
    assert certificate.backends["again"].bitwise
