"""Whatever is done to a spec: it is understood, or refused in words; never a traceback."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flspec.errors import SpecError
from flspec.loading import parse_spec
from flspec.spec import Spec
from flspec.yaml_reader import read_yaml

TEXTS = [path.read_text() for path in sorted(Path(__file__).parents[2].glob("specs/*.yaml"))]
STRANGE = [
    *("", "~", "true", "-1", "0", "1.5", "1e6", "1e-400", "1e999", ".nan", "010", "1:30", "0x1F", "9" * 30),
    *("ten", '"10"', "no", "2024-01-01", "[]", "{}", "[[]]", "[1, a]", "{kind: all}", "{kind: [a]}", "kind: x"),
    *("!!str a", "&a 1", "*a", "<<: {a: 1}", "? [a]", "- a", "|\n  x", "'", '"', "\\", "\t", "%", "@", "`", "\0"),
    *("é", "\u202e", "\ufeff", "\U0001f600", '"\\ud800"', '"\\e[31m"', '"a\\nb"', "a" * 2000, "[" * 40 + "]" * 40),
]
values = st.sampled_from(STRANGE) | st.text(max_size=8)


def understood(text) -> bool:
    """Whether `text` is a spec; everything but a refusal in words is an error of ours."""
    try:
        return isinstance(parse_spec(text, "spec.yaml"), Spec)
    except SpecError as refused:
        problems = refused.problems
    assert problems
    assert all(problem.message and problem.file == "spec.yaml" for problem in problems)
    return False


# ------------------------------------------------------------------- changes of the tree: drop, rename, retype, repeat


def tree(text):
    return read_yaml(text.encode(), "spec.yaml").value


def nodes(value, path=()):
    yield path
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from nodes(child, (*path, key))


def write(value, repeated=()) -> str:
    """A tree as flow YAML, each key at a path in `repeated` written twice; a `Raw` goes in as it is."""

    def emit(value, path):
        if isinstance(value, Raw):
            return str(value)
        if isinstance(value, list):
            return f"[{', '.join(emit(child, (*path, index)) for index, child in enumerate(value))}]"
        if isinstance(value, dict):
            items = [
                f"{key if isinstance(key, Raw) else json.dumps(key)}: {emit(child, (*path, key))}"
                for key, child in value.items()
                for _ in range(2 if (*path, key) in repeated else 1)
            ]
            return "{" + ",\n ".join(items) + "}"
        return json.dumps(value)

    return emit(value, ())


class Raw(str):
    """Text that is written without quotes."""


def mutate(spec, draw) -> str:
    """The spec as text after one to three changes."""
    repeated = []
    for _ in range(draw(st.integers(1, 3))):
        *parents, key = draw(st.sampled_from([path for path in nodes(spec) if path] or [("name",)]))
        place = spec
        for parent in parents:
            place = place[parent]
        match draw(st.sampled_from(["drop", "rename", "retype", "repeat", "nest", "flatten"])):
            case "drop":
                place.pop(key, None) if isinstance(place, dict) else place.pop(key)
            case "rename" if isinstance(place, dict):
                place[draw(st.sampled_from([f"{key}x", str(key)[:-1], "kind", "clients", Raw("1"), Raw("~")]))] = (
                    place.pop(key, 1)
                )
            case "repeat":
                repeated.append((*parents, key))
            case "nest":
                place[key] = {str(key): place[key]} if draw(st.booleans()) else [place[key]]
            case "flatten" if isinstance(place[key], dict):
                place.update(place.pop(key)) if isinstance(place, dict) else place.pop(key)
            case _:
                place[key] = Raw(draw(values))
    return write(spec, repeated)


@settings(max_examples=600)
@given(data=st.data(), text=st.sampled_from(TEXTS))
def test_a_spec_with_its_parts_changed_is_understood_or_refused(data, text):
    understood(mutate(tree(text), data.draw))


# -------------------------------------------------------------------------------------------------- changes of the text


@settings(max_examples=600)
@given(text=st.sampled_from(TEXTS), place=st.floats(0, 1), length=st.integers(0, 30), inserted=values)
def test_a_spec_with_its_text_changed_is_understood_or_refused(text, place, length, inserted):
    start = int(place * len(text))
    understood(text[:start] + inserted + text[start + length :])


@settings(max_examples=300)
@given(text=st.sampled_from(TEXTS), place=st.floats(0, 1), inserted=st.binary(max_size=6))
def test_a_spec_with_its_bytes_changed_is_understood_or_refused(text, place, inserted):
    content = text.encode()
    start = int(place * len(content))
    understood(content[:start] + inserted + content[start + 1 :])


@settings(max_examples=200)
@given(content=st.binary(max_size=80) | st.text(max_size=80).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_are_understood_or_refused(content):
    understood(content)


@pytest.mark.parametrize("pattern", ["? ", "{", "[", "- ", "a: ", "? - ", "{? ", "&a ", "!a ", "'", "\n#", "a:\n "])
def test_any_amount_of_one_pattern_is_understood_or_refused_in_seconds(pattern):
    started = time.perf_counter()
    understood((pattern * 2**20)[: 2**20])
    assert time.perf_counter() - started < 10


@pytest.mark.parametrize("line", ["a{}: 1\n", "a{}: .nan\n"])
def test_a_file_full_of_mistakes_is_refused_in_seconds(line):
    text = TEXTS[0] + "".join(line.format(random.Random(number).getrandbits(60)) for number in range(20_000))
    started = time.perf_counter()
    assert not understood(text)
    assert time.perf_counter() - started < 10


def test_the_unchanged_specs_are_understood():
    assert all(understood(text) for text in TEXTS)
    assert all(understood(write(tree(text))) for text in TEXTS)
    assert not understood(write({"flspec": 1, "name": "x"}, repeated=[("name",)]))
