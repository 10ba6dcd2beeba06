"""For each kind of part, what `flspec new --part` writes works, and a slip in it gives one line at its line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

import flspec
from flspec.cli.app import app
from flspec.errors import FlspecError, InputError, TrackerWarning
from flspec.spec.new_part import files_of, new_part, part_kinds, write_new_part

# By kind: the method that does the work; a slip in what it gives, as a text and what takes its place; a name of
# flspec's own. A method that need not be there is not in MUST_HAVE.
METHODS = {
    "aggregator": "combine",
    "client_algorithm": "correct",
    "client_optimizer": "torch",
    "compressor": "compress",
    "dataset": "read",
    "fault": "updates",
    "encoding": "encoded",
    "feature_space": "layers",
    "layer": "torch",
    "loss": "torch",
    "metric": "my_metric",
    "model": "layers",
    "noise_matrix": "noise",
    "objective": "torch",
    "partitioner": "split",
    "postprocessor": "on_each",
    "sampler": "cohort",
    "schedule": "factor",
    "server_optimizer": "step",
    "tracker": "round",
    "transform": "apply",
    "update_clip": "next_norm",
}
MUST_HAVE = {
    "aggregator": "combine",
    "client_optimizer": "initial_slots",
    "compressor": "restore",
    "dataset": "read",
    "fault": "updates",
    "encoding": "encoded",
    "feature_space": "layers",
    "layer": "torch",
    "loss": "value",
    "model": "layers",
    "noise_matrix": "noise",
    "objective": "torch",
    "partitioner": "split",
    "sampler": "cohort",
    "schedule": "factor",
    "tracker": "round",
    "transform": "apply",
    "update_clip": "first_norm",
}
TAKEN = {
    "aggregator": "fedavg",
    "client_algorithm": "fedprox",
    "client_optimizer": "sgd",
    "compressor": "int8",
    "dataset": "digits",
    "fault": "sign_flip",
    "encoding": "standardise",
    "feature_space": "pixels",
    "layer": "dense",
    "loss": "huber",
    "metric": "accuracy",
    "model": "cnn",
    "noise_matrix": "banded",
    "objective": "supervised",
    "partitioner": "iid",
    "postprocessor": "clip_update",
    "sampler": "uniform",
    "schedule": "step",
    "server_optimizer": "fedadam",
    "tracker": "csv",
    "transform": "rotation",
    "update_clip": "fixed",
}
WRONG_SHAPES = {
    "aggregator": (".mean(axis=0)", ".mean(axis=1)"),
    "client_algorithm": ('return gradient - self.strength * server["last_change"]', "return gradient.sum()"),
    "client_optimizer": ("return -rate * mean.sign()", "return mean.sum()"),
    "compressor": ("* payload[name] for name in like", "for name in like"),
    "fault": ("{name: self.share * value for name", "{name: value.sum() for name"),
    "dataset": (
        "return Split(values.astype(np.float32), labels)",
        "return Split(values.astype(np.float32), labels[:-1])",
    ),
    "encoding": ("self.bound, self.bound)", "self.bound, self.bound)[:-1]"),
    "feature_space": (
        '                Flatten(name="flatten"),\n                Dense(name="features", units=self.width),\n',
        "",
    ),
    "layer": ('return x + tensors["scale"] * x.tanh()', "return x[:, :1]"),
    "loss": (".clamp(min=0) ** 2).mean()", ".clamp(min=0) ** 2)"),
    "metric": (".mean())", ".cumsum())"),
    "model": ("units=num_outputs", "units=num_outputs + 1"),
    "noise_matrix": ("np.asarray(value)", "np.asarray(value.sum())"),
    "objective": ("outputs.pow(2).mean()", "outputs.pow(2)"),
    "partitioner": ("for client in range(self.clients)]", "for client in range(self.clients)] * 2"),
    "postprocessor": ("np.where(abs(value) >= self._least(value), value, 0.0)", "value.sum(axis=0)"),
    "sampler": ("% num_clients)", "% num_clients)[:, None]"),
    "schedule": ("return float(number**-self.power)", "return -1.0"),
    "server_optimizer": ("return self.learning_rate * np.sign(mean)", "return mean.sum(axis=0)"),
    "transform": ("np.where(stays, images, 0)", "np.where(stays, images, 0)[:, :, :-1]"),
    "update_clip": ("max(norm * self.factor, self.least)", "-norm"),
}


# By the folder of a family: the kind of part that is written for it; or why there is none.
KIND_OF = {
    "aggregators": "aggregator",
    "client_algorithms": "client_algorithm",
    "client_optimizers": "client_optimizer",
    "compressors": "compressor",
    "datasets": "dataset",
    "encodings": "encoding",
    "faults": "fault",
    "features": "feature_space",
    "layers": "layer",
    "losses": "loss",
    "metrics": "metric",
    "models": "model",
    "noise_matrices": "noise_matrix",
    "objectives": "objective",
    "partitioners": "partitioner",
    "postprocessors": "postprocessor",
    "samplers": "sampler",
    "schedules": "schedule",
    "server_optimizers": "server_optimizer",
    "trackers": "tracker",
    "transforms": "transform",
    "update_clips": "update_clip",
}
NOT_WRITTEN = {
    "secure_aggregation": "it is a simulation of one protocol's arithmetic; another one is written beside it",
    "privacy": "what a kind promises is proved, and accounted for by flspec.privacy.accountant, which asks no part; "
    "what it clips by and how its noise hangs together are parts: update_clip, noise_matrix",
}


def run(folder, kind, text=None):
    """Run the small experiment of a part's test with this text of its file."""
    name, written, test = new_part(kind)
    (folder / f"{name}.py").write_text(written if text is None else text)
    for file, content in files_of(kind).items():
        (folder / file).write_text(content)
    (folder / "spec.yaml").write_text(test.partition('SPEC = """\n')[2].partition('"""')[0])
    trackers = ["my_tracker"] if kind == "tracker" else []
    return flspec.run(folder / "spec.yaml", out=folder / "run", trackers=trackers)


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


