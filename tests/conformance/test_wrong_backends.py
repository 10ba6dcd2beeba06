"""The comparison can fail: it catches backends that are wrong on purpose."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from flspec.comparison.certification import Certificate, certify
from flspec.compiler.compile import compile
from flspec.core.randomness import Stream
from flspec.data.examples import Data
from flspec.datasets.base import ImageDataset
from flspec.datasets.digits import Digits
from flspec.layers import Activation, BatchNorm, Conv, Flatten, chain
from flspec.protocol.backend import Backend
from flspec.spec.loading import parse_spec
from flspec_local import LocalBackend
from tests.conformance.graphs import Graph
from tests.conformance.plans import compile_named
from tests.conformance.wrong import (
    ALWAYS_WRONG,
    WRONG_WITH_ADAM,
    WRONG_WITH_ADAPTIVE_CLIP,
    WRONG_WITH_PRIVACY,
    WRONG_WITH_RECIPES,
    WRONG_WITH_TRANSFORMS,
    SlightlyOffLearningRate,
)
from tests.conformance.wrong_gans import WRONG_WITH_TWO_NETWORKS, LatentsOfOneStep

CASES = [
    *(("mlp-momentum-fedavg", wrong) for wrong in ALWAYS_WRONG),
    *(("cnn-sgd-fedadam", wrong) for wrong in (*ALWAYS_WRONG, *WRONG_WITH_ADAM)),
    *(("cnn-sgd-fedavg-transformed", wrong) for wrong in WRONG_WITH_TRANSFORMS),
    *(("tanh-sgd-uniform-plain-noised", wrong) for wrong in WRONG_WITH_PRIVACY),
    *(("tanh-sgd-uniform_fedadam-plain-adaptive", wrong) for wrong in WRONG_WITH_ADAPTIVE_CLIP),
    *(("dcgan-gan-fedavg-small_pictures", wrong) for wrong in WRONG_WITH_TWO_NETWORKS),
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
        return certify(
            compile_named(name, 3),
            list(engines),
            tmp_path_factory.mktemp("wrong") / "c",
            engines=engines,
            explain=False,
        )

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


SENSITIVE = "wide_dcgan-gan_published-fedavg-small_pictures"
WRONG_IN_ONE_STEP = [wrong for wrong in WRONG_WITH_TWO_NETWORKS if wrong is not LatentsOfOneStep]


def test_where_rounding_turns_steps_round_what_is_wrong_is_never_equivalent_and_what_is_right_is(
    tmp_path: Path,
) -> None:
    """Adam's step does not shrink with the gradient, so no largest difference tells a wrong step from a rounded one."""
    engines: dict[str, Backend] = {"local": LocalBackend(), "again": LocalBackend()}
    engines |= {wrong.name: wrong() for wrong in WRONG_IN_ONE_STEP}
    found = certify(compile_named(SENSITIVE, 3), list(engines), tmp_path / "c", engines=engines, explain=False).backends
    assert found.pop("again").verdict == "equivalent"
    assert {name: verdict.verdict for name, verdict in found.items() if verdict.verdict == "equivalent"} == {}
    assert len(found) == len(WRONG_IN_ONE_STEP)


@pytest.mark.parametrize("name", WRONG)
def test_the_right_backend_is_not_caught(name: str, certificates: Callable[[str], Certificate]) -> None:
    assert certificates(name).backends["again"].bitwise


class Bright(ImageDataset):
    """Digits whose brightest value is 32."""

    def read(self, root: Path, stream: Stream) -> Data:
        data = Digits().read(root, stream)
        return replace(data, train=replace(data.train, divisor=0.5), test=replace(data.test, divisor=0.5))


def test_a_learning_rate_that_is_off_is_caught_beside_statistics_that_move_far(tmp_path: Path) -> None:
    """A running variance moves by tens, weights by thousandths, and those are off by a thousandth of that.

    If weights might be off by as much as the variance's movement explains, this would use up a tenth of it.
    """
    spec = parse_spec("""
flspec: 1
name: statistics
rounds: 2
dataset: {kind: digits}
partition: {kind: iid, clients: 4}
model: {kind: softmax_regression}
client: {steps: 2, batch_size: 16, optimizer: {kind: sgd, learning_rate: 0.001}}
""")
    layers = (
        Conv(name="stem", channels=8, kernel_size=3),
        BatchNorm(name="norm", statistics="averaged"),
        Activation(name="tanh", function="tanh"),
        Flatten(name="flatten"),
    )
    with warnings.catch_warnings(action="ignore"):  # pydantic's, of parts that no spec can name
        plan = compile(spec.model_copy(update={"dataset": Bright(), "model": Graph(graph=chain([*layers]))}))
    engines: dict[str, Backend] = {"local": LocalBackend(), "wrong": SlightlyOffLearningRate()}
    verdict = certify(plan, list(engines), tmp_path / "c", engines=engines, explain=False).backends["wrong"]
    assert verdict.verdict == "different"
    assert verdict.first_divergence is not None
    assert verdict.first_divergence.round == 1
