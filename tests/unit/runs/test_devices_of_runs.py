"""`--device`: where a run is told to be on a device, is there, and says so; and what it says where there is none."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import flspec
from flspec.comparison.certification import certify
from flspec.comparison.results import compare
from flspec.errors import InputError
from flspec.execution.worker import job_lines
from flspec.protocol.backend import Job
from flspec.protocol.devices import CPU, Device
from flspec.protocol.events import Workers
from flspec.protocol.registry import find_backend
from flspec.runs.result import load_result
from flspec.runs.runner import refuse_unsupported
from flspec_flower import FlowerBackend
from flspec_local.crew import Crew
from flspec_torch import devices
from flspec_torch.training import Trainer
from tests.command_line import flspec as command
from tests.make_believe import Traffic, make_believe

CARD = Device("cuda:0", "Make-Believe 100")


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Iterator[Traffic]:
    """A machine with one card, whose kernels are the CPU's."""
    with make_believe() as (device, traffic):

        def opened(found: Device) -> devices.TorchDevice:
            return device if found == CARD else devices.HOST

        monkeypatch.setattr(devices, "find_device", lambda asked: CARD)
        monkeypatch.setattr(devices, "open_device", opened)
        yield traffic


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(
        "flspec: 1\nname: small\nrounds: 2\ndataset: {kind: digits}\npartition: {kind: iid, clients: 40}\n"
        "model: {kind: mlp, hidden: [5]}\ncohort: {kind: uniform, size: 3}\n"
        "client: {epochs: 1, batch_size: 16, optimizer: {kind: sgd, learning_rate: 0.1}}\n"
    )
    return path


def test_a_run_is_on_the_device_that_it_is_told_and_says_so(tmp_path, spec, card):
    here = flspec.run(spec, out=tmp_path / "here", workers=2)
    assert not card.sent
    there = flspec.run(spec, out=tmp_path / "there", device="cuda", workers=2)
    assert card.sent[(1438, 1, 8, 8)] == card.sent[(359, 1, 8, 8)] == 1  # training examples; those evaluated, once
    ours, theirs = load_result(here.folder), load_result(there.folder)
    assert theirs.weights == ours.weights
    assert [record.evaluation for record in theirs.rounds] == [record.evaluation for record in ours.rounds]
    assert [run.software and run.software.device for run in (ours, theirs)] == ["cpu", str(CARD)]
    assert json.loads((there.folder / "events.jsonl").read_text().splitlines()[0])["software"]["device"] == str(CARD)
    assert theirs.backend.workers == Workers(kind="threads", number=2, why=f"they share {CARD}")
    (warning,) = compare([here.folder, there.folder]).warnings
    assert f"device cpu and {CARD}" in warning


def test_a_run_does_not_go_on_with_another_device_unless_it_is_told_to(tmp_path, spec, card):
    def interrupt(record):
        raise KeyboardInterrupt

    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        flspec.run(spec, out=out, device="cuda", watch=interrupt)
    with pytest.raises(InputError, match=f"device {CARD.name} .* and cpu.*--anyway"):
        flspec.run(spec, out=out, resume=True)
    assert flspec.run(spec, out=out, device="cuda", resume=True).software.device == str(CARD)


def test_flowers_clients_are_on_the_device_that_messages_name(tmp_path, make_plan, card):
    plan = make_plan()
    weights = []
    for device in (CPU, CARD):
        job = Job(tmp_path / device.name, keep="all", device=device)
        job.folder.mkdir()
        list(FlowerBackend("inprocess").execute(plan, job))
        weights.append((job.folder / "checkpoints").glob("*").__iter__())
        assert bool(card.sent) == (device == CARD)
    ours, theirs = ([path.read_bytes() for path in sorted(files)] for files in weights)
    assert ours == theirs
    assert len(ours) == plan.num_rounds


