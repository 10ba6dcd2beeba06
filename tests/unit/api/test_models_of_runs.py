"""The model of a run predicts what its evaluation measured, from what the data set's file has."""

from __future__ import annotations

import csv
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import flspec
from flspec.api import Model, RunResult
from flspec.data.characters import LEAF_LETTERS
from flspec.data.store import open_data
from flspec.errors import InputError
from flspec.protocol.state import load_weights, save_weights
from flspec.spec.yaml_writer import write_yaml

BASE: dict[str, Any] = {
    "flspec": 1,
    "name": "used",
    "rounds": 2,
    "dataset": {"kind": "digits"},
    "partition": {"kind": "iid", "clients": 3},
    "model": {"kind": "softmax_regression"},
    "client": {"steps": 3, "batch_size": 16, "optimizer": {"kind": "sgd", "learning_rate": 0.1}},
}
NET = """
from torch import nn

class Net(nn.Sequential):
    def __init__(self, width):
        super().__init__(
            nn.Conv2d(1, width, 3), nn.BatchNorm2d(width), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5),
            nn.Linear(36 * width, 10),
        )

class OfTable(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(8, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 4))
"""
WARDS = ["01", "1", "7"]
TABLE = {
    "kind": "csv",
    "label": "outcome",
    "separator": "semicolon",
    "missing": ["NA"],
    "decimal": "comma",
    "features": {"age": "standardise", "ward": "one_hot", "bmi": [{"impute": "median"}, "standardise"]},
}
OWN_TORCH = {"kind": "torch", "module": "net:Net", "arguments": {"width": 2}, "batch_norm": "averaged"}


class Frame:
    """Columns by name as a frame of pandas has them, which is no mapping."""

    def __init__(self, values: dict[str, Any]) -> None:
        self._values, self.columns = values, [*values]

    def __getitem__(self, name: str) -> NDArray[Any]:
        return np.asarray(self._values[name])


def rows_of(num: int, seed: int) -> list[dict[str, str]]:
    """A table as a hospital writes it; who is older is the rather ill."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(num):
        age, bmi = rng.integers(20, 90), f"{rng.uniform(18, 40):.1f}".replace(".", ",")
        row = {"age": str(age), "ward": WARDS[rng.integers(3)], "bmi": bmi if rng.random() > 0.2 else "NA"}
        rows.append(row | {"outcome": "ill" if age + rng.normal() * 10 > 55 else "well"})
    return rows


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., RunResult]:
    """The run of a spec that is the smallest but for some sections."""
    made: dict[str, RunResult] = {}

    def get(**sections: Any) -> RunResult:
        if repr(sections) not in made:
            out = tmp_path_factory.mktemp("run")
            made[repr(sections)] = flspec.run(flspec.load_spec(BASE | sections), out=out / "run", workers=1)
        return made[repr(sections)]

    return get


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tables")
    for name, num in (("train", 120), ("test", 60)):
        with (folder / f"{name}.csv").open("w", newline="") as file:
            table = csv.DictWriter(file, ["age", "ward", "bmi", "outcome"], delimiter=";")
            table.writeheader()
            table.writerows(rows_of(num, seed=num))
    return folder


@pytest.fixture(scope="module")
def run_beside_net(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., RunResult]:
    """Runs a spec that lies beside the file of the torch modules."""
    (folder := tmp_path_factory.mktemp("own")).joinpath("net.py").write_text(NET)

    def run(name: str, **sections: Any) -> RunResult:
        (folder / f"{name}.yaml").write_text(write_yaml(BASE | {"parts": ["net.py"]} | sections))
        result = flspec.run(folder / f"{name}.yaml", out=folder / name, workers=1)
        assert isinstance(result, RunResult)
        return result

    return run


@pytest.fixture(scope="module")
def own(run_beside_net: Callable[..., RunResult]) -> RunResult:
    """A run of a torch module of one's own, with batch norm and dropout, that keeps its best round."""
    client = {"steps": 3, "batch_size": 16, "optimizer": {"kind": "sgd", "learning_rate": 4.0}}  # gets worse again
    return run_beside_net("own", model=OWN_TORCH, client=client, evaluation={"best": {"metric": "accuracy"}})


