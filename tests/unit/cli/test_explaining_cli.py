"""`flspec plan` and `flspec diff` as they are seen in a terminal, and the picture of a partition."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import yaml

from flspec.analysis.skew import measure_skew
from flspec.cli.explanation_tables import partition_picture
from flspec.report.partition_chart import draw_partition
from tests.command_line import flspec

LONG = "n" * 100  # as long as a name may be


@pytest.fixture(autouse=True)
def eighty_columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def folder(tmp_path, make_spec):
    specs: dict[str, dict[str, Any]] = {
        "a.yaml": {},
        "named.yaml": {"name": LONG},
        "longer.yaml": {"rounds": 4},
        "cohort.yaml": {"cohort": {"kind": "all"}},
    }
    for file, sections in specs.items():
        spec = make_spec(**sections).model_dump(mode="json", exclude_none=True)
        (tmp_path / file).write_text(yaml.safe_dump(spec))
    return tmp_path


def lines_of(done):
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "\x1b" not in done.stdout
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    assert max(map(len, lines)) <= 80
    return lines


def row(lines, name):
    return next(line.removeprefix(f" {name}").strip() for line in lines if line.startswith(f" {name} "))


# -------------------------------------------------------------------------------------------------------------- plan


def test_plan_says_facts_skew_cost_and_who_can_run_it(folder):
    lines = lines_of(flspec(folder, "plan", "a.yaml"))
    assert row(lines, "clients") == "5, each holding 12 examples"
    assert row(lines, "rounds") == "3 of 3 clients, 3 steps each; 27 steps in all"
    assert row(lines, "skew").startswith("label entropy ")
    assert row(lines, "bytes") == "204 bytes to a client and 204 bytes back, each time"
    assert row(lines, "memory").endswith("MiB, all in one process")
    assert row(lines, "time").startswith("about ")
    assert " s on local, from " in row(lines, "time")
    assert row(lines, "on local") == "can run"
    assert not list(folder.glob("*.svg"))


def test_plan_of_a_real_spec_breaks_no_line():
    lines = lines_of(flspec(Path(__file__).parents[3], "plan", "specs/quickstart.yaml"))
    ends = [line for line in lines if line.startswith(" ") and len(line.split()) == 1 and set(line) > set(" ─")]
    assert ends == []  # a word alone on its line is what is left of a broken one


def test_plot_draws_and_shows_who_holds_what(folder):
    done = flspec(folder, "plan", "a.yaml", "--plot", "--out", "p")
    lines = lines_of(done)
    assert lines[-1] == "drawn in p/small-partition.svg"
    assert ElementTree.parse(folder / "p" / "small-partition.svg").getroot().tag.endswith("svg")
    assert sum(line.endswith(f" 12 {'█' * 10}") for line in lines) == 5  # a row a client, with what it holds


def test_plot_tells_where_it_drew_in_json(folder):
    document = json.loads(flspec(folder, "plan", "a.yaml", "--plot", "--json").stdout)
    assert document["plot"] == "small-partition.svg"
    assert document["skew"]["label_entropy"]["greatest"] == pytest.approx(np.log(3))
    assert (folder / document["plot"]).is_file()


def test_a_picture_that_cannot_be_written_is_one_line(folder):
    (folder / "small-partition.svg").mkdir()
    done = flspec(folder, "plan", "a.yaml", "--plot")
    assert done.returncode == 2
    assert done.stderr.startswith("flspec: --plot: small-partition.svg cannot be written")
    assert done.stderr.count("\n") == 1


def test_a_text_picture_shades_by_quarters_of_the_most():
    picture = partition_picture(np.array([[0, 1, 25], [26, 75, 100]]))
    assert picture
    text = picture.plain.splitlines()
    assert text[1].split() == ["0", "··", "░░", "░░", "26", "█"]
    assert text[2].split() == ["1", "▒▒", "▓▓", "██", "201", "█" * 10]
    assert text[3].strip() == "examples of a label: · none, ░ to 25, ▒ to 50, ▓ to 75, █ to 100"


@pytest.mark.parametrize("shape", [(41, 2), (2, 21)])
def test_no_text_picture_of_more_than_a_terminal_shows(shape):
    assert partition_picture(np.ones(shape, np.int64)) is None
    assert partition_picture(np.ones((40, 20), np.int64)) is not None


# ----------------------------------------------------------------------------------------------------------- picture


def drawn(counts):
    """A picture's root, what is written in it, and its text."""
    svg = draw_partition(counts, "a & <b>", measure_skew(counts))
    root = ElementTree.fromstring(svg)
    return root, ["".join(node.itertext()) for node in root.iter("{http://www.w3.org/2000/svg}text")], svg


