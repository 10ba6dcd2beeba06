"""The page on the tolerance prints what it shows, and has the constants of the rule."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

from flspec.comparison import agreement
from flspec.comparison.certification import _NUDGES
from flspec.comparison.nudging import IN_TRAINING

PAGE = (Path(__file__).parents[1] / "docs" / "tolerance.md").read_text(encoding="utf-8")


def test_the_example_prints_what_is_shown() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (shown,) = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(code, {})
    assert printed.getvalue() == shown


def test_its_constants_are_those_of_the_rule() -> None:
    assert (agreement._OF_VALUE, agreement._OF_MOVEMENT, agreement._OF_SENSITIVITY) == (4.0, 64.0, 4.0)
    assert agreement._STEP == 2.0**-23
    assert "2⁻²³ × (4 × its largest value + 64 × the largest movement" in PAGE
    assert "is then four times the most that any weight moved" in PAGE
    assert (_NUDGES, IN_TRAINING) == (8, 4.0)
    assert "run eight times more" in PAGE
    assert "times four float32 steps" in PAGE