def measured(result: RunResult, metric: str = "accuracy", split: str = "test") -> float:
    assert result.final
    return result.final.evaluation[split][metric]


def held(model: Model) -> Any:
    return open_data(model.plan.settings.data).test


# ------------------------------------------------------------------------------------- as the run's evaluation measured


def test_a_torch_module_of_ones_own_predicts_without_dropout_and_by_its_running_statistics(own: RunResult) -> None:
    test = held(model := own.model())
    assert (own.predict(test.features) == test.labels).mean() == measured(own)
    assert model.classes == tuple(range(10))
    assert np.array_equal(model.predict(test.features[:9]), model.predict(test.features)[:9])  # no batch statistics
    logits = model.outputs(test.features).astype(np.float64)
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert np.allclose(model.probabilities(test.features), softmax, atol=1e-12)
    assert -np.log(softmax[np.arange(len(test)), test.labels]).mean() == pytest.approx(measured(own, "loss"), abs=1e-12)


def test_pictures_are_transformed_and_normalised_as_the_test_set_is(run: Callable[..., RunResult]) -> None:
    cropped = {"test_transforms": [{"kind": "centre_crop", "size": 6}], "normalise": "half"}
    flipped = {"train_transforms": [{"kind": "random_crop", "size": 6}, {"kind": "horizontal_flip"}]}
    result = run(dataset={"kind": "digits"} | cropped | flipped)
    test = held(model := result.model())
    assert (result.predict(test.features) == test.labels).mean() == measured(result)
    by_hand = (test.features[:, :, 1:7, 1:7].astype(np.float32) / np.float32(16) - np.float32(0.5)) / np.float32(0.5)
    assert np.array_equal(model.inputs(test.features), by_hand)
    weight, bias = (model.weights[f"output.{name}"].astype(np.float64) for name in ("weight", "bias"))
    assert np.allclose(model.outputs(test.features), by_hand.reshape(len(test), -1) @ weight.T + bias, atol=1e-5)
    for small in (test.features[:, :, :5, :5], test.features[:, 0]):
        with pytest.raises(InputError, match=r"give \[num_examples, …\] that the test transforms bring to \[1, 6, 6\]"):
            model.predict(small)


def test_the_best_round_and_each_kept_round_has_its_own_model(own: RunResult) -> None:
    test = held(own.model())
    assert own.best
    assert own.best.round == own.model("best").round == 1, "choose another rate: the best round should not be the last"
    assert (own.predict(test.features, which="best") == test.labels).mean() == own.best.value
    by_round = {0: None, **{one.round: (one.evaluation or {})["test"]["accuracy"] for one in own.rounds}}
    for number, accuracy in by_round.items():
        model = flspec.load_model(own.folder, number)
        assert model.round == number
        assert accuracy in (None, (model.predict(test.features) == test.labels).mean())
    first, last = flspec.load_model(own.folder, 0), own.model()
    assert not np.array_equal(first.weights["0.weight"], last.weights["0.weight"])


def test_weights_are_those_of_the_runs_file_by_name_and_cannot_be_changed(own: RunResult) -> None:
    assert own.weights
    stored, weights = load_weights(own.folder / own.weights.path), own.model().weights
    assert {name: value.tobytes() for name, value in stored.items()} == {n: v.tobytes() for n, v in weights.items()}
    with pytest.raises(ValueError, match="read-only"):
        weights["0.weight"][0] = 0


