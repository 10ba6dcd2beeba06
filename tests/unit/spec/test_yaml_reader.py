"""The reader: what is written is what is meant, and every value knows its place."""

from __future__ import annotations

import pytest

from flspec.errors import SpecError
from flspec.spec.yaml_reader import read_value, read_yaml


def problems(content):
    with pytest.raises(SpecError) as refused:
        read_yaml(content if isinstance(content, bytes) else content.encode(), "spec.yaml")
    return [str(problem) for problem in refused.value.problems]


def value(text):
    return read_yaml(f"key: {text}\n".encode(), "spec.yaml").value["key"]


SCALARS = [
    # null and truth, by YAML 1.2 alone
    ("null", None),
    ("~", None),
    ("", None),
    ("true", True),
    ("False", False),
    ("TRUE", True),
    ("yes", "yes"),
    ("no", "no"),
    ("on", "on"),
    ("off", "off"),
    ("y", "y"),
    ("NO", "NO"),
    # integers
    ("0", 0),
    ("10", 10),
    ("-3", -3),
    ("+3", 3),
    ("18446744073709551615", 2**64 - 1),
    # numbers with a fraction or an exponent
    ("0.1", 0.1),
    (".5", 0.5),
    ("1.", 1.0),
    ("-0.25", -0.25),
    ("1e-3", 0.001),
    ("1E-3", 0.001),
    ("2.5e-1", 0.25),
    # text that other readers take for something else
    ("2024-01-01", "2024-01-01"),
    ("0x1F", "0x1F"),
    ("0o17", "0o17"),
    ("1_000", "1_000"),
    ("1,000", "1,000"),
    ("1.2.3", "1.2.3"),
    ("nan", "nan"),
    ("inf", "inf"),
    ("=", "="),
    # quotes and blocks are always text
    ('"10"', "10"),
    ("'true'", "true"),
    ('"010"', "010"),
    ("'1:30'", "1:30"),
    ('".nan"', ".nan"),
    ('""', ""),
    ('"a\\u00e9"', "aé"),
    ("|\n  10\n", "10\n"),
    ("hello # a comment", "hello"),
    # collections
    ("[1, a, 0.5]", [1, "a", 0.5]),
    ("{a: 1, b: {}}", {"a": 1, "b": {}}),
    ("\n- 1\n- 2", [1, 2]),
]


@pytest.mark.parametrize(("text", "meant"), SCALARS, ids=[repr(text) for text, _ in SCALARS])
def test_a_value_means_what_yaml_1_2_says(text, meant):
    read = value(text)
    assert read == meant
    assert type(read) is type(meant)


@pytest.mark.parametrize(("text", "number"), [("1e6", 1_000_000), ("1.5e3", 1500), ("-2e0", -2), ("1e15", 10**15)])
def test_a_whole_number_in_exponent_notation_is_an_integer(text, number):
    assert value(text) == number
    assert type(value(text)) is int


@pytest.mark.parametrize("text", ["1.0", "1e16", "1e-1", "2.5e0"])
def test_other_numbers_with_a_point_or_an_exponent_stay_floats(text):
    assert type(value(text)) is float


