"""`dataset.twin`: made once, read by the same loader as the published files, and never passed off for them."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest

from flspec.analysis.description import describe_plan
from flspec.compiler.compile import compile
from flspec.core.components import family_members
from flspec.core.randomness import Stream
from flspec.data.synthetic import twin_cache
from flspec.data.synthetic.twin_cache import cached_twin, twin_in_words
from flspec.data.synthetic.twins import TwinSize
from flspec.datasets import Dataset
from flspec.datasets.base import Twinned
from flspec.datasets.celeba import CelebA
from flspec.datasets.cifar10 import Cifar10
from flspec.datasets.csv import CsvTable
from flspec.datasets.isic import Isic
from flspec.datasets.mnist import Mnist
from flspec.errors import InputError, SpecError
from flspec.spec.loading import parse_spec
from flspec.transforms.flips import HorizontalFlip

SIZE = TwinSize(clients=12, examples=240)
NOWHERE = Path("/nowhere")
KINDS = {kind: cls for kind, cls in family_members(Dataset).items() if issubclass(cls, Twinned)}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FLSPEC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "twins"


@pytest.mark.parametrize("kind", KINDS)
def test_every_data_set_with_files_can_be_replaced_by_its_twin(cache: Path, kind: str) -> None:
    size = TwinSize(clients=12, examples=150)
    twin = KINDS[kind](twin=size).load(NOWHERE, Stream(3))
    (folder,) = cache.iterdir()
    assert folder.name.startswith(f"{kind}-12-150-3-")
    assert KINDS[kind]().load(folder, Stream(3)).digest == twin.digest
    assert sum(map(len, twin.splits.values())) == 150


def test_a_twin_is_dressed_as_the_published_pictures_are(cache: Path) -> None:
    data = CelebA(twin=SIZE, size=16, normalise="imagenet", train_transforms=(HorizontalFlip(),)).load(
        NOWHERE, Stream(0)
    )
    assert data.train.features.shape[1:] == (3, 16, 16)
    assert data.train.transforms == (HorizontalFlip(),)
    assert len(data.train.mean) == len(data.train.std) == 3


def test_of_the_places_that_a_spec_names_none_is_read(cache: Path) -> None:
    plain = Isic(twin=SIZE, size=8).load(NOWHERE, Stream(0))
    named = Isic(twin=SIZE, size=8, folder="/nowhere", test_metadata="none.csv").load(NOWHERE, Stream(0))
    assert named.digest == plain.digest
    table = CsvTable(twin=SIZE, file="none.csv", test_file="none.csv").load(NOWHERE, Stream(0))
    assert len(table.train) + len(table.test) == SIZE.examples


def test_a_twin_is_made_once_and_again_if_its_maker_has_changed(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, code = cached_twin(Mnist, "mnist", SIZE, Stream(0)), twin_cache._code(Mnist)

    def made_again(folder: Path, size: TwinSize, stream: Stream) -> None:
        raise InputError("made again")

    monkeypatch.setattr(Mnist, "write_twin", made_again)
    monkeypatch.setattr(twin_cache, "_code", lambda _: code)
    assert cached_twin(Mnist, "mnist", SIZE, Stream(0)) == first
    monkeypatch.setattr(twin_cache, "_code", lambda _: "other")
    with pytest.raises(InputError, match="made again"):
        cached_twin(Mnist, "mnist", SIZE, Stream(0))


def test_another_size_seed_or_stream_is_another_twin(cache: Path) -> None:
    larger = TwinSize(clients=12, examples=241)
    asked = [(SIZE, Stream(0)), (larger, Stream(0)), (SIZE, Stream(1)), (SIZE, Stream(0, "other"))]
    assert len({cached_twin(Mnist, "mnist", size, stream) for size, stream in asked}) == 4


def test_two_that_make_it_at_once_both_have_it_whole(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both, write = threading.Barrier(2, timeout=20), Cifar10.write_twin
    found: list[Path] = []

    def wait_and_write(folder: Path, size: TwinSize, stream: Stream) -> None:
        both.wait()  # neither has found it there
        write(folder, size, stream)

    monkeypatch.setattr(Cifar10, "write_twin", wait_and_write)
    monkeypatch.setattr(twin_cache, "_code", lambda _: "")
    threads = [
        threading.Thread(target=lambda: found.append(cached_twin(Cifar10, "cifar10", SIZE, Stream(0))))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert found == [found[0]] * 2
    assert [path.name for path in cache.iterdir()] == [found[0].name]
    assert len(list((found[0] / "cifar10").iterdir())) == 6


@pytest.mark.parametrize("kind", ["celeba", "csv", "mnist", "leaf"])
def test_a_damaged_twin_is_made_again(cache: Path, kind: str) -> None:
    size = TwinSize(clients=12, examples=150)
    whole = KINDS[kind](twin=size).load(NOWHERE, Stream(3)).digest
    (folder,) = cache.iterdir()
    for path in [path for path in sorted(folder.rglob("*")) if path.is_file()][:: 90 if kind == "celeba" else 1]:
        was, status = path.read_bytes(), path.stat()
        path.write_bytes(was[:-3] + bytes([was[-3] ^ 1]) + was[-2:])
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert KINDS[kind](twin=size).load(NOWHERE, Stream(3)).digest == whole
        assert path.read_bytes() == was
        path.unlink()
        assert KINDS[kind](twin=size).load(NOWHERE, Stream(3)).digest == whole
    (folder / kind / "another.txt").write_text("")
    KINDS[kind](twin=size).load(NOWHERE, Stream(3))
    assert not (folder / kind / "another.txt").exists()


@pytest.mark.parametrize("stop", [InputError("disk"), KeyboardInterrupt()])
def test_a_twin_that_was_not_finished_is_not_there(
    cache: Path, monkeypatch: pytest.MonkeyPatch, stop: BaseException
) -> None:
    def half(folder: Path, size: TwinSize, stream: Stream) -> None:
        (folder / "train-labels-idx1-ubyte.gz").write_bytes(b"")
        raise stop

    monkeypatch.setattr(Mnist, "write_twin", half)
    monkeypatch.setattr(twin_cache, "_code", lambda _: "")
    with pytest.raises(type(stop)):
        cached_twin(Mnist, "mnist", SIZE, Stream(0))
    assert list(cache.iterdir()) == []


def test_a_twin_too_small_for_its_kind_is_refused_by_its_field(cache: Path) -> None:
    with pytest.raises(InputError, match=r"dataset\.twin: examples: 9 are too few"):
        Mnist(twin=TwinSize(clients=1, examples=9)).load(NOWHERE, Stream(0))


# ------------------------------------------------------------------------------------------------------------ in a spec

SPEC = """\
flspec: 1
name: twin
seed: 4
rounds: 1
dataset: {kind: mnist, folder: "${env:NOWHERE}", twin: {clients: 1, examples: 140}}
partition: {kind: iid, clients: 4}
model: {kind: softmax_regression}
client: {epochs: 1, batch_size: 10, optimizer: {kind: sgd, learning_rate: 0.1}}
"""


def test_a_plan_of_a_twin_says_so_and_what_is_not_read(cache: Path) -> None:
    plan = compile(parse_spec(SPEC), NOWHERE)
    told = "synthetic twin of mnist, 1 clients, 140 examples; dataset.folder is not read"
    assert twin_in_words(plan.spec) == describe_plan(plan).data.twin == told
    assert plan.spec["seed"] == 4
    (folder,) = cache.iterdir()
    assert folder.name.startswith("mnist-1-140-4-")


def test_published_data_are_not_called_a_twin() -> None:
    spec = parse_spec(SPEC.replace(", twin: {clients: 1, examples: 140}", ""))
    assert twin_in_words(spec.model_dump(mode="json")) is None


def test_what_needs_no_files_has_no_twin() -> None:
    with pytest.raises(SpecError, match=r"unknown key 'twin'; 'twin' is read by kinds") as refused:
        parse_spec(SPEC.replace('kind: mnist, folder: "${env:NOWHERE}"', "kind: digits"))
    assert "dataset.twin" in str(refused.value)


def test_a_size_that_is_none_is_told_at_its_place() -> None:
    with pytest.raises(SpecError, match=r"spec:5:\d+: dataset\.twin\.clients: expected at least 1, got 0"):
        parse_spec(SPEC.replace("clients: 1,", "clients: 0,"))


def test_run_and_its_report_say_that_the_data_are_a_twin(cache: Path, tmp_path: Path) -> None:
    from flspec.cli.tables import comparison_table, run_table
    from flspec.comparison.results import compare
    from flspec.report import write_comparison_report
    from flspec.runs.runner import run

    result = run(parse_spec(SPEC), "local", tmp_path / "run", data=NOWHERE)
    assert "synthetic twin" in str(run_table(result).title)
    assert json.loads((tmp_path / "run" / "result.json").read_text())["spec"]["dataset"]["twin"]["examples"] == 140
    comparison = compare([tmp_path / "run"])
    assert list(comparison_table(comparison).columns[0].cells) == ["run (synthetic twin)"]
    write_comparison_report(comparison, tmp_path / "report.html")
    assert "synthetic twin of mnist" in (tmp_path / "report.html").read_text()
