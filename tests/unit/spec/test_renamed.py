"""Keys and values by their former names: told where they stand, with today's name."""

from __future__ import annotations

import importlib
import json

import pytest

from flspec.cli import main
from flspec.datasets.csv import CsvTable
from flspec.datasets.digits import Digits
from flspec.partitioners import Partitioner
from flspec.spec import renamed
from flspec.spec.catalogue import plain_schema
from flspec.spec.renamed import renamed_key, renamed_value
from flspec.spec.spec import BestRound, ClientWork, Spec
from flspec.spec.suggestions import _places, suggest_key
from tests.unit.spec.test_loading import TEXT, edited, problems

OF_PICTURES = "dataset: {kind: image_folder, size: 8, "
RENAMED = [
    ("  epochs: 2", "  epochs: 2\n  across_passes: true", "10:3: client.across_passes: is now called "
     "batch_across_epochs; rename it"),
    ("alpha: 0.5}", "alpha: 0.5, held_out: 0.2}", "6:55: partition.held_out: is now called holdout; rename it"),
    ("alpha: 0.5}", "alpha: 0.5, holdout: 0.2, held_out_by: user}", "6:69: partition.held_out_by: is now called "
     "holdout_by; rename it"),
    ("dataset: {kind: digits}", "dataset: {kind: csv, test_share: 0.2}", "5:22: dataset.test_share: is now called "
     "holdout; rename it"),
    ("dataset: {kind: digits}", OF_PICTURES + "test_share: 0.2}", "5:40: dataset.test_share: is now called holdout; "
     "rename it"),
    ("dataset: {kind: digits}", OF_PICTURES + "fit: squash}", "5:40: dataset.fit: squash is now called stretch; "
     "rename it"),
    ("  epochs: 2", "  epochs: 2\n  clip: {norm: 1.0, by: variable}", "10:21: client.clip.by: variable is now called "
     "tensor; rename it"),
    ("accuracy]}", "accuracy], best: {metric: loss, on: held_out}}", "14:72: evaluation.best.on: held_out is now "
     "called holdout; rename it"),
]  # fmt: skip


@pytest.mark.parametrize(("before", "after", "told"), RENAMED, ids=[case[2].split(": ")[1] for case in RENAMED])
def test_a_former_name_is_told_at_its_place_with_todays(before, after, told):
    assert problems(edited(before, after)) == [f"spec.yaml:{told}"]


def test_a_former_name_beside_todays_is_told_to_be_there_twice():
    text = edited("alpha: 0.5}", "alpha: 0.5, holdout: 0.2, held_out: 0.2}")
    assert problems(text) == [
        "spec.yaml:6:69: partition.held_out: is now called holdout; rename it. It is given too",
    ]


def test_what_never_had_a_former_name_is_unknown_as_ever():
    assert renamed_key("test_share", CsvTable) == "holdout"
    assert renamed_key("test_share", Digits) is None  # which has no share to hold out
    assert renamed_key("held_out", CsvTable) is None
    assert renamed_key("across_passes", ClientWork) == "batch_across_epochs"
    assert renamed_key("across_passes", Spec) is None
    assert renamed_key("held_out", None) is None
    assert suggest_key("test_share", Digits, ("dataset",)).startswith("unknown key 'test_share'; ")
    assert renamed_value("held_out", "on", BestRound) == "holdout"
    assert renamed_value("held_out", "metric", BestRound) is None
    assert renamed_value(["held_out"], "on", BestRound) is None
    assert renamed_value("squash", "fit", None) is None


def test_a_component_that_reads_the_former_name_keeps_it():
    class OfAPlugin(Partitioner):  # of no kind, so that no other test finds it
        held_out: float = 0.0

    assert renamed_key("held_out", OfAPlugin) is None


def test_every_line_of_the_tables_names_what_a_spec_reads_today():
    every = {cls.__name__: place.cls for place in _places() for cls in place.cls.__mro__}
    every |= {"Dataset": importlib.import_module("flspec.datasets.image_folder").ImageFolder}
    for former, today in renamed._KEYS.items():
        name, key = former.split(".")
        assert today in every[name].model_fields
        assert key not in every[name].model_fields
    for where, values in renamed._VALUES.items():
        name, key = where.split(".")
        told = json.dumps(plain_schema(every[name])["properties"][key])
        for former, today in values.items():
            assert today in told
            assert f'"{former}"' not in told


def test_a_setting_an_axis_and_a_small_variant_are_told_too(tmp_path, monkeypatch, capsys):
    (tmp_path / "spec.yaml").write_text(TEXT)
    (tmp_path / "axis.yaml").write_text(TEXT + "matrix: {axes: {partition.held_out: [0.1, 0.2]}}\n")
    (tmp_path / "small.yaml").write_text(TEXT + "small: {client: {across_passes: true}}\n")
    monkeypatch.chdir(tmp_path)
    for arguments, told in (
        (["spec.yaml", "--set", "client.across_passes=true"], "batch_across_epochs"),
        (["axis.yaml"], "holdout"),
        (["small.yaml"], "batch_across_epochs"),
    ):
        monkeypatch.setattr("sys.argv", ["flspec", "validate", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 2
        assert f": is now called {told}; rename it" in capsys.readouterr().err


def test_a_former_name_of_a_data_set_is_told_by_its_commands(tmp_path, monkeypatch, capsys):
    arguments = ["data", "info", str(tmp_path), "--kind", "csv", "--set", "test_share=0.3"]
    monkeypatch.setattr("sys.argv", ["flspec", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "test_share: is now called holdout; rename it" in capsys.readouterr().err
