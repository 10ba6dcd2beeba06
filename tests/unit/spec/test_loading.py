"""Specs: what is valid, and for everything else the place, the field and the way out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from flspec.errors import InputError, SpecError
from flspec.losses.cross_entropy import CrossEntropy
from flspec.spec.loading import load_spec, parse_spec
from flspec.spec.study import load_study

TEXT = """\
flspec: 1
name: example
seed: 0
rounds: 10
dataset: {kind: digits}
partition: {kind: dirichlet, clients: 10, alpha: 0.5}
model: {kind: mlp, hidden: [64, 32]}
client:
  epochs: 2
  batch_size: 16
  optimizer: {kind: sgd, learning_rate: 0.1}
cohort: {kind: uniform, size: 5}
aggregator: {kind: fedavg}
evaluation: {every: 1, metrics: [loss, accuracy]}
"""
SAMPLERS = "all, available, by_size, cyclic_poisson, poisson, round_robin, truncated_poisson, uniform, with_replacement"
SPECS = sorted(Path(__file__).parents[3].glob("specs/*.yaml"))


def problems(text):
    with pytest.raises(SpecError) as refused:
        parse_spec(text, "spec.yaml")
    return [str(problem) for problem in refused.value.problems]


def edited(before, after):
    assert before in TEXT
    return TEXT.replace(before, after)


# The number at the left is the case of the list of bad inputs that the row stands for.
ONE_PROBLEM = [
    # 7, 23, 24: of the wrong type
    (7, "rounds: 10", "rounds: 1e-1", "4:1: rounds: expected an integer, got 0.1"),
    (7, "rounds: 10", "rounds: 10.0", "4:1: rounds: expected an integer, got 10.0"),
    (8, "rounds: 10", "rounds: 010", "4:9: rounds: 010: leading zeros are ambiguous"),
    (9, "rounds: 10", "rounds: 1:30", "4:9: rounds: 1:30: write one number"),
    (11, "0.1", ".nan", "11:41: client.optimizer.learning_rate: .nan: must be finite"),
    (11, "0.1", "nan", '11:26: client.optimizer.learning_rate: expected a number, got text "nan"'),
    (12, "rounds: 10", "rounds: " + "9" * 5000, "4:9: rounds: number too large"),
    (23, "rounds: 10", "rounds: true", "4:1: rounds: expected an integer, got true"),
    (23, "flspec: 1", "flspec: true", "1:1: flspec: expected an integer, got true"),
    (23, "hidden: [64, 32]", "hidden: [64, true]", "7:33: model.hidden.1: expected an integer, got true"),
    (
        23,
        "{kind: mlp, hidden: [64, 32]}",
        "{kind: cnn, kernel_size: true}",
        "7:20: model.kernel_size: expected an integer",
    ),
    (24, "rounds: 10", 'rounds: "10"', '4:1: rounds: expected an integer, got text "10"; remove the quotes'),
    (
        24,
        "0.1",
        '"1e-1"',
        '11:26: client.optimizer.learning_rate: expected a number, got text "1e-1"; remove the quotes',
    ),
    (24, "flspec: 1", 'flspec: "1"', '1:1: flspec: expected an integer, got text "1"; remove the quotes'),
    (0, "rounds: 10", "rounds: ten", '4:1: rounds: expected an integer, got text "ten"'),
    (0, "rounds: 10", "rounds:", "4:1: rounds: expected an integer, got null"),
    (0, "rounds: 10", "rounds: [10]", "4:1: rounds: expected an integer, got a list"),
    (0, "name: example", "name: 3", "2:1: name: expected text, got 3"),
    (0, "epochs: 2", "epochs: 2\n  shuffle: 1", "10:3: client.shuffle: expected true or false, got 1"),
    (10, "epochs: 2", "epochs: 2\n  shuffle: no", '10:3: client.shuffle: expected true or false, got text "no"'),
    (0, "hidden: [64, 32]", "hidden: 64", "7:20: model.hidden: expected a list, got 64"),
    (0, "{kind: uniform, size: 5}", "uniform", '12:1: cohort: expected a mapping of keys, got text "uniform"'),
    (0, "{kind: sgd, learning_rate: 0.1}", "sgd", "11:3: client.optimizer: expected a mapping of keys"),
    (0, "{kind: fedavg}", "[fedavg]", "13:1: aggregator: expected a mapping of keys, got a list"),
    # 25, 26, 39: out of range
    (25, "rounds: 10", "rounds: 0", "4:1: rounds: expected at least 1, got 0"),
    (25, "rounds: 10", "rounds: -1", "4:1: rounds: expected at least 1, got -1"),
    (25, "rounds: 10", "rounds: 1.5", "4:1: rounds: expected an integer, got 1.5"),
    (25, "rounds: 10", f"rounds: {10**18}", "4:1: rounds: expected at most 1,000,000, got 1000000000000000000"),
    (25, "0.1", "0", "11:26: client.optimizer.learning_rate: expected a number above 0"),
    (25, "0.1", "-1e-3", "11:26: client.optimizer.learning_rate: expected a number above 0, got -0.001"),
    (25, "batch_size: 16", "batch_size: 0", "10:3: client.batch_size: expected a number above 0, got 0"),
    (25, "hidden: [64, 32]", "hidden: []", "7:20: model.hidden: expected at least 1 of them"),
    (25, "every: 1", "every: 0", "14:14: evaluation.every: expected a number above 0, got 0"),
    (
        25,
        "learning_rate: 0.1",
        "learning_rate: 0.1, momentum: 1",
        "client.optimizer.momentum: expected a number below 1",
    ),
    (
        26,
        "size: 5",
        "size: 11",
        "12:1: cohort: cohort.size is 11, but partition.clients is 10; lower it or add clients",
    ),
    (39, "seed: 0", "seed: -1", "3:1: seed: expected at least 0, got -1"),
    (39, "seed: 0", f"seed: {2**63}", "3:1: seed: expected a number below 9,223,372,036,854,775,808"),
    (39, "seed: 0", f"seed: {2**64}", "3:7: seed: number too large"),
    (39, "seed: 0", "seed: random", '3:1: seed: expected an integer, got text "random"'),
    (39, "seed: 0", "seed: 0.5", "3:1: seed: expected an integer, got 0.5"),
    (39, "seed: 0", "seed: null", "3:1: seed: expected an integer, got null"),
    # 21, 29: misspelt
    (21, "seed: 0", "sede: 0", "3:1: sede: unknown key 'sede'; did you mean 'seed'?"),
    (21, "every: 1", "evry: 1", "14:14: evaluation.evry: unknown key 'evry'; did you mean 'every'?"),
    (
        21,
        "epochs: 2",
        "epochs: 2\n  sufffle: true",
        "10:3: client.sufffle: unknown key 'sufffle'; did you mean 'shuffle'?",
    ),
    (21, "size: 5", "size: 5, zzz: 1", "12:34: cohort.zzz: unknown key 'zzz'; known here: size"),
    (21, "kind: digits", "kind: digits, size: 5", "5:25: dataset.size: unknown key 'size'; 'size' is read by kinds "),
    (21, "0.1}", "0.1, momentun: 0}", "client.optimizer.momentun: unknown key 'momentun'; did you mean 'momentum'?"),
    (
        21,
        "0.1}",
        "0.1, sgd: 0}",
        "11:46: client.optimizer.sgd: unknown key 'sgd'; known here: learning_rate, state, schedule",
    ),
    (22, "seed: 0", "1: 0", "3:1: keys must be text, got 1"),
    (
        29,
        "kind: digits",
        "kind: mnits",
        "5:11: dataset.kind: unknown 'mnits'; did you mean 'mnist'? choose one of ",
    ),
    (29, "kind: dirichlet", "kind: dirichlett", "partition.kind: unknown 'dirichlett'; did you mean 'dirichlet'?"),
    (
        29,
        "kind: mlp",
        "kind: mpl",
        "7:9: model.kind: unknown 'mpl'; did you mean 'mlp'? choose one of cifar_cnn, cnn, dcgan, efficientnet_b2,",
    ),
    (
        29,
        "kind: uniform",
        "kind: lottery",
        f"12:10: cohort.kind: unknown 'lottery'; choose one of {SAMPLERS}",
    ),
    (29, "kind: fedavg", "kind: fedavgg", "13:14: aggregator.kind: unknown 'fedavgg'; did you mean 'fedavg'?"),
    (29, "kind: sgd", "kind: sdg", "11:15: client.optimizer.kind: unknown 'sdg'; did you mean 'sgd'? choose one of"),
    (29, "kind: sgd", "kind: 3", "11:15: client.optimizer.kind: unknown"),
    (29, "kind: uniform", "kind: [uniform]", "12:10: cohort.kind: unknown"),
    (29, "kind: uniform, ", "", f"12:1: cohort: missing 'kind'; choose one of {SAMPLERS}"),
    (29, "kind: sgd, ", "", "11:3: client.optimizer: missing 'kind'; choose one of adam, adamw, sgd"),
    (29, "[64, 32]}", "[64], activation: rleu}", "7:34: model.activation: unknown 'rleu'; did you mean 'relu'?"),
    (29, "[64, 32]}", "[64], activation: 1}", "7:34: model.activation: unknown 1; choose one of relu, tanh"),
    (29, "[loss, accuracy]", "[los]", "14:34: evaluation.metrics.0: unknown 'los'; did you mean 'loss'?"),
    (
        29,
        "rounds: 10",
        "rounds: 10\nbackend: Local Host",
        "5:1: backend: expected a backend, as local, flower or flower:inprocess, got text",
    ),
    # 34: names that would harm a terminal, a page or a path
    (
        34,
        "name: example",
        "name: </script>",
        "2:1: name: expected up to 100 letters, digits, dots, hyphens, underscores",
    ),
    (
        34,
        "name: example",
        'name: "a\\e[31m"',
        "2:1: name: expected up to 100 letters, digits, dots, hyphens, underscores",
    ),
    (
        34,
        "name: example",
        'name: "a\\u202eb"',
        "2:1: name: expected up to 100 letters, digits, dots, hyphens, underscores",
    ),
    (34, "name: example", "name: ..", "2:1: name: expected up to 100 letters, digits, dots, hyphens, underscores"),
    (34, "name: example", "name: a/b", "2:1: name: expected up to 100 letters, digits, dots, hyphens, underscores"),
    (
        34,
        "name: example",
        "name: " + "a" * 101,
        "2:1: name: expected up to 100 letters, digits, dots, hyphens, underscores",
    ),
    (34, "name: example", 'name: "a\\n"', "2:1: name: expected up to 100 letters, digits, dots, hyphens, underscores"),
    # 40: a format from the future
    (40, "flspec: 1", "flspec: 2", "1:1: flspec: format 2 is unknown to this flspec, which reads format 1; upgrade"),
    # absent
    (0, "rounds: 10\n", "", "spec.yaml: rounds: missing; add it"),
    (0, "alpha: 0.5", "min_examples: 1", "6:1: partition.alpha: missing; add it"),
    (0, "  batch_size: 16\n", "", "8:1: client.batch_size: missing; add it"),
    # one field against another
    (0, "  epochs: 2\n", "", "8:1: client: needs epochs or steps; add one"),
    (0, "epochs: 2", "epochs: 2\n  steps: 3", "10:3: client.steps: client.epochs is given too; remove one"),
    (
        0,
        "0.1}",
        "0.1, nesterov: true}",
        "11:3: client.optimizer: nesterov is true, but momentum is 0; set momentum above",
    ),
]


@pytest.mark.parametrize(
    ("case", "before", "after", "message"),
    ONE_PROBLEM,
    ids=[f"{case}-{before[:20]}-{after[:40]}" for case, before, after, _ in ONE_PROBLEM],
)
def test_one_mistake_is_one_problem_at_its_place(case, before, after, message):
    found = problems(edited(before, after))
    assert len(found) == 1, found
    assert message in found[0]
    assert found[0].startswith("spec.yaml:")


@pytest.mark.parametrize(
    ("before", "after"),
    [("rounds: 10", "rounds: 1_000"), ("rounds: 10", "rounds: ten"), ("0.1", "nan"), ("rounds: 10", "rounds: １０")],
)
def test_quotes_that_are_not_there_need_not_be_removed(before, after):
    assert "remove the quotes" not in "".join(problems(edited(before, after)))


def test_a_value_is_never_offered_itself():
    assert "did you mean '1'" not in "".join(problems(edited("flspec: 1", 'flspec: "1"')))


@pytest.mark.parametrize("text", ["", "- a\n", "3\n"])
def test_a_text_that_is_no_mapping_is_one_problem(text):
    assert len(problems(text)) == 1


def test_a_misspelt_key_that_is_needed_is_not_called_missing_too():
    assert problems(edited("learning_rate", "learing_rate")) == [
        "spec.yaml:11:26: client.optimizer.learing_rate: unknown key 'learing_rate'; did you mean 'learning_rate'?",
    ]


def test_every_problem_is_told_at_once_in_the_order_of_the_file():
    text = edited("rounds: 10", "rounds: 0").replace("size: 5", "size: x").replace("kind: mlp", "kind: mpl")
    assert [problem.split(":")[1] for problem in problems(text)] == ["4", "7", "12"]


def test_contradictions_are_told_together():
    assert len(problems(edited("epochs: 2", "epochs: 2\n  steps: 1").replace("size: 5", "size: 50"))) == 2


@pytest.mark.parametrize("key", ["a\\e[31mred", "a\\nb", "a\\u202eb", "\\x07"])
@pytest.mark.parametrize("place", ["{} : 1\n", "evaluation: {{{}: 1}}\n", "cohort: {{kind: {}}}\n"])
def test_a_message_is_one_line_of_printable_text(key, place):
    text = edited("evaluation: {every: 1, metrics: [loss, accuracy]}\n", "").replace(
        "cohort: {kind: uniform, size: 5}\n", ""
    )
    found = problems(text + place.format(f'"{key}"'))
    assert all(problem.isprintable() for problem in found), found


def test_a_message_does_not_repeat_a_very_long_value():
    long = "x" * 100_000
    for text in (
        edited("kind: uniform", f"kind: {long}"),
        TEXT + f'? "{long}"\n: 1\n',
        edited("name: example", f"name: {long}"),
    ):
        assert max(map(len, problems(text))) < 1000


def test_a_problem_can_be_told_to_a_program():
    with pytest.raises(SpecError) as refused:
        parse_spec(edited("rounds: 10", "rounds: 0"), "spec.yaml")
    assert [problem.as_dict() for problem in refused.value.problems] == [
        {
            "message": "expected at least 1, got 0",
            "path": "rounds",
            "file": "spec.yaml",
            "line": 4,
            "column": 1,
            "source": "rounds: 0",
        }
    ]


@pytest.mark.parametrize(
    ("before", "after", "read"),
    [
        ("0.1", "1e-3", lambda spec: spec.client.optimizer.learning_rate == 0.001),
        ("0.1", "1", lambda spec: spec.client.optimizer.learning_rate == 1.0),
        ("rounds: 10", "rounds: 1e3", lambda spec: spec.rounds == 1000),
        ("name: example", "name: no", lambda spec: spec.name == "no"),
        ("name: example", "name: 2024-01-01", lambda spec: spec.name == "2024-01-01"),
        ("name: example", 'name: "10"', lambda spec: spec.name == "10"),
        ("seed: 0", f"seed: {2**63 - 1}", lambda spec: spec.seed == 2**63 - 1),
        ("epochs: 2", "steps: 20", lambda spec: (spec.client.epochs, spec.client.steps) == (None, 20)),
        ("seed: 0\n", "", lambda spec: spec.seed == 0),
        ("seed: 0", "backend: flower:inprocess", lambda spec: spec.backend == "flower:inprocess"),
    ],
)
def test_what_is_written_is_what_is_meant(before, after, read):
    assert read(parse_spec(edited(before, after)))


def test_sections_have_the_defaults_of_plain_federated_averaging():
    spec: Any = parse_spec(
        "".join(line for line in TEXT.splitlines(True) if line.split(":")[0] not in ("cohort", "aggregator"))
    )
    assert (spec.cohort.kind, spec.aggregator.kind, spec.aggregator.learning_rate) == ("all", "fedavg", 1.0)
    assert (spec.client.shuffle, spec.client.loss) == (True, CrossEntropy())


def test_a_spec_survives_being_written_out_in_full():
    spec = parse_spec(TEXT)
    assert parse_spec(spec.model_dump_json(exclude_none=True)) == spec


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_the_specs_that_come_with_flspec_are_valid(path):
    assert load_study(path).name


# --------------------------------------------------------------------------------------------- 37: what is no file


def test_a_file_is_named_in_its_problems(tmp_path):
    (tmp_path / "my.yaml").write_text(edited("rounds: 10", "rounds: 0"))
    with pytest.raises(SpecError, match=r"my\.yaml:4:1: rounds"):
        load_spec(tmp_path / "my.yaml")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.yaml: cannot be read: No such file"):
        load_spec(tmp_path / "nowhere.yaml")


@pytest.mark.timeout(30)
def test_a_pipe_is_refused_instead_of_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, Path("/dev/zero")):
        with pytest.raises(InputError, match="not a file; name a spec"):
            load_spec(path)


def test_a_link_to_itself_is_refused(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(InputError, match="cannot be read"):
        load_spec(tmp_path / "loop")


def test_a_path_with_a_nul_is_refused():
    with pytest.raises(InputError, match="cannot be read"):
        load_spec("a\0b")


def test_a_file_of_any_size_is_refused_by_its_size(tmp_path):
    with (tmp_path / "huge.yaml").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(InputError, match="larger than 1 MiB"):
        load_spec(tmp_path / "huge.yaml")
