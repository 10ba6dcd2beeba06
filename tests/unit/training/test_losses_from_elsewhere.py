"""A loss of one file, from a package that changes nothing of flspec: trained, measured, refused, and in the digest."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from flspec.data.store import open_data
from flspec.errors import SpecError
from flspec.protocol.plan import Plan
from flspec.protocol.state import load_weights
from flspec.runs.result import load_result
from flspec.spec.loading import parse_spec
from flspec.spec.schema import spec_schema
from tests.unit.scratch_packages import digest_of, flspec, run_python, write_package

MARGIN = '''
"""Squares of what outputs lack of a margin, each output apart."""

from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from flspec.losses import Loss


class Margin(Loss):
    """Of each output the square of what it lacks of being on its side by `width`: max(0, width - (2 t - 1) z)^2."""

    kind: Literal["margin"] = "margin"
    are_logits: ClassVar[bool] = False
    width: Annotated[float, Field(gt=0, description="how far", examples=[1.0])]

    def why_invalid(self, num_classes, is_multi_label):
        return "margin learns one class an example; use binary_cross_entropy" if is_multi_label else None

    def value(self, scores):
        lacking = np.maximum(0, self.width - (2.0 * scores.targets - 1) * scores.outputs.astype(np.float64))
        return (lacking**2).mean(axis=1)

    def torch(self, outputs, targets):
        return ((self.width - (2 * targets - 1) * outputs).clamp(min=0) ** 2).mean()
'''
SPEC = """
flspec: 1
name: example
rounds: 3
dataset: {kind: synthetic, classes: 3, features: 4, train_examples: 60, test_examples: 20}
partition: {kind: iid, clients: 4}
model: {kind: softmax_regression}
client: {epochs: 1, batch_size: 5, loss: LOSS, optimizer: {kind: sgd, learning_rate: 0.1}}
"""
REFUSALS = """
import flspec
from flspec.protocol.registry import find_backend
plan = flspec.compile("spec.yaml")
for name in ("local", "flower:inprocess", "tff"):
    print(name, *find_backend(name).refusals(plan))
"""


def install(folder: Path, source: str = MARGIN, loss: str = "{kind: margin, width: 1.0}") -> Path:
    write_package(folder, "my_margin", source, "flspec.losses", "Margin")
    (folder / "spec.yaml").write_text(SPEC.replace("LOSS", loss))
    return folder


def margin_by_hand(folder: Path, width: float) -> float:
    """The loss of a run's last model on the test examples, from its weights."""
    weights, test = (
        load_weights(folder / "weights.safetensors"),
        open_data(Plan.load(folder / "plan").settings.data).test,
    )
    outputs = test.inputs(slice(None)).reshape(len(test), -1) @ weights["output.weight"].T + weights["output.bias"]
    side = np.where(test.labels[:, None] == np.arange(3), 1.0, -1.0)
    return float((np.maximum(0, width - side * outputs) ** 2).mean())


def test_it_is_trained_to_the_same_bits_on_local_and_flower_and_measured(tmp_path):
    install(tmp_path)
    weights = {}
    for backend in ("local", "flower:inprocess"):
        folder = tmp_path / backend.partition(":")[0]
        done = flspec(tmp_path, "run", "spec.yaml", "--backend", backend, "--out", str(folder))
        assert done.returncode == 0, done.stderr
        result = load_result(folder)
        assert result.weights
        weights[backend] = result.weights.sha256
        losses = [(record.evaluation or {})["test"]["loss"] for record in result.rounds]
        assert losses[-1] == pytest.approx(margin_by_hand(folder, 1.0), rel=1e-5)
        assert losses[-1] != pytest.approx(margin_by_hand(folder, 2.0), rel=1e-2)
        assert losses[-1] < losses[0]
    assert weights["local"] == weights["flower:inprocess"]


def test_its_source_and_its_parameters_are_part_of_the_plan(tmp_path):
    first = digest_of(install(tmp_path))
    assert digest_of(install(tmp_path, loss="{kind: margin, width: 2.0}")) != first
    assert digest_of(install(tmp_path, MARGIN + "# changed\n")) != first
    assert digest_of(install(tmp_path)) == first
    own = digest_of(install(tmp_path, loss="cross_entropy"))
    assert digest_of(install(tmp_path, MARGIN + "# changed\n", "cross_entropy")) == own


def test_who_has_no_translation_refuses_it_by_name(tmp_path):
    told = run_python(install(tmp_path), "-c", REFUSALS).stdout.splitlines()
    known = "known: binary_cross_entropy, cross_entropy, huber, mean_squared_error"
    assert told == ["local", "flower:inprocess", f"tff client.loss: margin has no TFF translation; {known}"]
    bare = MARGIN[: MARGIN.index("    def torch")]
    told = run_python(install(tmp_path, bare), "-c", REFUSALS).stdout.splitlines()
    assert told[:2] == [
        f"{name} client.loss: margin has no torch translation; {known}" for name in ("local", "flower:inprocess")
    ]


