"""What a plan's digest covers of a part from elsewhere: all code of its package, and no other."""

from __future__ import annotations

import importlib
import json
import os
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from flspec.core.part_sources import package_digest
from flspec.errors import InputError
from tests.unit.scratch_packages import flspec, run_python

PART = """
from typing import Literal
from flspec.aggregators import Aggregator
from flspec.protocol.updates import weighted_mean
from flspec.server_optimizers.sgd import Sgd
{imports}

class Mine(Aggregator):
    "Mine."
    kind: Literal["mine"] = "mine"
    def combine(self, updates): return weighted_mean(updates)
    @property
    def server_optimizer(self): return Sgd()
"""
DIM = """
from typing import Literal
import numpy as np
from flspec.transforms import Transform

class Dim(Transform):
    "Dims."
    kind: Literal["dim"] = "dim"
    def output_shape(self, shape): return shape
    def apply(self, images, stream): return (images // 8).astype(np.uint8)
"""
SPEC = """
flspec: 1
name: plug
rounds: 1
dataset: {kind: digitsTRANSFORMS}
partition: {kind: iid, clients: 4}
model: {kind: softmax_regression}
client: {epochs: 1, batch_size: 64, optimizer: {kind: sgd, learning_rate: 0.1}}
"""


def install(folder: Path, files: dict[str, str], entries: str, record: bool, name: str = "stranger") -> None:
    """A distribution as pip would put it into `folder`, with or without the list of its files."""
    info = folder / f"{name}-1.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
    (info / "entry_points.txt").write_text(entries)
    if record:
        (info / "RECORD").write_text("".join(f"{path},,\n" for path in files))


def digest(folder: Path, transforms: str = "", tail: str = "aggregator: {kind: mine}\n") -> str:
    write_spec(folder, transforms, tail)
    done = flspec(folder, "plan", "spec.yaml", "--json")
    assert done.returncode == 0, done.stderr
    return str(json.loads(done.stdout)["plan_digest"])


def write_spec(folder: Path, transforms: str = "", tail: str = "aggregator: {kind: mine}\n") -> None:
    (folder / "spec.yaml").write_text(SPEC.replace("TRANSFORMS", transforms) + tail)


ENTRIES = "[flspec.aggregators]\nmine = mypart.parts.deep:Mine\n"
PACKAGE = {
    "mypart/__init__.py": "",
    "mypart/parts/__init__.py": "",
    "mypart/parts/deep.py": PART.format(imports="from mypart.helper import x\nimport mysibling, numpy, otherdist"),
    "mypart/helper.py": "x = 1\n",
    "mypart/unused.py": "",
    "mypart/table.json": "[]",
    "mypart/fast.so": "",
    "mysibling.py": "import mycousin\n",
    "mycousin/__init__.py": "",
    "mycousin/__pycache__/x.pyc": "",
    "mypart/.hidden": "",
    "mylonely.py": "",
}


class Package(NamedTuple):
    folder: Path
    has_list: bool
    part: type

    def digest(self) -> str:
        return package_digest.__wrapped__(self.part)  # as of a process that has not asked before

    def counts(self, path: str) -> bool:
        """Whether another content of a file, which may be new, gives another digest, and the old one the old digest."""
        before, file = self.digest(), self.folder / path
        was = file.read_bytes() if file.exists() else None
        file.write_bytes((was or b"") + b"\n# otherwise\n")
        after = self.digest()
        if was is None:
            file.unlink()
        else:
            file.write_bytes(was)
        assert self.digest() == before
        return after != before


@pytest.fixture(scope="module", params=[True, False], ids=["with a list of files", "without"])
def package(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Package]:
    folder = tmp_path_factory.mktemp("packages")
    install(folder, PACKAGE, ENTRIES, record=request.param)
    install(folder, {"otherdist/__init__.py": ""}, "", record=True, name="other")
    (folder / "nobodys.py").write_text("")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield Package(folder, request.param, importlib.import_module("mypart.parts.deep").Mine)
        for name in [name for name in sys.modules if name.startswith(("mypart", "mysibling", "mycousin", "otherdist"))]:
            del sys.modules[name]


@pytest.mark.parametrize(
    "path",
    [
        "mypart/parts/deep.py",  # the part itself
        "mypart/helper.py",
        "mypart/unused.py",  # which the part may import by a computed name
        "mypart/__init__.py",
        "mypart/table.json",
        "mypart/fast.so",
        "mypart/new.txt",
        "mysibling.py",  # another module, which the part imports
        "mycousin/__init__.py",  # and one that this one imports
    ],
)
def test_all_files_of_its_package_and_of_what_it_imports_count(package: Package, path: str) -> None:
    assert package.counts(path)