@pytest.mark.parametrize("loss", ["binary_cross_entropy", "mean_squared_error"])
def test_a_table_is_asked_by_the_cells_of_its_file(run: Callable[..., RunResult], tables: Path, loss: str) -> None:
    train, test = ({"file" if n == "train" else "test_file": str(tables / f"{n}.csv")} for n in ("train", "test"))
    result = run(dataset=TABLE | train | test, client=BASE["client"] | {"loss": loss})
    model, rows = result.model(), rows_of(60, seed=60)
    outcomes = np.array([row["outcome"] for row in rows])
    columns = {name: [row[name] for row in rows] for name in ("age", "ward", "bmi")}
    assert model.classes == ("ill", "well")
    assert (model.predict(columns) == outcomes).mean() == measured(result)
    numbers = [None if row["bmi"] == "NA" else float(row["bmi"].replace(",", ".")) for row in rows]
    as_read = columns | {"age": np.array(columns["age"], np.int64), "bmi": numbers}
    for same in (rows, as_read, Frame(as_read)):
        assert model.outputs(same).tobytes() == model.outputs(columns).tobytes()
    assert model.outputs(held(model).features, encoded=True).tobytes() == model.outputs(columns).tobytes()
    if loss == "mean_squared_error":
        with pytest.raises(InputError, match=r"^probabilities: outputs that learned by mean_squared_error"):
            model.probabilities(columns)
    else:
        assert np.allclose(model.probabilities(columns).sum(axis=1), 1.0)


def test_what_is_wrong_with_columns_is_told_all_at_once(run: Callable[..., RunResult], tables: Path) -> None:
    files = {"file": str(tables / "train.csv"), "test_file": str(tables / "test.csv")}
    model = run(dataset=TABLE | files, client=BASE["client"] | {"loss": "binary_cross_entropy"}).model()
    right = {"age": [40, 50], "ward": ["01", "7"], "bmi": [None, 30.5]}
    assert len(model.predict(right)) == 2
    for wrong, lines in {
        "missing": (
            {"wards": ["1"]},
            ["x: no column 'age'", "x: no column 'ward'; did you mean 'wards'?", "x: no column 'bmi'"],
        ),
        "cells": (
            right | {"age": [40, "old"], "ward": [7, 2], "bmi": [1e999, 1]},
            ["x['age'][1]: 'old' is no number", "x['ward'][1]: 2 is spelt as no category", "x['bmi'][0]: it is not f"],
        ),
        "no value": (right | {"age": [40, None]}, ["x['age'][1]: no value; impute it"]),
        "lengths": (right | {"age": [40]}, ["x: columns of different lengths (age 1, ward 2, bmi 2)"]),
        "a value": (right | {"age": 40}, ["x['age']: one value; give a list of them"]),
        "array": (np.zeros((2, 5)), ["x: give columns by name (age, ward, bmi); or, with encoded=True"]),
    }.values():
        with pytest.raises(InputError) as refused:
            model.predict(wrong)
        found = str(refused.value).splitlines()
        assert all(line.startswith(due) for line, due in zip(found, lines, strict=True)), found


def test_texts_are_asked_as_texts(run: Callable[..., RunResult]) -> None:
    result = run(
        dataset={"kind": "shakespeare", "twin": {"clients": 3, "examples": 60}},
        partition={"kind": "natural"},
        model={"kind": "recurrent", "embedding": 4, "units": [6]},
    )
    test = held(model := result.model())
    texts = ["".join(LEAF_LETTERS[number] for number in row) for row in test.features]
    places = [model.classes.index(name) for name in model.predict(texts)]
    assert (np.array(places) == test.labels).mean() == measured(result)
    assert model.outputs(test.features).tobytes() == model.outputs(texts).tobytes()
    for wrong, why in {
        "text": ("to be", "x: one text; give a list"),
        "short": (["to be"], "x: example 1 has 5 characters; each should have 80"),
        "number": (np.full((1, 80), 80), r"x\[0, 0\]: 80 is no token; give 0 to 79"),
    }.values():
        with pytest.raises(InputError, match=f"^{why}"):
            model.predict(wrong)


