"""The comparison can fail: it catches backends that are wrong on purpose."""

from __future__ import annotations

from pathlib import Path

import pytest
from plans import compile_named
from wrong import WRONG

from flspec.backend import Backend
from flspec.certification import certify
from flspec_local import LocalBackend


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.name)
@pytest.mark.parametrize("plan", ["mlp-momentum-fedavg", "cnn-sgd-fedadam"])
def test_a_wrong_backend_is_caught_in_its_first_wrong_round(plan: str, wrong: type[Backend], tmp_path: Path) -> None:
    if wrong.name == "late_bias_correction" and "fedadam" not in plan:
        pytest.skip("this plan has no Adam to get wrong")
    engines = {"local": LocalBackend(), wrong.name: wrong()}
    certificate = certify(compile_named(plan, rounds=3), list(engines), tmp_path / "c", engines=engines)
    verdict = certificate.backends[wrong.name]
    assert verdict.verdict == "different"
    assert verdict.first_divergence is not None
    assert verdict.first_divergence.round == 1


def test_the_right_backend_is_not_caught(tmp_path: Path) -> None:
    engines = {"local": LocalBackend(), "again": LocalBackend()}
    certificate = certify(
        compile_named("mlp-momentum-fedavg", rounds=3), list(engines), tmp_path / "c", engines=engines
    )
    assert certificate.backends["again"].bitwise
