"""The doctor tells a backend that works from one that is missing, broken or wrong, says why, and tidies up."""

from __future__ import annotations

import importlib.util
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from flspec.core.cache import cache_folder
from flspec.errors import InputError
from flspec.execution import doctor
from flspec.execution.doctor import Diagnosis, availability, examine

FAKES = Path(__file__).parents[2] / "fakes"

PATIENT = """
import time
from dataclasses import replace
from flspec.protocol.backend import kept_state
from flspec.protocol.state import load_state, save_state
from flspec_local import LocalBackend

OFF = {"off_by_rounding": 1e-8, "off": 1e-5, "off_by_nothing_known": float("nan")}

class Patient(LocalBackend):
    requirements = ()
    variants = (*OFF, "raises", "refuses", "renames", "slow")

    def unsupported(self, plan):
        return ["rounds: cannot count", "model: cannot read"] if self.variant == "refuses" else []

    def execute(self, plan, job):
        if self.variant == "raises":
            raise ValueError("the weights\\nare odd")
        if self.variant == "slow":
            time.sleep(0.3)
        for event in super().execute(plan, job):
            if event.event == "round_finished":
                path = kept_state(job.folder, event.round)
                state = load_state(path, plan.digest)
                save_state(path, replace(state, weights=self.spoil(state.weights)), plan.digest)
            yield event

    def spoil(self, weights):
        name = "bias" if self.variant == "renames" else "output.bias"
        return weights | {name: weights["output.bias"] + OFF.get(self.variant, 0)}
"""


