"""Components: found by being in a folder or by being installed, told apart by kind."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import textwrap
from abc import ABC, abstractmethod
from typing import Any, Literal

import pytest
from pydantic import ValidationError

from flspec.aggregators import Aggregator
from flspec.aggregators.fedadam import FedAdam
from flspec.client_optimizers import ClientOptimizer
from flspec.client_optimizers.sgd import Sgd
from flspec.core.components import Component, family_members, parse_component, source_digests
from flspec.datasets import Dataset
from flspec.errors import InputError
from flspec.models import Model
from flspec.models.cnn import Cnn
from flspec.partitioners import Partitioner
from flspec.samplers import Sampler
from flspec.samplers.all import All
from flspec.schedules import Schedule
from flspec.server_optimizers import ServerOptimizer


class Fruit(Component, ABC):
    @abstractmethod
    def eat(self) -> str: ...


class Stone(Fruit, ABC):
    """Abstract, so no kind of its own."""


class Plum(Stone):
    kind: Literal["plum"] = "plum"

    def eat(self) -> str:
        return "plum"


class Apple(Fruit):
    kind: Literal["apple"] = "apple"

    def eat(self) -> str:
        return "apple"


class Tool(Component, ABC):
    pass


class Hammer(Tool):
    kind: Literal["hammer"] = "hammer"


class Maul(Tool):
    kind: Literal["hammer"] = "hammer"


def test_a_family_is_its_concrete_members_by_kind_in_order():
    assert list(family_members(Fruit).items()) == [("apple", Apple), ("plum", Plum)]


def test_two_classes_of_one_kind_are_refused_by_name():
    with pytest.raises(InputError, match=r"kind 'hammer' is defined by both .*Hammer and .*Maul; uninstall or rename"):
        family_members(Tool)


@pytest.mark.parametrize(
    ("family", "kinds"),
    [
        (Dataset, {"digits", "mnist", "synthetic"}),
        (Partitioner, {"by_label", "dirichlet", "iid"}),
        (Sampler, {"all", "uniform"}),
        (Model, {"cnn", "mlp", "softmax_regression"}),
        (ClientOptimizer, {"sgd", "adam", "adamw"}),
        (Schedule, {"step", "exponential", "cosine", "warmup", "plateau"}),
        (Aggregator, {"fedavg", "fedavgm", "fedadam", "fedyogi", "fedadagrad"}),
        (ServerOptimizer, {"sgd", "adam", "yogi", "adagrad"}),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_a_family_has_the_familiar_kinds(family, kinds):
    assert kinds <= set(family_members(family))


@pytest.mark.parametrize(
    ("family", "component"),
    [
        (Sampler, All()),
        (Model, Cnn(channels=(4, 8))),  # a tuple, which JSON writes as a list
        (Aggregator, FedAdam(learning_rate=1.0, bias_correction=False)),
        (ClientOptimizer, Sgd(learning_rate=0.1)),  # a family of one
    ],
    ids=lambda value: getattr(value, "kind", ""),
)
def test_a_component_survives_being_written_into_a_plan(family, component):
    assert parse_component(family, component.model_dump(mode="json")) == component


@pytest.mark.parametrize("document", [{"kind": "plum", "size": 3}, {"kind": "pear"}, {}, {"kind": "Plum"}], ids=str)
def test_a_document_that_is_no_component_is_refused(document):
    with pytest.raises(ValidationError):
        parse_component(Fruit, document)


def test_a_component_cannot_be_changed():
    rule: Any = Sgd(learning_rate=0.1)
    with pytest.raises(ValidationError, match="frozen"):
        rule.learning_rate = 0.2


# ------------------------------------------------------------------------------------------------ installed packages

CRUMBS = """
    from typing import Literal

    import numpy as np

    from flspec.partitioners import Counted


    class Crumbs(Counted):
        kind: Literal["{kind}"] = "{kind}"
        crumbs_each: int = 2

        def split(self, examples, stream):
            order = np.argsort(examples.labels, kind="stable")
            return np.array_split(order, self.clients)
"""
COMPILE = """
import sys
from flspec.compiler.compile import compile
from flspec.spec.loading import parse_spec
plan = compile(parse_spec(sys.stdin.read()))
print([len(plan.client_examples(client)) for client in range(plan.num_clients)])
"""
SPEC = """
flspec: 1
name: example
rounds: 1
dataset: {kind: synthetic, classes: 3, features: 4, train_examples: 60, test_examples: 20}
partition: {kind: crumbs, clients: 4, crumbs_each: 3}
model: {kind: mlp, hidden: [6]}
client: {epochs: 1, batch_size: 5, optimizer: {kind: sgd, learning_rate: 0.1}}
"""


@pytest.fixture
def install(tmp_path):
    """Makes a package with one partitioner, as pip would install it; returns the folder it is in."""

    def make(source):
        site = tmp_path / "site"
        metadata = site / "my_crumbs-1.0.dist-info"
        metadata.mkdir(parents=True)
        (site / "my_crumbs.py").write_text(textwrap.dedent(source))
        (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: my-crumbs\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text("[flspec.partitioners]\ncrumbs = my_crumbs:Crumbs\n")
        return site

    return make


def compile_with(site, spec=SPEC):
    return subprocess.run(
        [sys.executable, "-c", COMPILE],
        input=spec,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        check=False,
    )


def test_an_installed_partitioner_is_a_kind_like_any_other(install):
    site = install(CRUMBS.format(kind="crumbs"))
    assert compile_with(site).stdout == "[15, 15, 15, 15]\n"
    assert "did you mean 'crumbs_each'" in compile_with(site, SPEC.replace("crumbs_each", "crumb_each")).stderr
    assert "did you mean 'crumbs'" in compile_with(site, SPEC.replace("kind: crumbs", "kind: crumb")).stderr


def test_without_the_package_its_kind_is_unknown(tmp_path):
    assert "partition.kind: unknown 'crumbs'; choose one of by_label, continuous, " in compile_with(tmp_path).stderr


def test_an_installed_kind_that_is_taken_is_refused_by_both_names(install):
    error = compile_with(install(CRUMBS.format(kind="iid"))).stderr
    assert "kind 'iid' is defined by both" in error
    assert "flspec.partitioners.iid.Iid" in error
    assert "my_crumbs.Crumbs" in error


def test_an_installed_package_that_cannot_be_imported_is_named(install):
    error = compile_with(install("import nothing_of_this_name")).stderr
    assert "InputError: flspec.partitioners: kind 'crumbs', offered by my-crumbs, cannot be imported" in error
    assert "repair or uninstall my-crumbs" in error


def test_the_code_of_a_part_that_does_not_come_with_flspec_is_told_by_its_source(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    digests = []
    for number, rate in enumerate(("1.0", "0.3")):
        (tmp_path / f"their_part_{number}.py").write_text(
            f"from flspec.core.components import Component\nclass Part(Component):\n    rate: float = {rate}\n"
        )
        part = importlib.import_module(f"their_part_{number}").Part()
        digests.append(source_digests({"aggregator": part, "client.optimizer": Sgd(learning_rate=0.1)}))
    assert [list(digest) for digest in digests] == [["aggregator"]] * 2
    assert digests[0] != digests[1]
