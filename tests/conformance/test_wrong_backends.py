"""The comparison can fail: it catches backends that are wrong on purpose."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest

from flspec.comparison.certification import Certificate, certify
from flspec.protocol.backend import Backend
from flspec_local import LocalBackend
from tests.conformance.plans import compile_named
from tests.conformance.wrong import (
    ALWAYS_WRONG,
    WRONG_WITH_ADAM,
    WRONG_WITH_ADAPTIVE_CLIP,
    WRONG_WITH_PRIVACY,
    WRONG_WITH_RECIPES,
    WRONG_WITH_TRANSFORMS,
)

CASES = [
    *(("mlp-momentum-fedavg", wrong) for wrong in ALWAYS_WRONG),
    *(("cnn-sgd-fedadam", wrong) for wrong in (*ALWAYS_WRONG, *WRONG_WITH_ADAM)),
    *(("cnn-sgd-fedavg-transformed", wrong) for wrong in WRONG_WITH_TRANSFORMS),
    *(("tanh-sgd-uniform-plain-noised", wrong) for wrong in WRONG_WITH_PRIVACY),
    *(("tanh-sgd-uniform_fedadam-plain-adaptive", wrong) for wrong in WRONG_WITH_ADAPTIVE_CLIP),
    *WRONG_WITH_RECIPES,
]


WRONG = {name: [wrong for plan, wrong in CASES if plan == name] for name, _ in CASES}


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Certificate]:
    """The certificate of a plan on all that are wrong in it, and on one that is right, against one run of `local`."""

    @cache
    def certificate(name: str) -> Certificate:
        engines: dict[str, Backend] = {"local": LocalBackend(), "again": LocalBackend()}
        engines |= {wrong.name: wrong() for wrong in WRONG[name]}
        return certify(compile_named(name, 3), list(engines), tmp_path_factory.mktemp("wrong") / "c", engines=engines)

    return certificate


@pytest.mark.parametrize(("name", "wrong"), CASES, ids=lambda value: getattr(value, "name", value))
def test_a_wrong_backend_is_caught_in_its_first_wrong_round(
    name: str, wrong: type[Backend], certificates: Callable[[str], Certificate]
) -> None:
    verdict = certificates(name).backends[wrong.name]
    assert verdict.verdict == "different", verdict.reason
    assert verdict.lockstep is not None  # the weights told, not what the backend said of itself
    assert verdict.lockstep.first_divergence is not None
    assert verdict.lockstep.first_divergence.round == 1


@pytest.mark.parametrize("name", WRONG)
def test_the_right_backend_is_not_caught(name: str, certificates: Callable[[str], Certificate]) -> None:
    assert certificates(name).backends["again"].bitwise
