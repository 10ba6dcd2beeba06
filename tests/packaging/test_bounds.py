"""When an environment of the newest or lowest dependencies is made anew, and that each bound is among them."""

from __future__ import annotations

import copy
import datetime
import tomllib
from typing import Any

import pytest

from tests.packaging import bounds

PROJECT: dict[str, Any] = tomllib.loads((bounds.ROOT / "pyproject.toml").read_text())["project"]


def test_a_changed_bound_or_torch_asks_for_another_environment() -> None:
    changed = copy.deepcopy(PROJECT)
    changed["dependencies"][0] += ",!=1"
    keys = [bounds.key("lowest", PROJECT, "torch==1"), bounds.key("lowest", PROJECT, "torch==2")]
    assert len({*keys, bounds.key("lowest", changed, "torch==1")}) == 3
    assert bounds.key("lowest", copy.deepcopy(PROJECT), "torch==1") == keys[0]


def test_the_newest_are_looked_for_every_day_and_the_lowest_once(monkeypatch: pytest.MonkeyPatch) -> None:
    keys: dict[str, set[str]] = {"newest": set(), "lowest": set()}
    for day in (1, 2):
        monkeypatch.setattr(bounds, "date", type("Day", (), {"today": lambda day=day: datetime.date(2026, 1, day)}))
        for which, found in keys.items():
            found.add(bounds.key(which, PROJECT, "torch==1"))
    assert {which: len(found) for which, found in keys.items()} == {"newest": 2, "lowest": 1}


def test_every_dependency_has_a_lower_bound_that_can_be_tried() -> None:
    def unbounded(needs: list[str]) -> list[str]:
        return [need for need in needs if ">=" not in need]

    assert unbounded([*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["flower"]]) == []
    assert unbounded(["numpy"]) == ["numpy"]
