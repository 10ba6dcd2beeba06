"""Named mutants: small wrong changes of flspec, each with the tests that must catch it.

    python -m tests.mutants.run [--only NAME ...]

A mutant is an entry of a `.toml` file beside this one: a file, a text in it, the text that replaces it, and the tests
that must then fail. It is applied to a copy of the tree, never to the tree itself. The named tests first run in an
unchanged copy, where they must pass. A mutant lives if one of its tests passes on it; the command then exits
with 1.
"""

from __future__ import annotations

import argparse
import ast
import compileall
import os
import py_compile
import queue
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
NUM_TREES = 2  # mutants tried at once, each in a copy of its own
_SECONDS = 400  # that the tests of a mutant may take
_COPIED = ("backends", "flspec", "specs", "tests", "conftest.py", "pyproject.toml")
# Errors of a mutant that cannot run at all, so that it would be caught by anything and proves nothing of its test.
_BROKEN = ("ImportError", "ModuleNotFoundError", "SyntaxError", "NameError", "UnboundLocalError")


@dataclass(frozen=True)
class Mutant:
    name: str
    why: str  # what would be wrong, for a reader of a result
    file: str
    before: str  # occurs once in the file
    after: str
    killed_by: tuple[str, ...]  # tests by file and name, all of which must fail


@dataclass(frozen=True)
class Outcome:
    mutant: Mutant
    trouble: str  # why it lives or could not be tried; empty if it is killed
    seconds: float


def read_mutants(folder: Path) -> list[Mutant]:
    """Return the mutants of a folder's files. Raises ValueError if two have one name, or TypeError for a wrong key."""
    entries = [entry for file in sorted(folder.glob("*.toml")) for entry in tomllib.loads(file.read_text())["mutant"]]
    mutants = [Mutant(**{**entry, "killed_by": tuple(entry["killed_by"])}) for entry in entries]
    names = [mutant.name for mutant in mutants]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"two mutants are named {twice[0]}")
    return mutants


def why_invalid(mutant: Mutant, root: Path) -> str:
    """Return why a mutant cannot be tried, or nothing: its text, its syntax and its tests are looked up."""
    path = root / mutant.file
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    if (count := text.count(mutant.before)) != 1:
        return f"its text occurs {count} times in {mutant.file}, not once"
    try:
        ast.parse(text.replace(mutant.before, mutant.after))
    except SyntaxError as error:
        return f"{mutant.file} is no Python with it: {error.msg} in line {error.lineno}"
    missing = [test for test in mutant.killed_by if not _exists(test, root)]
    return f"there is no test {missing[0]}" if missing else "" if mutant.killed_by else "it names no test"


def run_mutants(mutants: Sequence[Mutant], root: Path) -> Iterator[Outcome]:
    """Try every mutant, some at once, and yield what became of each. Raises ValueError if a test fails without one."""
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(NUM_TREES) as pool:
        trees: queue.Queue[Path] = queue.Queue()
        for tree in pool.map(lambda number: _copied(root, Path(folder) / str(number)), range(NUM_TREES)):
            trees.put(tree)
        tests = sorted({test for mutant in mutants if not why_invalid(mutant, root) for test in mutant.killed_by})
        _check_sound(pool, trees, tests)
        yield from pool.map(lambda mutant: _try(mutant, trees), mutants)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants.run", description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", metavar="NAME", help="try only these")
    only = parser.parse_args(arguments).only
    mutants = read_mutants(FOLDER)
    if unknown := set(only or ()) - {mutant.name for mutant in mutants}:
        parser.error(f"no mutant is named {min(unknown)}")
    started = time.monotonic()
    chosen = [one for one in mutants if not only or one.name in only]
    try:
        lives = [_told(outcome) for outcome in run_mutants(chosen, ROOT)]
    except ValueError as error:
        print(error)
        return 1
    print(f"{len(lives)} mutants: {lives.count(False)} killed, {sum(lives)} not, in {time.monotonic() - started:.0f} s")
    return int(any(lives))


def _told(outcome: Outcome) -> bool:
    """Print a line about a mutant, and return whether it is not killed."""
    killers = ", ".join(test.rpartition("::")[2] for test in outcome.mutant.killed_by)
    print(f"{outcome.mutant.name:36} {outcome.seconds:5.1f} s  {outcome.trouble or killers}", flush=True)
    return bool(outcome.trouble)


