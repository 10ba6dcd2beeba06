"""Who may import whom, and how large a file may grow; each check is shown a source that it must refuse."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

import flspec

ROOT = Path(__file__).parents[1]
FRAMEWORKS = {"torch", "tensorflow", "tensorflow_federated", "flwr", "ray"}
BACKENDS = {path.name for path in (ROOT / "backends").glob("flspec_*")}
SHARED = {"flspec_torch": {"flspec_local", "flspec_flower"}}  # a package, and the backends that may import it
MOST_LINES = 400
# The rooms of flspec/, lowest first: a room imports only from rooms on lines above its own.
ROOMS = (
    "errors",
    "core",
    "losses quality",
    "metrics transforms layers samplers update_clips",
    "phases noise_matrices",
    "protocol schedules",
    "data models",
    "encodings",
    "datasets features partitioners client_optimizers objectives postprocessors server_optimizers faults compressors "
    "secure_aggregation",
    "client_algorithms",
    "aggregators privacy trackers",
    "spec",
    "compiler",
    "execution",
    "analysis",
    "runs",
    "measurements",
    "comparison",
    "report",
    "api bundles",
    "exports",
    "cli",
)
MOST_AT_THE_ROOT = {"__init__.py", "__main__.py", "errors.py"}
HEAVY = ("torch", "sklearn", "scipy", "flwr", "ray", "tensorflow", "tensorflow_federated")


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


every_source = pytest.mark.parametrize(
    "path", sources("flspec", "backends"), ids=lambda path: str(path.relative_to(ROOT))
)


# ------------------------------------------------------------------------------------------------------------ imports


def imports(source: str) -> Iterator[str]:
    """Every module that a source imports anywhere, by its full name, `import_module("name")` included."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import():
                yield from (alias.name for alias in node.names)
            case ast.ImportFrom(level=0, module=str(module)):
                yield module
                yield from (f"{module}.{alias.name}" for alias in node.names)
            case ast.ImportFrom():
                yield "a relative import"
            case ast.Call(func=ast.Attribute(attr="import_module") | ast.Name(id="import_module" | "__import__")):
                yield from (a.value for a in node.args[:1] if isinstance(a, ast.Constant) and isinstance(a.value, str))


def roots(source: str) -> set[str]:
    return {module.partition(".")[0] for module in imports(source)}


def forbidden_imports(package: str, source: str) -> set[str]:
    """What a source of `package` imports although it may not."""
    found = roots(source) & {"a relative import"}
    if package == "flspec":
        return found | roots(source) & (FRAMEWORKS | BACKENDS)
    others = {other for other in BACKENDS - {package} if package not in SHARED.get(other, set())}
    return found | roots(source) & others


@every_source
def test_no_source_imports_what_it_may_not(path):
    package = path.relative_to(ROOT / "backends" if "backends" in path.parts else ROOT).parts[0]
    assert forbidden_imports(package, path.read_text()) == set()


@pytest.mark.parametrize(
    ("package", "source", "found"),
    [
        ("flspec", "import torch", {"torch"}),
        ("flspec", "def f():\n    from torch.nn import functional", {"torch"}),
        ("flspec", "if TYPE_CHECKING:\n    import tensorflow as tf, json", {"tensorflow"}),
        ("flspec", "import importlib\nimportlib.import_module('flwr.server')", {"flwr"}),
        ("flspec", "from flspec_local import LocalBackend", {"flspec_local"}),
        ("flspec", "from .plan import Plan", {"a relative import"}),
        ("flspec_tff", "from flspec_torch.training import Trainer", {"flspec_torch"}),
        ("flspec_flower", "import flspec_local", {"flspec_local"}),
        ("flspec_torch", "import flspec_local", {"flspec_local"}),
        ("flspec", "import torchless, numpy\nfrom flspec.protocol.plan import Plan", set()),
        ("flspec_local", "import torch\nfrom flspec_torch.training import Trainer", set()),
        ("flspec_flower", "import flwr, ray, flspec_torch, flspec.protocol.plan", set()),
    ],
)
def test_a_forbidden_import_is_found(package, source, found):
    assert forbidden_imports(package, source) == found


def floors() -> dict[str, int]:
    """The line of the table on which each room stands."""
    return {room: floor for floor, line in enumerate(ROOMS) for room in line.split()}


def upward_imports(room: str, source: str) -> set[str]:
    """The rooms that a source of `room` imports from although they do not stand below it."""
    found = {module.split(".")[1] for module in imports(source) if module.startswith("flspec.")} - {room}
    return {other for other in found if floors()[other] >= floors()[room]}