@pytest.mark.parametrize(
    "path", ["mycousin/__pycache__/x.pyc", "mypart/.hidden", "otherdist/__init__.py", "nobodys.py", "spec.txt"]
)
def test_caches_hidden_files_other_distributions_and_neighbours_do_not(package: Package, path: str) -> None:
    assert not package.counts(path)


def test_what_is_never_imported_counts_if_the_distribution_lists_it(package: Package) -> None:
    assert package.counts("mylonely.py") == package.has_list


def test_transforms_count(tmp_path: Path) -> None:
    install(tmp_path, {"dims.py": DIM}, "[flspec.transforms]\ndim = dims:Dim\n", record=False)
    asked = ", train_transforms: [{kind: dim}], test_transforms: [{kind: dim}]"
    before = digest(tmp_path, asked, tail="")
    (tmp_path / "dims.py").write_text(DIM.replace("// 8", "// 2"))
    assert digest(tmp_path, asked, tail="") != before


def test_an_editable_installation_counts_where_its_files_are(tmp_path: Path) -> None:
    """As hatch and uv write it: the list of files has only the `.pth`."""
    (source := tmp_path / "checkout").mkdir()
    (site := tmp_path / "site").mkdir()
    install(site, {"_stranger.pth": f"{source}\n"}, ENTRIES, record=True)
    for path, text in PACKAGE.items():
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).write_text(text.replace(", otherdist", ""))
    write_spec(site)

    def found() -> str:
        code = f"import site; site.addsitedir({str(site)!r}); import flspec; print(flspec.compile('spec.yaml').digest)"
        done = run_python(site, "-c", code)
        assert done.returncode == 0, done.stderr
        return done.stdout

    before = found()
    for path in ("mypart/helper.py", "mypart/table.json", "mysibling.py", "mycousin/__init__.py"):
        was = (source / path).read_text()
        (source / path).write_text(was + "\n")
        assert found() != before, path
        (source / path).write_text(was)


def test_a_package_that_is_packed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "packed.zip", "w") as archive:
        archive.writestr("mypacked/__init__.py", "class Mine: ...")
    monkeypatch.syspath_prepend(tmp_path / "packed.zip")
    with pytest.raises(InputError, match=r"mypacked is in .*packed\.zip.*; install it unpacked"):
        package_digest(importlib.import_module("mypacked").Mine)


def test_what_lies_in_no_file_is_refused() -> None:
    scope: dict[str, Any] = {"__name__": "nowhere"}
    exec("class Mine: ...", scope)
    with pytest.raises(InputError, match="Mine is defined in no file"):
        package_digest(scope["Mine"])


def test_a_package_of_any_size_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, {"mylarge/__init__.py": "class Mine: ..."}, "", record=False)
    with (tmp_path / "mylarge" / "weights.bin").open("wb") as file:
        file.truncate(2**31)
    os.mkfifo(tmp_path / "mylarge" / "pipe")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match=r"mylarge.Mine: its package has 2 files of 2.0 GiB, too many"):
        package_digest(importlib.import_module("mylarge").Mine)


RUN = """
import flspec, sys
from flspec.protocol.plan import Plan
plan = Plan.load(__import__("pathlib").Path("plan"))
try:
    flspec.run(plan, sys.argv[1], "out")
    print("ran")
except flspec.errors.InputError as error:
    print(error)
"""


def install_helped(folder: Path) -> None:
    files = {"mypart.py": PART.format(imports="import myhelp"), "myhelp.py": "x = 1\n"}
    install(folder, files, "[flspec.aggregators]\nmine = mypart:Mine\n", record=False)
    write_spec(folder)


@pytest.mark.parametrize("backend", ["local", "flower:inprocess"])
def test_a_plan_is_not_run_with_other_code_than_it_was_compiled_with(tmp_path: Path, backend: str) -> None:
    install_helped(tmp_path)
    assert flspec(tmp_path, "plan", "spec.yaml", "--out", "plan").returncode == 0
    (tmp_path / "myhelp.py").write_text("x = 2\n")
    assert "aggregator: the code of its package is not what it was" in run_python(tmp_path, "-c", RUN, backend).stdout
    assert not (tmp_path / "out").exists()
    (tmp_path / "myhelp.py").write_text("x = 1\n")
    assert run_python(tmp_path, "-c", RUN, backend).stdout == "ran\n"


def test_a_run_is_not_resumed_with_other_code(tmp_path: Path) -> None:
    install_helped(tmp_path)
    assert flspec(tmp_path, "run", "spec.yaml", "--out", "out").returncode == 0
    (tmp_path / "out" / "result.json").unlink()
    (tmp_path / "myhelp.py").write_text("x = 2\n")
    resumed = flspec(tmp_path, "run", "spec.yaml", "--out", "out", "--resume")
    assert resumed.returncode == 2
    assert "packages that it began with" in resumed.stderr
