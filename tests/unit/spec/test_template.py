"""New specs: whatever is chosen, the text is a spec, and says what it would say without its comments."""

from __future__ import annotations

import itertools
import random
import re
from pathlib import Path
from typing import Any

import pytest

import flspec
from flspec.errors import InputError, SpecError
from flspec.spec.catalogue import families
from flspec.spec.loading import load_spec, parse_spec
from flspec.spec.template import SCHEMA_FILE, default_kind, name_for, new_spec, write_new_spec

OF_PICTURES = "evaluation.features"  # which only goes with an objective that makes pictures
OF_RULES = "aggregator.server_optimizer"  # which only goes with a rule of updates
FAMILIES = [one for one in families().values() if not one.is_list and one.section not in (OF_PICTURES, OF_RULES)]
ALONE = {("client.objective", "gan"), ("model", "dcgan")}  # which go with each other and with no other kind
KINDS = {f.section: [kind for kind in f.kinds if (f.section, kind) not in ALONE] for f in FAMILIES}
# Every kind of every family beside many of the others: all combinations are too many by now.
DRAW = random.Random(0)
COMBINATIONS = [
    {section: DRAW.choice(kinds) for section, kinds in KINDS.items()} | {chosen: kind}
    for chosen, kinds in KINDS.items()
    for kind in kinds
    for _ in range(3)
]
REFUSED = (
    {("aggregator.schedule", "plateau")},
    {("client.optimizer.schedule", "plateau"), ("privacy", "example")},
    *({("privacy", kind), ("model", "efficientnet_b2")} for kind in KINDS["privacy"]),  # averages statistics
)
COMBINATIONS = [kinds for kinds in COMBINATIONS if not any(one <= set(kinds.items()) for one in REFUSED)]
COMMENTED = re.compile(r"^( *)# ([a-z_]+:( |$))", re.MULTILINE)  # a key that is a comment; prose begins with a capital


def tree(kinds, **more):
    """{"client.optimizer": "sgd"} as what `new_spec` is asked for, and what such a kind cannot be without."""
    asked = dict(more)
    if kinds.get("client.optimizer.schedule") == "plateau":
        asked["partition"] = {"holdout": 0.2}
    for section, kind in kinds.items():
        *parents, last = section.split(".")
        place = asked
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = place.get(last, {}) | {"kind": kind}
    return asked


def kinds_of(spec, sections):
    found = {}
    for section in sections:
        part = spec
        for name in section.split("."):
            part = getattr(part, name)
        found[section] = part.kind
    return found


def test_every_combination_of_kinds_is_a_spec_of_those_kinds_with_short_lines():
    assert len(COMBINATIONS) >= 3 * 50
    for combination in COMBINATIONS:
        # The bounds of the other kinds of privacy are no family, and they have no noise of the server's.
        of_central = {"privacy.clip", "privacy.noise"} if combination["privacy"] != "central" else set()
        kinds = {section: kind for section, kind in combination.items() if section not in of_central}
        if kinds.get("privacy.noise") == "banded":
            kinds |= {"cohort": "cyclic_poisson", "privacy.clip": "fixed"}
        if kinds["privacy"] != "example" and not kinds["aggregator"].startswith("fed"):
            kinds |= {"aggregator": "fedavg"}  # privacy of clients is of a mean
        if not kinds["aggregator"].startswith("fed"):
            kinds |= {"partition": "iid", "cohort": "all"}  # others may have fewer clients than a rule needs
        if kinds["client.algorithm"] != "fedprox":  # others count on steps of SGD and a plain mean, and tell more
            kinds = {section: kind for section, kind in kinds.items() if not section.startswith("privacy")}
            kinds |= {
                "client.optimizer": "sgd",
                "client.optimizer.schedule": "cosine",
                "aggregator": "fedavg",
                "cohort": "all",
            }
        # Privacy of clients and cohorts that repeat clients do not go with every compressor, masked sums with none.
        if kinds.get("privacy") in ("central", "local") or kinds["cohort"] == "with_replacement":
            kinds.pop("compression", None)
        if {"privacy", "compression"} & set(kinds) or not kinds["aggregator"].startswith("fed"):
            kinds.pop("secure_aggregation", None)
        text = new_spec(tree(kinds))
        assert kinds_of(parse_spec(text), kinds) == kinds
        assert max(map(len, text.splitlines())) <= 110


@pytest.mark.parametrize(
    "kinds",
    [
        {family.section: kind}
        for family in FAMILIES
        for kind in family.kinds
        if (family.section, kind) != ("aggregator.schedule", "plateau")
    ],
    ids=lambda kinds: "-".join(*kinds.items()),
)
def test_a_commented_key_shows_its_default_and_can_be_uncommented(kinds):
    text = new_spec(tree(kinds))
    uncommented, number = COMMENTED.subn(r"\1\2", text)
    assert number > 5
    assert parse_spec(uncommented) == parse_spec(text)


