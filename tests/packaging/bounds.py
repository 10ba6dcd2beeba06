"""Run the fast tests with the newest, or the lowest, of every dependency that pyproject.toml allows.

    python tests/packaging/bounds.py newest
    python tests/packaging/bounds.py lowest

Flower asks for an older typer and a newer rich than flspec does, so it has an environment of its own, in which a
certificate shows that it works. Environments are kept below the cache folder: the lowest for as long as the bounds
stay, the newest for a day. torch is the same everywhere, the one of constraints.txt: its builds differ by hardware and
have gigabytes. So the bound of torch alone is not tried.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import tomllib
from datetime import date
from pathlib import Path
from typing import Any

from flspec.core.cache import cache_folder

ROOT = Path(__file__).parents[2]
RESOLUTIONS = {"newest": "highest", "lowest": "lowest-direct"}
TOOLS = ("pytest", "hypothesis", "jsonschema")  # and the plugins of pytest, of the extra `dev`
TESTS = [f"tests/unit/{name}" for name in ("spec", "core", "protocol", "compiler", "cli/test_cli.py")]
TESTS += ["tests/unit/cli/test_bad_inputs.py", "tests/unit/cli/test_shipped_cli.py"]
CERTIFICATE = ("--backends", "local,flower,flower:inprocess", "--set", "rounds=2")


def main(which: str) -> None:
    """Run it all; ends with the status of the first command that fails."""
    python = environment(which, "parquet")
    run(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS)
    run(python, "-m", "flspec", "run", "specs/quickstart.yaml", "--json", "--out", scratch(python, "run"), quiet=True)
    python = environment(which, "flower")
    certify = ("-m", "flspec", "certify", "specs/quickstart.yaml")
    run(python, *certify, *CERTIFICATE, "--out", scratch(python, "certificate"))
    print(f"{which}: the tests, a run and a certificate with Flower are as they should be")


def environment(which: str, extra: str) -> Path:
    """The Python of an environment with flspec's sources, one extra and the dependencies that are asked for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    torch = next(line for line in (ROOT / "constraints.txt").read_text().splitlines() if line.startswith("torch=="))
    folder = cache_folder() / "bounds" / f"{which}-{extra}-{key(which, project, torch)}"
    for old in folder.parent.glob(f"{which}-{extra}-*"):
        if old != folder:
            shutil.rmtree(old)
    python = folder / "bin" / "python"
    if not python.exists():
        run(Path(sys.executable), "-m", "venv", str(folder))
    # What is there already stays, so torch comes first, and alone, lest its dependencies be newer than the lowest.
    run(python, "-m", "pip", "install", "--quiet", "--no-deps", torch)
    install = (str(Path(sys.executable).with_name("uv")), "pip", "install", "--quiet", "--python", str(python))
    run(*install, "--resolution", RESOLUTIONS[which], torch, "--editable", f".[{extra}]")
    run(*install, *(tool for tool in project["optional-dependencies"]["dev"] if tool.startswith(TOOLS)))
    print(f"{which}: {', '.join(versions(python, direct_dependencies(project, extra)))}", flush=True)
    return python


def key(which: str, project: dict[str, Any], torch: str) -> str:
    """A name that changes with what an environment is made from."""
    day = date.today().isoformat() if which == "newest" else ""
    made_from = [sys.version, torch, day, project["dependencies"], project["optional-dependencies"]]
    return hashlib.sha256(repr(made_from).encode()).hexdigest()[:12]


def direct_dependencies(project: dict[str, Any], extra: str) -> list[str]:
    """The names of what flspec itself asks for."""
    needs = [*project["dependencies"], *project["optional-dependencies"][extra]]
    return [re.match(r"[\w-]+", need)[0] for need in needs]  # type: ignore[index]


def versions(python: Path, names: list[str]) -> list[str]:
    """Each name with the version that is installed of it."""
    source = "import sys, importlib.metadata as m; print(*(f'{n} {m.version(n)}' for n in sys.argv[1:]), sep='\\n')"
    done = subprocess.run([python, "-c", source, *names], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def scratch(python: Path, name: str) -> str:
    """A folder for results, empty however often this is repeated."""
    folder = python.parents[1] / name
    shutil.rmtree(folder, ignore_errors=True)
    return str(folder)


def run(program: Path | str, *arguments: str, quiet: bool = False) -> None:
    """Run a command in the repository, or end with its status."""
    done = subprocess.run([program, *arguments], cwd=ROOT, stdout=subprocess.DEVNULL if quiet else None, check=False)
    if done.returncode:
        print(f"failed: {program} {' '.join(arguments)}", file=sys.stderr)
        sys.exit(done.returncode)


if __name__ == "__main__":
    if sys.argv[1:] not in [[which] for which in RESOLUTIONS]:
        sys.exit(f"usage: bounds.py {'|'.join(RESOLUTIONS)}")
    main(sys.argv[1])