REFUSED = {
    # 1 and 2: no mapping
    "empty": ("", "spec.yaml: empty spec; expected a mapping"),
    "a comment alone": ("# nothing\n", "spec.yaml: empty spec"),
    "null": ("~\n", "spec.yaml: empty spec"),
    "a list": ("- a\n- b\n", "spec.yaml: expected a mapping at the top level, got a list"),
    "text": ("hello\n", "spec.yaml: expected a mapping at the top level, got text"),
    "a number": ("3\n", "spec.yaml: expected a mapping at the top level, got a number"),
    "a truth": ("true\n", "spec.yaml: expected a mapping at the top level, got true or false"),
    # 3: two documents
    "two documents": ("a: 1\n---\nb: 2\n", "spec.yaml:2:1: one document expected, a second starts here"),
    # 4: tabs
    "a tab deeper down": ("a:\n  b: 1\n\tc: 2\n", "spec.yaml:3:1: tab used for indentation; use spaces"),
    "a tab at the first level": ("a:\n\tb: 1\n", "spec.yaml:2:1: tab used for indentation; use spaces"),
    # 5: duplicate keys
    "a key twice": ("a: 1\nb: 2\na: 3\n", "spec.yaml:3:1: a: given twice (lines 1 and 3); remove one"),
    "a nested key twice": ("a: {b: 1,\n  b: 2}\n", "spec.yaml:2:3: a.b: given twice (lines 1 and 2); remove one"),
    "a key twice, once quoted": ('a: 1\n"a": 2\n', "spec.yaml:2:1: a: given twice (lines 1 and 2)"),
    # 8 and 9: numbers that other readers take for others
    "leading zero": ("a: 010\n", "spec.yaml:1:4: a: 010: leading zeros are ambiguous; write 10 or quote it"),
    "negative leading zero": ("a: -007\n", "spec.yaml:1:4: a: -007: leading zeros are ambiguous"),
    "zeros alone": ("a: 00\n", "spec.yaml:1:4: a: 00: leading zeros are ambiguous; write 0 or quote it"),
    "a time": ("a: 1:30\n", "spec.yaml:1:4: a: 1:30: write one number"),
    "a time with seconds": ("a: 1:30:00.5\n", "spec.yaml:1:4: a: 1:30:00.5: write one number"),
    # 10 and 22: keys that are not text
    "true as a key": ("a: 1\ntrue: 2\n", "spec.yaml:2:1: keys must be text, got true; quote it"),
    "a number as a key": ("1: 2\n", "spec.yaml:1:1: keys must be text, got 1; quote it"),
    "a fraction as a key": ("1.5: 2\n", "spec.yaml:1:1: keys must be text, got 1.5; quote it"),
    "null as a key": ("a: {~: 2}\n", "spec.yaml:1:5: a: keys must be text, got null; quote it"),
    "a list as a key": ("? [a, b]\n: 2\n", "spec.yaml:1:3: keys must be text"),
    "a mapping as a key": ("? {a: 1}\n: 2\n", "spec.yaml:1:3: keys must be text"),
    # 11 and 12: no finite number
    ".nan": ("a: .nan\n", "spec.yaml:1:4: a: .nan: must be finite"),
    ".inf": ("a: [1, .inf]\n", "spec.yaml:1:8: a.1: .inf: must be finite"),
    "-.INF": ("a: -.INF\n", "spec.yaml:1:4: a: -.INF: must be finite"),
    "1e999": ("a: 1e999\n", "spec.yaml:1:4: a: number too large"),
    "65 bits": ("a: 18446744073709551616\n", "spec.yaml:1:4: a: number too large"),
    "5,000 digits": (f"a: {'9' * 5000}\n", "spec.yaml:1:4: a: number too large (5000 characters)"),
    "300 digits": (f"a: {'9' * 300}\n", "spec.yaml:1:4: a: number too large"),
    # 13 and 14: tags
    "a python tag": (
        "a: !!python/object/apply:os.system [ls]\n",
        "spec.yaml:1:4: a: YAML tag 'tag:yaml.org,2002:python",
    ),
    "an include tag": ("b: 1\na: !include /etc/passwd\n", "spec.yaml:2:4: a: YAML tag '!include' is not allowed"),
    "a harmless tag": ("a: !!str 10\n", "spec.yaml:1:4: a: YAML tag"),
    # 15 to 17: references
    "an alias": ("a: &x 1\nb: *x\n", "spec.yaml:2:4: b: aliases are not allowed"),
    "an anchor": ("a: &x 1\n", "spec.yaml:1:4: a: anchors are not allowed"),
    "an alias of itself": ("a: &x [*x]\n", "spec.yaml:1:8: a.0: aliases are not allowed"),
    "a merge key": (
        "a: 1\n<<: {b: 2}\n",
        "spec.yaml:2:1: merge keys are not supported; use extends: or write",
    ),
    "a nested merge key": ("a: {<<: {b: 2}}\n", "spec.yaml:1:5: a: merge keys are not supported"),
    # 18: depth
    "deep lists": (f"a: {'[' * 5000}{']' * 5000}\n", "spec.yaml:1:36: nested deeper than 32 levels"),
    "deep mappings": (f"a: {'{a: ' * 5000}{'}' * 5000}\n", "nested deeper than 32 levels"),
    "deep items": (f"{'- ' * 5000}a\n", "nested deeper than 32 levels"),
    "deep keys": (f"{'? ' * 5000}a\n", "nested deeper than 32 levels"),
    "deep keys in braces": ("{" * 5000, "nested deeper than 32 levels"),
    # 19: characters
    "a NUL": (b"a: \x00b\n", "spec.yaml: character 0 at 3 is not allowed in YAML"),
    "a bell": (b"a: \x07b\n", "spec.yaml: character 7 at 3 is not allowed in YAML"),
    "not UTF-8": (b"a: \xff\n", "spec.yaml: not valid UTF-8 at byte 3; save it as UTF-8"),
    "UTF-16": ("a: 1\n".encode("utf-16"), "spec.yaml: not valid UTF-8 at byte 0"),
    "half a surrogate pair": (b"a: \xed\xa0\x80\n", "spec.yaml: not valid UTF-8 at byte 3"),
    "an escaped surrogate": ('a: "\\ud800"\n', "spec.yaml:1:"),
    # 20: size
    "too large": (b"#" * (2**20 + 1), "spec.yaml: larger than 1 MiB (1,048,577 bytes)"),
    # and text that is no YAML at all
    "an open bracket": ("a: [1, 2\nb: 3\n", "spec.yaml:2:2: not valid YAML"),
    "an open quote": ("a: 'x\n", "not valid YAML"),
    "an unknown directive": ("%FOO 1\n---\na: 1\n", "not valid YAML"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_its_place(case):
    content, message = REFUSED[case]
    assert any(message in problem for problem in problems(content)), problems(content)[:3]


def test_every_problem_of_a_text_is_told_at_once():
    found = problems("a: 010\nb: .nan\na: 1\n")
    assert [problem.split(":")[1] for problem in found] == ["1", "2", "3"]


def test_an_alias_bomb_is_refused_without_being_unfolded():
    lines = ["a0: &a0 [x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    assert any("aliases are not allowed" in problem for problem in problems("\n".join(lines)))


@pytest.mark.parametrize("levels", [31, 32])
def test_32_levels_are_enough(levels):
    nested = read_yaml(f"a: {'[' * levels}{']' * levels}".encode(), "spec.yaml").value["a"]
    assert str(nested) == "[" * levels + "]" * levels


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfa: 1\n",
        b"a: 1\r\n",
        b"---\na: 1\n...\n",
        b"%YAML 1.2\n---\na: 1\n",
        b"a: 1",
        b'{"a": 1}',
        b"a:   1  # one",
    ],
    ids=["byte order mark", "CRLF", "document marks", "directive", "no newline", "JSON", "comment"],
)
def test_a_text_reads_the_same_with(content):
    assert read_yaml(content, "spec.yaml").value == {"a": 1}


def test_every_key_and_item_knows_its_line_and_column():
    document = read_yaml(b"a: 1\nb:\n  c: [x, y]\n  d:\n    - 5\n", "spec.yaml")
    assert document.places == {
        ("a",): (1, 1),
        ("b",): (2, 1),
        ("b", "c"): (3, 3),
        ("b", "c", 0): (3, 7),
        ("b", "c", 1): (3, 10),
        ("b", "d"): (4, 3),
        ("b", "d", 0): (5, 7),
    }


def test_a_value_is_read_as_it_would_be_in_a_spec():
    assert [read_value(text, "--set") for text in ("1e-3", "no", "[1, a]", "{a: 1}", '"1"', "")] == [
        0.001, "no", [1, "a"], {"a": 1}, "1", None,
    ]  # fmt: skip
    with pytest.raises(SpecError, match="--set: 010: leading zeros"):
        read_value("010", "--set")