def test_a_few_clients_are_drawn_each_with_its_number_and_size():
    counts = np.array([[3, 0, 4], [10, 1, 90]])
    _, words, svg = drawn(counts)
    assert {"a & <b>", "2 clients hold 108 examples of 3 labels", "101", "7", "label", "client"} <= set(words)
    assert svg == drawn(counts)[2]
    assert svg != drawn(counts[::-1])[2]


@pytest.mark.parametrize("shape", [(1, 2), (2, 62), (31, 10), (41, 10), (1000, 100), (2500, 3)])
def test_many_clients_are_drawn_as_one_image_of_bounded_size(shape):
    counts = np.random.default_rng(0).integers(0, 9, shape)
    counts[:, 0] += 1  # everyone holds something
    root, words, svg = drawn(counts)
    assert bool(root.findall(".//{http://www.w3.org/2000/svg}image")) == (max(shape) > 30)
    assert ("clients, in the order of their commonest label" in " ".join(words)) == (shape[0] > 40)
    assert ("each row the mean of about 1.25" in " ".join(words)) == (shape[0] > 2000)
    assert len(svg) < 500_000
    assert max(float(root.get(side).removesuffix("pt")) for side in ("width", "height")) < 72 * 10


# -------------------------------------------------------------------------------------------------------------- diff


def test_diff_says_plainly_that_nothing_differs(folder):
    lines = lines_of(flspec(folder, "diff", "a.yaml", "a.yaml"))
    assert "The same plan: comments, names and key order aside, nothing differs." in lines


def test_diff_says_that_a_name_changes_nothing(folder):
    done = flspec(folder, "diff", "a.yaml", "named.yaml")
    assert "The same plan: the settings that differ change nothing that is computed." in lines_of(done)


def test_diff_shows_settings_parts_and_facts(folder):
    lines = lines_of(flspec(folder, "diff", "a.yaml", "longer.yaml"))
    assert "Two different plans: they answer different questions." in lines
    assert [line.split() for line in lines if line.startswith(" rounds ")] == [
        ["rounds", "3", "4"],  # the setting
        ["rounds", "3", "and", "4"],  # what was decided
        ["rounds", "3", "4"],  # the fact
        ["rounds", "total", "steps", "27", "36"],
    ]


def test_diff_of_runs_shows_what_came_of_them(folder):
    for file in ("a", "longer"):
        assert flspec(folder, "run", f"{file}.yaml", "--out", file).returncode == 0
    lines = lines_of(flspec(folder, "diff", "a", "longer"))
    assert len(row(lines, "test loss").split()) == 3
    assert any(line.startswith("final weights: differ by ") for line in lines)
    document = json.loads(flspec(folder, "diff", "a", "a", "--json").stdout)
    assert document["same_plan"] is True
    assert document["runs"]["same_weights"] is True


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.yaml"], "'B'"),
        (["a.yaml", "absent.yaml"], "absent.yaml: cannot be read"),
        (["a.yaml", "."], "flspec: . has neither result.json nor plan.json; name a spec"),
    ],
)
def test_what_cannot_be_held_against_another_is_one_line(folder, arguments, message):
    before = sorted(path.name for path in folder.iterdir())
    done = flspec(folder, "diff", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
    assert sorted(path.name for path in folder.iterdir()) == before


@pytest.mark.parametrize("command", ["plan", "diff"])
def test_help_fits_a_screen(folder, command):
    done = flspec(folder, command, "--help", LINES="40")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) <= 40
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_time_is_told_of_pictures_that_are_cropped_on_their_way_to_the_model(tmp_path):
    """Whoever measures a part of the examples must give a model what it is given of all of them."""
    (tmp_path / "crop.yaml").write_text("""
flspec: 1
name: crop
rounds: 2
dataset:
  kind: digits
  normalise: half
  train_transforms: [{kind: random_crop, size: 6}]
  test_transforms: [{kind: centre_crop, size: 6}]
partition: {kind: iid, clients: 4}
model: {kind: mlp, hidden: [8]}
client: {epochs: 1, batch_size: 16, optimizer: {kind: sgd, learning_rate: 0.1}}
""")
    done = flspec(tmp_path, "plan", "crop.yaml", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["estimates"]["time"]["local"]["seconds"] > 0