def test_every_family_has_a_part_to_start_from_or_a_reason_why_not():
    folders = [path.parent for path in Path(flspec.__file__).parent.glob("*/__init__.py")]
    families = {one.name for one in folders if "registry" in text_of(one) or "register_family(" in text_of(one)}
    assert families == {*KIND_OF, *NOT_WRITTEN}
    assert sorted(KIND_OF.values()) == part_kinds()


def text_of(package: Path) -> str:
    return (package / "__init__.py").read_text()


@pytest.mark.parametrize("kind", part_kinds())
def test_what_is_written_runs_and_its_source_is_in_the_plan(tmp_path, kind):
    assert run(tmp_path, kind).status == "completed"


@pytest.mark.parametrize("kind", sorted({*part_kinds()} - {"tracker"}))
def test_an_exception_is_told_by_its_line(tmp_path, kind):
    _, text, _ = new_part(kind)
    head = re.search(rf"    ?def {METHODS[kind]}\(.*:\n|^def {METHODS[kind]}\(.*:\n", text, re.MULTILINE)
    assert head
    indent = " " * (4 if kind == "metric" else 8)
    broken = text[: head.end()] + f'{indent}raise RuntimeError("slip")\n' + text[head.end() :]
    message = told(tmp_path, kind, broken)
    assert "RuntimeError: slip" in message
    assert f"my_{kind}.py:{line_with(broken, 'raise RuntimeError')}" in message


def test_a_transform_that_exits_ends_the_run_as_a_failure_with_its_line(tmp_path):
    _, text, _ = new_part("transform")
    broken = text.replace("        stays =", "        exit()\n        stays =")
    message = told(tmp_path, "transform", broken)
    assert f"SystemExit: None ({tmp_path}/my_transform.py:{line_with(broken, 'exit()')})" in message


def test_an_exception_of_a_tracker_is_told_by_its_line_and_the_run_goes_on(tmp_path):
    _, text, _ = new_part("tracker")
    broken = text.replace("print(record.round", "print(record.number")
    with pytest.warns(TrackerWarning, match=rf"AttributeError: .* in .*my_tracker.py:{line_with(broken, 'number,')}; "):
        assert run(tmp_path, "tracker", broken).status == "completed"


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
    broken = broken.replace(f'name: ClassVar[str] = "my_{kind}"', f'name: ClassVar[str] = "{TAKEN[kind]}"')
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
    for hidden in ("json", "numpy"):
        with pytest.raises(InputError, match=f"{hidden}.py would hide the module {hidden} from programs run beside it"):
            write_new_part("metric", tmp_path / f"{hidden}.py")
    with pytest.raises(InputError, match="cannot be imported as a kind"):
        write_new_part("metric", tmp_path / "my-metric.py")
    with pytest.raises(InputError, match="unknown 'metrc'; did you mean 'metric'"):
        new_part("metrc")


def test_the_command_prints_the_lines_for_a_spec(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shown = CliRunner().invoke(app, ["new", "--part", "metric"]).stdout
    assert "\nparts: [my_metric.py]\nevaluation: {metrics: [accuracy, my_metric]" in shown