def test_a_tables_texts_are_asked_as_a_list_or_by_their_column(run: Callable[..., RunResult], tmp_path: Path) -> None:
    reviews = [f"{word} {end}" for word in ("good", "bad", "fine", "") for end in ("film", "book, again", "unheard-of")]
    for name in ("train", "test"):
        rows = [f'"{text}",{"low" if text.startswith("bad") else "high"}' for text in reviews]
        (tmp_path / f"{name}.csv").write_text("\n".join(["review,mood", *rows]) + "\n")
    files = {"file": str(tmp_path / "train.csv"), "test_file": str(tmp_path / "test.csv")}
    features = {"review": {"kind": "words", "vocabulary": 3, "length": 3}}
    result = run(
        dataset={"kind": "csv", "label": "mood", "features": features} | files,
        model={"kind": "recurrent", "embedding": 4, "units": [6]},
    )
    model, moods = result.model(), ["low" if text.startswith("bad") else "high" for text in reviews]
    assert (model.predict(reviews) == np.array(moods)).mean() == measured(result)
    assert model.outputs({"review": np.array(reviews, object)}).tobytes() == model.outputs(reviews).tobytes()
    assert model.inputs(reviews).tobytes() == held(model).inputs(slice(None)).tobytes()


def test_clients_with_models_of_their_own_are_asked_by_name(run_beside_net: Callable[..., RunResult]) -> None:
    result = run_beside_net(
        "local",
        dataset={"kind": "csv", "twin": {"clients": 3, "examples": 90}},
        partition={"kind": "natural"},
        model={"kind": "torch", "module": "net:OfTable", "batch_norm": "local"},
    )
    with pytest.raises(InputError, match=r"^client: each of 3 clients has a model of its own; name one"):
        result.model()
    with pytest.raises(InputError, match=r"^client: unknown 'client-9'; .*client-0"):
        result.model(client="client-9")
    models = [result.model(client=f"client-{number}") for number in range(3)]
    assert len({model.weights["1.running_mean"].tobytes() for model in models}) == 3
    assert result.model(client=1).weights["1.bias"].tobytes() == models[1].weights["1.bias"].tobytes()
    test = held(models[0])
    values = [(model.predict(test.features) == test.labels).mean() for model in models]
    assert np.mean(values) == pytest.approx(measured(result), abs=1e-12)


# ---------------------------------------------------------------------------------------------------- as torch modules


def test_a_torch_module_of_ones_own_comes_back_as_its_class(own: RunResult) -> None:
    model = own.model()
    module, x = model.torch(), torch.from_numpy(model.inputs(held(model).features[:50]))
    assert (type(module).__name__, module.training) == ("Net", False)
    assert module(x).detach().numpy().tobytes() == model.outputs(held(model).features[:50]).tobytes()
    with torch.no_grad():
        module[0].weight += 1
    assert np.array_equal(own.model().weights["0.weight"], model.weights["0.weight"])


def test_other_models_come_back_with_their_tensors_by_name(run: Callable[..., RunResult]) -> None:
    model = run(model={"kind": "mlp", "hidden": [4]}).model()
    module, test = model.torch(), held(model)
    assert {name: value.shape for name, value in model.weights.items()} == {
        name: tuple(value.shape) for name, value in module.state_dict().items()
    }
    x = torch.from_numpy(model.inputs(test.features))
    assert np.allclose(module(x).detach(), model.outputs(test.features), atol=1e-6)
    module(x).sum().backward()  # goes on learning
    assert all(parameter.grad is not None for parameter in module.parameters())


# ------------------------------------------------------------------------------------------------------ what is refused