def room_of(path: Path) -> str:
    return path.relative_to(ROOT / "flspec").parts[0].removesuffix(".py")


@pytest.mark.parametrize(
    "path",
    [path for path in sources("flspec") if path.name not in ("__main__.py",) and path.parent != ROOT / "flspec"],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_a_room_imports_only_what_stands_below_it(path):
    assert upward_imports(room_of(path), path.read_text()) == set()


def test_an_import_from_a_room_above_is_found():
    assert upward_imports("data", "from flspec.datasets import Dataset\nfrom flspec.errors import choose") == {
        "datasets"
    }
    assert upward_imports("models", "def f():\n    import flspec.data.examples") == {"data"}
    assert upward_imports("cli", "from flspec.report import write_report\nfrom flspec.cli.app import app") == set()


# What a backend has no business with: it is given a plan, and yields events.
CLOSED_TO_BACKENDS = {
    "spec",
    "compiler",
    "analysis",
    "runs",
    "measurements",
    "comparison",
    "report",
    "api",
    "bundles",
    "exports",
    "cli",
}


def closed_rooms_entered(source: str) -> set[str]:
    """The rooms that a backend's source imports from although they are closed to backends."""
    modules = {module for module in imports(source) if module.startswith("flspec.")}
    return {module.split(".")[1] for module in modules if module.split(".")[1] in CLOSED_TO_BACKENDS} - (
        {"analysis"} if all("memory_estimate" in m for m in modules if m.startswith("flspec.analysis")) else set()
    )


@pytest.mark.parametrize("path", sources("backends"), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_backend_enters_few_rooms(path):
    assert closed_rooms_entered(path.read_text()) == set()


def test_a_backend_in_a_closed_room_is_found():
    assert closed_rooms_entered("from flspec.runs.runner import run\nimport flspec.protocol.plan") == {"runs"}
    assert closed_rooms_entered("from flspec.analysis.memory_estimate import kept_bytes") == set()
    assert closed_rooms_entered("from flspec.analysis.skew import gini") == {"analysis"}


def test_every_room_stands_in_the_table_once():
    written = " ".join(ROOMS).split()
    assert sorted(written) == sorted({room_of(path) for path in sources("flspec")} - {"__init__", "__main__"})


def test_little_lies_at_the_root():
    assert {path.name for path in (ROOT / "flspec").glob("*.py")} == MOST_AT_THE_ROOT


LIGHT = (
    "flspec.errors",
    "flspec.protocol.settings",
    "flspec.protocol.packing",
    "flspec.protocol.plan_features",
    "flspec.protocol.batch_rule",
    "flspec.core.ragged",
    "flspec.core.randomness",  # words and permutations; only what it inverts, for normal values, is SciPy's
    "flspec.core.files",
    "flspec.core.reading",
)


def heavier_than_numpy(source: str) -> set[str]:
    return {
        module
        for module in imports(source)
        if module.partition(".")[0] not in {*sys.stdlib_module_names, "numpy"} and not module.startswith(LIGHT)
    }


@pytest.mark.parametrize(
    "module",
    [
        *("protocol/plan", "protocol/packing", "protocol/settings", "protocol/batch_rule", "protocol/plan_features"),
        *("core/reading", "core/ragged", "errors"),
    ],
)
def test_a_plan_needs_numpy_and_the_standard_library_alone(module):
    assert heavier_than_numpy((ROOT / "flspec" / f"{module}.py").read_text()) == set()


def test_files_are_written_with_the_standard_library_alone():
    ours = {"flspec", "numpy", *sys.stdlib_module_names}
    usual = imported_by("json")  # what this environment itself imports at each start
    assert imported_by("flspec.core.files") - usual <= ours


def test_a_heavier_import_is_found():
    source = "import json, pydantic\nfrom flspec.errors import InputError\nfrom flspec.spec.spec import Spec"
    assert heavier_than_numpy(source) == {"pydantic", "flspec.spec.spec", "flspec.spec.spec.Spec"}


def imported_by(module: str) -> set[str]:
    """The top-level packages that a fresh process holds after `import module`."""
    source = f"import sys, {module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    process = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    return set(process.stdout.split())


def test_reading_a_spec_imports_nothing_heavy():
    assert imported_by("flspec.spec.loading") & set(HEAVY) == set()


@pytest.mark.parametrize("command", ["validate specs/digits_matrix.yaml", "list", "list partition", "schema", "new"])
def test_commands_about_specs_import_nothing_heavy(command):
    source = """
import contextlib, io, sys
from flspec.cli import main
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    main()
print(*{name.partition('.')[0] for name in sys.modules})
"""
    process = subprocess.run(
        [sys.executable, "-c", source, *command.split()], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = set(process.stdout.split())
    assert {"flspec", "pydantic"} <= loaded
    assert loaded & {*HEAVY, "matplotlib", "PIL", "pyarrow"} == set()


def test_a_heavy_import_is_found():
    assert imported_by("flspec.spec.loading, scipy.special") & set(HEAVY) == {"scipy"}


# -------------------------------------------------------------------------------------------------------------- shape


def exported(source: str) -> list[str] | None:
    for node in ast.parse(source).body:
        match node:
            case ast.Assign(targets=[ast.Name(id="__all__")]):
                names: list[str] = ast.literal_eval(node.value)
                return names
    return None


def is_sorted(names: list[str]) -> bool:
    """As ruff sorts them: CONSTANTS, then Classes, then functions."""
    return names == sorted(names, key=lambda name: (not name.isupper(), not name[0].isupper(), name))


@every_source
def test_exports_are_sorted(path):
    assert is_sorted(exported(path.read_text()) or [])


@pytest.mark.parametrize(
    ("names", "fine"),
    [
        (["FORMAT", "ClientTask", "Plan", "compile"], True),
        ([], True),
        (["Plan", "ClientTask"], False),
        (["compile", "Plan"], False),
        (["Plan", "FORMAT"], False),
    ],
)
def test_unsorted_exports_are_found(names, fine):
    assert is_sorted(exported(f"__all__ = {names}") or []) == fine


def too_long(source: str) -> bool:
    return len(source.splitlines()) > MOST_LINES


@pytest.mark.parametrize(
    "path", sources("flspec", "backends", "benchmarks", "tests"), ids=lambda path: str(path.relative_to(ROOT))
)
def test_no_file_is_longer_than_400_lines(path):
    assert not too_long(path.read_text())


def test_a_file_that_is_too_long_is_found():
    assert not too_long("x\n" * MOST_LINES)
    assert too_long("x\n" * (MOST_LINES + 1))


def test_there_is_something_to_check():
    names = {str(path.relative_to(ROOT)) for path in sources("flspec", "backends", "tests")}
    assert {"flspec/protocol/plan.py", "backends/flspec_torch/training.py", "tests/test_architecture.py"} <= names
    assert {"flspec_torch", "flspec_local", "flspec_flower", "flspec_tff"} <= BACKENDS


def models_of_flspec():
    """Every pydantic class that flspec defines, after importing all of it."""
    for module in pkgutil.walk_packages(flspec.__path__, "flspec."):
        if module.name != "flspec.__main__":
            importlib.import_module(module.name)
    found, below = set(), [BaseModel]
    while below:
        subclasses = below.pop().__subclasses__()
        below += subclasses
        found |= {cls for cls in subclasses if cls.__module__.startswith("flspec.")}
    return found


def test_documents_are_frozen_and_refuse_unknown_keys():
    models = models_of_flspec()
    assert len(models) > 30
    for model in models:
        assert model.model_config.get("frozen"), model
        assert model.model_config.get("extra") == "forbid", model


def loose_dataclasses(source):
    """The dataclasses of a module that are not frozen."""
    return [
        node.name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ClassDef)
        for decorator in node.decorator_list
        if "dataclass" in ast.unparse(decorator) and "frozen=True" not in ast.unparse(decorator)
    ]


def test_a_loose_dataclass_would_be_found():
    assert loose_dataclasses("@dataclass\nclass A: ...\n@dataclass(frozen=True)\nclass B: ...") == ["A"]


@pytest.mark.parametrize("path", sorted((ROOT / "flspec").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_dataclasses_are_frozen(path):
    assert not loose_dataclasses(path.read_text(encoding="utf-8"))


def talk(source):
    """Calls and imports by which a backend would speak past its events."""
    nodes = list(ast.walk(ast.parse(source)))
    calls = [ast.unparse(node.func) for node in nodes if isinstance(node, ast.Call)]
    names = [alias.name for node in nodes if isinstance(node, ast.Import | ast.ImportFrom) for alias in node.names]
    modules = [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    return [
        name for name in [*calls, *names, *modules] if name.partition(".")[0] in ("print", "logging", "rich", "typer")
    ]


def test_a_talking_backend_would_be_found():
    assert talk("import logging\nprint(1)\nlogging.info(2)") == ["print", "logging.info", "logging"]


@pytest.mark.parametrize("path", sorted((ROOT / "backends").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_a_backend_only_yields_events(path):
    assert not talk(path.read_text(encoding="utf-8"))