@pytest.fixture(autouse=True)
def hospital(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Backends with one illness each are installed; whatever a test did, the doctor left no file."""
    packages, temporary = tmp_path / "packages", tmp_path / "tmp"
    info = packages / "patient-1.dist-info"
    info.mkdir(parents=True)
    temporary.mkdir()
    (packages / "patient.py").write_text(PATIENT)
    (packages / "patient_without_engine.py").write_text("import no_such_engine\n")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: patient\nVersion: 1\n")
    (info / "entry_points.txt").write_text(
        "[flspec.backends]\npatient = patient:Patient\nuprooted = patient_without_engine:Backend\n"
    )
    for folder in (packages, FAKES):
        monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", str(FAKES))
    monkeypatch.setenv("FLSPEC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    yield
    sys.modules.pop("patient", None)
    assert not [path for folder in (cache_folder(), temporary) for path in folder.rglob("*") if path.is_file()]


def test_a_backend_that_agrees_with_local_is_ok() -> None:
    found = examine("patient:off_by_rounding")
    assert (found.status, found.detail, found.remedy) == ("ok", "", "")
    assert found.versions.keys() == {"torch", "python"}
    assert found.seconds is not None
    assert found.seconds > 0


def test_local_is_ok() -> None:
    assert examine("local").status == "ok"


@pytest.mark.parametrize(
    ("variant", "detail"),
    [
        (
            "off",
            "after one round its weights differ from those of local by 1.0e-05, "
            "more than the 1e-06 that rounding explains",
        ),
        (
            "off_by_nothing_known",
            "after one round its weights differ from those of local by nan, more than the 1e-06 that rounding explains",
        ),
        ("renames", "its weights are output.weight, output.bias, bias, those of local are output.weight, output.bias"),
        ("raises", "ValueError: the weights are odd"),
        ("refuses", "it refuses the simplest experiment: rounds: cannot count; model: cannot read"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(variant: str, detail: str) -> None:
    found = examine(f"patient:{variant}")
    assert (found.status, found.detail) == ("broken", detail)
    assert found.remedy == "install the package that offers it again"


def test_a_backend_that_finishes_too_late_is_broken() -> None:
    found = examine("patient:slow", deadline_seconds=0.1)
    assert found.detail.endswith("s, more than its deadline of 0.1 s")
    assert found.remedy == "give it longer (--deadline), or install the package that offers it again"


@pytest.mark.skipif(sys.platform != "linux", reason="the fakes need Linux")
@pytest.mark.timeout(240)  # it would hang for longer
def test_a_backend_that_hangs_is_ended_and_broken() -> None:
    found = examine("fake:hangs_at_once", deadline_seconds=1.0)
    assert (found.status, found.detail) == ("broken", "fake: no event for 1 s while starting")


def test_a_log_that_is_gone_is_quoted_but_not_named() -> None:
    log = Path("/tmp/doctor/worker.log")
    quoted = doctor._without_log(f"fake: it ended; its log is {log}, whose end reads: no room", log)
    assert quoted == "fake: it ended; its log ends: no room"
    assert doctor._without_log(f"fake: it ended; its log is {log}", log) == "fake: it ended"


def test_a_backend_is_not_blamed_for_local(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "REFERENCE", "patient:raises")
    assert examine("local").detail == (
        "it runs, but patient:raises, which it is compared with, does not: ValueError: the weights are odd"
    )


def test_a_backend_that_cannot_be_imported_is_broken() -> None:
    found = examine("uprooted")
    assert found.status == "broken"
    assert "No module named 'no_such_engine'" in found.detail
    assert found.remedy


@pytest.mark.parametrize("selection", ["nowhere", "local:twice"])
def test_what_does_not_exist_cannot_be_examined(selection: str) -> None:
    with pytest.raises(InputError, match=selection.partition(":")[2] or selection):
        examine(selection)


@pytest.mark.parametrize(
    ("selection", "absent", "detail", "remedy"),
    [
        ("flower", ("ray",), "ray not installed", "pip install 'flspec[flower]'"),
        ("flower", ("flwr", "ray"), "flwr and ray not installed", "pip install 'flspec[flower]'"),
        ("flower:inprocess", ("flwr", "ray"), "flwr not installed", "pip install 'flspec[flower]'"),
        ("local", ("torch",), "torch not installed", "pip install torch"),
    ],
)
def test_missing_packages_are_named_with_the_way_to_get_them(
    selection: str, absent: tuple[str, ...], detail: str, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    without(monkeypatch, *absent)
    assert examine(selection) == Diagnosis(selection, "missing", detail=detail, remedy=remedy)


def test_flower_in_process_does_not_miss_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object() if name == "flwr" else None)
    monkeypatch.setattr(doctor, "_smoke_run", lambda selection, folder, deadline: Diagnosis(selection, "ok"))
    assert examine("flower:inprocess").status == "ok"


def test_a_missing_environment_is_named_with_the_way_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    on_machine(monkeypatch, "Linux", "x86_64")
    found = examine("tff")
    assert found.status == "missing"
    assert (found.detail, found.remedy) == (
        "its Python environment is not installed",
        "flspec backends install tff",
    )


def test_an_environment_that_this_machine_cannot_have_is_not_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    on_machine(monkeypatch, "Darwin", "arm64")
    found = examine("tff")
    assert found.status == "missing"
    assert (found.detail, found.remedy) == (
        "TFF runs on Linux x86_64 only, this is Darwin arm64",
        "use one of: fake, flower, local, patient, uprooted",
    )


def test_availability_is_told_of_every_backend_without_starting_any(monkeypatch: pytest.MonkeyPatch) -> None:
    on_machine(monkeypatch, "Linux", "x86_64")
    without(monkeypatch, "ray")
    monkeypatch.setattr(doctor, "open_backend", None)
    found = availability()
    assert found["local"] == {"variants": ["threads", "processes"], "missing": None}
    assert found["flower"]["variants"] == ["ray", "inprocess"]
    assert found["flower"]["missing"].endswith("ray not installed; pip install 'flspec[flower]'")
    assert found["tff"]["missing"].endswith("; flspec backends install tff")
    assert "no_such_engine" in found["uprooted"]["missing"]


def without(monkeypatch: pytest.MonkeyPatch, *absent: str) -> None:
    """These packages are not installed."""
    find = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name in absent else find(name))


def on_machine(monkeypatch: pytest.MonkeyPatch, system: str, machine: str) -> None:
    monkeypatch.setattr("platform.system", lambda: system)
    monkeypatch.setattr("platform.machine", lambda: machine)