def test_the_first_line_names_the_schema_and_every_other_kind_is_in_sight():
    assert new_spec().startswith(f"# yaml-language-server: $schema={SCHEMA_FILE}\n")
    for family in FAMILIES:
        # Of a section that most specs do without, what is in it is in sight once it is asked for.
        text = new_spec(tree({"privacy": "central"}) if family.section.startswith("privacy.") else {})
        assert f"flspec list {family.section})" in " ".join(text.replace("#", " ").split())
        assert all(kind in text for kind in family.kinds)


def test_each_key_is_explained_beside_it_or_above_it():
    lines = new_spec().splitlines()
    keys = [(above, line) for above, line in itertools.pairwise(lines) if re.match(" *(# )?[a-z_]+:( |$)", line)]
    assert len(keys) > 20
    for above, line in keys:
        assert "  # " in line or (re.match(" *# ", above) and not COMMENTED.match(above)), line


def test_what_is_asked_for_is_said():
    asked = {"name": "mine", "partition": {"clients": 3, "min_examples": 2}, "client": {"optimizer": {"momentum": 0.9}}}
    spec: Any = parse_spec(new_spec(asked | {"evaluation": {"metrics": ["loss"]}}))
    assert spec.name == "mine"
    assert (spec.partition.kind, spec.partition.clients, spec.partition.min_examples) == ("dirichlet", 3, 2)
    assert (spec.client.optimizer.momentum, spec.client.epochs) == (0.9, 1)
    assert spec.evaluation.metrics == ("loss",)


def test_the_example_of_a_section_is_said_and_holds_for_its_own_kind_alone():
    spec: Any = parse_spec(new_spec())
    assert spec.model.hidden == (64,)
    assert "hidden:" not in new_spec({"model": {"kind": "cnn"}})


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"partition": {"kind": "dirchlet"}}, "partition: unknown 'dirchlet'; did you mean 'dirichlet'"),
        ({"partition": {"kind": ["iid"]}}, "partition: unknown"),
        ({"client": {"optimizer": {"kind": "sdg"}}}, "client.optimizer: unknown 'sdg'; did you mean 'sgd'"),
    ],
)
def test_an_unknown_kind_is_told_with_what_may_have_been_meant(asked, message):
    with pytest.raises(InputError) as refused:
        new_spec(asked)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("asked", "path"),
    [
        ({"rounds": 0}, "rounds"),
        ({"partition": {"alhpa": 1}}, "partition.alhpa"),
        ({"partition": "iid"}, "partition"),
        ({"partition": None}, "partition"),
        ({"sede": 1}, "sede"),
        ({"partition": {"clients": 1}, "cohort": {"kind": "uniform"}}, "cohort"),
    ],
)
def test_what_makes_no_spec_is_refused(asked, path):
    with pytest.raises(SpecError) as refused:
        new_spec(asked)
    assert [problem.path for problem in refused.value.problems] == [path]


@pytest.mark.parametrize(
    ("file", "name"),
    [("a/fed-avg_2.1.yaml", "fed-avg_2.1"), ("my exp (2).yml", "my-exp-2"), (".hidden.yaml", "hidden"), ("…", None)],
)
def test_a_spec_is_named_as_its_file(file, name):
    assert name_for(Path(file)) == name
    assert name is None or parse_spec(new_spec({"name": name})).name == name


def test_the_kinds_that_are_usual_are_those_of_a_new_spec():
    spec = parse_spec(new_spec())
    for section in ("dataset", "partition", "model", "cohort", "aggregator"):
        assert default_kind(section) == getattr(spec, section).kind


# ---------------------------------------------------------------------------------------------------------------- files


def test_a_new_file_has_its_schema_beside_it_unless_there_is_one(tmp_path):
    assert write_new_spec(tmp_path / "a.yaml", new_spec())
    assert load_spec(tmp_path / "a.yaml") == parse_spec(new_spec())
    schema = tmp_path / SCHEMA_FILE
    assert '"$schema"' in schema.read_text()
    schema.write_text("mine")
    assert not write_new_spec(tmp_path / "b.yaml", new_spec())
    assert schema.read_text() == "mine"


def test_nothing_that_exists_is_replaced(tmp_path):
    (tmp_path / "a.yaml").write_text("mine")
    for taken in (tmp_path / "a.yaml", tmp_path, tmp_path / "nowhere" / "a.yaml"):
        with pytest.raises(InputError):
            write_new_spec(taken, new_spec())
    assert [path.name for path in tmp_path.iterdir()] == ["a.yaml"]
    assert (tmp_path / "a.yaml").read_text() == "mine"


# ------------------------------------------------------------------------------------------------------------ it runs


@pytest.mark.parametrize(
    "kinds",
    [
        {},
        {"dataset": "synthetic", "partition": "by_label", "model": "softmax_regression", "aggregator": "fedyogi"},
        {"partition": "iid", "model": "cnn", "cohort": "uniform", "aggregator": "fedadagrad"},
        {"dataset": "synthetic", "cohort": "uniform", "aggregator": "fedavgm"},
    ],
    ids=lambda kinds: "-".join(kinds.values()) or "default",
)
def test_a_new_spec_runs(kinds, tmp_path):
    spec = parse_spec(new_spec(tree(kinds, rounds=1)))
    result = flspec.run(flspec.compile(spec), backend="local", out=tmp_path / "run")
    assert result.status == "completed"
    assert len(result.rounds) == 1
