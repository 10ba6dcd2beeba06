"""Numbers that must not move are files: plan digests, and the curves of the shipped specs on the local backend.

`make golden` rewrites them; a commit that does says why. Digests hold on every machine. Curves are held to 1e-4,
because another processor's vector units change the last bits of a sum.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from flspec.compiler.compile import compile
from flspec.protocol.plan import Plan
from flspec.runs.runner import run
from flspec.spec.overlays import compose
from flspec.spec.spec import Spec
from flspec.spec.study import load_study

HERE = Path(__file__).parent
CELLS = [
    (path.stem, cell)
    for path in sorted((HERE.parents[1] / "specs").rglob("*.yaml"))
    if compose(path).small is None  # those that need a download are held in tests/conformance/test_specs.py
    for cell in load_study(path).cells
]
ALONE = [(stem, cell) for stem, cell in CELLS if not cell.label]
NEEDS_MNIST = "mnist"
# TensorFlow Federated's first image-classification tutorial, second model, as published: all digits it printed.
TUTORIAL = [
    (0.91, 0.293638),
    (0.976, 0.277596),
    (0.9786, 0.263369),
    (0.9796, 0.25075),
    (0.98, 0.239585),
    (0.9799, 0.229727),
]


@pytest.fixture
def compiled(request: pytest.FixtureRequest) -> Plan:
    spec: Spec = request.param[1].spec
    if spec.dataset.kind == NEEDS_MNIST:  # type: ignore[attr-defined]
        request.getfixturevalue("mnist_root")
    return compile(spec)


def hold(file: str, key: str, value: Any) -> Any:
    """What the golden file has under `key`; with FLSPEC_WRITE_GOLDEN, `value` after writing it there."""
    path = HERE / file
    golden = json.loads(path.read_text()) if path.exists() else {}
    if os.environ.get("FLSPEC_WRITE_GOLDEN"):
        golden[key] = value
        path.write_text(json.dumps(dict(sorted(golden.items())), indent=1) + "\n")
    assert key in golden, f"{file} has no {key!r}; make golden"
    return golden[key]


@pytest.mark.parametrize(("label", "compiled"), [(one[1].label, one) for one in CELLS], indirect=["compiled"])
def test_the_digest_of_a_shipped_experiment_does_not_move(label: str, compiled: Plan) -> None:
    key = f"{compiled.spec['name']} {label}".strip()
    assert compiled.digest == hold("digests.json", key, compiled.digest)


@pytest.mark.parametrize(
    "compiled", [one for one in ALONE if one[0] != "mnist_cnn"], ids=lambda one: one[0], indirect=True
)
def test_the_curve_of_a_shipped_spec_does_not_move(compiled: Plan, tmp_path: Path) -> None:
    result = run(compiled, "local", tmp_path / "run")
    curve = [[round(record.train["loss"], 6), round(record.train["accuracy"], 6)] for record in result.rounds]
    golden = hold("curves.json", compiled.spec["name"], curve)
    assert curve == [pytest.approx(row, abs=1e-4) for row in golden]


@pytest.mark.parametrize("compiled", [one for one in ALONE if one[0] == "mnist_tutorial_softmax"], indirect=True)
@pytest.mark.parametrize("backend", ["local", "flower:inprocess", "tff"])
def test_the_published_table_of_the_tutorial_comes_out_digit_for_digit(
    compiled: Plan, backend: str, tmp_path: Path, missing: Any
) -> None:
    from flspec.errors import InputError

    try:
        result = run(compiled, backend, tmp_path / "run")
    except InputError as error:
        missing(backend, str(error))
    table = [(record.train["accuracy"], record.train["loss"]) for record in result.rounds]
    assert [(float(f"{a:.4f}"), float(f"{loss:.6f}")) for a, loss in table] == TUTORIAL