def _try(mutant: Mutant, trees: queue.Queue[Path]) -> Outcome:
    """Apply a mutant to a copy, run its tests there, and take it back."""
    tree, started = trees.get(), time.monotonic()
    try:
        if invalid := why_invalid(mutant, tree):
            return Outcome(mutant, f"NOT TRIED: {invalid}", 0.0)
        path = tree / mutant.file
        sound = path.read_text(encoding="utf-8")
        path.write_text(sound.replace(mutant.before, mutant.after), encoding="utf-8")
        try:
            results = _run_tests(tree, mutant.killed_by)
        finally:
            path.write_text(sound, encoding="utf-8")
        trouble = [f"{test.rpartition('::')[2]} {why}" for test, why in results.items() if why != "fails"]
        return Outcome(mutant, f"LIVES: {'; '.join(trouble)}" if trouble else "", time.monotonic() - started)
    finally:
        trees.put(tree)


def _check_sound(pool: ThreadPoolExecutor, trees: queue.Queue[Path], tests: Sequence[str]) -> None:
    """Raise ValueError unless all tests pass in an unchanged copy."""

    def run(part: Sequence[str]) -> Mapping[str, str]:
        tree = trees.get()
        try:
            return _run_tests(tree, part) if part else {}
        finally:
            trees.put(tree)

    # By file, because the tests of a file share what is slow to set up.
    files = sorted({test.partition("::")[0] for test in tests})
    parts = [[test for test in tests if test.partition("::")[0] in files[n::NUM_TREES]] for n in range(NUM_TREES)]
    for results in pool.map(run, parts):
        if wrong := [f"{test} {why}" for test, why in results.items() if why != "passes"]:
            raise ValueError(f"without a mutant, {'; '.join(wrong)}")


def _run_tests(tree: Path, tests: Sequence[str]) -> dict[str, str]:
    """Return what each test does in a tree: `passes`, `fails`, or in words what keeps it from either."""
    report = tree / "junit.xml"
    report.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", *tests]
    paths = os.pathsep.join([str(tree), str(tree / "backends")])
    try:
        done = subprocess.run(
            command,
            cwd=tree,
            env=os.environ | {"PYTHONPATH": paths},
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return dict.fromkeys(tests, f"gives no result in {_SECONDS} s")
    if not report.exists():
        return dict.fromkeys(
            tests, f"does not run: {(done.stdout + done.stderr).decode(errors='replace').strip()[-300:]}"
        )
    cases = list(ElementTree.parse(report).iter("testcase"))
    return {test: _verdict(test, cases) for test in tests}


def _verdict(test: str, cases: Sequence[ElementTree.Element]) -> str:
    """Return what the cases of one test do: it fails if one of its parameters does."""
    file, _, name = test.partition("::")
    module = file.removesuffix(".py").replace("/", ".")
    own = [c for c in cases if c.get("classname") == module and (c.get("name") or "").partition("[")[0] == name]
    errors = [error for case in own for error in case.findall("error")]
    failures = [failure.get("message") or "" for case in own for failure in case.findall("failure")]
    if not own or errors:
        return f"does not run: {(errors[0].get('message') if errors else None) or 'it is not there'}"
    if broken := [message for message in failures if message.startswith(_BROKEN)]:
        return f"fails for another reason: {broken[0].splitlines()[0]}"
    if failures:
        return "fails"
    return "is skipped" if all(case.findall("skipped") for case in own) else "passes"


def _exists(test: str, root: Path) -> bool:
    file, _, name = test.partition("::")
    path = root / file
    tree = ast.parse(path.read_text(encoding="utf-8")) if path.is_file() else ast.Module([], [])
    return any(isinstance(node, ast.FunctionDef) and node.name == name for node in tree.body)


def _copied(root: Path, tree: Path) -> Path:
    tree.mkdir()
    for name in _COPIED:
        source = root / name
        if source.is_dir():
            shutil.copytree(source, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.exists():
            shutil.copy2(source, tree / name)
    # A mutant may have as many bytes as the sound text, in the same second: Python must look at the text itself.
    mode = py_compile.PycInvalidationMode.CHECKED_HASH
    compileall.compile_dir(tree, quiet=2, invalidation_mode=mode, workers=1)
    return tree


if __name__ == "__main__":
    sys.exit(main())
