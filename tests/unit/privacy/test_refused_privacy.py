"""Specs whose promise could not be kept are refused: the field, the value, the reason and the way out."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
import pytest

from flspec.aggregators import Aggregator, MeanAggregator
from flspec.client_algorithms import ClientAlgorithm
from flspec.compiler.compile import compile
from flspec.core.randomness import Stream
from flspec.errors import SpecError
from flspec.protocol.updates import ClientUpdate, Delta
from flspec.samplers import Sampler
from flspec.server_optimizers.sgd import Sgd
from flspec.spec.loading import parse_spec
from flspec.spec.rules.privacy import _bounded_influence
from flspec.spec.spec import Spec
from tests.conftest import SMALL

CENTRAL = {"kind": "central", "clip": {"kind": "fixed", "norm": 1.0}, "noise_multiplier": 1.0, "delta": 1e-3}
ADAPTIVE = {"kind": "adaptive"}
PRIVATE = SMALL | {
    "partition": {"kind": "iid", "clients": 20},
    "cohort": {"kind": "poisson", "size": 5},
    "aggregator": {"kind": "fedavg", "weighting": "uniform"},
    "privacy": CENTRAL,
}


def privacy(**changed):
    return {"privacy": {key: value for key, value in (CENTRAL | changed).items() if value is not None}}


REFUSED = [
    ("examples", {"aggregator": {"kind": "fedavg"}}, "aggregator: ", "privacy needs aggregator.weighting: uniform"),
    ("adaptive too noisy", privacy(clip=ADAPTIVE), "privacy.clip: ", "noise multiplier 1 is not below 0.5"),
    ("adaptive at the limit", privacy(clip=ADAPTIVE, noise_multiplier=0.5), "privacy.clip: ", "0.5 is not below 0.5"),
    ("delta", privacy(delta=0.05), "privacy.delta: ", "not below 1 / 20 clients"),
    ("delta of a claimed population", privacy(delta=1e-3, population=1000), "privacy.delta: ", "1 / 1,000 clients"),
    ("both", privacy(epsilon=2.0), "privacy: ", "needs noise_multiplier or epsilon, but both are given; keep one"),
    ("neither", privacy(noise_multiplier=None), "privacy: ", "but neither is given"),
    ("no noise and a target", privacy(noise_multiplier=0, epsilon=2.0), "privacy: ", "both are given"),
    (
        "unreachable",
        privacy(noise_multiplier=None, epsilon=1e-9, delta=1e-12, clip={"kind": "fixed", "norm": 1.0})
        | {"cohort": {"kind": "all"}},
        "privacy.epsilon: ",
        "1e-09 is not reached with a noise multiplier of 1e+06",
    ),
    ("budget", privacy(stop={"epsilon": 0.01}), "privacy.stop: ", "epsilon is 0.01, but one round costs"),
    ("budget without noise", privacy(noise_multiplier=0, stop={"epsilon": 1}), "privacy.stop: ", "one round costs inf"),
    ("population", privacy(population=19), "privacy.population: ", "fewer than the 20 clients"),
    ("a smaller noise cohort", privacy(noise_cohort=4), "privacy.noise_cohort: ", "is 4, but a round has 5 clients"),
    ("a noise cohort of more", privacy(noise_cohort=21), "privacy.noise_cohort: ", "more than the 20 clients"),
    (
        "a noise cohort of some of all",
        privacy(noise_cohort=20, population=40) | {"cohort": {"kind": "all"}},
        "privacy.noise_cohort: ",
        "cohort: all has every client in each round; take cohort: {kind: poisson}, or population: 20",
    ),
    (
        "postprocessors",
        {"postprocessors": [{"kind": "clip_update", "norm": 1.0}]},
        "postprocessors: ",
        "remove postprocessors or privacy",
    ),
    ("centralized", {"mode": "centralized"}, "mode: ", "would run without privacy; remove mode or privacy"),
    ("local_only", {"mode": "local_only"}, "mode: ", "would run without privacy; remove mode or privacy"),
    (
        "batch norm",
        {
            "dataset": {"kind": "digits"},
            "model": {"kind": "resnet18", "norm": "batch", "batch_norm": "averaged"},
        },
        "model.batch_norm: ",
        "privacy needs frozen or local, or group norm",
    ),
    ("not a number", privacy(noise_multiplier=float("nan")), "privacy.noise_multiplier: ", ""),
    ("an endless clip", privacy(clip={"kind": "fixed", "norm": float("inf")}), "privacy.clip.norm: ", ""),
    ("a clip that float32 has not", privacy(clip={"kind": "fixed", "norm": 1e-60}), "privacy.clip.norm: ", ""),
    ("no clip", privacy(clip={"kind": "fixed", "norm": 0}), "privacy.clip.norm: ", ""),
    (
        "a clip of local noise that float32 has not",
        {"privacy": {"kind": "local", "clip": {"norm": 1e-60}, "noise_multiplier": 1.0, "delta": 1e-3}},
        "privacy.clip.norm: ",
        "",
    ),
    ("a negative multiplier", privacy(noise_multiplier=-1.0), "privacy.noise_multiplier: ", ""),
    ("delta of nothing", privacy(delta=0), "privacy.delta: ", ""),
    ("epsilon of nothing", privacy(noise_multiplier=None, epsilon=0), "privacy.epsilon: ", ""),
    ("no delta", privacy(delta=None), "privacy", "delta"),
    ("a cap below", {"cohort": {"kind": "truncated_poisson", "size": 5, "most": 4}}, "cohort: ", "cohort.most is 4"),
    ("too few clients", {"cohort": {"kind": "poisson", "size": 21}}, "cohort: ", "cohort.size is 21"),
]


NEED_MORE_THAN_THE_TEXT = {"unreachable", "budget", "batch norm of a model from elsewhere"}  # the accountant, the data


@pytest.mark.parametrize(
    ("name", "changed", "field", "reason"), [case for case in REFUSED if case[0] not in NEED_MORE_THAN_THE_TEXT],
    ids=[case[0] for case in REFUSED if case[0] not in NEED_MORE_THAN_THE_TEXT],
)  # fmt: skip
def test_what_the_text_alone_tells_is_refused_when_it_is_read(name, changed, field, reason):
    with pytest.raises(SpecError) as refused:
        parse_spec(json.dumps(PRIVATE | changed, indent=1), "spec.yaml")
    (line,) = [line for line in str(refused.value).splitlines() if reason in line and field in line]
    assert re.match(r"spec\.yaml:\d+:\d+: ", line)


@pytest.mark.parametrize(("_", "changed", "field", "reason"), REFUSED, ids=[case[0] for case in REFUSED])
def test_what_cannot_be_promised_is_refused_at_its_place(_, changed, field, reason):
    with pytest.raises(SpecError) as refused:
        compile(parse_spec(json.dumps(PRIVATE | changed, indent=1)))
    (line,) = [line for line in str(refused.value).splitlines() if reason in line and field in line]
    assert len(line) < 400


ACCEPTED = [
    ("as it is", {}),
    ("clipped gradients and schedules", {
        "client": SMALL["client"] | {"clip": {"norm": 1.0, "by": "global"}},
        "aggregator": {"kind": "fedadam", "learning_rate": 0.1, "weighting": "uniform", "schedule": {"kind": "cosine"}},
    }),
    ("FedProx", {"client": SMALL["client"] | {"algorithm": {"kind": "fedprox", "mu": 0.1}}}),
    ("a fixed size", {"cohort": {"kind": "uniform", "size": 5}}),
    ("adaptive", privacy(clip=ADAPTIVE, noise_multiplier=0.49)),
    ("adaptive by a simulated cohort", privacy(clip=ADAPTIVE, population=900, noise_cohort=500)),
    ("no noise", privacy(noise_multiplier=0)),
    ("hardly any noise", privacy(clip=ADAPTIVE, noise_multiplier=1e-308)),
]  # fmt: skip


@pytest.mark.parametrize(("_", "changed"), ACCEPTED, ids=[case[0] for case in ACCEPTED])
def test_what_can_be_promised_is_compiled(_, changed):
    plan = compile(parse_spec(json.dumps(PRIVATE | changed)))
    assert plan.settings.privacy is not None
    assert [part["kind"] for part in plan.settings.postprocessors] == ["private_mean"]


def test_the_plan_ends_where_the_budget_does():
    whole, cut = (
        compile(parse_spec(json.dumps(PRIVATE | {"rounds": 40} | changed)))
        for changed in (privacy(noise_multiplier=4), privacy(noise_multiplier=4, stop={"epsilon": 1.0}))
    )
    assert 0 < cut.num_rounds < whole.num_rounds == 40
    for number in range(1, cut.num_rounds + 1):
        assert [task.client for task in cut.cohort(number)] == [task.client for task in whole.cohort(number)]


def test_an_unknown_sampler_gains_nothing_from_a_claimed_population():
    class Odd(Sampler):
        kind: ClassVar[str] = "pk_odd_ones"  # no field: a family does not count it among its members

        def cohort(self, num_clients: int, stream: Stream):
            return np.arange(1, num_clients, 2)

    spec = parse_spec(json.dumps(PRIVATE | privacy(population=10**6, delta=1e-9))).model_copy(update={"cohort": Odd()})
    facts = compile(spec).settings.privacy
    assert facts
    assert (facts.sampling, facts.adjacency) == ("unknown", "replace")
    populations: tuple[dict[str, int], ...] = ({"population": 10**6}, {})
    asked = [PRIVATE | privacy(noise_multiplier=None, epsilon=5.0, delta=1e-9, **claimed) for claimed in populations]
    plans = [compile(parse_spec(json.dumps(one)).model_copy(update={"cohort": Odd()})) for one in asked]
    noise = [plan.settings.privacy.noise_multiplier for plan in plans if plan.settings.privacy]
    assert noise[0] == noise[1]


class Median(Aggregator):
    kind: ClassVar[str] = "pk_median"  # no field: a family does not count it among its members
    weighting: Literal["uniform"] = "uniform"

    def combine(self, updates: Sequence[ClientUpdate]) -> Delta:
        return {name: np.median([u.delta[name] for u in updates], axis=0) for name in updates[0].delta}

    @property
    def server_optimizer(self) -> Sgd:
        return Sgd()


class Twice(MeanAggregator):
    kind: ClassVar[str] = "pk_twice"  # no field: a family does not count it among its members
    weighting: Literal["uniform"] = "uniform"

    def combine(self, updates: Sequence[ClientUpdate]) -> Delta:
        return {name: 2 * value for name, value in super().combine(updates).items()}

    @property
    def server_optimizer(self) -> Sgd:
        return Sgd()


class Favours(MeanAggregator):
    kind: ClassVar[str] = "pk_favours"  # no field: a family does not count it among its members
    weighting: Literal["uniform"] = "uniform"

    def client_weight(self, num_examples: int) -> int:
        return num_examples**2

    @property
    def server_optimizer(self) -> Sgd:
        return Sgd()


class Remembers(ClientAlgorithm):
    kind: ClassVar[str] = "pk_remembers"  # no field: a family does not count it among its members
    server_slots = {"last": 0.0}  # noqa: RUF012


class Sends(ClientAlgorithm):
    kind: ClassVar[str] = "pk_sends"  # no field: a family does not count it among its members
    client_slots = {"own": 0.0}  # noqa: RUF012
    sends = ("own",)


class Looks(ClientAlgorithm):
    kind: ClassVar[str] = "pk_looks"  # no field: a family does not count it among its members

    def combine(self, work):
        return work.mean, work.server


class Keeps(ClientAlgorithm):
    kind: ClassVar[str] = "pk_keeps"  # no field: a family does not count it among its members
    client_slots = {"own": 0.0}  # noqa: RUF012


def contradictions(**parts):
    spec = Spec.model_validate_json(json.dumps(PRIVATE))
    client = spec.client.model_copy(update={"algorithm": parts.get("algorithm")})
    return list(_bounded_influence(spec.privacy, parts.get("aggregator", spec.aggregator), client))


@pytest.mark.parametrize("aggregator", [Median(), Twice(), Favours()], ids=lambda one: one.kind)
def test_an_aggregator_that_is_no_plain_mean_is_refused(aggregator):
    (problem,) = contradictions(aggregator=aggregator)
    assert re.match("is not the plain mean of updates", problem.message)
    assert problem.path == ("aggregator",)


@pytest.mark.parametrize("algorithm", [Remembers(), Sends(), Looks()], ids=lambda one: one.kind)
def test_an_algorithm_with_which_the_server_sees_more_than_clipped_updates_is_refused(algorithm):
    (problem,) = contradictions(algorithm=algorithm)
    assert problem.path == ("client", "algorithm")


def test_an_algorithm_that_only_its_client_knows_of_is_not():
    assert contradictions(algorithm=Keeps()) == []
    assert contradictions() == []


def test_what_is_assumed_is_named():
    plans = [compile(parse_spec(json.dumps(PRIVATE | privacy(**assumed)))) for assumed in (
        {}, {"population": 900}, {"population": 900, "noise_cohort": 100}, {"noise_cohort": 5, "population": 20}
    )]  # fmt: skip
    facts = [plan.settings.privacy for plan in plans if plan.settings.privacy]
    assert [(one.claimed_population, one.simulated_cohort) for one in facts] == [
        (False, False),
        (True, False),
        (True, True),
        (False, False),
    ]
    assert [one.probability for one in facts] == [5 / 20, 5 / 900, 100 / 900, 5 / 20]


def test_a_truncated_cohort_of_a_larger_run_is_cut_in_proportion():
    sections = {"cohort": {"kind": "truncated_poisson", "size": 5, "most": 8}}
    plan = compile(parse_spec(json.dumps(PRIVATE | sections | privacy(population=900, noise_cohort=100))))
    assert plan.settings.privacy
    assert plan.settings.privacy.most == 160
