"""For each kind of part, what `flspec new --part` writes works, and a slip in it gives one line at its line."""

from __future__ import annotations

import re

import pytest
from typer.testing import CliRunner

import flspec
from flspec.cli.app import app
from flspec.errors import FlspecError, InputError
from flspec.spec.new_part import new_part, part_kinds, write_new_part

# By kind: the method that does the work; a slip in what it gives, as a text and what takes its place; a name of
# flspec's own. A method that need not be there is not in MUST_HAVE.
METHODS = {
    "aggregator": "combine",
    "client_algorithm": "correct",
    "client_optimizer": "torch",
    "dataset": "read",
    "fault": "updates",
    "loss": "torch",
    "metric": "my_metric",
    "model": "layers",
    "objective": "torch",
    "partitioner": "split",
    "postprocessor": "on_each",
    "sampler": "cohort",
    "schedule": "factor",
    "server_optimizer": "step",
    "transform": "apply",
}
MUST_HAVE = {
    "aggregator": "combine",
    "client_optimizer": "initial_slots",
    "dataset": "read",
    "fault": "updates",
    "loss": "value",
    "partitioner": "split",
    "sampler": "cohort",
    "schedule": "factor",
    "transform": "apply",
}
TAKEN = {
    "aggregator": "fedavg",
    "client_algorithm": "fedprox",
    "client_optimizer": "sgd",
    "dataset": "digits",
    "fault": "sign_flip",
    "loss": "huber",
    "metric": "accuracy",
    "model": "cnn",
    "objective": "supervised",
    "partitioner": "iid",
    "postprocessor": "clip_update",
    "sampler": "uniform",
    "schedule": "step",
    "server_optimizer": "fedadam",
    "transform": "rotation",
}
WRONG_SHAPES = {
    "aggregator": (".mean(axis=0)", ".mean(axis=1)"),
    "client_algorithm": ('return gradient - self.strength * server["last_change"]', "return gradient.sum()"),
    "client_optimizer": ("return -rate * mean.sign()", "return mean.sum()"),
    "fault": ("{name: self.share * value for name", "{name: value.sum() for name"),
    "loss": (".clamp(min=0) ** 2).mean()", ".clamp(min=0) ** 2)"),
    "objective": ("outputs.pow(2).mean()", "outputs.pow(2)"),
    "partitioner": ("for client in range(self.clients)]", "for client in range(self.clients)] * 2"),
    "postprocessor": ("np.where(abs(value) >= self._least(value), value, 0.0)", "value.sum(axis=0)"),
    "sampler": ("% num_clients)", "% num_clients)[:, None]"),
    "schedule": ("return float(number**-self.power)", "return -1.0"),
    "server_optimizer": ("return self.learning_rate * np.sign(mean)", "return mean.sum(axis=0)"),
}


def run(folder, kind, text=None):
    """Run the small experiment of a part's test with this text of its file."""
    name, written, test = new_part(kind)
    (folder / f"{name}.py").write_text(written if text is None else text)
    (folder / "spec.yaml").write_text(test.partition('SPEC = """\n')[2].partition('"""')[0])
    return flspec.run(folder / "spec.yaml", out=folder / "run")


def told(folder, kind, text) -> str:
    with pytest.raises(FlspecError) as caught:
        run(folder, kind, text)
    message = str(caught.value)
    assert "\n" not in message
    return message


def line_with(text: str, what: str) -> int:
    return text[: text.index(what)].count("\n") + 1


def test_there_is_a_slip_for_every_kind():
    assert set(METHODS) == set(TAKEN) == set(part_kinds())


@pytest.mark.parametrize("kind", part_kinds())
def test_what_is_written_runs_and_its_source_is_in_the_plan(tmp_path, kind):
    assert run(tmp_path, kind).status == "completed"


@pytest.mark.parametrize("kind", part_kinds())
def test_an_exception_is_told_by_its_line(tmp_path, kind):
    _, text, _ = new_part(kind)
    head = re.search(rf"    ?def {METHODS[kind]}\(.*:\n|^def {METHODS[kind]}\(.*:\n", text, re.MULTILINE)
    assert head
    indent = " " * (4 if kind == "metric" else 8)
    broken = text[: head.end()] + f'{indent}raise RuntimeError("slip")\n' + text[head.end() :]
    message = told(tmp_path, kind, broken)
    assert "RuntimeError: slip" in message
    assert f"my_{kind}.py:{line_with(broken, 'raise RuntimeError')}" in message


@pytest.mark.parametrize("kind", sorted(MUST_HAVE))
def test_a_method_that_is_missing_is_told_by_the_line_of_its_class(tmp_path, kind):
    _, text, _ = new_part(kind)
    broken = text.replace(f"def {MUST_HAVE[kind]}(", "def something_else(")
    message = told(tmp_path, kind, broken)
    assert f"lacks {MUST_HAVE[kind]}" in message
    assert f"my_{kind}.py:{line_with(broken, 'class My')}: " in message


@pytest.mark.parametrize("kind", part_kinds())
def test_a_name_that_is_taken_is_told_by_its_line(tmp_path, kind):
    _, text, _ = new_part(kind)
    broken = text.replace(
        f'kind: Literal["my_{kind}"] = "my_{kind}"', f'kind: Literal["{TAKEN[kind]}"] = "{TAKEN[kind]}"'
    )
    broken = broken.replace(f"def my_{kind}(", f"def {TAKEN[kind]}(")
    message = told(tmp_path, kind, broken)
    assert f"{TAKEN[kind]!r} is taken by flspec." in message
    start = f"def {TAKEN[kind]}(" if kind == "metric" else f"class My{''.join(map(str.capitalize, kind.split('_')))}("
    assert f"my_{kind}.py:{line_with(broken, start)}: " in message


@pytest.mark.parametrize("kind", sorted(WRONG_SHAPES))
def test_a_result_of_a_wrong_shape_is_told_by_the_part_and_its_method(tmp_path, kind):
    _, text, _ = new_part(kind)
    right, wrong = WRONG_SHAPES[kind]
    assert right in text
    message = told(tmp_path, kind, text.replace(right, wrong))
    assert f"my_{kind}.py:" in message, message


def test_another_name_is_another_kind_and_what_cannot_be_one_is_refused(tmp_path):
    written, test, _ = write_new_part("metric", tmp_path / "misses.py")
    assert "def misses(scores" in written.read_text()
    assert "misses.py" in test.read_text()
    with pytest.raises(InputError, match="exists; name another file"):
        write_new_part("metric", tmp_path / "misses.py")
    with pytest.raises(InputError, match="cannot be imported as a kind"):
        write_new_part("metric", tmp_path / "my-metric.py")
    with pytest.raises(InputError, match="unknown 'metrc'; did you mean 'metric'"):
        new_part("metrc")


def test_the_command_prints_the_lines_for_a_spec(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shown = CliRunner().invoke(app, ["new", "--part", "metric"]).stdout
    assert "\nparts: [my_metric.py]\nevaluation: {metrics: [accuracy, my_metric]" in shown
