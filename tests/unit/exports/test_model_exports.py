"""A model that is taken along gives what the run's own gives."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

import flspec as library
from tests.command_line import flspec

README = Path(__file__).parents[3] / "README.md"
SPEC = {
    "flspec": 1,
    "name": "taken",
    "rounds": 1,
    "dataset": {"kind": "digits"},
    "partition": {"kind": "iid", "clients": 4},
    "model": {"kind": "mlp", "hidden": [8]},
    "cohort": {"kind": "uniform", "size": 2},
    "client": {"epochs": 1, "batch_size": 64, "optimizer": {"kind": "sgd", "learning_rate": 0.1}},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, and beside it its model as both kinds of file."""
    folder = tmp_path_factory.mktemp("taken")
    library.run(library.load_spec(SPEC), out=folder / "run")
    for kind, name in {"torch": "model.pt2", "safetensors": "model.safetensors"}.items():
        done = flspec(folder, "export", "run", "--to", kind, "--out", name)
        assert (done.returncode, done.stdout) == (0, f"written to {name}: the model after round 1\n"), done.stderr
    return folder


def test_a_program_of_torch_gives_the_bits_of_the_run_s_model(folder: Path) -> None:
    pictures = np.random.default_rng(0).random((7, 1, 8, 8)).astype(np.float32)
    network = torch.export.load(folder / "model.pt2").module()
    for which, is_equal in (("last", True), (0, False)):  # 0: before it learned anything
        given = library.load_model(folder / "run", which).torch()(torch.from_numpy(pictures))
        assert torch.equal(network(torch.from_numpy(pictures)), given) == is_equal


def test_weights_have_their_names_in_the_plan(folder: Path) -> None:
    model = library.load_model(folder / "run")
    found = load_file(folder / "model.safetensors")
    assert found.keys() == model.weights.keys()
    assert all(np.array_equal(found[name], value) for name, value in model.weights.items())


def test_the_loader_in_the_readme_reads_both(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = re.findall(r"^```py\n(.*?)^```", README.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(folder)
    names: dict[str, object] = {}
    exec(block, names)
    assert len(names["classes"]) == 5  # type: ignore[arg-type]
    assert names["weights"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["run", "run", "--to", "torch"], "PATH: a model is of one run, got 2 paths; name one"),
        (["run", "--to", "torch", "--round", "best"], "--round: run has no best round; ask for it in the spec"),
        (["run", "--to", "safetensors", "--round", "9"], "--round: run keeps no state after round 9"),
        (["run", "--to", "torch", "--client", "0"], "--client: all clients of this run have one model; leave it out"),
        (["run", "--to", "torch", "--metric", "loss"], "--metric: makes no difference to torch; leave it out"),
        ([".", "--to", "torch"], "no readable result.json"),
    ],
)
def test_a_model_that_there_is_not_is_told(folder: Path, arguments: list[str], told: str) -> None:
    done = flspec(folder, "export", *arguments, "--out", "new")
    assert (done.returncode, told in done.stderr) == (2, True), done.stderr
    assert not (folder / "new").exists()


def test_a_model_that_torch_cannot_export_names_another_kind(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("no\nsuch luck")

    monkeypatch.setattr(torch.export, "export", refuse)
    done = flspec(folder, "export", "run", "--to", "torch", "--out", "new")
    assert (done.returncode, done.stderr) == (2, "flspec: torch: torch.export: no; take safetensors\n")


def test_onnx_gives_what_the_run_s_model_gives(folder: Path) -> None:
    pytest.importorskip("onnxscript", reason="pip install 'flspec[onnx]'")
    runtime = pytest.importorskip("onnxruntime")
    done = flspec(folder, "export", "run", "--to", "onnx", "--out", "model.onnx")
    assert (done.returncode, done.stdout) == (0, "written to model.onnx: the model after round 1\n"), done.stderr
    session = runtime.InferenceSession(str(folder / "model.onnx"))
    for num in (7, 2):
        pictures = np.random.default_rng(num).random((num, 1, 8, 8)).astype(np.float32)
        (given,) = session.run(None, {session.get_inputs()[0].name: pictures})
        for which, is_equal in (("last", True), (0, False)):
            due = library.load_model(folder / "run", which).torch()(torch.from_numpy(pictures)).detach().numpy()
            assert np.allclose(given, due, rtol=0, atol=1e-5) == is_equal


def test_without_onnx_its_extra_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flspec.api.models.find_spec", lambda name: None)
    done = flspec(folder, "export", "run", "--to", "onnx", "--out", "none.onnx")
    assert (done.returncode, len(done.stderr.splitlines()), (folder / "none.onnx").exists()) == (2, 1, False)
    assert "pip install 'flspec[onnx]'" in done.stderr
