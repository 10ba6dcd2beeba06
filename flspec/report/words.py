"""Numbers and names as a page shows them.

Text from a spec, a backend or a folder's name is treated as hostile: it may have escape sequences, characters that
reverse the reading direction, or a megabyte of text.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

__all__ = [
    "DASH",
    "NOT_FINITE",
    "brief",
    "clean",
    "kind_of",
    "number",
    "plural",
    "power",
    "share",
    "typeset",
    "words_of",
]

DASH = "–"  # stands for a missing value
_NARROW_SPACE = "\N{NARROW NO-BREAK SPACE}"
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_FROM_SUPERSCRIPTS = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
NOT_FINITE = 1e300  # at or above: agreement.py writes the largest float for a difference that is not finite
_INVISIBLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # controls, direction and joining marks, lone surrogates, separators


def clean(value: object) -> object:
    """Return text with every control and invisible character spelled out, so that none acts on a page unseen.

    Markup, which this package wrote, stays as it is. Line feeds and tabs are harmless and stay, too.
    """
    if isinstance(value, Markup):
        return value
    return "".join(map(_visible, str(value)))


def brief(text: str, most: int = 60) -> str:
    """Return at most `most` characters of a text, on one line and safe to show anywhere."""
    line = str(clean(" ".join(text[: 4 * most].split())))
    return line if len(line) <= most else line[: most - 1].rstrip() + "…"


def number(value: float | None, digits: int = 4) -> str:
    """Return a number with so many significant digits; a dash if there is none."""
    if value is None or math.isnan(value):
        return DASH
    if abs(value) >= NOT_FINITE:
        return "not finite"
    if value == 0:
        return "0"
    mantissa, _, tail = f"{value:.{digits - 1}e}".partition("e")
    exponent = int(tail)
    if -4 <= exponent <= 6:
        plain = f"{float(f'{mantissa}e{exponent}'):,.{max(0, digits - 1 - exponent)}f}"
        return plain.replace(",", _NARROW_SPACE).replace("-", "−")
    return f"{mantissa.replace('-', '−')}{_NARROW_SPACE}×{_NARROW_SPACE}{power(exponent)}"


def in_ascii(text: str) -> str:
    """Return what `number` wrote as programs read it, `3.04e-8`; nothing for a dash. Other words stay."""
    times = f"{_NARROW_SPACE}×{_NARROW_SPACE}10"
    plain = text.replace(times, "e").translate(_FROM_SUPERSCRIPTS) if times in text else text
    return "" if text == DASH else plain.replace(_NARROW_SPACE, "").replace("−", "-")


def power(exponent: int) -> str:
    """Return a power of ten."""
    return f"10{str(exponent).translate(_SUPERSCRIPTS)}"


def share(value: float | None) -> str:
    """Return a share in percent, or as a multiple where a percentage would be hard to read."""
    if value is None or value >= NOT_FINITE:
        return number(value)
    if value > 10:
        return f"{number(value, 2)}{_NARROW_SPACE}×"
    if 0 < value < 1e-4:
        return f"<{_NARROW_SPACE}0.01{_NARROW_SPACE}%"
    return f"{number(100 * value, 2)}{_NARROW_SPACE}%"


def plural(count: int, noun: str) -> str:
    """Return `3 rounds`, `1 round`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def words_of(metric: str) -> str:
    """Return a metric's name in words: `top 3 accuracy`."""
    return brief(metric.replace("_", " "))


def kind_of(spec: Mapping[str, Any], section: str) -> str:
    """Return the kind that a section of a spec has; the section's name if it has none."""
    value = spec.get(section)
    return brief(str(value.get("kind", section) if isinstance(value, Mapping) else section))


def typeset(formula: str) -> str:
    """Return a formula, written in ASCII, as a page shows it."""
    raised = re.sub(r"\^(-?\d+)", lambda found: found[1].translate(_SUPERSCRIPTS), formula)
    return raised.replace("*", "×").replace("'", "’")


def _visible(character: str) -> str:
    if character in "\n\t" or unicodedata.category(character) not in _INVISIBLE:
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
