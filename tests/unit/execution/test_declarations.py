"""What a backend of somebody else's declares is all that flspec needs to know of it: packages, environment, scorer."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from flspec.errors import InputError
from flspec.protocol.plan import Plan
from flspec.runs.evaluation import Evaluator
from flspec_local import LocalBackend
from tests.unit.scratch_packages import flspec

PACKAGE = """
import platform, sys
from flspec.protocol.backend import Backend
from flspec.protocol.requirements import Environment, Requirement

class Needy(Backend):
    name = "needy"
    variants = ("whole", "slim")
    requirements = (Requirement("acme_engine", "acme-engine>=2"), Requirement("acme_gpu", "acme[gpu]", ("slim",)))

    def unsupported(self, plan):
        return []

    def execute(self, plan, job):
        yield

class Apart(Needy):
    name = "apart"
    variants = ()
    requirements = ()
    environment = Environment(
        name="apart", title="Acme", package="acme", python=sys.version_info[:2],
        machine=(platform.system(), platform.machine()), engine="acme_engine", gigabytes=0.5,
    )

class Unpinned(Apart):
    name = "unpinned"
    environment = Environment(**vars(Apart.environment) | {"name": "unpinned", "package": "acme_unpinned"})
"""


@pytest.fixture
def acme(tmp_path: Path) -> Path:
    """A folder with the package, as pip would install it."""
    for package in ("acme", "acme_unpinned"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text(PACKAGE)
    (tmp_path / "acme" / "requirements.txt").write_text(f"acme-engine==2.1 --hash=sha256:{'0' * 64}\n")
    info = tmp_path / "acme-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1\n")
    offered = "".join(f"{name} = acme:{name.title()}\n" for name in ("needy", "apart", "unpinned"))
    (info / "entry_points.txt").write_text(f"[flspec.backends]\n{offered}")
    return tmp_path


def test_what_is_missing_of_each_is_told_from_its_declaration(acme: Path) -> None:
    listed = json.loads(flspec(acme, "backends", "list", "--json").stdout)
    needs = "acme_engine and acme_gpu not installed; pip install 'acme-engine>=2' 'acme[gpu]'"
    assert listed["needy"] == {"variants": ["whole", "slim"], "missing": needs}
    wanted = "its Python environment is not installed; flspec backends install apart"
    assert listed["apart"] == {"variants": [], "missing": wanted}
    assert listed["local"] == {"variants": ["threads", "processes"], "missing": None}


def test_an_environment_without_pins_is_broken_and_in_nobodys_way(acme: Path) -> None:
    listed = json.loads(flspec(acme, "backends", "list", "--json").stdout)
    assert listed["unpinned"]["missing"].startswith("the pins of unpinned are missing in ")
    assert listed["local"]["missing"] is None


def test_a_run_on_it_is_refused_with_what_it_needs(acme: Path) -> None:
    assert flspec(acme, "new", "spec.yaml", "--yes").returncode == 0
    for backend, needs in {
        "needy": "needy needs acme_engine and acme_gpu; install it with pip install 'acme-engine>=2' 'acme[gpu]'",
        "needy:slim": "needy needs acme_engine; install it with pip install 'acme-engine>=2'",
    }.items():
        done = flspec(acme, "run", "spec.yaml", "--backend", backend, "--out", "run")
        assert (done.returncode, done.stderr) == (2, f"flspec: {backend} cannot run this plan: backend: {needs}\n")
    done = flspec(acme, "run", "spec.yaml", "--backend", "apart", "--out", "run")
    assert done.returncode == 2
    assert "run 'flspec backends install apart' (about 0.5 GB, minutes)" in done.stderr
    assert not (acme / "run").exists()


def test_the_reference_scores_and_is_missed_where_it_does_not(
    make_plan: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan()
    assert LocalBackend().scorer(plan) is not None
    monkeypatch.setattr(LocalBackend, "scorer", lambda self, plan, device: None)
    with pytest.raises(InputError, match="'local' does not score models"):
        Evaluator(plan)
