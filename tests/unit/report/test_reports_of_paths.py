"""`flspec report`: the page that fits a path, and what it says of a run and of a sweep."""

from __future__ import annotations

import csv
import shlex
import shutil
import statistics
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from flspec.errors import InputError
from flspec.report import write_report
from flspec.report.last_values import last_values
from flspec.report.sections.clients import extremes
from flspec.report.sweep_subject import subject_of_sweep
from flspec.report.words import in_ascii, number
from flspec.runs.result import Result, load_result
from flspec.runs.runner import run
from flspec.runs.sweep_summary import CellRecord, Sweep
from flspec.spec.study import load_study
from tests.unit.report.report_cases import HOSTILE, Parsed, a_result, a_round

SPEC = """
flspec: 1
name: tiny
rounds: 2
dataset: {kind: digits}
partition: {kind: dirichlet, clients: 4, alpha: 0.5, min_examples: 5, holdout: 0.2}
model: {kind: mlp, hidden: [4]}
client: {epochs: 1, batch_size: 64, optimizer: {kind: sgd, learning_rate: 0.1}}
cohort: {kind: uniform, size: 2}
"""
ALPHAS, KINDS = (0.1, 5.0), ("fedavg", "fedadam")
SEEDS = (0, 1, 2)


def page_of(*paths: Path, out: Path | None = None) -> tuple[str, Parsed]:
    html = write_report(paths, out).path.read_text(encoding="utf-8")
    return html, Parsed(html)


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run, as the command line begins it."""
    folder = tmp_path_factory.mktemp("one")
    (folder / "spec.yaml").write_text(SPEC)
    run(folder / "spec.yaml", out=folder / "run")
    return folder / "run"


@pytest.fixture(scope="module")
def run_page(one: Path) -> tuple[str, Parsed]:
    return page_of(one)


def value_of(alpha: float, kind: str, seed: int, at: int) -> float:
    """A made-up accuracy, by which fedadam with alpha 5 is best."""
    return 0.1 * at + 0.02 * alpha + (0.2 if kind == "fedadam" else 0.0) + 0.01 * seed * seed


def a_cell(alpha: float, kind: str, seed: int, **fields: Any) -> Result:
    spec = {"name": "study", "seed": seed, "rounds": 3, "partition": {"kind": "dirichlet", "alpha": alpha}}
    spec["aggregator"] = {"kind": kind}
    rounds = [
        a_round(n, evaluation={"test": {"accuracy": value_of(alpha, kind, seed, n), "loss": 1.0 / n}})
        for n in (1, 2, 3)
    ]
    final = {"evaluation": rounds[-1].evaluation}
    digest = f"{alpha}{kind}{seed}".encode().hex().ljust(64, "0")
    rounds = fields.pop("rounds", rounds)
    return a_result("local", rounds, **{"spec": spec, "seed": seed, "final": final, "plan_digest": digest} | fields)


def keep(result: Result, folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(result.model_dump_json())
    return folder


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve runs, one more that failed, and one that repeats another."""
    folder = tmp_path_factory.mktemp("study")
    for alpha in ALPHAS:
        for kind in KINDS:
            for seed in SEEDS:
                keep(a_cell(alpha, kind, seed), folder / f"alpha={alpha},{kind},seed={seed}")
    keep(a_cell(5.0, "fedavg", 3, status="failed", error="no room", final=None), folder / "broken")
    keep(a_cell(0.1, "fedavg", 0), folder / "again")
    return folder


@pytest.fixture(scope="module")
def sweep_page(study: Path) -> tuple[str, Parsed]:
    return page_of(study)


# ---------------------------------------------------------------------------------------------------------------- a run


def test_a_run_is_a_run_and_not_a_comparison_with_nothing(run_page: tuple[str, Parsed], one: Path) -> None:
    html, page = run_page
    assert "<title>Run: tiny</title>" in html
    assert "nothing to compare" not in html
    assert page.texts["h2"] == [
        "Result",
        "What was asked",
        "Data and clients",
        "Curves",
        "Evaluation",
        "Clients",
        "Cost",
        "Environment",
        "Plan",
        "Failures",
    ]
    final = load_result(one).final
    assert final
    assert f"2 rounds of fedavg on digits, on local: test loss {number(final.evaluation['test']['loss'])}" in html