def test_label_weights_that_its_translation_does_not_take_are_refused(tmp_path):
    weighed = MARGIN.replace("    are_logits", '    weighs: ClassVar[str] = "class"\n    are_logits')
    install(tmp_path, weighed)
    spec = (tmp_path / "spec.yaml").read_text()
    (tmp_path / "spec.yaml").write_text(spec.replace("loss: {", "label_weights: [1, 2, 1], loss: {"))
    told = run_python(tmp_path, "-c", REFUSALS).stdout.splitlines()
    assert told[0] == (
        "local client.label_weights: torch supports them only for flspec's own losses, not margin; remove them"
    )


def test_it_is_listed_validated_and_in_the_schema_as_flspecs_own(tmp_path):
    install(tmp_path)
    assert "(from my_margin)" in flspec(tmp_path, "list", "losses", "margin").stdout
    schema = json.loads(flspec(tmp_path, "schema").stdout)["definitions"]["ClientWork"]["properties"]["loss"]
    assert schema["anyOf"][1]["properties"]["kind"]["enum"] == sorted([*own_kinds(), "margin"])
    assert schema["anyOf"][0]["enum"] == own_kinds()  # by its name alone it would lack its width
    (tmp_path / "spec.yaml").write_text(SPEC.replace("LOSS", "margin"))
    done = flspec(tmp_path, "validate", "spec.yaml")
    assert done.returncode == 2
    assert "spec.yaml:8:36: client.loss: margin needs width; write {kind: margin, width: …}" in done.stderr


@pytest.mark.parametrize(
    ("method", "code", "told"),
    [
        ("why_invalid(self, *labels)", "{}['x']", "client.loss: my_margin.Margin raises KeyError: 'x'; repair it"),
        ("num_outputs(self, *labels)", "return 0", "client.loss: my_margin.Margin needs 0 outputs, which is not a"),
        ("value(self, scores)", "return np.zeros((2, 3))", "my_margin.Margin.value gives shape [2, 3], not a value"),
        ("torch(self, outputs, targets)", "return outputs.mean(1)", "client.loss: margin (my_margin.Margin): torch"),
    ],
)
def test_its_mistakes_are_told_by_its_class(tmp_path, method, code, told):
    install(tmp_path, MARGIN + f"\n    def {method}:\n        {code}\n")
    done = flspec(tmp_path, "run", "spec.yaml", "--out", "r")
    assert done.returncode == (2 if method.startswith(("why", "num")) else 1)
    assert (tmp_path / "r").exists() == (done.returncode == 1)
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def own_kinds() -> list[str]:
    kinds: list[str] = spec_schema(installed=False)["definitions"]["ClientWork"]["properties"]["loss"]["anyOf"][0][
        "enum"
    ]
    return kinds


@pytest.mark.parametrize(
    ("loss", "told"),
    [
        ("cross_entrpy", "client.loss: unknown 'cross_entrpy'; did you mean 'cross_entropy'"),
        ("{kind: hubr}", "client.loss.kind: unknown 'hubr'; did you mean 'huber'"),
        ("{kind: huber, dleta: 2}", "client.loss.dleta: unknown key 'dleta'; did you mean 'delta'"),
        ("{kind: huber, delta: 0}", "client.loss.delta: expected a number above 0, got 0"),
        ("{delta: 1}", "client.loss: missing 'kind'; choose one of binary_cross_entropy, cross_entropy"),
        ("3", "client.loss: expected a mapping of keys, got 3"),
    ],
)
def test_a_wrong_loss_is_told_with_its_place_and_a_way_out(loss, told):
    with pytest.raises(SpecError, match=told):
        parse_spec(SPEC.replace("LOSS", loss))


@pytest.mark.parametrize("written", ["huber", "{kind: huber}", "{kind: huber, delta: 1}", "{kind: huber, delta: 1.0}"])
def test_one_with_defaults_may_be_written_by_its_name_and_is_told_with_its_parameters(written):
    assert parse_spec(SPEC.replace("LOSS", written)).model_dump(mode="json")["client"]["loss"] == {
        "kind": "huber",
        "delta": 1.0,
    }


@pytest.mark.parametrize("written", ["mean_squared_error", "{kind: mean_squared_error}"])
def test_one_without_parameters_is_told_by_its_name(written):
    spec = parse_spec(SPEC.replace("LOSS", written))
    assert spec.model_dump(mode="json")["client"]["loss"] == "mean_squared_error"
