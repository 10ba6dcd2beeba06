"""Whatever is done to a spec: it is understood, or refused in words; never a traceback."""

from __future__ import annotations

import copy
import functools
import operator
import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flspec.errors import SpecError
from flspec.spec.study import parse_study
from tests.properties.mutations import SHIPPED, TEXTS, WHOLE, mutate, nodes, tree, values, write


def understood(text) -> bool:
    """Whether `text` is a spec; everything but a refusal in words is an error of ours."""
    try:
        return bool(parse_study(text, "spec.yaml").cells)
    except SpecError as refused:
        problems = refused.problems
    assert problems
    assert all(problem.message and problem.file == "spec.yaml" for problem in problems)
    return False


# ---------------------------------------------------------------------------------------------- changes of the tree


@settings(max_examples=1500)
@given(data=st.data(), text=st.sampled_from(SHIPPED))
def test_a_spec_with_its_parts_changed_is_understood_or_refused(data, text):
    understood(mutate(tree(text), data.draw))


def misspellings(key, places):
    """The slips that fingers make: a letter left out, doubled, swapped with the next, or another; in capitals."""
    for place in places:
        yield key[:place] + key[place + 1 :]
        yield key[:place] + key[place] + key[place:]
        yield key[:place] + key[place : place + 2][::-1] + key[place + 2 :]
    yield from (f"{key}s", f"{key}_", key.upper(), key.replace("_", "-"), key.replace("_", ""))


def keys_of(text):
    """The place of every key of a spec. Axes of a matrix are paths, whose misspelling is told where they lead to."""
    paths = [path for path in nodes(tree(text)) if path and isinstance(path[-1], str)]
    return [tuple(path) for path in paths if list(path[:2]) != ["matrix", "axes"] or len(path) == 2]


@pytest.mark.parametrize("number", range(len(WHOLE)), ids=[tree(text)["name"] for text in WHOLE])
def test_no_misspelt_key_is_passed_over(number):
    """Whatever key of whatever section is misspelt, the spec is refused, and the key is named.

    At every letter in the first spec; in the others, of the keys that none before has, at one in the middle.
    """
    spec, count = tree(WHOLE[number]), 0
    known = {path for text in WHOLE[:number] for path in keys_of(text)}
    new = [path for path in keys_of(WHOLE[number]) if path not in known]
    for *parents, key in new:
        places = [len(key) // 2] if number else range(len(key))
        for misspelt in {m for m in misspellings(key, places) if m and m != key}:
            mutant = copy.deepcopy(spec)
            section = functools.reduce(operator.getitem, parents, mutant)
            if misspelt in section:
                continue
            section[misspelt] = section.pop(key)
            with pytest.raises(SpecError) as refused:
                parse_study(write(mutant), "spec.yaml")
            problems = refused.value.problems  # "model" without its last letter is a key too, and its value is refused
            told = [one for one in problems if misspelt in one.message or misspelt in one.path.split(".")]
            assert told or any(one.message.startswith("missing 'kind'") for one in problems)
            count += 1
    assert count >= (3 * len(new) if number else 300)


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
    started = time.process_time()
    understood((pattern * 2**20)[: 2**20])
    assert time.process_time() - started < 10  # of the processor, whatever else the machine does


@pytest.mark.parametrize("line", ["a{}: 1\n", "a{}: .nan\n"])
def test_a_file_full_of_mistakes_is_refused_in_seconds(line):
    text = TEXTS[0] + "".join(line.format(random.Random(number).getrandbits(60)) for number in range(20_000))
    started = time.process_time()
    assert not understood(text)
    assert time.process_time() - started < 10  # of the processor, whatever else the machine does


def test_the_unchanged_specs_are_understood():
    assert all(understood(text) for text in TEXTS)
    assert all(understood(write(tree(text))) for text in TEXTS)
    assert not understood(write({"flspec": 1, "name": "x"}, repeated=[("name",)]))
