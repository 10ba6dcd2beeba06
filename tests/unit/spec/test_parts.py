"""Parts beside a spec: they count for that spec alone, the plan holds their text, and strangers' files are not run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import flspec
from flspec.core.part_files import PartFiles, using
from flspec.errors import InputError, SpecError
from flspec.execution.parts import network_of
from flspec.metrics import METRICS
from flspec.protocol.part_scope import using_parts_of
from flspec.protocol.plan import Plan
from flspec.spec.loading import load_spec, parse_spec
from flspec.spec.new_part import new_part
from flspec.spec.trust import trust
from flspec_tff.support import unsupported
from flspec_torch.model import build_forward, to_tensors
from tests.unit.scratch_packages import run_python
from tests.unit.spec.part_specs import PART, SPEC, write


def digest(*args, **kwargs) -> str:
    return flspec.compile(write(*args, **kwargs)).digest


def kind_of_aggregator(spec: Any) -> str:
    return str(spec.aggregator.kind)


# ------------------------------------------------------------------------------------------------------- what they do


def test_two_specs_have_the_same_kind_in_different_files_at_once(tmp_path):
    half, none = (write(tmp_path / factor, factor=f"FACTOR = {factor}\n") for factor in ("0.5", "0.0"))
    plans = [flspec.compile(half), flspec.compile(none)]
    results = [flspec.run(plan, out=tmp_path / f"run{number}") for number, plan in enumerate(plans)]
    assert [result.final.evaluation["test"]["misses"] < 0.5 for result in results if result.final] == [True, False]
    assert plans[0].digest != plans[1].digest


def test_a_part_counts_for_its_spec_alone(tmp_path):
    spec = load_spec(write(tmp_path))
    assert kind_of_aggregator(spec) == "scaled"
    with pytest.raises(
        SpecError, match=r"unknown 'scaled'; that is a kind of `faults`; choose one of bulyan, .*fedavg"
    ):
        parse_spec(SPEC.replace("parts: [my_parts.py]", ""))
    assert "misses" not in METRICS
    with using(spec.part_files):
        assert METRICS["misses"].better == "lower"


def test_what_runs_is_what_the_digest_covers_though_the_files_have_gone(tmp_path):
    plan = flspec.compile(write(tmp_path / "a"))
    first = flspec.run(plan, out=tmp_path / "first")
    for path in (tmp_path / "a").iterdir():
        path.unlink()
    again = flspec.run(Plan.load(tmp_path / "first" / "plan"), out=tmp_path / "again")
    assert again.weights == first.weights is not None


AGAIN = """
from pathlib import Path
import flspec
from flspec.protocol.plan import Plan
print(flspec.run(Plan.load(Path("../first/plan")), out="../again").weights.sha256)
"""


def test_another_process_runs_the_text_in_the_plan_though_the_file_says_otherwise(tmp_path):
    first = flspec.run(write(tmp_path / "a"), out=tmp_path / "first").weights
    write(tmp_path / "a", factor="FACTOR = 0.25\n")
    done = run_python(tmp_path / "a", "-c", AGAIN)
    assert first is not None
    assert done.stdout.strip() == first.sha256, done.stderr
    assert flspec.run(tmp_path / "a" / "spec.yaml", out=tmp_path / "other").weights != first


def with_a_layer(folder: Path) -> Path:
    """Write the experiment with a model that has a layer of a part file."""
    spec = SPEC.replace("[my_parts.py]", "[my_parts.py, my_layer.py]")
    path = write(folder, spec=spec.replace("softmax_regression", "my_layer_model"))
    (folder / "my_layer.py").write_text(new_part("layer")[1])
    return path


def test_local_and_flower_compute_the_same_bits(tmp_path):
    plan = flspec.compile(with_a_layer(tmp_path))
    results = [flspec.run(plan, name, out=tmp_path / name.replace(":", "-")) for name in ("local", "flower:inprocess")]
    assert results[0].weights == results[1].weights is not None


def test_tff_refuses_a_layer_of_a_part_file_by_its_kind(tmp_path):
    plan = flspec.compile(with_a_layer(tmp_path))
    with using_parts_of(plan.settings):
        assert any(why.startswith("model: layer kind my_layer has no TFF translation") for why in unsupported(plan))


def test_a_layer_of_a_part_file_gives_what_it_says(tmp_path):
    plan = flspec.compile(with_a_layer(tmp_path))
    inputs = np.array([[0.5, -1.0, 2.0, 0.0], [1.5, 1.0, -2.0, 3.0]], np.float32)
    weights = {name: value.astype(np.float64) for name, value in plan.weights.items()}
    hidden = inputs @ weights["hidden.weight"].T + weights["hidden.bias"]
    changed = hidden + weights["own.scale"] * np.tanh(hidden)
    expected = changed @ weights["output.weight"].T + weights["output.bias"]
    given = build_forward(network_of(plan))(to_tensors(plan.weights), torch.from_numpy(inputs), None)
    np.testing.assert_allclose(given.detach().numpy(), expected, atol=1e-6)


def test_the_digest_covers_the_file_and_what_it_imports_and_nothing_else(tmp_path):
    same = digest(tmp_path / "a")
    assert digest(tmp_path / "b") == same
    (tmp_path / "b" / "other.py").write_text("1 / 0")
    assert digest(tmp_path / "b") == same
    assert digest(tmp_path / "b", PART + "# a comment is code, too\n") != same
    assert digest(tmp_path / "b", factor="FACTOR = 0.25\n") != same


def test_files_below_and_packages_are_imported_from_the_same_texts(tmp_path):
    write(tmp_path, spec=SPEC.replace("my_parts.py", "below/my_parts.py"))
    below = tmp_path / "below"
    (below / "factors").mkdir(parents=True)
    (tmp_path / "my_parts.py").rename(below / "my_parts.py")
    (below / "factors" / "__init__.py").write_text("from .deep import FACTOR\n")
    (below / "factors" / "deep.py").write_text("FACTOR = 0.75\n")
    files = load_spec(tmp_path / "spec.yaml").part_files
    assert files is not None
    assert sorted(files.sources) == ["below/factors/__init__.py", "below/factors/deep.py", "below/my_parts.py"]


# ------------------------------------------------------------------------------------------------------ what is wrong

WRONG = {
    "syntax": ("def f(:\n", r"my_parts.py:1: SyntaxError: invalid syntax; repair it"),
    "exception": ("x = 1\n1 / 0\n", r"my_parts.py:2: ZeroDivisionError: division by zero; repair it"),
    "missing": ("import no_such_module\n", r"my_parts.py:1: ModuleNotFoundError: No module named 'no_such_module'"),
    "exit": ("import sys\n\nsys.exit(3)\n", r"my_parts.py:3: SystemExit: 3; repair it"),
    "metric": (
        "from flspec.metrics import metric\n@metric(better='up', description='x')\ndef hits(scores): return 1.0\n",
        r"my_parts.py:2: metric 'hits': better is 'up'; choose higher, lower or neither",
    ),
    "taken": (PART.replace('"scaled"', '"fedavg"'), r"my_parts.py:7: kind 'fedavg' is taken by flspec.aggregators.fed"),
    "twice": (
        PART + 'class Other(FedAvg):\n    kind: Literal["scaled"] = "scaled"\n',
        r"my_parts.py:16: kind 'scaled' is defined by both my_parts.Scaled and my_parts.Other",
    ),
}


@pytest.mark.parametrize("slip", sorted(WRONG))
def test_what_cannot_be_imported_is_told_by_its_line(tmp_path, slip):
    text, message = WRONG[slip]
    with pytest.raises(SpecError, match=message) as caught:
        load_spec(write(tmp_path, text))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ("[gone.py]", r"spec.yaml:5:9: parts.0: .*gone.py does not exist"),
        ("[../x.py]", r"spec.yaml:5:9: parts.0: ../x.py is outside of .*, the spec's folder; move it there"),
        ("[/etc/passwd.py]", r"outside of .*, the spec's folder"),
        ("[my_parts.txt]", r"my_parts.txt is no file of Python; name one, e.g. my_parts.py"),
        ("[pipe.py]", r"pipe.py is not a file"),
        ("[my-parts.py]", r"cannot be imported: 'my-parts' is no name of a module; rename it"),
        ("my_parts.py", r"parts: expected a list, got text"),
        ("[3]", r"parts.0: expected text, got 3"),
    ],
)
def test_what_is_no_file_of_the_folder_is_told_in_the_spec(tmp_path, named, message):
    path = write(tmp_path, spec=SPEC.replace("[my_parts.py]", named))
    os.mkfifo(tmp_path / "pipe.py")
    with pytest.raises(InputError, match=message):
        load_spec(path)


BESIDE = {  # how the files and the spec are changed, and what is told of the name
    "not listed": (
        "parts: [my_parts.py]\n",
        "",
        r"unknown 'misses'; my_parts.py:14 has one; name .*: parts: \[my_parts.py\]",
    ),
    "not a metric": (
        "@metric(",
        "# @metric(",
        r"unknown 'misses'; my_parts.py:14 is a function and no metric; put @flspec",
    ),
    "another file": (
        "[my_parts.py]",
        "[my_part.py]",
        r"my_part.py does not exist; did you mean 'my_parts.py'\? else write",
    ),
    "twice": (
        "def misses(",
        "def one(scores): return 1.0\n@metric(better='lower', description='x')\ndef misses(",
        "13 and .*15",
    ),
}


@pytest.mark.parametrize("slip", sorted(BESIDE))
def test_what_a_newcomer_forgets_is_told_with_the_way_out(tmp_path, slip):
    before, after, message = BESIDE[slip]
    after = after.replace("one(", "misses(")
    assert (before in PART) != (before in SPEC)
    with pytest.raises(SpecError, match=message):
        load_spec(write(tmp_path, PART.replace(before, after), spec=SPEC.replace(before, after)))


def test_a_link_out_of_the_folder_is_refused(tmp_path):
    path = write(tmp_path / "a")
    (tmp_path / "secret.py").write_text("x = 1\n")
    (tmp_path / "a" / "factors.py").unlink()
    (tmp_path / "a" / "factors.py").symlink_to(tmp_path / "secret.py")
    with pytest.raises(SpecError, match=r"factors.py is outside of a/, the spec's folder"):
        load_spec(path)


def test_a_text_has_no_folder():
    with pytest.raises(SpecError, match="parts: a text has no folder in which its files could lie; save it to a file"):
        parse_spec(SPEC)


# -------------------------------------------------------------------------------------------------------------- trust

TELLS = "from pathlib import Path\nPath(__file__).with_name('ran').write_text('')\n"


def test_a_file_that_others_may_change_is_not_imported_until_it_is_trusted(tmp_path):
    path = write(tmp_path / "a", TELLS + PART)
    (tmp_path / "a" / "my_parts.py").chmod(0o666)
    with pytest.raises(SpecError, match=r"spec.yaml:5:1: parts: it would import factors.py, my_parts.py, .*everybody"):
        load_spec(path)
    assert not (tmp_path / "a" / "ran").exists()


def test_a_clone_is_not_imported_until_it_is_trusted_once(tmp_path, monkeypatch):
    monkeypatch.setenv("FLSPEC_CACHE", str(tmp_path / "cache"))
    path = write(tmp_path / "a", TELLS + PART)
    (tmp_path / "a" / ".git").mkdir()
    (tmp_path / "a" / ".git" / "config").write_text('[remote "origin"]\n\turl = https://example.org/x\n')
    with pytest.raises(SpecError, match=r"a was cloned from elsewhere; look at them, and say --trust once for"):
        load_spec(path)
    assert not (tmp_path / "a" / "ran").exists()
    trust(tmp_path / "a")
    assert kind_of_aggregator(load_spec(path)) == "scaled"
    assert (tmp_path / "a" / "ran").exists()


def test_a_repository_of_ones_own_is_imported(tmp_path):
    path = write(tmp_path / "a")
    (tmp_path / "a" / ".git").mkdir()
    (tmp_path / "a" / ".git" / "config").write_text("[core]\n\tbare = false\n")
    assert kind_of_aggregator(load_spec(path)) == "scaled"


def test_files_are_equal_by_their_texts():
    one = PartFiles(("a.py",), {"a.py": "x = 1"}, "here")
    assert one == PartFiles(("a.py",), {"a.py": "x = 1"}, "there")
    assert one.package != PartFiles(("a.py",), {"a.py": "x = 2"}, "here").package
