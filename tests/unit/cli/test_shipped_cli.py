"""`flspec new --from` and `--list`: copies of the specs that come with flspec."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from flspec.cli.app import app
from flspec.errors import InputError
from flspec.spec import shipped
from flspec.spec.shipped import shipped_specs
from flspec.spec.study import load_study

SPECS = Path(__file__).parents[3] / "specs"
NAMES = sorted(path.relative_to(SPECS).with_suffix("").as_posix() for path in SPECS.rglob("*.yaml"))
Told = Callable[..., str]


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Told:
    """What a command prints, in this process and an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> str:
        app(list(arguments), standalone_mode=False)
        return capsys.readouterr().out

    return run


def test_every_spec_of_the_repository_is_listed_with_a_sentence(told: Told) -> None:
    listed = json.loads(told("new", "--list", "--json"))
    assert sorted(spec["name"] for spec in listed) == NAMES
    assert all(spec["summary"].endswith((".", "?")) for spec in listed)
    shown = told("new", "--list")
    assert all(name in shown for name in NAMES)
    assert "needs no" in shown


def test_each_copy_asks_for_the_same_experiments(told: Told) -> None:
    for number, name in enumerate(NAMES):  # in one folder, so that the schema is written once
        told("new", f"copy{number}.yaml", "--from", name)
        copied, source = load_study(Path(f"copy{number}.yaml")), load_study(SPECS / f"{name}.yaml")
        assert [cell.spec for cell in copied.cells] == [cell.spec for cell in source.cells], name
    assert Path("flspec.schema.json").is_file()
    for path in Path().glob("*.yaml"):
        assert path.read_text().startswith("# yaml-language-server: $schema=flspec.schema.json\n")


def test_a_copy_keeps_every_line_but_that_of_the_schema(told: Told) -> None:
    told("new", "copy.yaml", "--from", "quickstart")
    assert Path("copy.yaml").read_text().splitlines()[1:] == (SPECS / "quickstart.yaml").read_text().splitlines()[1:]
    assert told("new", "--from", "quickstart") == Path("copy.yaml").read_text()


def test_a_copy_may_have_another_name(told: Told) -> None:
    told("new", "copy.yaml", "--from", "quickstart", "--name", "mine")
    assert load_study(Path("copy.yaml")).cells[0].spec.name == "mine"


def test_what_two_copies_extend_is_written_once(told: Told) -> None:
    assert "what it extends: federated_scratch.yaml" in told("new", "a.yaml", "--from", "flair/central")
    document = json.loads(told("new", "b.yaml", "--from", "flair/fine_grained", "--json"))
    assert document["extends"] == ["federated_scratch.yaml"]
    assert {path.name for path in Path().glob("*.yaml")} == {"a.yaml", "b.yaml", "federated_scratch.yaml"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.yaml", "--from", "quikstart"], "--from: unknown 'quikstart'; did you mean 'quickstart'? choose one of"),
        (["taken.yaml", "--from", "quickstart"], "taken.yaml exists; name another file"),
        (["nowhere/a.yaml", "--from", "quickstart"], "nowhere is not a folder"),
        (["a.yaml", "--from", "isic_melanoma_exp1"], "isic_melanoma_normal.yaml exists and is not the file that"),
        (["federated_scratch.yaml", "--from", "flair/central"], "is what flair/central extends; name another file"),
        (["--from", "flair/central"], "flair/central extends federated_scratch.yaml; name a FILE"),
        (["a.yaml", "--from", "quickstart", "--model", "mlp", "--set", "rounds=2"], "leave --set and --model out"),
        (["a.yaml", "--list"], "--list writes nothing; leave FILE out"),
        (["--from", "quickstart", "--list"], "--list writes nothing; leave --from out"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_copy_that_cannot_be_made_leaves_nothing(told: Told, arguments: list[str], message: str) -> None:
    taken = {"taken.yaml": "mine", "isic_melanoma_normal.yaml": "mine too"}
    for name, text in taken.items():
        Path(name).write_text(text)
    with pytest.raises(InputError, match=message.replace("?", r"\?")):
        told("new", *arguments)
    assert {path.name: path.read_text() for path in Path().iterdir()} == taken


def test_specs_are_found_beside_an_installed_package_and_their_absence_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipped, "_PACKAGE", tmp_path / "flspec")
    with pytest.raises(InputError, match=r"has no specs in .*flspec_specs; install flspec again"):
        shipped_specs()
    shutil.copytree(SPECS, tmp_path / "flspec_specs")
    assert sorted(shipped_specs()) == NAMES
