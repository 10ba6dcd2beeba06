"""A bundle is an RO-Crate that its own library reads, with every file of it as it says."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import sys
from importlib.metadata import version
from pathlib import Path
from urllib.parse import unquote

import pytest
from rocrate.rocrate import ROCrate

import flspec as library
from flspec.bundles.methods import methods_in_words
from flspec.protocol.plan import Plan
from flspec.runs.result import load_result
from tests.command_line import flspec
from tests.unit.exports.made_runs import write_run, write_sweep
from tests.unit.report.report_cases import SAME, a_result, a_round, save

AUTHOR = "Ada Lovelace <0000-0002-1825-0097>"
SPEC = {
    "flspec": 1,
    "name": "bundled",
    "rounds": 1,
    "dataset": {"kind": "digits"},
    "partition": {"kind": "dirichlet", "clients": 4, "alpha": 0.5},
    "model": {"kind": "mlp", "hidden": [8]},
    "cohort": {"kind": "uniform", "size": 2},
    "client": {
        "epochs": 1,
        "batch_size": 64,
        "optimizer": {"kind": "sgd", "learning_rate": 0.125},
        "algorithm": {"kind": "fedprox", "mu": 0.25},
    },
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, what must not leave its folder, and its bundle as a zip and unpacked."""
    folder = tmp_path_factory.mktemp("bundled")
    library.run(library.load_spec(SPEC), out=folder / "run")
    (folder / "run" / "noise.key").write_text("secret")
    done = flspec(folder, "bundle", "run", "--out", "a.zip", "--license", "CC-BY-4.0", "--author", AUTHOR)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"written to a\.zip: 1 run, \d+ files\n", done.stdout)
    shutil.unpack_archive(folder / "a.zip", folder / "a")
    return folder


def wrong_files(folder: Path) -> list[str]:
    """The files that a crate names and that are not as it says, and those that it does not name."""
    crate = ROCrate(folder)
    named = {unquote(entity.id): entity for entity in crate.data_entities}
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    wrong = there ^ {*named, "ro-crate-metadata.json"}
    for name in there & named.keys():
        content = (folder / name).read_bytes()
        stated = (named[name]["sha256"], named[name]["contentSize"])
        wrong |= {name} if stated != (hashlib.sha256(content).hexdigest(), str(len(content))) else set()
    return sorted(wrong)


