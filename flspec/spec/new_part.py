"""A new file of parts to start from, with its test: `flspec new --part KIND`.

Each kind is one file in `part_templates`, which is linted and type-checked like any other. Its first paragraph ends in
the lines with which a spec names it.
"""

from __future__ import annotations

import keyword
import re
import sys
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

from flspec.core.reading import read_regular
from flspec.errors import InputError, choose
from flspec.spec.template import check_is_new
from flspec.spec.yaml_reader import read_yaml
from flspec.spec.yaml_writer import write_yaml

__all__ = ["files_of", "new_part", "part_kinds", "write_new_part"]

_TEMPLATES = Path(__file__).with_name("part_templates")
_SMALL: dict[str, Any] = {
    "flspec": 1,
    "name": "small",
    "rounds": 2,
    "dataset": {"kind": "synthetic", "classes": 3, "features": 4, "train_examples": 60, "test_examples": 20},
    "partition": {"kind": "iid", "clients": 4},
    "model": {"kind": "softmax_regression"},
    "client": {"epochs": 1, "batch_size": 5, "optimizer": {"kind": "sgd", "learning_rate": 0.1}},
}
_TABLE = "dose,age,outcome\n" + "".join(
    f"{row % 7 / 2},{30 + row * 11 % 40},{'ill' if row % 3 else 'well'}\n" for row in range(40)
)
_FILES = {"encoding": {"table.csv": _TABLE}}  # beside the small experiment of a kind
_OPTIONS = {"tracker": ', trackers=["{name}"]'}  # of its run


def part_kinds() -> list[str]:
    """Return the kinds of parts that there is a file to start from for."""
    return sorted(path.stem for path in _TEMPLATES.glob("*.py"))


def new_part(kind: str, name: str | None = None) -> tuple[str, str, str]:
    """Return the name of a new part, the text of its file and that of its test. Raises InputError."""
    if kind not in part_kinds():
        raise InputError(f"--part: {choose(kind, part_kinds())}")
    name = name or f"my_{kind}"
    if not re.fullmatch("[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise InputError(f"{name}.py cannot be imported as a kind; use small letters, digits and _, e.g. my_{kind}.py")
    if name in sys.stdlib_module_names or _is_installed(name):
        raise InputError(f"{name}.py would hide the module {name} from programs run beside it; choose another name")
    text = read_regular(_TEMPLATES / f"{kind}.py").decode()
    text = text.replace(f"my_{kind}", name).replace(_class_of(f"my_{kind}"), _class_of(name))
    return name, text, _test_of(kind, name, text)


def files_of(kind: str) -> dict[str, str]:
    """Return the files, by name, that the small experiment of a kind's test reads."""
    return _FILES.get(kind, {})


def write_new_part(kind: str, file: Path | None) -> tuple[Path, Path, str]:
    """Write a new file of parts, by default `my_KIND.py` here, and its test; returns both, and the lines for a spec."""
    path = file or Path(f"my_{kind}.py")
    if path.suffix != ".py":
        raise InputError(f"{path} is no file of Python; name one, e.g. my_{kind}.py")
    _, text, test = new_part(kind, path.stem)
    test_path = path.with_name(f"test_{path.name}")
    for one in (path, test_path):
        check_is_new(one)
    try:
        for one, content in ((path, text), (test_path, test)):
            with one.open("x", encoding="utf-8") as new:
                new.write(content)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error}") from None
    return path, test_path, _spec_lines(text)


def _is_installed(name: str) -> bool:
    """Return whether an installed distribution has a module of that name; what lies in the working folder is none."""
    return name in packages_distributions()


def _spec_lines(text: str) -> str:
    """Return the lines of a part's first paragraph with which a spec names it."""
    return text.partition("In a spec:\n\n")[2].partition('\n"""')[0]


def _test_of(kind: str, name: str, text: str) -> str:
    said = read_yaml(f"{_spec_lines(text)}\n".encode(), name).value
    spec = write_yaml({key: _merged(_SMALL.get(key), said.get(key)) for key in [*_SMALL, *said]})
    files = "".join(f'    (tmp_path / "{file}").write_text({content!r})\n' for file, content in files_of(kind).items())
    run = f'flspec.run(tmp_path / "spec.yaml", out=tmp_path / folder{_OPTIONS.get(kind, "").format(name=name)})'
    return f'''"""A small experiment with {name} runs, twice to the same bits. Add what yours promises."""

from pathlib import Path

import flspec

SPEC = """
{spec}"""


def test_a_small_experiment_with_{name}_runs_twice_to_the_same_bits(tmp_path):
    (tmp_path / "{name}.py").write_text(Path(__file__).with_name("{name}.py").read_text())
    (tmp_path / "spec.yaml").write_text(SPEC)
{files}    first, again = ({run} for folder in ("first", "again"))
    assert first.status == "completed"
    assert first.weights.sha256 == again.weights.sha256
'''


def _merged(below: Any, above: Any) -> Any:
    """Return a section with another laid over it, unless that is of another kind."""
    if not (isinstance(below, dict) and isinstance(above, dict)) or "kind" in above:
        return below if above is None else above
    return {**below, **{key: _merged(below.get(key), value) for key, value in above.items()}}


def _class_of(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))