def test_settings_that_the_spec_says_are_told_from_defaults(run_page: tuple[str, Parsed]) -> None:
    said, defaults = run_page[0].split("</b> Defaults: what the spec does not say")
    said = said.partition("</b> What the spec says")[2]
    for path, is_said in (
        ("partition.alpha", True),
        ("client.epochs", True),
        ("client.shuffle", False),
        ("mode", False),
    ):
        assert (f">{path}</th>" in said, f">{path}</th>" in defaults) == (is_said, not is_said)
    assert run_page[1].row("rounds") == ["rounds", "2", "spec.yaml:4"]


def test_a_run_without_its_plan_and_data_has_a_page_that_says_so(tmp_path: Path) -> None:
    html, page = page_of(keep(a_cell(0.1, "fedavg", 0), tmp_path / "run"))
    assert "holds no plan" in html
    assert "defaults cannot be told apart" in html
    assert "Clients" not in page.texts["h2"]


def test_clients_are_told_with_what_they_hold_and_what_they_measured_last(
    run_page: tuple[str, Parsed], one: Path
) -> None:
    rows = {cells[0]: cells for cells in run_page[1].cells if len(cells) == 10 and cells[0] in tuple("0123")}
    cohorts = [client for record in load_result(one).rounds for client in record.cohort]
    assert {client: int(row[5]) for client, row in rows.items()} == {str(n): cohorts.count(n) for n in range(4)}
    sizes = [int(row[1]) for row in rows.values()]
    assert sizes == sorted(sizes, reverse=True)
    last = {row["client"]: row for row in csv.DictReader((one / "clients.csv").open())}
    for client, row in rows.items():
        names = ("loss", "accuracy", "update_norm")
        assert row[7:] == [number(float(last[client][name]) if client in last else None) for name in names]


def test_the_best_and_the_worst_clients_are_named_by_their_last_value(tmp_path: Path) -> None:
    lines = ["round,client,name,examples,trained,loss,update_norm,seconds,dropped"]
    lines += [f"{at},{client},,9,9,{client + 10 * (at == 1)},1,1," for at in (1, 2) for client in range(12)]
    lines += ["3,0,,9,,,,,late"]  # trained on nothing in its last round
    (tmp_path / "clients.csv").write_text("\n".join(lines) + "\n")
    values = last_values(tmp_path, a_result("local", clients={"path": "clients.csv"}))
    (table,) = extremes([f"ward {n}" for n in range(12)], values)
    assert table.rows[0] == ["1", "ward 0", "0", "ward 11", "11.00"]
    assert [row[1::2] for row in table.rows][-1] == ["ward 4", "ward 7"]
    for path, why in (("../clients.csv", "outside of its folder"), ("no.csv", "cannot be read")):
        assert why in last_values(tmp_path, a_result("local", clients={"path": path})).problem


def test_sets_are_told_with_their_numbers_of_examples(run_page: tuple[str, Parsed]) -> None:
    assert run_page[1].row("test")[1] == "359"  # a fifth of the 1,797 digits
    assert int(run_page[1].row("holdout")[1]) > 0


def test_a_run_in_another_folder_is_repeated_by_its_command(one: Path, tmp_path: Path) -> None:
    folder = tmp_path / "it's here"
    shutil.copytree(one, folder)
    page = page_of(folder)[1]
    (commands,) = [text for text in page.texts["pre"] if text.startswith("flspec reproduce")]
    again, words = map(shlex.split, commands.splitlines())
    assert again == ["flspec", "reproduce", str(folder)]
    assert words[:2] + words[3:] == ["flspec", "run", "--backend", "local"]
    assert load_study(words[2]).cells[0].spec.name == "tiny"


def test_a_result_that_was_changed_is_said_to_be(one: Path, tmp_path: Path) -> None:
    shutil.copytree(one, tmp_path / "run")
    text = (tmp_path / "run" / "result.json").read_text()
    (tmp_path / "run" / "result.json").write_text(text.replace('"accuracy": 0.', '"accuracy": 0.9', 1))
    assert "it was changed since, so do not rely on it" in page_of(tmp_path / "run")[0]


