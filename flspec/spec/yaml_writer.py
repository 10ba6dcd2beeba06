"""YAML as flspec writes it: `yaml_reader` reads back the same values."""

from __future__ import annotations

import re
from typing import Any

import yaml

__all__ = ["write_value", "write_yaml"]

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")  # text that needs no quotes, unless it is one of these words
_WORDS = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}


def write_yaml(value: Any) -> str:
    """Return plain JSON values as a document in block YAML, in their order."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, default_flow_style=None, width=110, allow_unicode=True)


def write_value(value: Any) -> str:
    """Return one value in one line, as `--set` takes it."""
    text = yaml.dump(value, Dumper=_Dumper, sort_keys=False, default_flow_style=True, width=2**20, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...").strip()


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    """A dumper that quotes all text that YAML 1.1 or 1.2 could read as something else, and makes no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    is_plain = _PLAIN.fullmatch(text) and text.lower() not in _WORDS
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if is_plain else '"')


_Dumper.add_representer(str, _represent_text)
