"""Named mutants: small wrong changes of flspec, each with the tests that must catch it.

    python -m tests.mutants.run [--only NAME ...]

A mutant is an entry of a `.toml` file beside this one: a file, a text in it, the text that replaces it, and the tests
that must then fail. It is applied to a copy of the tree, never to the tree itself. The named tests first run in an
unchanged copy, where they must pass. A mutant lives if one of its tests passes on it; the command then exits with 1.
"""

from __future__ import annotations

import argparse
import ast
import queue
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tests.mutants.trees import Tree, copy_of

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
SLOW = ("torch", "scipy.stats", "sklearn.metrics", "sklearn.datasets", "hypothesis", "pydantic")  # to import
NUM_TREES = 2  # mutants tried at once, each in a copy of its own
T = TypeVar("T")


@dataclass(frozen=True)
class Mutant:
    name: str
    why: str  # what would be wrong, for a reader of a result
    file: str
    before: str  # occurs once in the file
    after: str
    killed_by: tuple[str, ...]  # tests by file and name, with a parameter's name if only that must fail; all must fail


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


def run_mutants(mutants: Sequence[Mutant], root: Path, imports: Sequence[str] = ()) -> Iterator[Outcome]:
    """Try every mutant, some at once, and yield what became of each. Raises ValueError if a test fails without one."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        pool = stack.enter_context(ThreadPoolExecutor(NUM_TREES))
        trees: queue.Queue[Tree] = queue.Queue()
        sound = copy_of(root, folder / "sound")
        for number in range(NUM_TREES):
            trees.put(stack.enter_context(closing(Tree(sound, folder / str(number), imports))))
        _check_sound(pool, trees, [mutant for mutant in mutants if not why_invalid(mutant, root)])
        yield from pool.map(lambda mutant: _in_one(trees, lambda tree: _try(mutant, tree)), mutants)


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
        lives = [_told(outcome) for outcome in run_mutants(chosen, ROOT, SLOW)]
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


def _in_one(trees: queue.Queue[Tree], do: Callable[[Tree], T]) -> T:
    """Do something in a tree that nobody uses, as soon as there is one."""
    tree = trees.get()
    try:
        return do(tree)
    finally:
        trees.put(tree)


def _try(mutant: Mutant, tree: Tree) -> Outcome:
    """Apply a mutant, run its tests, and take it back."""
    started = time.monotonic()
    if invalid := why_invalid(mutant, tree.folder):
        return Outcome(mutant, f"NOT TRIED: {invalid}", 0.0)
    with tree.changed(mutant.file, mutant.before, mutant.after):
        results = tree.run(mutant.killed_by)
    trouble = [f"{test.rpartition('::')[2]} {why}" for test, why in results.items() if why != "fails"]
    return Outcome(mutant, f"LIVES: {'; '.join(trouble)}" if trouble else "", time.monotonic() - started)


def _check_sound(pool: ThreadPoolExecutor, trees: queue.Queue[Tree], mutants: Sequence[Mutant]) -> None:
    """Raise ValueError unless the tests of all mutants pass in an unchanged copy."""
    tests = sorted({test for mutant in mutants for test in mutant.killed_by})
    # By file, because the tests of a file share what is slow to set up.
    files = sorted({test.partition("::")[0] for test in tests})
    parts = [[test for test in tests if test.partition("::")[0] in files[n::NUM_TREES]] for n in range(NUM_TREES)]
    for results in pool.map(lambda part: _in_one(trees, lambda tree: tree.run(part)), filter(None, parts)):
        if wrong := [f"{test} {why}" for test, why in results.items() if why != "passes"]:
            raise ValueError(f"without a mutant, {'; '.join(wrong)}")


def _exists(test: str, root: Path) -> bool:
    file, _, name = test.partition("[")[0].partition("::")
    path = root / file
    tree = ast.parse(path.read_text(encoding="utf-8")) if path.is_file() else ast.Module([], [])
    return any(isinstance(node, ast.FunctionDef) and node.name == name for node in tree.body)


if __name__ == "__main__":
    sys.exit(main())
