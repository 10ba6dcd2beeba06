"""What CONTRIBUTING shows how to add works: all of its examples in one package, in one run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from flspec.compiler.compile import compile
from flspec.data.store import open_data
from tests.unit.scratch_packages import flspec, write_package

PAGE = (Path(__file__).parent.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
IMPORTS = """
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from flspec.aggregators import Need
from flspec.aggregators.rules import CoordinateRule, NumByzantine, middle
from flspec.aggregators.vectors import Array
from flspec.client_algorithms import ClientAlgorithm, CohortWork
from flspec.compressors import Compressor, Payload
from flspec.core.randomness import Stream
from flspec.data.examples import Examples
from flspec.encodings import Encoding
from flspec.metrics import metric
from flspec.metrics.decisions import recall, specificity
from flspec.metrics.scores import Scores
from flspec.partitioners import ClientIndices, Counted
from flspec.protocol.named_records import Records, Weights
from flspec.protocol.plan import Plan
from flspec.protocol.records import RoundRecord
from flspec.protocol.updates import Delta
from flspec.trackers import Tracker

from tests.unit.scratch_packages import flspec, write_package

"""
ENTRY_POINTS = """
[flspec.partitioners]
stripes = shown:Stripes
[flspec.encodings]
min_max = shown:MinMax
[flspec.aggregators]
mean_around_median = shown:MeanAroundMedian
[flspec.metrics]
youden = shown:youden
[flspec.trackers]
board = shown:Board
[flspec.client_algorithms]
pull = shown:Pull
[flspec.compressors]
signs = shown:Signs
"""
SPEC = """
flspec: 1
name: shown
rounds: 3
dataset: {kind: csv, file: table.csv, holdout: 0.4, features: {a: min_max, b: standardise}}
partition: {kind: stripes, clients: 4, skip: 4}
model: {kind: softmax_regression}
client:
  epochs: 1
  batch_size: 5
  optimizer: {kind: sgd, learning_rate: 0.1}
  algorithm: {kind: pull, strength: 0.5}
aggregator: {kind: mean_around_median, f: 1, server_optimizer: {kind: sgd, momentum: 0.5}}
compression: {kind: signs, error_feedback: true}
evaluation: {metrics: [loss, youden]}
"""


def examples() -> list[str]:
    """The page's classes and functions, but for the backend, which stands for an engine that is not there."""
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    return [block for block in blocks if "my_engine" not in block and re.match(r"class |@metric", block)]


TEXT_SPEC = """
flspec: 1
name: shown
rounds: 1
parts: [pairs.py]
dataset: {kind: csv, file: train.csv, features: {review: {pairs: 500}}}
partition: {kind: iid, clients: 1}
model: {kind: recurrent, units: [2]}
client: {epochs: 1, batch_size: 2, optimizer: {kind: sgd, learning_rate: 0.1}}
"""
OF_SEVERAL_NETWORKS = """
from collections.abc import Mapping
from typing import ClassVar, Literal

from flspec.layers import Network
from flspec.objectives import Objective
from flspec.phases import Call, Draw, Phase, Sample, Term
"""
GAN_SPEC = """
flspec: 1
name: shown
rounds: 1
dataset: {kind: digits}
partition: {kind: iid, clients: 2}
model: {kind: dcgan, latent: 4, width: 2, batch_norm: averaged}
client: {steps: 2, batch_size: 8, objective: {kind: twins}, optimizer: {kind: sgd, learning_rate: 0.1}}
evaluation: {generated: 20}
"""


def test_the_objective_of_several_networks_that_the_page_shows_runs(tmp_path: Path) -> None:
    (shown,) = [block for block in examples() if "class Twins" in block]
    write_package(tmp_path, "shown", OF_SEVERAL_NETWORKS + shown, "flspec.objectives", "Twins")
    (tmp_path / "spec.yaml").write_text(GAN_SPEC)
    done = flspec(tmp_path, "run", "spec.yaml", "--out", "run")
    assert done.returncode == 0, done.stderr
    train = json.loads((tmp_path / "run" / "result.json").read_text())["rounds"][0]["train"]
    assert set(train) == {"critic", "on_real", "on_fake", "maker", "judged"}


def test_the_tokenizer_that_the_page_shows_is_in_the_plan_of_its_texts(tmp_path: Path) -> None:
    (shown,) = [block for block in examples() if "class Pairs" in block]
    imports = "from typing import Literal\n\nfrom flspec.encodings import Vocabulary\n\n\n"
    (tmp_path / "pairs.py").write_text(imports + shown)
    (tmp_path / "spec.yaml").write_text(TEXT_SPEC)
    (tmp_path / "train.csv").write_text("review,label\nabab,1\nba,0\n")
    (tmp_path / "test.csv").write_text("review,label\nabc,1\n")
    plan = compile(tmp_path / "spec.yaml")
    (found,) = plan.settings.data.encodings
    assert found["steps"] == [{"kind": "pairs", "tokens": ["ab", "ba"], "vocabulary": 500, "length": 3}]
    assert open_data(plan.settings.data).test.features.tolist() == [[2, 1, 0]]


def test_everything_that_the_page_adds_takes_part_in_one_run(tmp_path: Path) -> None:
    shown = examples()
    names = ("Stripes", "youden", "Board", "Pull", "Signs", "MinMax", "MeanAroundMedian")
    assert [name for name in names if not any(name in block for block in shown)] == []
    metadata = tmp_path / "shown-1.0.dist-info"
    metadata.mkdir()
    (tmp_path / "shown.py").write_text(
        IMPORTS + "\n\n".join(block for block in shown if any(n in block for n in names))
    )
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: shown\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(ENTRY_POINTS)
    (tmp_path / "spec.yaml").write_text(SPEC)
    rows = [f"{number},{number % 7},{int(number % 3 > 0)}" for number in range(100)]
    (tmp_path / "table.csv").write_text("\n".join(["a,b,label", *rows]))
    weights = []
    for backend in ("local", "flower:inprocess"):
        command = [sys.executable, "-m", "flspec", "run", "spec.yaml", "--backend", backend, "--tracker", "board"]
        done = subprocess.run(
            [*command, "--out", backend.replace(":", "-")],
            env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        folder = tmp_path / backend.replace(":", "-")
        result = json.loads((folder / "result.json").read_text())
        assert "youden" in result["final"]["evaluation"]["test"]
        assert len((folder / "board.txt").read_text().splitlines()) == 3
        weights.append(result["weights"]["sha256"])
    assert len(set(weights)) == 1