# -------------------------------------------------------------------------------------------------------------- a sweep


def test_means_and_deviations_are_those_of_the_runs(sweep_page: tuple[str, Parsed]) -> None:
    rows = [cells for cells in sweep_page[1].cells if len(cells) == 5 and cells[0] in ("0.1", "5")]
    found = {(row[0], row[1]): row[2:4] for row in rows if "±" in row[3]}
    expected = {}
    for alpha in ALPHAS:
        for kind in KINDS:
            values = [value_of(alpha, kind, seed, 3) for seed in SEEDS]
            spread = f"{number(statistics.fmean(values))} ± {number(statistics.stdev(values), 2)}"
            expected[f"{alpha:g}", kind] = ["3", spread]
    assert found == expected  # a failed run and one that was run twice would change the numbers


def test_the_best_is_named_by_each_metrics_own_direction(sweep_page: tuple[str, Parsed]) -> None:
    html, page = sweep_page
    assert "test accuracy is highest on average with alpha 5, aggregator fedadam" in html
    assert page.row("accuracy")[1] == "alpha 5, aggregator fedadam"
    assert page.row("accuracy")[4] == "alpha 0.1, aggregator fedadam"


def test_settings_are_called_better_only_by_the_test_of_their_seeds(sweep_page: tuple[str, Parsed]) -> None:
    html, page = sweep_page
    assert page.texts["h2"][:3] == ["Result", "Which is better", "Curves"]
    verdicts = [cells[-1] for cells in page.cells if len(cells) == 8 and cells[2] in ("0.1", "5.0", *KINDS)]
    assert verdicts == ["too few seeds"] * 4  # two pairs in each of two axes, three seeds of each, however far apart
    assert "8 seeds are the fewest that can show a difference" in html


def test_runs_of_one_seed_are_laid_over_each_other_where_they_can_be_compared(study: Path, tmp_path: Path) -> None:
    cells = [study / f"alpha=5.0,{kind},seed=0" for kind in KINDS]
    html, page = page_of(*cells, out=tmp_path / "page.html")
    assert page.texts["h2"][:3] == ["Verdict", "Settings", "Curves"]
    assert "aggregator fedadam" in html.partition(">Curves</h2>")[0]
    assert 'class="warning"' not in html.replace('class="warning mild"', "")  # nobody is warned for asking


def test_what_failed_and_what_was_left_out_is_said(sweep_page: tuple[str, Parsed]) -> None:
    html, page = sweep_page
    assert ["broken", "1", "failed", "no room"] in page.cells
    assert "1 failed" in html
    assert "1 run of a plan and backend that another run has were left out" in html


def test_curves_are_means_in_bands_on_one_set_of_axes(sweep_page: tuple[str, Parsed]) -> None:
    titles = sweep_page[1].texts["h3"]
    assert titles[:4] == ["Test accuracy", "Test loss", "Train loss", "Train accuracy"]
    assert [title for title in titles if title.startswith("alpha")] == [
        "alpha 0.1: test accuracy",
        "alpha 5: test accuracy",
    ]
    assert "means over 3 runs each; the band is one sample standard deviation to either side" in sweep_page[0]


def test_cells_that_never_began_are_among_the_failures(tmp_path: Path) -> None:
    folders = [keep(a_cell(0.1, "fedavg", seed), tmp_path / f"cell{seed}").name for seed in (0, 1)]
    done = [CellRecord(label=name, values={}, folder=name, status="completed") for name in folders]
    why = "partition.min_examples is 900, but there are too few"
    lost = [CellRecord(label=f"lost{n}", values={}, status="failed", error=why) for n in (0, 1)]
    record = Sweep(name="study", backend="local", cells=(*done, *lost), groups=())
    (tmp_path / "matrix.json").write_text(record.model_dump_json())
    html, page = page_of(tmp_path)
    assert ["lost0, lost1", "2", "failed", why] in page.cells
    assert "2 runs unfinished" in html


