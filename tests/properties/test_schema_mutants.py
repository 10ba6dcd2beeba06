"""What the JSON Schema refuses, flspec refuses too: an editor never complains about a spec that runs."""

from __future__ import annotations

import copy
import json
import random
from collections import Counter
from functools import reduce
from itertools import chain
from operator import getitem

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flspec.errors import SpecError
from flspec.spec.schema import spec_schema
from flspec.spec.study import parse_study
from flspec.spec.yaml_reader import read_yaml
from tests.properties.mutations import TEXTS, Raw, mutate, nodes, tree, write

SCHEMA = spec_schema()
VALIDATOR = jsonschema.Draft7Validator(SCHEMA)
COUNT = 800
PLAIN = ["null", "true", "0", "1", "3", "1e1", "1.0", "0.5", "-1", "1e9", '"1"', "mean", "[8]", "[]", "{}", "uniform"]


def runs(text):
    """Whether flspec takes `text` for a spec."""
    try:
        return bool(parse_study(text).cells)
    except SpecError:
        return False


def read(text):
    """The mapping that `text` writes, or None if it writes none."""
    try:
        return read_yaml(text.encode(), "spec").value
    except (SpecError, UnicodeEncodeError):
        return None


def judge(document, text, validator=VALIDATOR):
    """Whether the schema refuses a document, and whether flspec runs what it comes to; never both."""
    return {"refused": not validator.is_valid(document), "runs": runs(text)}


def mixed(seed):
    """Sections of several specs with one key dropped or given a plain value: a sixth of them are specs again."""
    rng = random.Random(seed)
    # A small variant says what is otherwise in the spec it stands in, which means little in another.
    trees = [{key: value for key, value in tree(text).items() if key != "small"} for text in TEXTS]
    spec = {key: rng.choice([one for one in trees if key in one])[key] for key in dict.fromkeys(chain(*trees))}
    *parents, key = rng.choice([path for path in nodes(spec) if path])
    place = reduce(getitem, parents, spec)
    if rng.random() < 0.3:
        del place[key]
    else:
        place[key] = Raw(rng.choice(PLAIN))
    return write(spec)


@pytest.mark.parametrize(
    ("mutants", "share"),
    [
        (st.builds(lambda draw, text: mutate(tree(text), draw.draw), st.data(), st.sampled_from(TEXTS)), 0.01),
        (st.integers(0, 2**32).map(mixed), 0.1),
    ],
    ids=["far", "near"],
)
def test_what_the_schema_refuses_flspec_refuses(mutants, share):
    met = Counter[str]()

    @settings(max_examples=COUNT)
    @given(mutant=mutants)
    def hold(mutant):
        document = read(mutant)
        if document is not None:
            met.update(verdict := judge(document, mutant), read=1)
            assert not all(verdict.values())

    hold()
    assert met["read"] > COUNT / 2
    assert met["refused"] > met["read"] / 3  # else this would hold of any schema
    assert met["runs"] > met["read"] * share  # else it would hold of a schema that refuses all


# -------------------------------------------------------------------------------------------- of a file that extends


def laid_over(base, above):
    """What `above` makes of the file it extends: written here once more, as ARCHITECTURE and the error messages say."""
    if (
        not isinstance(base, dict)
        or not isinstance(above, dict)
        or base.get("kind") != above.get("kind", base.get("kind"))
    ):
        return above
    return base | {key: laid_over(base[key], value) if key in base else value for key, value in above.items()}


def test_what_the_schema_refuses_of_a_file_that_extends_flspec_refuses():
    met = Counter[str]()

    @settings(max_examples=COUNT)
    @given(data=st.data(), base=st.sampled_from(TEXTS), text=st.sampled_from(TEXTS))
    def hold(data, base, text):
        above = read(mutate(part_of(tree(text), data.draw), data.draw))
        if above is not None and "extends" not in above:
            whole = json.dumps(laid_over(tree(base), above))
            met.update(verdict := judge({"extends": "base.yaml"} | above, whole), read=1)
            assert not all(verdict.values())

    hold()
    assert met["refused"] > met["read"] / 3
    assert met["runs"] > met["read"] / 50


@settings(max_examples=300)
@given(data=st.data(), text=st.sampled_from(TEXTS))
def test_any_part_of_a_spec_may_extend_another(data, text):
    assert VALIDATOR.is_valid({"extends": "base.yaml"} | part_of(tree(text), data.draw))


def part_of(value, draw):
    """A mapping without some of its keys, at any depth."""
    return {
        key: part_of(child, draw) if isinstance(child, dict) else child
        for key, child in value.items()
        if draw(st.integers(0, 3))
    }


# ------------------------------------------------------------------------------------------------------ wrong schemas


def requires_too_much(schema):
    schema["definitions"]["Experiment"]["required"].append("seed")


def forgets_null(schema):
    schema["definitions"]["ClientWork"]["properties"]["steps"] = {"type": "integer"}


def knows_one_kind(schema):
    schema["definitions"]["Experiment"]["properties"]["cohort"]["properties"]["kind"]["enum"] = ["all"]


@pytest.mark.parametrize("change", [requires_too_much, forgets_null, knows_one_kind])
def test_a_schema_that_refuses_too_much_is_found(change):
    schema = copy.deepcopy(SCHEMA)
    change(schema)
    documents = [tree(text) for text in TEXTS]
    documents += [document | {"client": document["client"] | {"steps": None}} for document in documents]
    for used, expected in ((SCHEMA, False), (schema, True)):
        validator = jsonschema.Draft7Validator(used)
        verdicts = [judge(document, json.dumps(document), validator) for document in documents]
        assert any(all(verdict.values()) for verdict in verdicts) == expected
