"""Data sets of the Hugging Face Hub: what the library loads is read as the same table in Parquet is, once."""

from __future__ import annotations

import importlib
import io
import json
import sys
from importlib.metadata import PackageNotFoundError, distribution
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from flspec.core.cache import cache_folder
from flspec.core.randomness import Stream
from flspec.datasets.huggingface import HuggingFace
from flspec.errors import InputError

REVISION = "77f3279092a1c1579b2250db8eafed0ad422088c"
NAMES = ["rose", "tulip"]
ABOUT = {"info": {"features": {"label": {"names": NAMES, "_type": "ClassLabel"}}}}


def picture(number: int) -> dict[str, Any]:
    file = io.BytesIO()
    Image.fromarray(np.full((4, 4, 3), number, np.uint8)).save(file, "PNG")
    return {"bytes": file.getvalue(), "path": None}


def table(num: int) -> pa.Table:
    rows = {
        "image": [picture(number) for number in range(num)],
        "label": [number % 2 for number in range(num)],
        "user": [f"u{number % 3}" for number in range(num)],
    }
    return pa.table(rows).replace_schema_metadata({"huggingface": json.dumps(ABOUT)})


class Split:
    """What of a split of the library is used: it writes itself as Parquet, with the library's description."""

    def __init__(self, rows: pa.Table) -> None:
        self._rows = rows

    def to_parquet(self, path: str) -> None:
        parquet.write_table(self._rows, path)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path) -> SimpleNamespace:
    """A library that loads two splits of a data set, and counts how often it is asked, and for what."""
    found = SimpleNamespace(asked=[], splits={"train": Split(table(6)), "validation": Split(table(4))}, error=None)

    def load_dataset(name: str, config: str | None, revision: str) -> dict[str, Split]:
        found.asked.append((name, config, revision))
        if found.error:
            raise found.error
        return dict(found.splits)

    library: Any = ModuleType("datasets")
    library.load_dataset, library.disable_progress_bars = load_dataset, lambda: None
    monkeypatch.setitem(sys.modules, "datasets", library)
    monkeypatch.setenv("FLSPEC_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return found


def flowers(**more: Any) -> HuggingFace:
    return HuggingFace(name="someone/flowers", revision=REVISION, client="user", **more)


def test_pictures_labels_their_names_and_clients_are_those_of_the_table(hub, tmp_path):
    data = flowers(splits={"test": "validation"}, config="small").load(tmp_path, Stream(0))
    assert hub.asked == [("someone/flowers", "small", REVISION)]
    assert data.train.features[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4, 5]
    assert data.test.labels.tolist() == [0, 1, 0, 1]
    assert data.label_names == tuple(NAMES)
    assert data.client_column == "user"
    assert data.train.columns["user"].tolist() == ["u0", "u1", "u2", "u0", "u1", "u2"]


def test_a_second_time_neither_library_nor_network_is_needed(hub, tmp_path, monkeypatch):
    first = flowers(holdout=0.3).load(tmp_path, Stream(0))
    monkeypatch.setitem(sys.modules, "datasets", None)
    again = flowers(holdout=0.3).load(tmp_path, Stream(0))
    assert len(hub.asked) == 1
    assert np.array_equal(first.train.features, again.train.features)


def test_another_commit_is_loaded_by_itself(hub, tmp_path):
    flowers(holdout=0.3).load(tmp_path, Stream(0))
    HuggingFace(name="someone/flowers", revision="0" * 40, holdout=0.3).load(tmp_path, Stream(0))
    assert [revision for *_, revision in hub.asked] == [REVISION, "0" * 40]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"splits": {"test": "tset"}}, "dataset.splits: test: unknown 'tset'; choose one of train, validation"),
        ({}, "dataset: no test.* set the share of the rows for evaluation with dataset.holdout"),
    ],
)
def test_splits_that_are_not_there_are_refused(hub, tmp_path, more, message):
    with pytest.raises(InputError, match=message):
        flowers(**more).load(tmp_path, Stream(0))


def test_without_a_network_the_way_out_is_said_and_nothing_is_left(hub, tmp_path):
    hub.error = ConnectionError("Couldn't reach\nthe Hub")
    with pytest.raises(InputError) as caught:
        flowers().load(tmp_path, Stream(0))
    assert str(caught.value) == (
        "dataset: someone/flowers at 77f3279092a1 cannot be loaded (ConnectionError: Couldn't reach the Hub); check "
        "name, revision and config; it is needed online once, or as Parquet files by kind: parquet"
    )
    assert [path for path in (cache_folder() / "huggingface").iterdir() if path.suffix != ".lock"] == []


def test_without_the_library_the_way_out_is_said(hub, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(InputError, match=r"needs the library datasets; install it with: pip install 'flspec\[hugg"):
        flowers().load(tmp_path, Stream(0))


def test_a_folder_of_that_name_is_not_taken_for_the_data_set(hub, tmp_path):
    (tmp_path / "someone" / "flowers").mkdir(parents=True)
    with pytest.raises(InputError, match=r"someone/flowers is a file or folder here"):
        flowers().load(tmp_path, Stream(0))
    assert hub.asked == []


def test_a_branch_is_no_revision():
    with pytest.raises(ValueError, match="revision"):
        HuggingFace(name="someone/flowers", revision="main")


def test_a_folder_of_the_librarys_name_is_not_taken_for_it(hub, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", ModuleType("datasets"))
    with pytest.raises(InputError, match="needs the library datasets"):
        flowers().load(tmp_path, Stream(0))


def test_the_library_itself_writes_what_is_read(tmp_path, monkeypatch):
    try:
        distribution("datasets")
    except PackageNotFoundError:
        pytest.skip("datasets is not installed: pip install 'flspec[huggingface]'")
    datasets = importlib.import_module("datasets")
    shown = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=NAMES), "user": datasets.Value("string")}
    )
    made = datasets.Dataset.from_dict({name: table(6)[name].to_pylist() for name in shown}, features=shown)
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: datasets.DatasetDict(train=made, test=made))
    monkeypatch.setenv("FLSPEC_CACHE", str(tmp_path / "cache"))
    data = flowers().load(tmp_path, Stream(0))
    assert data.train.features[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4, 5]
    assert (data.label_names, data.client_column) == (tuple(NAMES), "user")
