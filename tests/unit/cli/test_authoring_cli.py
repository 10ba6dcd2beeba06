"""`flspec list`, `schema` and `new`: what they print, what they write, what they ask."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import psutil
import pytest

from flspec.cli.app import app
from flspec.cli.consoles import console
from flspec.metrics import METRICS
from flspec.spec.catalogue import families, find_family
from flspec.spec.loading import load_spec, parse_spec
from flspec.spec.schema import spec_schema
from flspec.spec.sections import sections
from tests.command_line import flspec, flspec_apart
from tests.processes import wait_until

HEAVY = {"torch", "sklearn", "scipy", "flwr", "ray", "tensorflow"}
CRUMBS = """
    from typing import Literal
    from flspec.core.components import OneOf
    from flspec.partitioners import Counted
    from flspec.samplers import Sampler

    class Crumbs(Counted):
        '''Deal [red]crumbs[/red].'''
        kind: Literal["crumbs"] = "crumbs"
        crumbs_each: int = 2
        before: OneOf[Sampler]
        turns: tuple[OneOf[Sampler], ...] = ()
        last: OneOf[Sampler] | None = None
        def split(self, examples, stream): ...
"""


COMMAND = str(Path(sys.executable).with_name("flspec"))  # not `python -m flspec`, for which no shell completes


@pytest.fixture
def told(capsys, monkeypatch):
    """What a command prints on a screen of 80 columns, in this process."""
    monkeypatch.setattr(console, "width", 80)

    def run(*arguments):
        app(list(arguments), standalone_mode=False)
        return capsys.readouterr().out

    return run


# ---------------------------------------------------------------------------------------------------------------- list


def test_list_tells_the_families_with_their_kinds(told):
    shown = told("list")
    for family in families().values():
        assert family.section in shown
        assert all(kind in shown for kind in family.kinds)


@pytest.mark.parametrize("family", families().values(), ids=lambda family: family.name)
def test_a_family_is_told_with_the_parameters_of_each_kind_and_a_kind_in_full(told, family):
    shown = told("list", family.section)
    assert shown == told("list", family.name)
    assert max(map(len, shown.splitlines())) <= 80
    for kind in family.kinds.values():
        assert kind.kind in shown
        assert all(parameter.name in shown for parameter in kind.parameters)
        whole = told("list", family.section, kind.kind)
        assert max(map(len, whole.splitlines())) <= 80
        assert " ".join(kind.description.split()) in " ".join(whole.split())
        assert all(parameter.name in whole for parameter in kind.parameters)


def test_a_parameter_is_told_with_range_default_and_meaning(told):
    lines = [line.split() for line in told("list", "client.optimizer", "sgd").splitlines()]
    assert next(line for line in lines if line[:1] == ["learning_rate"])[1] == "required"
    assert "momentum 0.0 number, at least 0, below" in " ".join(
        next(line for line in lines if line[:1] == ["momentum"])
    )
    assert "[32, 64]" in told("list", "model", "cnn")


def test_list_as_json_is_whole(told):
    assert {family["section"] for family in json.loads(told("list", "--json"))} >= {"dataset", "partition"}
    family = json.loads(told("list", "partition", "--json"))
    assert family["name"] == "partitioners"
    assert family["kinds"]["dirichlet"] == json.loads(told("list", "partition", "dirichlet", "--json"))
    alpha = next(p for p in family["kinds"]["dirichlet"]["parameters"] if p["name"] == "alpha")
    assert (alpha["required"], alpha["range"], alpha["examples"]) == (True, "above 0, at most 1,000,000", [0.5])


@pytest.fixture
def site(tmp_path):
    """A folder with an installed package of one partitioner."""
    metadata = tmp_path / "site" / "my_crumbs-1.0.dist-info"
    metadata.mkdir(parents=True)
    (tmp_path / "site" / "my_crumbs.py").write_text(textwrap.dedent(CRUMBS))
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: my-crumbs\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[flspec.partitioners]\ncrumbs = my_crumbs:Crumbs\n")
    return tmp_path / "site"


def test_an_installed_kind_is_listed_with_its_package_and_offered(site, tmp_path):
    shown = flspec_apart(tmp_path, "list", "partition", "crumbs", PYTHONPATH=str(site)).stdout
    assert shown.startswith("partition: {kind: crumbs} (from my_crumbs)\n\nDeal [red]crumbs[/red].\n")
    assert "Deal [red]crumbs[/red]." in flspec_apart(tmp_path, "list", "partition", PYTHONPATH=str(site)).stdout
    made = flspec_apart(tmp_path, "new", "--partition", "crumbs", PYTHONPATH=str(site))
    assert "kind: crumbs  # Deal [red]crumbs[/red]." in made.stdout
    assert "# crumbs_each: 2" in made.stdout
    assert "  before:\n    kind: all" in made.stdout
    samplers = (
        "all, available, by_size, cyclic_poisson, poisson, round_robin, truncated_poisson, uniform, with_replacement"
    )
    told = " ".join(made.stdout.replace("#", " ").split())  # so many kinds take two lines
    assert f"Kinds: {samplers} (flspec list partition.turns) turns: []" in told
    assert "# last: null" in made.stdout
    assert '"crumbs"' in flspec_apart(tmp_path, "schema", PYTHONPATH=str(site)).stdout


# ------------------------------------------------------------------------------------------------------ schema and new


def test_schema_prints_it_or_writes_it(told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert json.loads(told("schema")) == spec_schema()
    assert told("schema", "--out", "s.json") == "written to s.json\n"
    assert json.loads((tmp_path / "s.json").read_text()) == spec_schema()
    assert json.loads(told("schema", "--out", "s.json", "--json")) == {"schema": "s.json"}


def test_new_prints_a_spec_where_nobody_can_be_asked(tmp_path):
    done = flspec(tmp_path, "new")
    assert (done.returncode, done.stderr) == (0, "")
    assert parse_spec(done.stdout).name == "quickstart"
    assert list(tmp_path.iterdir()) == []


def test_new_writes_what_is_asked_for_and_says_what_it_wrote(told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = ("--dataset", "synthetic", "--partition", "iid", "--model", "cnn", "--aggregator", "fedadam")
    more = ("--cohort", "uniform", "--clients", "7", "--rounds", "3", "--set", "cohort.size=2", "--set", "seed=5")
    shown = told("new", "my mlp.yaml", *options, *more)
    assert "flspec.schema.json" in shown
    assert "next: flspec plan 'my mlp.yaml'" in shown
    spec: Any = load_spec("my mlp.yaml")
    kinds = (spec.dataset.kind, spec.partition.kind, spec.model.kind, spec.aggregator.kind, spec.cohort.kind)
    assert kinds == ("synthetic", "iid", "cnn", "fedadam", "uniform")
    assert (spec.name, spec.partition.clients, spec.rounds, spec.cohort.size, spec.seed) == ("my-mlp", 7, 3, 2, 5)
    assert json.loads((tmp_path / "flspec.schema.json").read_text()) == spec_schema()
    assert "flspec.schema.json" not in told("new", "b.yaml")
    document = json.loads(told("new", "c.yaml", "--json"))
    assert document == {"file": "c.yaml", "schema": "flspec.schema.json", "wrote_schema": False}
    assert parse_spec(json.loads(told("new", "--json"))["spec"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["list", "partion"], "section: unknown 'partion'; did you mean 'partition'?"),
        (["list", "metrics", "acuracy"], "evaluation.metrics: unknown 'acuracy'; did you mean 'accuracy'?"),
        (["list", "client", "batchsize"], "client: unknown 'batchsize'; did you mean 'batch_size'?"),
        (["list", "rounds", "3"], "rounds: is integer, of which there are no kinds; leave 3 out"),
        (["list", "partition", "dirchlet"], "partition: unknown 'dirchlet'; did you mean 'dirichlet'?"),
        (["schema", "--out", "taken.yaml"], "taken.yaml exists and is not a JSON Schema"),
        (["new", "taken.yaml"], "taken.yaml exists; name another file"),
        (["new", "nowhere/a.yaml"], "nowhere is not a folder"),
        (["new", "a.yaml", "--model", "mpl"], "model: unknown 'mpl'; did you mean 'mlp'?"),
        (["new", "a.yaml", "--set", "partition.alhpa=1"], "unknown key 'alhpa'; did you mean 'alpha'?"),
        (["new", "a.yaml", "--clients", "3", "--set", "partition.clients=4"], "remove one"),
        (["new", "a.yaml", "--rounds", "0"], "rounds: expected at least 1, got 0"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_input_is_told_in_a_line_and_leaves_nothing(tmp_path, arguments, message):
    (tmp_path / "taken.yaml").write_text("mine")
    done = flspec(tmp_path, *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("taken.yaml", "mine")]


def on_a_terminal(folder, *arguments, typed):
    """Run the command on a terminal, type, and return what was shown and the exit code."""
    process, descriptor = pty.fork()
    if process == 0:
        os.chdir(folder)
        os.execv(COMMAND, [COMMAND, *arguments])
    shown, answered = b"", 0
    answers = list(typed)
    try:
        while chunk := os.read(descriptor, 4096):
            shown += chunk
            if answers and shown[answered:].endswith(b"]: "):  # "dataset [digits]: ", and it waits
                wait_until(lambda: psutil.Process(process).status() == psutil.STATUS_SLEEPING)  # until it reads
                os.write(descriptor, answers.pop(0))
                answered = len(shown)
    except OSError:  # the other end is closed
        pass
    os.close(descriptor)
    return shown.decode(), os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def test_on_a_terminal_new_asks_and_takes_names_numbers_and_what_is_usual(tmp_path):
    shown, code = on_a_terminal(tmp_path, "new", "a.yaml", typed=[b"\n", b"1\n", b"99\n", b"cnn\n", b"fedadam\n"])
    assert code == 0, shown
    spec: Any = load_spec(tmp_path / "a.yaml")
    kinds = (spec.dataset.kind, spec.partition.kind, spec.model.kind, spec.aggregator.kind)
    assert kinds == ("digits", "by_label", "cnn", "fedadam")
    assert "model: unknown '99'; choose one of cifar_cnn, cnn, dcgan" in shown


@pytest.mark.parametrize("key", [b"\x03", b"\x04"], ids=["ctrl-c", "end of file"])
def test_a_question_that_is_not_answered_leaves_nothing(tmp_path, key):
    shown, code = on_a_terminal(tmp_path, "new", "a.yaml", typed=[b"\n", key])
    assert code == 130
    assert "interrupted" in shown
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("option", [["--yes"], ["--dataset", "digits"], ["--json"]], ids=" ".join)
def test_whoever_says_what_is_wanted_is_not_asked(tmp_path, option):
    shown, code = on_a_terminal(tmp_path, "new", "a.yaml", *option, typed=[])
    assert code == 0, shown
    assert "]:" not in shown
    assert load_spec(tmp_path / "a.yaml").name == "a"


# ------------------------------------------------------------------------------------------------ completion, and speed


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("flspec list ", list(sections())),
        (
            "flspec list p",
            [
                "parts",
                "partition",
                "partition.among",
                "privacy",
                "privacy.stop",
                "privacy.clip",
                "privacy.noise",
                "postprocessors",
            ],
        ),
        ("flspec list aggregator fedad", ["fedadagrad", "fedadam"]),
        ("flspec list partitioners ", list(find_family("partitioners").kinds)),
        ("flspec list nonsense ", []),
        ("flspec list mode ", ["federated", "centralized", "local_only"]),
        ("flspec list metrics b", ["balanced_accuracy", *(name for name in METRICS if name.startswith("bi")), "brier"]),
        ("flspec list matrix ", ["axes", "seeds", "exclude", "include"]),
        ("flspec new --dataset ", list(find_family("datasets").kinds)),
        ("flspec new --model c", ["cifar_cnn", "cnn"]),
        ("flspec new --from q", ["quickstart"]),
    ],
)
def test_a_shell_completes_families_and_kinds(tmp_path, words, offered):
    done = flspec_apart(
        tmp_path, _FLSPEC_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=str(len(words.split(" ")) - 1)
    )
    assert done.stdout.split() == offered
    assert done.stderr == ""


def imported_by(folder, *arguments):
    source = (
        "import sys; from flspec.cli.app import app; app(sys.argv[1:], standalone_mode=False);"
        "print('\\n', *{name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", source, *arguments], cwd=folder, capture_output=True, text=True, check=True
    )
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    "arguments", [["list"], ["list", "model", "cnn"], ["schema"], ["new", "--yes"], ["new", "--list"]], ids=" ".join
)
def test_nothing_heavy_is_imported(tmp_path, arguments):
    imported = imported_by(tmp_path, *arguments)
    assert "pydantic" in imported
    assert imported & HEAVY == set()
