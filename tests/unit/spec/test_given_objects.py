"""Classes and functions that are given to a spec as Python's objects count in it like those of a file beside it."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import flspec
from flspec.core.part_files import using
from flspec.errors import InputError, SpecError
from flspec.metrics import METRICS, base
from flspec.protocol.plan import Plan
from flspec.spec.from_python import stated
from flspec.spec.spec import Spec
from tests.unit.core.notebooks import as_main, run_cell
from tests.unit.scratch_packages import run_python

CELLS = (
    "from typing import Literal\nimport numpy as np\nfrom torch import nn\n"
    "from flspec.losses import Loss\nfrom flspec.metrics import metric\nfrom flspec.partitioners.base import Counted\n"
    "SKIP = 1\n",
    """
class Stripes(Counted):
    "Client i gets every `clients`-th example."
    kind: Literal["stripes"] = "stripes"
    def split(self, examples, stream):
        labels, _ = examples.classes("partition")
        return [np.arange(len(labels))[client :: self.clients * SKIP] for client in range(self.clients)]
""",
    """
class Net(nn.Module):
    def __init__(self, width=3):
        super().__init__()
        self.body, self.drop = nn.Linear(4, width), nn.Dropout(0.5)
        self.head = nn.Linear(width, 3)
    def forward(self, x):
        return self.head(self.drop(self.body(x)).relu())

class Squares(Loss):
    kind: Literal["squares"] = "squares"
    factor: float = 1.0
    def value(self, scores):
        return self.factor * ((scores.outputs - scores.targets) ** 2).sum(axis=1)
    def torch(self, outputs, targets):
        return self.factor * ((outputs - targets) ** 2).sum(dim=1).mean()

@metric(better="lower", description="share of wrong predictions")
def misses(scores):
    return float((scores.predicted != scores.labels).mean())
