"""Copies of the repository in which mutants are tried, each with a process that runs tests in it."""

from __future__ import annotations

import compileall
import json
import py_compile
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree

__all__ = ["Tree", "copy_of"]

_SECONDS = 400  # that the tests of a mutant may take
_COPIED = ("backends", "benchmarks", "flspec", "specs", "tests", "conftest.py", "pyproject.toml")
# Errors of a mutant that cannot run at all, so that it would be caught by anything and proves nothing of its test.
_BROKEN = ("ImportError", "ModuleNotFoundError", "SyntaxError", "NameError", "UnboundLocalError")


class Tree:
    """A copy that may be changed. `imports` are modules of others that its tests need and that are slow to import."""

    def __init__(self, sound: Path, folder: Path, imports: Sequence[str] = ()) -> None:
        self.folder = Path(shutil.copytree(sound, folder))
        command = [sys.executable, str(Path(__file__).with_name("forked.py")), *imports]
        self._tester = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def close(self) -> None:
        """End the process that runs tests."""
        self._tester.communicate()

    @contextmanager
    def changed(self, file: str, before: str, after: str) -> Iterator[None]:
        """Replace a text of a file, for as long as the context lasts."""
        path = self.folder / file
        sound = path.read_text(encoding="utf-8")
        path.write_text(sound.replace(before, after), encoding="utf-8")
        try:
            yield
        finally:
            path.write_text(sound, encoding="utf-8")

    def run(self, tests: Sequence[str]) -> dict[str, str]:
        """Return what each test does here: `passes`, `fails`, or in words what keeps it from either."""
        report = self.folder / "junit.xml"
        report.unlink(missing_ok=True)
        status = self._asked("-q", "-p", "no:cacheprovider", f"--junitxml={report}", *tests)
        if status < 0:
            return dict.fromkeys(tests, f"gives no result in {_SECONDS} s")
        if not report.exists():
            log = (self.folder / "log").read_text(errors="replace")
            return dict.fromkeys(tests, f"does not run: {log.strip()[-300:]}")
        cases = list(ElementTree.parse(report).iter("testcase"))
        return {test: _verdict(test, cases) for test in tests}

    def _asked(self, *arguments: str) -> int:
        """Run pytest and return its exit status, negative if it was ended."""
        assert self._tester.stdin
        assert self._tester.stdout
        print(json.dumps([str(self.folder), _SECONDS, *arguments]), file=self._tester.stdin, flush=True)
        return int(self._tester.stdout.readline())


def copy_of(root: Path, folder: Path) -> Path:
    """Copy what tests need of a repository, compiled, and return the folder."""
    folder.mkdir()
    for name in _COPIED:
        source = root / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.exists():
            shutil.copy2(source, folder / name)
    # A mutant may have as many bytes as the sound text, in the same second: Python must look at the text itself.
    mode = py_compile.PycInvalidationMode.CHECKED_HASH
    for name in ("backends", "flspec"):
        compileall.compile_dir(folder / name, quiet=2, invalidation_mode=mode)
    return folder


def _verdict(test: str, cases: Sequence[ElementTree.Element]) -> str:
    """Return what the cases of one test do: it fails if one of its parameters does."""
    file, _, name = test.partition("::")
    module = file.removesuffix(".py").replace("/", ".")
    named = [((case.get("name") or ""), case) for case in cases if case.get("classname") == module]
    own = [case for whole, case in named if name in (whole, whole.partition("[")[0])]
    errors = [error.get("message") or "" for case in own for error in case.findall("error")]
    failures = [failure.get("message") or "" for case in own for failure in case.findall("failure")]
    if not own or errors:
        return f"does not run: {errors[0] if errors else 'it is not there'}"
    if broken := [message for message in failures if message.startswith(_BROKEN)]:
        return f"fails for another reason: {broken[0].splitlines()[0]}"
    if failures:
        return "fails"
    return "is skipped" if all(case.findall("skipped") for case in own) else "passes"
