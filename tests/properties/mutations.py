"""What can be done to a spec: parts dropped, renamed, retyped, repeated, nested; strange values."""

from __future__ import annotations

import json
import re
from pathlib import Path

from hypothesis import strategies as st

from flspec.spec.yaml_reader import read_yaml

# All but two matrices of so many experiments that reading one takes seconds.
MANY = ("robust_attacks", "algorithms_two_shards")
FILES = [path for path in sorted(Path(__file__).parents[2].glob("specs/*.yaml")) if path.stem not in MANY]
SHIPPED = [path.read_text() for path in FILES]
WHOLE = [text for text in SHIPPED if not re.search("^extends:", text, re.MULTILINE)]  # those that say all themselves
TEXTS = [text for text in SHIPPED if not re.search("^(matrix|extends):", text, re.MULTILINE)]  # each one experiment
STRANGE = [
    *("", "~", "true", "-1", "0", "1.5", "1e6", "1e-400", "1e999", ".nan", "010", "1:30", "0x1F", "9" * 30),
    *("ten", '"10"', "no", "2024-01-01", "[]", "{}", "[[]]", "[1, a]", "{kind: all}", "{kind: [a]}", "kind: x"),
    *("!!str a", "&a 1", "*a", "<<: {a: 1}", "? [a]", "- a", "|\n  x", "'", '"', "\\", "\t", "%", "@", "`", "\0"),
    *("é", "\u202e", "\ufeff", "\U0001f600", '"\\ud800"', '"\\e[31m"', '"a\\nb"', "a" * 2000, "[" * 40 + "]" * 40),
]
values = st.sampled_from(STRANGE) | st.text(max_size=8)


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

    text: str = emit(value, ())
    return text


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