""",
)
VALUES: dict[str, Any] = {
    "flspec": 1,
    "name": "given",
    "rounds": 2,
    "dataset": {"kind": "synthetic", "classes": 3, "features": 4, "train_examples": 60, "test_examples": 20},
    "partition": {"kind": "iid", "clients": 4},
    "model": {"kind": "softmax_regression"},
    "client": {"epochs": 1, "batch_size": 5, "optimizer": {"kind": "sgd", "learning_rate": 0.1}},
}


@pytest.fixture
def main() -> Iterator[ModuleType]:
    with as_main(*CELLS) as module:
        yield module


def own(main: ModuleType, **sections: Any) -> Spec:
    """A spec whose partitioner, model, loss and metric are those of the notebook."""
    values = {
        **VALUES,
        "partition": main.Stripes(clients=4),
        "model": {"kind": "torch", "module": main.Net, "arguments": {"width": 5}},
        "client": {**VALUES["client"], "loss": main.Squares(factor=0.5)},
        "evaluation": {"metrics": ["accuracy", main.misses], "best": {"metric": main.misses}},
    }
    return flspec.load_spec({**values, **sections})


def text_of(spec: Spec) -> str:
    assert spec.part_files is not None
    return spec.part_files.sources["from_python.py"]


def test_a_spec_of_objects_runs_and_is_stored_and_says_what_a_file_would(main: ModuleType, tmp_path: Path) -> None:
    spec = own(main)
    assert spec.parts == ("from_python.py",)
    assert spec.partition.model_dump() == main.Stripes(clients=4).model_dump()
    result = flspec.run(spec, out=tmp_path / "first")
    assert result.final is not None
    measured = result.final.evaluation["test"]
    assert measured["misses"] == pytest.approx(1 - measured["accuracy"])
    plan = Plan.load(tmp_path / "first" / "plan")
    assert plan.settings.parts is not None
    assert flspec.run(plan, out=tmp_path / "second").weights == result.weights
    (tmp_path / "from_python.py").write_text(plan.settings.parts.sources["from_python.py"])
    (tmp_path / "spec.yaml").write_text((tmp_path / "first" / "spec.yaml").read_text())
    assert flspec.compile(tmp_path / "spec.yaml").digest == plan.digest == result.plan_digest


def test_the_digest_covers_what_the_objects_use_and_nothing_else(main: ModuleType) -> None:
    def digest() -> str:
        return flspec.compile(own(main)).digest

    first = digest()
    run_cell(main, "OTHER = 3\ndef helper(): pass\n")
    assert digest() == first
    swapped = {key: value for key, value in reversed(stated(own(main)).items()) if key != "parts"}
    given = {"partition": main.Stripes(clients=4), "model.module": main.Net, "client.loss": main.Squares(factor=0.5)}
    again = flspec.load_spec(swapped, parts=[main.misses, *given.values()])
    assert flspec.compile(again.with_(**dict(reversed(given.items())))).digest == first
    run_cell(main, "SKIP = 2\n")
    second = digest()
    run_cell(main, CELLS[2].replace("Dropout(0.5)", "Dropout(0.4)"))
    assert len({first, second, digest()}) == 3


def test_a_class_a_name_and_an_instance_are_said_alike(main: ModuleType) -> None:
    loss = {**VALUES["client"], "loss": main.Squares}
    specs = [
        flspec.load_spec({**VALUES, "model": main.Net, "client": loss}),
        flspec.load_spec({**VALUES, "model": {"kind": "torch", "module": main.Net}, "client": loss}),
        flspec.load_spec(VALUES).with_(model=main.Net, **{"client.loss": main.Squares()}),
        flspec.load_spec(
            {**VALUES, "model": {"kind": "torch", "module": "from_python:Net"}}, ["client.loss=squares"],
            parts=[main.Squares, main.Net],
        ),
        flspec.load_spec(
            {**VALUES, "parts": [main.Net, main.Squares], "client": {**loss, "loss": {"kind": "squares"}}}
        ).with_(model={"kind": "torch", "module": "from_python:Net"}),
    ]  # fmt: skip
    assert len({flspec.compile(spec).digest for spec in specs}) == 1
    assert all(spec == specs[0] for spec in specs)


def test_a_change_keeps_what_was_given_and_takes_the_newest(main: ModuleType) -> None:
    spec = own(main)
    assert text_of(spec.with_(seed=1)) == text_of(spec)
    assert flspec.compile(spec.with_(partition=main.Stripes(clients=3))).num_clients == 3
    run_cell(main, CELLS[1].replace("gets every", "has each"))
    newer = spec.with_(partition=main.Stripes(clients=4))
    assert text_of(newer) == text_of(spec).replace("gets every", "has each")
    assert spec.with_(partition=newer.partition).part_files == newer.part_files
    with pytest.raises(SpecError, match=r"with_\(partition\): partition: Stripes was defined anew since this was made"):
        spec.with_(partition=old(main))


def old(main: ModuleType) -> Any:
    made = main.Stripes(clients=4)
    run_cell(main, CELLS[1])
    return made


def test_a_matrix_has_objects_as_its_values(main: ModuleType) -> None:
    axes = {"client.loss": ["cross_entropy", main.Squares(factor=2.0), main.Squares(factor=0.5)]}
    study = own(main).with_matrix(axes, seeds=[0])
    assert [cell.label for cell in study.cells] == [
        "loss=cross_entropy,seed=0", "loss=squares_factor=2.0,seed=0", "loss=squares_factor=0.5,seed=0",
    ]  # fmt: skip
    assert len({flspec.compile(cell).digest for cell in study.cells}) == 3
    assert all("parts: [from_python.py]" in cell.text for cell in study.cells)


def test_an_object_counts_for_its_spec_alone(main: ModuleType) -> None:
    spec = own(main)
    run_cell(main, CELLS[2].replace('"lower"', '"higher"').replace("wrong predictions", "right ones"))
    found: list[str] = []
    for one in (spec, own(main)):
        with using(one.part_files):
            found.append(METRICS["misses"].better)
    assert found == ["lower", "higher"]


def test_a_mistake_is_told_by_the_line_of_its_cell(main: ModuleType) -> None:
    cell = run_cell(main, CELLS[1].replace("labels, _ =", "1 / 0 #"))
    spec = own(main)
    with pytest.raises(InputError, match=rf"raised ZeroDivisionError: division by zero in {cell}:6; repair it"):
        flspec.compile(spec)
    run_cell(main, "@metric(better='up', description='x')\ndef hits(scores): return 1.0\n".replace("'up'", "'lower'"))
    cell = run_cell(main, CELLS[1].replace("def split", "def splits"))
    with pytest.raises(SpecError, match=rf"{cell}:2: Stripes lacks split; define it"):
        flspec.load_spec({**VALUES, "parts": [main.Stripes]})
    cell = run_cell(main, CELLS[1].replace('"stripes"', '"iid"'))
    with pytest.raises(SpecError, match=rf"{cell}:2: kind 'iid' is taken by flspec.partitioners.iid.Iid; choose"):
        flspec.load_spec({**VALUES, "parts": [main.Stripes]})


def in_a_function(main: ModuleType) -> Any:
    run_cell(main, "def make():\n    class Inner(Counted):\n        kind: Literal['inner'] = 'inner'\n"
                   "        def split(self, examples, stream): ...\n    return Inner(clients=2)\n")  # fmt: skip
    return {"partition": main.make()}


def of_an_array(main: ModuleType) -> Any:
    run_cell(main, f"SKIP = np.ones(2000)\n{CELLS[1]}")
    return {"partition": main.Stripes(clients=2)}


def plain(main: ModuleType) -> Any:
    run_cell(main, "def plain(scores): return 1.0\n")
    return {"evaluation": {"metrics": [main.plain]}}


REFUSED = {
    "inside a function": (
        in_a_function,
        "spec: partition: Inner is defined inside of make, so it may need what only a",
    ),
    "an array": (
        of_an_array,
        r"spec: partition: SKIP, which Stripes uses, \(.*:1\) is a ndarray that only this process",
    ),
    "no metric": (plain, r"spec: evaluation.metrics.0: plain is a function and no metric; decorate it with flspec"),
    "lambda": (
        lambda main: {"evaluation": {"metrics": [lambda s: 1]}},
        r"spec: evaluation.metrics.0: .*lambda.* is a f",
    ),
    "made module": (
        lambda main: {"model": main.Net()},
        r'spec: model: a Net that is made already has weights that no plan drew; give its class: {"kind": "torch"',
    ),
    "another place": (lambda main: {"rounds": main.Stripes}, "spec: rounds: expected an integer, got a mapping"),
    "another family": (
        lambda main: {"aggregator": main.Stripes(clients=2)},
        "spec: aggregator.kind: unknown 'stripes'",
    ),
    "a plain class": (lambda main: {"partition": dict}, "spec: partition: <class 'dict'> is a type, which no spec can"),
    "no part": (lambda main: {"parts": [dict]}, "spec: parts.0: <class 'dict'> is a type, which no spec can hold"),
}


@pytest.mark.parametrize("slip", sorted(REFUSED))
def test_what_cannot_be_given_is_refused_at_its_place(main: ModuleType, slip: str) -> None:
    make, message = REFUSED[slip]
    with pytest.raises(SpecError, match=f"^{message}") as refused:
        flspec.load_spec({**VALUES, **make(main)})
    assert "\n" not in str(refused.value)


# -------------------------------------------------------------------------------------------------- modules of files

MODULE = "\n".join([CELLS[0].replace("SKIP = 1", "from own_factors import SKIP"), *CELLS[1:]])
for name in ("stripes", "squares", "misses"):  # what it defines stays in this process
    MODULE = re.sub(rf"\b{name}\b", f"own_{name}", MODULE)


def test_of_an_imported_module_the_file_is_the_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "_registered", [*base._registered])  # other tests list the metrics that there are
    (tmp_path / "own_stripes.py").write_text(MODULE)
    (tmp_path / "own_factors.py").write_text("SKIP = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    own_stripes: Any = importlib.import_module("own_stripes")

    values = {**VALUES, "partition": {"kind": "own_stripes", "clients": 4}}
    given = flspec.load_spec({**values, "partition": own_stripes.Stripes(clients=4)})
    named = flspec.load_spec({**values, "parts": ["own_stripes.py"]})
    assert flspec.compile(given).digest == flspec.compile(named).digest
    assert given.part_files == named.part_files
    assert sorted(given.part_files.sources if given.part_files else []) == ["own_factors.py", "own_stripes.py"]
    both = named.with_(model=own_stripes.Net)
    assert both.model.model_dump()["module"] == "own_stripes:Net"


def test_what_is_installed_needs_no_file() -> None:
    from torch import nn

    from flspec.aggregators.fedavg import FedAvg
    from flspec.metrics.decisions import accuracy

    spec = flspec.load_spec({**VALUES, "aggregator": FedAvg, "evaluation": {"metrics": [accuracy]}})
    model = {"kind": "torch", "module": nn.Linear, "arguments": {"in_features": 4, "out_features": 3}}
    again = spec.with_(model=model)
    assert (spec.parts, spec.part_files, again.parts) == ((), None, ())
    assert again.model.model_dump()["module"] == "torch.nn.modules.linear:Linear"


SCRIPT = """
import json, sys
from pathlib import Path
import flspec
with open("began", "a") as file:
    file.write("x")
{cells}
spec = flspec.load_spec(json.loads(sys.argv[1])).with_(
    partition=Stripes(clients=4), model=Net, **{{"client.loss": Squares, "evaluation.metrics": [misses]}}
)
results = [flspec.run(spec, backend, out=backend[:6]) for backend in ("local", "flower:inprocess")]
print(results[0].weights.sha256, results[1].weights.sha256, results[0].plan_digest)
"""


def test_a_script_without_a_guard_runs_once_and_both_engines_give_its_bits(main: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT.format(cells="".join(CELLS)))
    done = run_python(tmp_path, "script.py", json.dumps(VALUES))
    assert done.returncode == 0, done.stderr
    local, flower, digest = done.stdout.split()
    assert local == flower
    assert (tmp_path / "began").read_text() == "x"
    in_cells = flspec.load_spec(VALUES).with_(
        partition=main.Stripes(clients=4),
        model=main.Net,
        **{"client.loss": main.Squares, "evaluation.metrics": [main.misses]},
    )
    assert flspec.compile(in_cells).digest == digest
