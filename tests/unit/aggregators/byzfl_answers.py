"""What ByzFL 0.0.11 (EPFL and Inria) combines the same updates into: writes `byzfl_answers.json`.

ByzFL asks for torchvision and seaborn, which its rules do not use, so it is no dependency. With torch installed:

    pip install --no-deps --target byzfl byzfl==0.0.11
    PYTHONPATH=byzfl:. python -m tests.unit.aggregators.byzfl_answers

Its Krum sums over n - f - 1 others where the paper has n - f - 2, so its f is one more than the paper's; its Multi-Krum
takes the mean of n - f. Its geometric median starts from 0, and is given steps enough to arrive.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from tests.unit.aggregators.updates import CASES, matrix_of

FILE = Path(__file__).with_name("byzfl_answers.json")


def answers(rules: Any, case: str) -> list[dict[str, Any]]:
    """Documents of flspec's aggregators, and the updates that ByzFL combines into."""
    x, f = matrix_of(case), CASES[case].f
    num = len(x)
    given = [
        ({"kind": "median"}, rules.Median()),
        ({"kind": "trimmed_mean", "f": f}, rules.TrMean(f)),
        ({"kind": "krum", "f": f}, rules.Krum(f + 1)),
        ({"kind": "multi_krum", "f": f, "m": num - f - 1}, rules.MultiKrum(f + 1)),
        ({"kind": "geometric_median", "weighting": "uniform", "tolerance": 1e-11}, rules.GeometricMedian(T=3000)),
        ({"kind": "centered_clipping", "tau": 2.5, "iterations": 3}, rules.CenteredClipping(L=3, tau=2.5)),
    ]
    return [{"document": document, "combined": np.asarray(rule(x)).tolist()} for document, rule in given]


def main() -> None:
    package, found = ModuleType("byzfl"), find_spec("byzfl")
    assert found, "byzfl is not there"
    package.__path__ = list(found.submodule_search_locations or ())
    sys.modules["byzfl"] = package  # without its __init__, which imports all that it has
    rules = import_module("byzfl.aggregators.aggregators")
    FILE.write_text(json.dumps({case: answers(rules, case) for case in CASES}, indent=1) + "\n")


if __name__ == "__main__":
    main()
