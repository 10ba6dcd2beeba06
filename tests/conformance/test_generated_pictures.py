"""Pictures that a model makes are the same on every backend, with any number of workers, and after a run goes on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from flspec.compiler.compile import compile
from flspec.protocol.plan import Plan
from flspec.runs.image_files import read_image
from flspec.runs.result import Result, load_result
from flspec.runs.runner import run
from flspec.spec.loading import parse_spec

SPEC = """
flspec: 1
name: tiny-gan
rounds: 4
dataset: {kind: digits}
partition: {kind: iid, clients: 2, holdout: 0.1}
model: {kind: dcgan, latent: 8, width: 4, batch_norm: averaged}
client:
  steps: 3
  batch_size: 16
  batch_across_epochs: true
  objective: {kind: gan}
  optimizer: {kind: adam, learning_rate: 2e-3, beta_1: 0.5}
evaluation: {every: 2, generated: 40, images: {rows: 2, columns: 4}, best: {metric: kid}}
"""


@pytest.fixture(scope="module")
def plan() -> Plan:
    return compile(parse_spec(SPEC))


@pytest.fixture(scope="module")
def reference(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path]:
    folder = tmp_path_factory.mktemp("reference") / "run"
    return run(plan, "local", folder, workers=1), folder


def digests(result: Result) -> dict[int, dict[str, str]]:
    return {r.round: {name: image.sha256 for name, image in r.images.items()} for r in result.rounds if r.images}


def evaluations(result: Result):
    return [(record.round, record.evaluation, record.undefined) for record in result.rounds]


def test_each_evaluated_round_has_a_grid_of_its_own_beside_the_real_one(reference):
    result, folder = reference
    grids = digests(result)
    assert list(grids) == [2, 4]
    assert grids[2]["real"] == grids[4]["real"]
    assert grids[2]["generated"] != grids[4]["generated"]
    files = sorted(path.name for path in (folder / "images").iterdir())
    assert files == ["real.png", "round_0000002.png", "round_0000004.png"]
    assert read_image(folder, result.rounds[-1].images["generated"]).shape == (2 * 8 + 2, 4 * 8 + 6, 3)
    assert load_result(folder) == result
    assert result.features
    assert result.best
    assert result.best.value == min(r.evaluation["test"]["kid"] for r in result.rounds if r.evaluation)


@pytest.mark.parametrize(("backend", "workers"), [("local", 2), ("flower:inprocess", 1)])
def test_the_pictures_and_their_metrics_are_the_same_to_the_last_bit(plan, reference, tmp_path, backend, workers):
    result = run(plan, backend, tmp_path / "run", workers=workers)
    assert digests(result) == digests(reference[0])
    assert evaluations(result) == evaluations(reference[0])
    assert result.weights == reference[0].weights


class Halt(Exception):
    pass


def test_a_run_that_goes_on_has_the_same_pictures(plan, reference, tmp_path):
    def stop(record):
        if record.round == 3:
            raise Halt

    with pytest.raises(Halt):
        run(plan, "local", tmp_path / "run", workers=1, watch=stop)
    before = (tmp_path / "run/images/real.png").read_bytes()
    result = run(plan, "local", tmp_path / "run", workers=1, resume=True)
    assert digests(result) == digests(reference[0])
    assert evaluations(result) == evaluations(reference[0])
    assert (tmp_path / "run/images/real.png").read_bytes() == before
    pixels = read_image(tmp_path / "run", result.rounds[3].images["generated"])
    assert np.array_equal(pixels, read_image(reference[1], reference[0].rounds[3].images["generated"]))


def test_a_generator_that_is_off_has_other_pictures(plan, reference, tmp_path):
    """The digests can tell: weights that differ by a part in twenty make other pixels."""
    changed = {name: array * np.float32(1.05) for name, array in plan.arrays.items() if name.startswith("weights/gen")}
    other = run(Plan(plan.settings, {**plan.arrays, **changed}, plan.spec), "local", tmp_path / "run", workers=1)
    assert changed
    assert digests(other)[2]["generated"] != digests(reference[0])[2]["generated"]
    assert digests(other)[2]["real"] == digests(reference[0])[2]["real"]