# -------------------------------------------------------------------------------------------------------- which page


def test_runs_are_a_sweep_if_two_differ_in_nothing_but_their_seeds(study: Path) -> None:
    cells = sorted(path for path in study.iterdir() if path.is_dir() and path.name not in ("again", "broken"))
    assert subject_of_sweep(cells[:3])  # three seeds
    assert subject_of_sweep([study])
    assert subject_of_sweep(cells[::3]) is None  # one seed each: their comparison
    assert subject_of_sweep(cells[:1]) is None


@pytest.mark.parametrize(
    ("paths", "out", "message"),
    [
        (["nowhere"], None, "nowhere does not exist"),
        (["cell", "cell2"], None, "--out: a report on several paths stands in none of them"),
        (["cell"], "result.json", "does not end in .html"),
        (["cell"], "no/such/page.html", "cannot be written"),
    ],
)
def test_what_cannot_be_reported_is_said_and_nothing_is_written(
    paths: list[str], out: str | None, message: str, tmp_path: Path
) -> None:
    for seed, name in enumerate(("cell", "cell2")):
        keep(a_cell(0.1, "fedavg", seed), tmp_path / name)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match=message):
        write_report([tmp_path / path for path in paths], out and tmp_path / out)  # type: ignore[arg-type]
    assert sorted(tmp_path.rglob("*")) == before


# --------------------------------------------------------------------------------------------------------------- assets


def test_figures_and_tables_stand_beside_the_page(study: Path, tmp_path: Path) -> None:
    written = write_report([study], tmp_path / "page.html", tmp_path / "assets")
    names = [path.name for path in written.assets]
    assert {"figure-01-1-test-accuracy.svg", "figure-01-1-test-accuracy.png"} <= set(names)
    root = ElementTree.fromstring((tmp_path / "assets" / "figure-01-1-test-accuracy.svg").read_text())
    texts = [text.strip() for text in root.itertext() if text.strip()]
    assert "alpha 5, aggregator fedadam" in texts  # the legend, which a page has beside the figure
    assert "Test accuracy" in texts
    assert (tmp_path / "assets" / "figure-01-1-test-accuracy.png").read_bytes().startswith(b"\x89PNG")
    (final,) = [path for path in written.assets if path.name.endswith("final-values.csv")]
    rows = list(csv.DictReader(final.open()))
    assert [row["n"] for row in rows] == ["3"] * 4
    mean, sd = map(float, rows[0]["test accuracy"].split(" ± "))
    values = [value_of(0.1, rows[0]["aggregator"], seed, 3) for seed in SEEDS]
    assert (mean, sd) == pytest.approx((statistics.fmean(values), statistics.stdev(values)), rel=0.01)


@pytest.mark.parametrize("value", [3.04e-8, -2.5, 1320.0, 0.5, 1.5e12])
def test_numbers_in_files_are_read_by_programs(value: float) -> None:
    assert float(in_ascii(number(value))) == pytest.approx(value, rel=1e-3)


# ------------------------------------------------------------------------------------------------------------- hostile


def test_hostile_names_of_a_run_and_a_sweep_change_nothing_but_the_text(tmp_path: Path) -> None:
    shapes: list[Any] = []
    for text in (HOSTILE, "harmless"):
        home = tmp_path / str(len(shapes))
        for seed in (0, 1):
            spec = {"name": text, text: text, "aggregator": {"kind": text}, "dataset": {"kind": text}}
            rounds = [
                a_round(
                    1, evaluation={"test": {"loss": 1.0, text: 2.0}, f"test/{text.replace('/', '|')}=1": {text: 1.0}}
                )
            ]
            final = {"evaluation": rounds[0].evaluation}
            result = a_cell(0.1, "fedavg", seed, spec=spec, name=text, rounds=rounds, final=final)
            keep(result, home / f"run{seed}")
        pages = [page_of(home / "run0")[0], page_of(home)[0]]
        assert not any("<img src=x" in page for page in pages)
        shapes.append([Parsed(page).shape for page in pages])
    assert shapes[0] == shapes[1]
