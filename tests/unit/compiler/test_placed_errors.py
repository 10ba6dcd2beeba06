"""What is found wrong with a spec after it was read is told with the file and the line of the field."""

from __future__ import annotations

import pytest

from flspec.compiler.compile import compile
from flspec.errors import InputError, SpecError
from flspec.spec.loading import load_spec
from flspec.spec.places import naming_places
from flspec.spec.study import load_study
from tests.command_line import flspec

BASE = """\
flspec: 1
name: placed
rounds: 10
dataset: {kind: digits}
partition: {kind: iid, clients: 20}
model: {kind: softmax_regression}
client: {epochs: 1, batch_size: 4, optimizer: {kind: sgd, learning_rate: 0.5}}
cohort: {kind: all}
aggregator: {kind: fedavg, weighting: uniform}
"""
PRIVATE = "privacy: {kind: central, clip: {kind: fixed, norm: 1}, delta: 1e-12, "
CASES = {  # a line that is added, or replaces that of its section; where it is pointed at; what is said
    "the accountant": (f"{PRIVATE}epsilon: 1e-9}}", "epsilon:", "privacy.epsilon: 1e-09 is not reached"),
    "a budget": (
        f"{PRIVATE}noise_multiplier: 1, stop: {{epsilon: 0.1}}}}",
        "stop:",
        "privacy.stop: epsilon is 0.1, but one round costs",
    ),
    "the data": (
        "privacy: {kind: example, clip: {norm: 1}, noise_multiplier: 1, delta: 0.1}",
        "delta:",
        "privacy.delta: is 0.1, not below 1 / 72 examples of a client",
    ),
    "a set of examples that there is not": (
        "evaluation: {best: {metric: loss, on: holdout}}",
        "on: holdout",
        "evaluation.best.on: unknown 'holdout'",
    ),
    "a layer": (
        "model: {kind: cnn, channels: [4, 4, 4, 4, 4], kernel_size: 5, dense: [4]}",
        "model:",
        "model: does not fit examples of shape [1, 8, 8]",
    ),
    "the number of examples": (
        "partition: {kind: iid, clients: 2000}",
        "clients:",
        "partition.clients: is 2000, but there are only",
    ),
    "what a plan holds": ("rounds: 1000000", "rounds:", "rounds: 1,000,000 rounds of 20 clients"),
}


def written(folder, line):
    """The file with a line added, or in place of that of the same section."""
    lines = [one for one in BASE.splitlines() if one.split(":")[0] != line.split(":")[0]]
    lines.insert(next((n for n, o in enumerate(BASE.splitlines()) if o.split(":")[0] == line.split(":")[0]), 9), line)
    path = folder / "spec.yaml"
    path.write_text("\n".join([*lines, ""]))
    return path


@pytest.mark.parametrize(("line", "key", "error"), CASES.values(), ids=list(CASES))
@pytest.mark.parametrize("read", [lambda path: path, lambda path: load_study(path).cell(None)], ids=["file", "cell"])
def test_what_compilation_finds_has_its_place(tmp_path, line, key, error, read):
    path = written(tmp_path, line)
    place = f"{path.read_text().splitlines().index(line) + 1}:{line.index(key) + 1}"
    with pytest.raises(SpecError) as refused:
        compile(read(path))
    assert str(refused.value).startswith(f"{path}:{place}: {error}"), str(refused.value)


def test_a_value_from_elsewhere_has_the_place_where_it_was_written(tmp_path):
    path = written(tmp_path, f"{PRIVATE}epsilon: 1}}")
    with pytest.raises(SpecError, match=r"^--set privacy\.epsilon=1e-9: privacy\.epsilon: 1e-09 is not reached"):
        compile(load_study(path, ["privacy.epsilon=1e-9"]).cell(None))
    over = tmp_path / "over.yaml"
    over.write_text("extends: spec.yaml\nprivacy: {epsilon: 1e-9}\n")
    with pytest.raises(SpecError, match=r"over\.yaml:2:11: privacy\.epsilon: 1e-09 is not reached"):
        compile(over)


def test_a_spec_that_was_no_file_has_the_field_alone(tmp_path):
    spec = load_spec(written(tmp_path, f"{PRIVATE}epsilon: 1e-9}}"))
    with pytest.raises(SpecError, match=r"^privacy\.epsilon: 1e-09 is not reached"):
        compile(spec)


@pytest.mark.parametrize("text", ["/data/train.csv: no rows", "model.csv", "modelling: is hard", "two\nlines"])
def test_what_is_of_no_field_stays_as_it_is(tmp_path, text):
    draft = load_study(written(tmp_path, "cohort: {kind: all}")).cell(None).draft
    with pytest.raises(InputError) as raised, naming_places(draft):
        raise InputError(text)
    assert str(raised.value) == text
    assert not isinstance(raised.value, SpecError)


def test_what_cannot_be_certified_has_its_place(tmp_path):
    path = written(tmp_path, f"{PRIVATE}noise_multiplier: 9, seed: secret}}")
    done = flspec(tmp_path, "certify", str(path), "--backends", "local,flower:inprocess", "--out", "out")
    assert done.returncode == 2
    assert f"{path}:10:" in done.stderr
    assert ": privacy.seed: secret has each run draw noise of its own" in done.stderr
    assert not (tmp_path / "out").exists()