def test_a_certificate_says_the_device_and_refuses_by_name_who_has_none(tmp_path, make_plan, card):
    made = certify(make_plan(), ("local", "local:threads", "tff"), tmp_path / "certificate", device="cuda")
    assert made.device == str(CARD)
    assert made.extent == f"on {CARD}"
    assert made.backends["local:threads"].bitwise
    assert made.backends["tff"].verdict == "refused"
    assert "device: tff trains on cpu alone, not on cuda:0" in (made.backends["tff"].reason or "")


def test_a_job_brings_its_device_to_another_process(tmp_path):
    job = Job(tmp_path, device=CARD)
    assert job_lines.validate_json(job_lines.dump_json(job)) == job


def test_on_a_device_one_thread_trains_unless_more_are_asked_for(tmp_path, make_plan):
    plan = make_plan()
    for asked, number in ((0, 1), (3, 3)):
        crew = Crew(plan, Job(tmp_path, workers=asked, device=CARD), None, Trainer(plan))
        assert (crew.workers.kind, crew.workers.number) == ("threads", number)
        crew.close()


def test_auto_is_the_cpu_where_there_is_nothing_else(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert find_backend("local").find_device("auto") == find_backend("tff").find_device("auto") == CPU


def test_auto_is_the_first_card_where_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", "card {}".format)
    local = find_backend("local")
    assert local.find_device("auto") == local.find_device("cuda") == Device("cuda:0", "card 0")
    assert local.find_device("cuda:1") == Device("cuda:1", "card 1")
    with pytest.raises(InputError, match=r"there is no cuda:2: torch .* has cpu, cuda:0 \(card 0\), cuda:1 \(card 1\)"):
        local.find_device("cuda:2")


@pytest.mark.parametrize(
    ("asked", "backend", "message"),
    [
        ("cuda", "local", "device: there is no cuda: torch 2.13.0+cpu has cpu; this torch is built without CUDA: "),
        ("cuda:7", "flower", "device: there is no cuda:7: torch 2.13.0+cpu has cpu; "),
        ("gpu", "local", "device: gpu is none; choose cpu, cuda, cuda:N, mps or auto"),
        ("cuda:x", "local", "device: cuda:x is none; "),
        ("cuda", "tff", "device: tff trains on cpu alone, not on cuda; leave it out, or choose another backend"),
    ],
)
def test_a_device_that_there_is_not_is_refused_in_one_line_before_anything_is_written(
    tmp_path, spec, monkeypatch, asked, backend, message
):
    monkeypatch.setattr(torch, "__version__", "2.13.0+cpu")
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    before = sorted(tmp_path.iterdir())
    for call in ("run", "certify"):
        others = ("--backends", f"{backend},flower:inprocess") if call == "certify" else ("--backend", backend)
        done = command(tmp_path, call, str(spec), "--device", asked, *others)
        assert done.returncode == 2
        (line,) = done.stderr.splitlines()
        assert message in line
    assert sorted(tmp_path.iterdir()) == before


def test_what_a_device_would_do_otherwise_is_refused_by_its_field(make_plan):
    clipped = {"epochs": 1, "batch_size": 5, "optimizer": {"kind": "sgd", "learning_rate": 0.1}, "clip": {"norm": 1.0}}
    plan, local = make_plan(client=clipped), find_backend("local")
    refuse_unsupported(local, "local", plan, CARD)
    with pytest.raises(InputError, match=r"client.clip: it needs float64, which mps has not"):
        refuse_unsupported(local, "local", plan, Device("mps"))
    with pytest.raises(InputError, match="local:processes trains on the CPU alone"):
        refuse_unsupported(find_backend("local:processes"), "local:processes", plan, CARD)


def test_a_matrix_is_on_the_device_that_it_is_told(tmp_path, spec, card, jobs):
    spec.write_text(spec.read_text() + "matrix: {seeds: [1, 2]}\n")
    done = command(tmp_path, "run", str(spec), "--device", "cuda", "--out", "matrix", "--jobs", "1", "--json")
    assert done.returncode == 0, done.stdout
    assert [job.device for job in jobs] == [CARD, CARD]
    records = [load_result(job.folder).software for job in jobs]
    assert [record and record.device for record in records] == [str(CARD)] * 2
