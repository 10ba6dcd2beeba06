"""Files that may come from anyone are opened by one module, which knows their size first."""

from __future__ import annotations

import ast

from tests.test_architecture import ROOT, every_source

# Sources that open files by themselves: those of flspec's own, its cache, its environments and the system's.
OF_FLSPEC_ITSELF = {
    "flspec/core/ownership.py",
    "flspec/core/part_sources.py",  # of packages, which are trusted
    "flspec/core/reading.py",  # all others
    "flspec/data/image_store.py",
    "flspec/data/store.py",
    "flspec/data/synthetic/twin_cache.py",
    "flspec/runs/cleaning.py",  # of /proc
    "flspec/spec/overlays.py",  # of specs, which it checks with another error
    "flspec/spec/shipped.py",
}


def readings(source: str) -> list[str]:
    """The calls of a source that open a file to be read."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return [ast.unparse(call) for call in calls if _reads(call)]


def _reads(call: ast.Call) -> bool:
    name = ast.unparse(call.func)
    given = [*call.args, *(keyword.value for keyword in call.keywords)]
    modes = {one.value for one in given if isinstance(one, ast.Constant) and isinstance(one.value, str)}
    is_plain = name == "open" and not any(mode[:1] in ("w", "a", "x") for mode in modes)
    by_method = name.endswith(".open") and bool(modes & {"r", "rb", "rt", "r+b"})
    return is_plain or by_method or name.endswith((".read_bytes", ".read_text", "np.load", "np.fromfile"))


@every_source
def test_only_one_module_reads_the_files_of_others(path):
    name = str(path.relative_to(ROOT))
    found = readings(path.read_text(encoding="utf-8"))
    assert not found or name in OF_FLSPEC_ITSELF or name.startswith("flspec/execution/")


def test_a_module_that_reads_by_itself_is_found():
    source = "p.read_bytes(); p.open('rb'); open(p); np.load(p); p.open('xb'); z.open(member); open(p, 'w')"
    assert readings(source) == ["p.read_bytes()", "p.open('rb')", "open(p)", "np.load(p)"]
