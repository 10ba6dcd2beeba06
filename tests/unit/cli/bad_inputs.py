"""Inputs that must be survived, a case a line: number, name, what is asked, and what must be told."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

GOOD = """\
flspec: 1
name: example
seed: 0
rounds: 2
dataset: {kind: digits}
partition: {kind: dirichlet, clients: 10, alpha: 0.5}
model: {kind: mlp, hidden: [8]}
client:
  epochs: 1
  batch_size: 16
  optimizer: {kind: sgd, learning_rate: 0.1}
cohort: {kind: uniform, size: 5}
"""


@dataclass(frozen=True)
class Case:
    """One bad input: what the spec holds, how it is used, and the words that its problem must be told in."""

    number: int  # in the project's list of bad inputs
    name: str
    told: str  # part of what is printed
    spec: bytes | None = None  # what spec.yaml holds; nothing is written if None
    arguments: tuple[str, ...] = ("validate", "spec.yaml")
    prepare: Callable[[Path], object] | None = None  # makes what else there is, in the working folder
    lines: int = 1  # problems that are told


def text(number: int, name: str, spec: str | bytes, told: str, lines: int = 1) -> Case:
    """The whole of a spec."""
    return Case(number, name, told, spec if isinstance(spec, bytes) else spec.encode(), lines=lines)


def edit(number: int, before: str, after: str, told: str, lines: int = 1) -> Case:
    """A good spec with one thing changed."""
    assert before in GOOD
    return Case(number, f"{before[:20]} → {after[:30]}", told, GOOD.replace(before, after, 1).encode(), lines=lines)


def call(number: int, name: str, told: str, *arguments: str, **more: object) -> Case:
    """A good spec used in a bad way."""
    return Case(number, name, told, GOOD.encode(), arguments, **more)  # type: ignore[arg-type]


def _write(name: str, content: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(content)


BOMB = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10))
RUN = ("run", "spec.yaml")

CASES = [
    text(1, "empty", "", "spec.yaml: empty spec; expected a mapping that starts with 'flspec: 1'"),
    text(1, "a comment", "# nothing\n", "spec.yaml: empty spec"),
    text(2, "a list", "- a\n", "expected a mapping at the top level, got a list"),
    text(2, "a scalar", "3\n", "expected a mapping at the top level, got a number"),
    text(3, "two documents", f"{GOOD}---\n{GOOD}", "spec.yaml:13:1: one document expected, a second starts here"),
    text(4, "a tab", "flspec: 1\nclient:\n\tepochs: 1\n", "spec.yaml:3:1: tab used for indentation; use spaces"),
    text(5, "a key twice", f"{GOOD}rounds: 3\n", "13:1: rounds: given twice (lines 4 and 13); remove one"),
    edit(7, "rounds: 2", "rounds: 1e-1", "rounds: expected an integer, got 0.1"),
    edit(8, "rounds: 2", "rounds: 010", "rounds: 010: leading zeros are ambiguous; write 10 or quote it"),
    edit(9, "rounds: 2", "rounds: 1:30", "rounds: 1:30: write one number, e.g. of seconds, or quote it"),
    edit(10, "seed: 0", "true: 0", "keys must be text, got true; quote it"),
    edit(10, "seed: 0", "on: 0", "unknown key 'on'"),
    edit(11, "0.1", ".nan", "learning_rate: .nan: must be finite"),
    edit(11, "0.1", ".inf", "learning_rate: .inf: must be finite"),
    edit(11, "0.1", "nan", 'learning_rate: expected a number, got text "nan"'),
    edit(12, "rounds: 2", f"rounds: {'9' * 5000}", "rounds: number too large (5000 characters)"),
    edit(13, "rounds: 2", "rounds: !!python/object/apply:os.system [a]", "YAML tag 'tag:yaml.org,2002:python/"),
    edit(14, "rounds: 2", "rounds: !include /etc/passwd", "YAML tag '!include' is not allowed"),
    text(15, "an alias bomb", BOMB, "anchors are not allowed", lines=91),
    text(16, "an alias of itself", "a: &a [*a]\n", "aliases are not allowed", lines=2),
    edit(17, "seed: 0", "<<: {a: 1}", "merge keys are not supported; use extends:"),
    text(18, "5,000 lists", f"a: {'[' * 5000}", "nested deeper than 32 levels"),
    text(18, "5,000 keys", "? " * 5000, "nested deeper than 32 levels", lines=34),
    text(19, "a NUL", b"a: \x00\n", "character 0 at 3 is not allowed"),
    text(19, "a control byte", b"a: \x07\n", "character 7 at 3 is not allowed"),
    text(19, "no UTF-8", b"a: \xff\n", "not valid UTF-8 at byte 3; save it as UTF-8"),
    text(19, "UTF-16", GOOD.encode("utf-16"), "not valid UTF-8 at byte 0; save it as UTF-8"),
    text(20, "50 MB", b"#" * 50_000_000, "larger than 1 MiB"),
    edit(21, "learning_rate", "learing_rate", "unknown key 'learing_rate'; did you mean 'learning_rate'?"),
    edit(21, "learning_rate: 0.1}", "learning_rate: 0.1, alpha: 1}", "'alpha' belongs to `partition` (kinds "),
    edit(21, "kind: dirichlet, clients: 10", "kind: iid, clients: 10", "'alpha' is read by kinds dirichlet, "),
    edit(22, "seed: 0", "1: 0", "keys must be text, got 1; quote it"),
    edit(22, "seed: 0", "~: 0", "keys must be text, got null; quote it"),
    edit(22, "seed: 0", "? [a]\n: 0", "keys must be text"),
    edit(23, "rounds: 2", "rounds: true", "rounds: expected an integer, got true"),
    edit(24, "rounds: 2", 'rounds: "10"', 'got text "10"; remove the quotes'),
    edit(25, "rounds: 2", "rounds: 0", "rounds: expected at least 1, got 0"),
    edit(25, "rounds: 2", "rounds: -1", "rounds: expected at least 1, got -1"),
    edit(25, "rounds: 2", "rounds: 1.5", "rounds: expected an integer, got 1.5"),
    edit(25, "rounds: 2", f"rounds: {10**18}", "rounds: expected at most 1,000,000"),
    edit(25, "hidden: [8]", "hidden: []", "model.hidden: expected at least 1 of them"),
    edit(26, "size: 5", "size: 11", "cohort.size is 11, but partition.clients is 10; lower it or add clients"),
    edit(26, "size: 5", "size: 0", "cohort.size: expected a number above 0, got 0"),
    edit(29, "kind: digits", "kind: digit", "unknown 'digit'; did you mean 'digits'? choose one of"),
    edit(29, "kind: mlp", "kind: resnet", "model.kind: unknown 'resnet'; did you mean 'resnet18'? choose one of"),
    edit(29, "kind: sgd", "kind: lion", "client.optimizer.kind: unknown 'lion'; choose one of"),
    edit(29, "seed: 0", "backend: flowr", "unknown 'flowr'; did you mean 'flower'? choose one of flower, local, tff"),
    edit(29, "seed: 0", "backend: flower:rai", "'flower' has no variant 'rai'; choose flower:ray, flower:inprocess"),
    edit(31, "epochs: 1", "epochs: 1\n  steps: 3", "client.steps: client.epochs is given too; remove one"),
    edit(34, "name: example", "name: </script><img onerror=alert(1)>", "name: expected up to 100 letters"),
    edit(34, "name: example", 'name: "a\\e[31mb"', "name: expected up to 100 letters"),
    edit(34, "name: example", 'name: "a\\u202eb"', "name: expected up to 100 letters"),
    edit(34, "name: example", f"name: {'a' * 900_000}", "name: expected up to 100 letters"),
    edit(34, "name: example", "name: ..", "name: expected up to 100 letters"),
    edit(34, "name: example", "name: con/aux", "name: expected up to 100 letters"),
    edit(34, "name: example", 'name: "a "', "name: expected up to 100 letters"),
    edit(35, "kind: digits", "kind: 'python: os:system'", "unknown 'python: os:system'; choose one of"),
    edit(35, "kind: mlp, hidden: [8]", "python: logging:os.system", "model: missing 'kind'"),
    edit(36, "name: example", "name: ${env:TOKEN}", "name: expected up to 100 letters"),
    edit(36, "kind: digits", "kind: mnist, folder: '${TOKEN}'", "write ${env:NAME} for a variable of the environment"),
    edit(39, "seed: 0", "seed: -1", "seed: expected at least 0, got -1"),
    edit(39, "seed: 0", f"seed: {2**64}", "seed: number too large"),
    edit(39, "seed: 0", f"seed: {2**63}", "seed: expected a number below 9,223,372,036,854,775,808"),
    edit(39, "seed: 0", "seed: random", 'seed: expected an integer, got text "random"'),
    edit(39, "seed: 0", "seed: 0.5", "seed: expected an integer, got 0.5"),
    edit(40, "flspec: 1", "flspec: 2", "format 2 is unknown to this flspec, which reads format 1; upgrade flspec"),
    # 32: files that extend others
    edit(32, "seed: 0", "extends: spec.yaml", "spec.yaml:3:1: extends: the files extend each other in a circle"),
    edit(32, "seed: 0", "extends: nowhere.yaml", "nowhere.yaml: cannot be read: No such file or directory"),
    edit(32, "seed: 0", "extends: ../../etc/passwd", "../../etc/passwd is outside of"),
    edit(32, "seed: 0", "extends: /etc/passwd", "/etc/passwd is outside of"),
    edit(32, "seed: 0", "extends: .", "not a file; name a spec"),
    edit(32, "seed: 0", "extends: [a, b]", "expected the name of one file, e.g. extends: base.yaml"),
    Case(
        32,
        "two extend each other",
        "the files extend each other in a circle: spec.yaml -> other.yaml -> spec.yaml",
        b"extends: other.yaml\n",
        prepare=_write("other.yaml", "extends: spec.yaml\n"),
    ),
    Case(32, "a pipe", "not a file", b"extends: pipe\n", prepare=lambda folder: os.mkfifo(folder / "pipe")),
    Case(
        32,
        "1,000 files",
        "more than 16 files extend each other",
        b"extends: 0.yaml\n",
        prepare=lambda folder: [
            (folder / f"{number}.yaml").write_text(f"extends: {number + 1}.yaml\n") for number in range(1000)
        ],
    ),
    # 38: matrices
    edit(
        38,
        "seed: 0",
        f"matrix: {{axes: {{rounds: {list(range(1, 1001))}, client.epochs: {list(range(1, 1001))}, "
        f"client.batch_size: {list(range(1, 1001))}}}}}",
        "expands to 1,000,000,000 runs; the limit is 10,000 (--max-runs)",
    ),
    edit(38, "seed: 0", "matrix: {}", "matrix: asks for nothing; add axes, seeds or include"),
    edit(38, "seed: 0", "matrix: [1]", "matrix: expected a mapping of keys, got a list"),
    # 37: what is no file
    Case(37, "a folder", ".: not a file; name a spec", arguments=("validate", ".")),
    Case(37, "nothing", "cannot be read: No such file", arguments=("validate", "spec.yaml")),
    Case(37, "a device", "not a file", arguments=("validate", "/dev/zero")),
    Case(37, "a pipe", "not a file", prepare=lambda folder: os.mkfifo(folder / "spec.yaml")),
    Case(37, "a link to itself", "cannot be read", prepare=lambda f: (f / "spec.yaml").symlink_to("spec.yaml")),
    Case(37, "a name that is too long", "cannot be read: File name too long", arguments=("validate", "x" * 5000)),
    Case(37, "no name", "SPEC", arguments=("validate",)),
    # --set
    call(25, "a setting out of range", "--set rounds=0: rounds: expected at least 1", *RUN, "--set", "rounds=0"),
    call(21, "a misspelt setting", "did you mean 'rounds'?", *RUN, "--set", "ronds=3"),
    call(5, "a setting twice", "sets it too; remove one", *RUN, "--set", "rounds=1", "--set", "rounds=2"),
    call(2, "a setting without a value", "expected a path and a value", *RUN, "--set", "rounds"),
    # 30, 33: backends and outputs
    call(30, "an unknown backend", "unknown 'lokal'; did you mean 'local'?", *RUN, "--backend", "lokal"),
    call(33, "the root", "out: / is not empty", *RUN, "--out", "/"),
    call(33, "a file", "is a file; choose a folder", *RUN, "--out", "spec.yaml"),
    call(33, "below a file", "cannot be made", *RUN, "--out", "spec.yaml/run"),
    call(33, "300 characters", "cannot be made: File name too long", *RUN, "--out", "x" * 300),
    call(33, "below a device", "cannot be made", *RUN, "--out", "/dev/null/run"),
    call(33, "a full folder", "is not empty; choose another folder", *RUN, "--out", "."),
    call(33, "a plan in a file", "out: spec.yaml is a file", "plan", "spec.yaml", "--out", "spec.yaml"),
    call(33, "a report that is none", "does not end in .html", "compare", "r", "--out", "spec.yaml"),
    call(33, "a spec that is there", "spec.yaml", "new", "spec.yaml", "--yes"),
    call(36, "a variable that is not set", "dataset.folder: ${env:FLSPEC_NOWHERE}: FLSPEC_NOWHERE is not set",
         "plan", "spec.yaml", "--set", "dataset={kind: mnist, folder: '${env:FLSPEC_NOWHERE}'}"),
    call(46, "no data", "is not in", *RUN, "--set", "dataset.kind=mnist", "--data-root", "nowhere"),
    call(21, "an unknown command", "No such command 'valdate'", "valdate", "spec.yaml"),
    call(21, "an unknown option", "No such option", *RUN, "--sett", "a=1"),
    call(21, "an unknown list", "unknown 'partitionrs'; did you mean 'partition'?", "list", "partitionrs"),
]  # fmt: skip

# Those made to exhaust time or memory, and one of each way to be wrong: tried as users do, too.
_HOSTILE = (
    "an alias bomb",
    "5,000 lists",
    "5,000 keys",
    "50 MB",
    "1,000 files",
    "a device",
    "a pipe",
    f"rounds: 2 → rounds: {'9' * 22}",
    f"name: example → name: {'a' * 24}",
    "seed: 0 → matrix: {axes: {rounds: [1, 2,",
    "a setting out of range",
    "the root",
    "no data",
    "an unknown option",
)
HOSTILE = [case for case in CASES if case.name in _HOSTILE]
assert {case.name for case in HOSTILE} == set(_HOSTILE)