def test_every_file_is_as_the_crate_says_and_a_changed_byte_is_caught(folder: Path) -> None:
    assert wrong_files(folder / "a") == []
    changed = Path(shutil.copytree(folder / "a", folder / "changed"))
    path = next((changed / "runs").rglob("result.json"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    (changed / "methods.txt").unlink()
    (changed / "more.txt").write_text("more")
    assert wrong_files(changed) == ["methods.txt", "more.txt", path.relative_to(changed).as_posix()]


def test_the_manifest_is_what_sha256sum_reads(folder: Path) -> None:
    lines = (folder / "a" / "manifest-sha256.txt").read_text().splitlines()
    stated = {name: digest for digest, name in (line.split("  ") for line in lines)}
    there = {path.relative_to(folder / "a").as_posix() for path in (folder / "a").rglob("*") if path.is_file()}
    assert stated.keys() == there - {"manifest-sha256.txt", "ro-crate-metadata.json"}
    assert all(stated[name] == hashlib.sha256((folder / "a" / name).read_bytes()).hexdigest() for name in stated)


def test_a_run_is_an_action_of_the_profile(folder: Path) -> None:
    crate, result = ROCrate(folder / "a.zip"), load_result(folder / "run")
    assert crate.root_dataset["conformsTo"].id == "https://w3id.org/ro/wfrun/process/0.5"
    assert crate.license.id == "https://spdx.org/licenses/CC-BY-4.0"
    assert [(one.id, one["name"]) for one in crate.root_dataset["author"]] == [
        ("https://orcid.org/0000-0002-1825-0097", "Ada Lovelace")
    ]
    (action,) = crate.root_dataset["mentions"]
    assert action.type == "CreateAction"
    assert result.plan_digest in action["name"]
    assert action["startTime"] == result.started < action["endTime"]
    assert {entity.id for entity in action["object"]} == {
        f"runs/1-run/{name}" for name in ("spec.yaml", "plan/plan.json", "plan/arrays.npz")
    }
    assert {entity.id for entity in action["result"]} == {
        f"runs/1-run/{name}" for name in ("result.json", "clients.csv")
    }
    assert action["instrument"].type == "SoftwareApplication"
    assert action["instrument"]["softwareVersion"] == version("flspec")


def test_it_has_the_report_and_its_figures_and_nothing_that_was_not_named(folder: Path) -> None:
    names = {path.relative_to(folder / "a").as_posix() for path in (folder / "a").rglob("*") if path.is_file()}
    assert {"report.html", "figures/table-01-result.csv"} <= names
    assert any(name.startswith("figures/") and name.endswith(".svg") for name in names)
    assert not any(Path(name).suffix in (".key", ".safetensors") for name in names)
    pins = (folder / "a/runs/1-run/requirements.txt").read_text()
    assert f"torch=={load_result(folder / 'run').software.versions['torch']}\n" in pins  # type: ignore[union-attr]


def test_methods_say_what_the_plan_does(folder: Path) -> None:
    text = (folder / "a" / "methods.txt").read_text()
    assert ROCrate(folder / "a").description in text
    sizes = Plan.load(folder / "run" / "plan").clients.sizes
    for words in (
        "The data set is digits.",
        "It has 1,438 training and 359 test examples.",
        "divided among 4 clients by dirichlet (holdout 0.0, alpha 0.5, min examples 1);",
        f"; a client trains on {min(sizes)} to {max(sizes)}, in the median",
        "The model is mlp (hidden [8], activation relu).",
        "In each of 1 rounds the cohort is drawn by uniform (size 2).",
        "1 epochs, batches of 64, sgd (learning rate 0.125",
        "algorithm fedprox (mu 0.25",
        "Updates are combined by fedavg (weighting examples, learning rate 1.0).",
        "Training is not differentially private.",
        "One run was made, with the seed 0.",
        load_result(folder / "run").plan_digest,
    ):
        assert words in text, text


def test_methods_of_several_runs_name_what_differs(tmp_path: Path) -> None:
    for number, kind in enumerate(("fedavg", "median")):
        write_run(tmp_path / kind, [0.5], number, settings={"aggregator": {"kind": kind}})
    text = methods_in_words([load_result(tmp_path / kind) for kind in ("fedavg", "median")], None)
    assert "Updates are combined by fedavg or median." in text
    assert "2 runs were made, with the seed 0 or 1. They differ in aggregator (fedavg or median)." in text


def test_hostile_names_and_runs_that_did_not_end_well_are_told(tmp_path: Path) -> None:
    name = "<img src=x>\n\x1b[31m 100%"
    write_run(tmp_path / "runs" / name, [0.5], status="failed", error="out of \x1b memory", name=name, started="never")
    write_run(tmp_path / "runs" / "ended", [0.5], 1)
    (tmp_path / "runs" / "begun").mkdir()
    (tmp_path / "runs" / "begun" / "events.jsonl").write_text("{")
    done = flspec(tmp_path, "bundle", "runs", "--out", "b", "--json")
    assert (done.returncode, json.loads(done.stdout)["runs"]) == (0, 2)
    assert "failed after 1 rounds, and is in the bundle" in done.stderr
    assert "runs/begun is left out: it has not ended; go on with --resume" in done.stderr
    assert wrong_files(tmp_path / "b") == []
    assert {path.name for path in (tmp_path / "b" / "runs").iterdir()} == {"1-img-src=x-31m-100", "2-ended"}
    text = (tmp_path / "b" / "ro-crate-metadata.json").read_text() + (tmp_path / "b" / "methods.txt").read_text()
    assert "\x1b" not in text
    assert (
        not {"license", "author"}
        & json.loads((tmp_path / "b" / "ro-crate-metadata.json").read_text())["@graph"][0].keys()
    )
    actions = [one for one in ROCrate(tmp_path / "b").contextual_entities if one.type == "CreateAction"]
    assert {one["actionStatus"] for one in actions} == {
        "http://schema.org/FailedActionStatus",
        "http://schema.org/CompletedActionStatus",
    }


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["run", "--out", "a"], "--out: a is there already; choose another name, or remove it"),
        (["run", "--out", "no/a"], "no is no folder to write to"),
        (["absent", "--out", "new"], "absent does not exist; name the folder of a run"),
        (["run", "--out", "new", "--license", "a b"], "--license: 'a b' is neither an SPDX identifier nor an address"),
        (["run", "--out", "new", "--author", "<x>"], "--author: '<x>' is no name, with or without an ORCID"),
        (["run"], "Missing option '--out'"),
    ],
)
def test_what_is_asked_wrongly_is_told_and_leaves_nothing(folder: Path, arguments: list[str], told: str) -> None:
    before = sorted(path.name for path in folder.iterdir())
    done = flspec(folder, "bundle", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr.splitlines()[-1]
    assert sorted(path.name for path in folder.iterdir()) == before


def test_without_the_library_its_extra_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rocrate", None)
    done = flspec(folder, "bundle", "run", "--out", "new.zip")
    assert (done.returncode, "pip install 'flspec[bundle]'" in done.stderr) == (2, True)
    assert not (folder / "new.zip").exists()


def test_a_certificate_and_a_sweep_are_bundled_with_what_stands_around_their_runs(tmp_path: Path) -> None:
    rounds = [a_round(1)]
    save(tmp_path / "both", {"flower": SAME}, {name: a_result(name, rounds) for name in ("local", "flower")})
    for seed in range(2):
        write_run(tmp_path / "sweep" / f"seed-{seed}", [0.5], seed)
    cells = [
        {"label": f"seed={seed}", "status": "completed", "folder": f"seed-{seed}", "values": {}} for seed in range(2)
    ]
    write_sweep(tmp_path / "sweep", cells)
    for name, file, kind in (("both", "certificate.json", "Certificate"), ("sweep", "matrix.json", "Sweep")):
        done = flspec(tmp_path, "bundle", name, "--out", f"{name}.zip")
        assert (done.returncode, done.stdout[:18]) == (0, f"written to {name}.zip"[:18]), done.stderr
        shutil.unpack_archive(tmp_path / f"{name}.zip", tmp_path / "unpacked" / name)
        made = tmp_path / "unpacked" / name
        assert wrong_files(made) == []
        assert (made / "around" / f"1-{name}" / file).read_bytes() == (tmp_path / name / file).read_bytes()
        assert kind in (made / "report.html").read_text(encoding="utf-8")
        assert len(list((made / "runs").iterdir())) == 2
    alone = flspec(tmp_path, "bundle", "both/local", "--out", "alone")
    assert (alone.returncode, (tmp_path / "alone" / "around").exists()) == (0, False)