def test_arrays_are_held_to_the_shape_and_type_that_the_plan_has(run: Callable[..., RunResult]) -> None:
    model = run().model()
    x = held(model).features[:3]
    assert (
        model.outputs(x.astype(np.float64)).tobytes() == model.outputs(x).tobytes() == model.outputs(list(x)).tobytes()
    )
    assert model.outputs(x[:0]).shape == (0, 10)
    one = r"give \[num_examples, 1, 8, 8\]"
    for wrong, why in [
        (x[0], rf"x: an array \[1, 8, 8\]; {one}, as x\[None\]"),
        (x[:, 0], rf"x: an array \[3, 8, 8\]; {one}, as x\[:, None\]"),
        (x.reshape(3, -1), rf"x: an array \[3, 64\]; {one}, as x.reshape\(-1, 1, 8, 8\)"),
        (np.moveaxis(x, 1, -1), r".*as channels first, np.moveaxis\(x, -1, 1\)"),
        (x / 16, r"x\[0, 0, 0, \d\]: 0\.\d+; give whole numbers from 0 to 255, as stored; the model divides by 16"),
        (x - 300.0, r"x\[0, 0, 0, 0\]: -300; give whole numbers"),
        ([[1], [2, 3]], r"x: .*give an array \[num_examples, 1, 8, 8\]"),
        (None, "x: object values; give numbers"),
        (["a"], "x: texts, but digits has"),
        ({"a": [1]}, "x: columns by name, but digits has no columns"),
    ]:
        with pytest.raises(InputError, match=f"^{why}"):
            model.predict(wrong)
    with pytest.raises(InputError, match=r"^generate: the model \(softmax_regression\) makes no pictures"):
        model.generate(3)


def test_which_model_is_said_by_name_or_a_kept_round(run: Callable[..., RunResult]) -> None:
    result = run()
    wrong: dict[Any, str] = {
        7: "which: .* keeps no state after round 7; those after rounds 1, 2 are kept",
        "best": "which: .* has no best round; ask for it in the spec",
        "lats": "which: unknown 'lats'; did you mean 'last'",
        True: "which: unknown true",
    }
    for which, why in wrong.items():
        with pytest.raises(InputError, match=f"^{why}"):
            result.model(which)
    with pytest.raises(InputError, match=r"^client: all clients of this run have one model; leave it out"):
        result.model(client=0)


def test_a_run_without_its_last_model_says_which_it_keeps(tmp_path: Path) -> None:
    def stop(told: Any) -> None:
        raise EOFError

    with pytest.raises(EOFError):
        flspec.run(flspec.load_spec(BASE), out=tmp_path / "run", watch=stop)
    with pytest.raises(InputError, match=r"was interrupted, so it has no last model; .* those after rounds 1 are kept"):
        flspec.load_model(tmp_path / "run")
    assert flspec.load_model(tmp_path / "run", 1).round == 1


def test_weights_that_the_run_did_not_write_are_refused(own: RunResult, tmp_path: Path) -> None:
    shutil.copytree(own.folder, folder := tmp_path / "run")
    assert own.weights
    changed = load_weights(folder / own.weights.path)
    save_weights(folder / own.weights.path, changed | {"0.bias": changed["0.bias"] + 1})
    with pytest.raises(InputError, match=r"weights\.safetensors is not the file that the run's result names"):
        flspec.load_model(folder)


def test_code_in_the_run_of_a_stranger_is_not_imported(
    own: RunResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even a module's reference: `os:system` is one."""
    shutil.copytree(own.folder, folder := tmp_path / "clone" / "run")
    assert flspec.load_model(folder).round == 2
    (tmp_path / "clone" / ".git").mkdir()
    (tmp_path / "clone" / ".git" / "config").write_text('[remote "origin"]\n')
    assert flspec.load_model(folder).round == 2  # what this process has imported already
    monkeypatch.setattr("flspec.api.models.known_files", lambda package: None)
    told = re.escape("its plan holds parts (net.py, net:Net): it would import plan.json")
    with pytest.raises(InputError, match=rf"{told}.* was cloned from elsewhere"):
        flspec.load_model(folder)
