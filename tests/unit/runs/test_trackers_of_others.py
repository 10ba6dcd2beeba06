"""What TensorBoard, W&B and MLflow are told is read back by their own readers: each value once, also if resumed."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flspec.errors import InputError
from flspec.protocol.plan import Plan
from flspec.protocol.records import RoundRecord
from flspec.protocol.requirements import Requirement
from flspec.runs.result import load_result
from flspec.runs.runner import run
from flspec.runs.sweep import sweep
from flspec.trackers.tensorboard import TensorBoard
from flspec.trackers.values import values_of
from tests.command_line import flspec
from tests.unit.runs.sweep_cases import MakeStudy

Rows = list[tuple[str, int, float]]  # name, round, value


def of_tensorboard(folder: Path) -> tuple[Rows, dict[str, Any]]:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    hparams = pytest.importorskip("tensorboard.plugins.hparams.plugin_data_pb2")
    events = accumulator.EventAccumulator(str(folder / "tensorboard"), purge_orphaned_data=False).Reload()
    names = [name for name in events.Tags()["tensors"] if not name.startswith("_")]
    rows = [(name, one.step, one.tensor_proto.float_val[0]) for name in names for one in events.Tensors(name)]
    written = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    told = hparams.HParamsPluginData.FromString(written).session_start_info.hparams
    return rows, {name: getattr(told[name], told[name].WhichOneof("kind")) for name in told}


def of_mlflow(folder: Path) -> tuple[Rows, dict[str, Any]]:
    tracking = pytest.importorskip("mlflow.tracking")
    client = tracking.MlflowClient(tracking_uri=f"sqlite:///{folder.parent / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("small")
    (found,) = [one for one in client.search_runs([experiment.experiment_id]) if one.info.run_name == folder.name]
    assert found.info.status == "FINISHED"
    histories = {name: client.get_metric_history(found.info.run_id, name) for name in found.data.metrics}
    rows = [(name, one.step, one.value) for name, history in histories.items() for one in history]
    return rows, {name: float(value) if value[0].isdigit() else value for name, value in found.data.params.items()}


def of_wandb(folder: Path) -> tuple[Rows, dict[str, Any]]:
    pb = pytest.importorskip("wandb.proto.wandb_internal_pb2")
    (file,) = (folder / "wandb").glob("offline-run-*/*.wandb")
    rows, config = [], dict[str, Any]()
    for content in records_of_leveldb(file.read_bytes()):
        record = pb.Record.FromString(content)
        for item in record.run.config.update:
            config[item.key] = json.loads(item.value_json)
        values = {item.key or "/".join(item.nested_key): float(item.value_json) for item in record.history.item}
        rows += [(name, int(values["_step"]), value) for name, value in values.items() if not name.startswith("_")]
    return rows, {"client.optimizer.learning_rate": config["client"]["optimizer"]["learning_rate"]}


def records_of_leveldb(content: bytes) -> Iterator[bytes]:
    """Yield the records of LevelDB's log format: blocks of 32 KiB, with seven bytes before each piece of a record."""
    place, whole = 7, b""  # after the header of the file
    while place + 7 <= len(content):
        if 2**15 - place % 2**15 < 7:
            place += 2**15 - place % 2**15
        _, length, kind = struct.unpack_from("<IHB", content, place)
        if kind == 0:
            return
        whole += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # all of it, or its last piece
            yield whole
            whole = b""


READERS = {"tensorboard": of_tensorboard, "mlflow": of_mlflow, "wandb": of_wandb}


def expected_of(folder: Path, kind: type = float) -> Rows:
    records = load_result(folder).rounds
    return sorted((name, one.round, kind(value)) for one in records for name, value in values_of(one).items())


def stop_after(number: int) -> Callable[[RoundRecord], None]:
    def watch(record: RoundRecord) -> None:
        if record.round == number:
            raise KeyboardInterrupt

    return watch


@pytest.mark.parametrize("name", READERS)
def test_its_own_reader_finds_each_value_once(name: str, make_plan: Callable[..., Plan], tmp_path: Path) -> None:
    pytest.importorskip(name, reason=f"{name} is not installed: pip install 'flspec[{name}]'")
    plan, folder = make_plan(rounds=3, track=[name]), tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        run(plan, out=folder, watch=stop_after(2))
    assert run(plan, out=folder, resume=True).status == "completed"
    rows, settings = READERS[name](folder)
    kind = np.float32 if name == "tensorboard" else float  # which keeps no more digits
    assert sorted(rows) == expected_of(folder, kind)
    assert settings["client.optimizer.learning_rate"] == plan.spec["client"]["optimizer"]["learning_rate"]
    late = [(metric, number + 1, value) for metric, number, value in expected_of(folder, kind)]
    assert sorted(rows) != late  # what a tracker that counts rounds from the wrong one would have


def test_a_spec_names_them_and_its_plan_is_the_same(make_plan: Callable[..., Plan], tmp_path: Path) -> None:
    plan = make_plan(track=["csv"])
    assert plan.digest == make_plan().digest
    run(plan, out=tmp_path / "once", trackers=["csv"])  # chosen by both
    assert (tmp_path / "once" / "rounds.csv").is_file()
    run(make_plan(), out=tmp_path / "none")
    assert not (tmp_path / "none" / "rounds.csv").exists()


def test_each_cell_has_those_of_its_spec(make_study: MakeStudy, jobs: object, tmp_path: Path) -> None:
    study = make_study([{"rounds": 1}], seeds=(0,), track=["csv"])
    (cell,) = sweep(study, None, tmp_path / "sweep").cells
    assert (tmp_path / "sweep" / str(cell.folder) / "rounds.csv").is_file()


def test_an_unknown_name_is_refused_with_its_place(tmp_path: Path) -> None:
    assert flspec(tmp_path, "new", "spec.yaml", "--yes").returncode == 0
    done = flspec(tmp_path, "validate", "spec.yaml", "--set", "track=[cvs]")
    assert done.returncode == 2
    assert "track.0: unknown 'cvs'; did you mean 'csv'" in done.stderr, done.stderr


def test_one_whose_package_is_missing_is_refused_before_anything_is_written(
    make_plan: Callable[..., Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TensorBoard, "requirements", (Requirement("not_there", "flspec[tensorboard]"),))
    told = r"tracker: tensorboard needs not_there, not installed here; install it with pip install 'flspec\[tensorb"
    with pytest.raises(InputError, match=told):
        run(make_plan(track=["tensorboard"]), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
