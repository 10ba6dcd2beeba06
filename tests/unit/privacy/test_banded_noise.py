"""Banded matrix factorisation: the noise against the matrices themselves, its cost against every participation."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import flspec_local
from flspec.analysis.audit import audit
from flspec.analysis.memory_estimate import estimate_memory
from flspec.core.randomness import Stream
from flspec.core.round_streams import RoundStreams
from flspec.errors import SpecError
from flspec.execution.rounds import initial_state
from flspec.noise_matrices.banded import Banded
from flspec.noise_matrices.independent import Independent
from flspec.privacy.accountant import spent
from flspec.privacy.calibration import noise_multiplier_for
from flspec.runs.runner import run
from flspec.samplers.cyclic_poisson import CyclicPoisson
from tests.unit.privacy.privacy_cases import facts
from tests.unit.privacy.rounds import one_round, private_plan
from tests.unit.privacy.test_private_runs import Killed, digest_of, killed_at

ROUNDS = 12
BANDED = {"kind": "banded", "bands": 3}


def matrix(bands: int, rounds: int = ROUNDS) -> np.ndarray:
    """C in float64: the square root of the matrix of prefix sums, cut to its bands, with columns of length 1."""
    sums = np.tril(np.ones((rounds + bands, rounds + bands)))
    shift = np.eye(len(sums), k=-1)
    # (I - S)^(-1/2) by its power series, since the matrix of sums is (I - S)^-1
    root, term = np.eye(len(sums)), np.eye(len(sums))
    for k in range(1, len(sums)):
        term = term @ shift * (2 * k - 1) / (2 * k)
        root = root + term
    assert np.allclose(root @ root, sums)
    cut = np.tril(np.triu(root, -(bands - 1)))
    return (cut / np.linalg.norm(cut[:, 0]))[:rounds, :rounds]


def streams(number: int, memory: dict[Any, Any] | None = None) -> RoundStreams:
    return RoundStreams(number, lambda n: Stream(7, "round", n), {} if memory is None else memory)


def independent(size: int, rounds: int = ROUNDS) -> np.ndarray:
    """Z: a row for each round."""
    return np.stack([Stream(7, "round", number, "w").normal(size) for number in range(1, rounds + 1)])


@pytest.mark.parametrize("bands", [1, 2, 3, 8, 12, 40])
def test_the_noise_of_all_rounds_is_the_inverse_matrix_times_independent_noise(bands):
    memory: dict[Any, Any] = {}
    noise = np.stack(
        [Banded(bands=bands).noise(streams(number, memory), ("w",), (5,)) for number in range(1, ROUNDS + 1)]
    )
    np.testing.assert_allclose(noise, np.linalg.inv(matrix(bands)) @ independent(5), rtol=1e-12, atol=1e-12)


def test_what_is_remembered_changes_no_bit():
    rule = Banded(bands=4)
    memory: dict[Any, Any] = {}
    # A round again, one before, one far ahead: certificates ask so.
    for number in (1, 2, 3, 3, 7, 2, 2, 12, 11):
        np.testing.assert_array_equal(
            rule.noise(streams(number, memory), ("w",), (2, 3)), rule.noise(streams(number), ("w",), (2, 3))
        )


def test_one_band_is_independent_noise_to_the_last_bit():
    for number in (1, 2, 9):
        one, plain = (rule.noise(streams(number), ("w",), (50,)) for rule in (Banded(bands=1), Independent()))
        np.testing.assert_array_equal(one, plain)
    matrices = ({"kind": "banded", "bands": 1}, {"kind": "independent"})
    plans = [private_plan({"w": (40,), "b": ()}, noise=1.0, noise_matrix=each) for each in matrices]
    states = [one_round(plan, [{"w": np.ones(40), "b": np.ones(())}] * 4).state for plan in plans]
    np.testing.assert_array_equal(states[0].weights["w"], states[1].weights["w"])


@pytest.mark.parametrize("bands", [2, 3, 4])
def test_no_participation_changes_the_rounds_together_by_more_than_is_accounted_for(bands):
    """Every set of rounds that are `bands` apart, every sign: |C (u_1 e_t1 + ...)| <= sqrt(number of turns)."""
    rounds = 9
    turns, longest = math.ceil(rounds / bands), 0.0
    for taken in itertools.product([-1, 0, 1], repeat=rounds):
        at = np.flatnonzero(taken)
        if len(at) and (len(at) == 1 or np.diff(at).min() >= bands):
            longest = max(longest, float(np.linalg.norm(matrix(bands, rounds) @ np.array(taken, float))))
    assert longest <= math.sqrt(turns) * (1 + 1e-12)
    assert longest > math.sqrt(turns - 1)  # nor is it accounted for a client in fewer rounds
    together = np.zeros(rounds)
    together[:2] = 1.0  # who comes again at once changes more: such cohorts are refused
    assert np.linalg.norm(matrix(bands, rounds) @ together) > math.sqrt(2) * 1.1


def test_a_column_of_the_matrix_is_as_long_as_one_client_may_change():
    for bands in (1, 2, 7, 64, 256):
        coefficients = np.array(Banded(bands=bands).coefficients)
        assert np.linalg.norm(coefficients) == pytest.approx(1.0, abs=1e-14)
        np.testing.assert_allclose(coefficients[:2] / coefficients[0], [1.0, 0.5][:bands])


@pytest.mark.parametrize("bands", [2, 4, 8])
def test_sums_over_rounds_have_the_variance_of_the_theory_and_less_than_independent_noise(bands):
    rounds, count = 24, 40_000
    rule = Banded(bands=bands)
    memory: dict[Any, Any] = {}
    sums = np.cumsum([rule.noise(streams(n, memory), ("w",), (count,)) for n in range(1, rounds + 1)], axis=0)
    expected = np.square(np.tril(np.ones((rounds, rounds))) @ np.linalg.inv(matrix(bands, rounds))).sum(axis=1)
    # The variance of a sample variance of n normal values is 2 / n: five of its deviations.
    np.testing.assert_allclose(sums.var(axis=1), expected, rtol=5 * math.sqrt(2 / count))
    assert expected.mean() < np.arange(1, rounds + 1).mean()


def test_the_servers_rounds_have_this_noise_in_units_of_the_clip_and_the_cohort():
    plan = private_plan({"w": (6,)}, rounds=8, noise=2.0, clip=0.5, noise_matrix=BANDED)
    state, seen = initial_state(plan), []
    for _ in range(8):
        after = one_round(plan, [{"w": np.zeros(6)}] * 4, state).state
        seen.append(after.weights["w"].astype(np.float64) - state.weights["w"])
        state = after
    name = ("postprocessors", "combined", "postprocessors/0", "update", "w")
    rows = [Stream(plan.round_seed(number), *name).normal(6) for number in range(1, 9)]
    expected = np.linalg.inv(matrix(3, 8)) @ np.stack(rows) * 2.0 * 0.5 / 4
    np.testing.assert_allclose(np.stack(seen), expected, atol=1e-6)


# ---------------------------------------------------------------------------------------------------------- the turns


@pytest.mark.parametrize(("clients", "groups"), [(10, 3), (12, 4), (7, 7), (5, 1)])
def test_a_client_comes_at_most_once_in_as_many_rounds_as_there_are_groups(clients, groups):
    sampler, stream = CyclicPoisson(size=1, groups=groups), Stream(3, "cohort")
    cohorts = [set(sampler.cohort_of(number, clients, stream).tolist()) for number in range(1, 61)]
    for start in range(60 - groups):
        window = cohorts[start : start + groups]
        assert sum(map(len, window)) == len(set.union(*window))
    assert set.union(*cohorts) == set(range(clients))


def test_groups_are_equal_and_a_client_more_moves_nobody():
    sampler, stream = CyclicPoisson(size=1, groups=4), Stream(3, "cohort")
    everybody = sampler.group_of(1003, stream)
    assert sorted(np.bincount(everybody).tolist()) == [250, 251, 251, 251]
    for clients in (1, 4, 5, 999, 1002):
        np.testing.assert_array_equal(sampler.group_of(clients, stream), everybody[:clients])
    assert len({tuple(everybody[start : start + 4]) for start in range(0, 1000, 4)}) == 24  # every order occurs
    assert not np.array_equal(everybody, sampler.group_of(1003, Stream(4, "cohort")))


def test_whose_turn_it_is_comes_by_a_coin_of_its_own():
    clients, groups, rounds = 60, 3, 3000
    sampler, stream = CyclicPoisson(size=5, groups=groups), Stream(3, "cohort")
    member = np.zeros((rounds, clients), bool)
    for number in range(1, rounds + 1):
        member[number - 1, sampler.cohort_of(number, clients, stream)] = True
    mine = member[0::groups][:, sampler.group_of(clients, stream) == 0]  # [1000 turns, 20 clients]
    deviation = math.sqrt(0.25 * 0.75)
    assert abs(mine.mean() - 0.25) < 4 * deviation / math.sqrt(mine.size)  # groups * size / clients = 0.25
    correlations = np.corrcoef(mine.T)[np.triu_indices(20, 1)]
    assert np.abs(correlations).max() < 4.5 / math.sqrt(len(mine))
    assert abs(member.sum() / rounds - 5) < 4 * math.sqrt(20 * deviation**2 / rounds)


# ----------------------------------------------------------------------------------------------------------- the cost


def turning(groups=4, noise=1.0, population=400, cohort=20.0, delta=1e-3):
    run = facts("poisson", population, cohort, noise, delta)
    return replace(run, sampling="cyclic_poisson", groups=groups)


@pytest.mark.parametrize(("rounds", "turns"), [(1, 1), (4, 1), (5, 2), (80, 20), (81, 21)])
def test_it_costs_as_many_poisson_rounds_as_a_client_has_turns(rounds, turns):
    assert spent(turning(), rounds) == spent(facts("poisson", 400, 80.0, 1.0, 1e-3), turns)


def test_the_noise_for_a_target_is_that_of_its_turns():
    assert noise_multiplier_for(turning(noise=0.0), 40, 2.0) == noise_multiplier_for(
        facts("poisson", 400, 80.0, 0.0, 1e-3), 10, 2.0
    )


def test_where_each_client_comes_in_each_of_its_turns_it_is_one_gaussian():
    assert spent(turning(cohort=100.0), 40).epsilon == spent(facts("everybody", 400, 400.0, 1.0, 1e-3), 10).epsilon


# ---------------------------------------------------------------------------------------------------------- a whole run

SECTIONS = {
    "rounds": 7,
    "aggregator": {"kind": "fedavg", "weighting": "uniform"},
    "cohort": {"kind": "cyclic_poisson", "size": 1, "groups": 3},
}
CENTRAL = {"kind": "central", "clip": {"kind": "fixed", "norm": 0.05}, "noise_multiplier": 1.0, "delta": 1e-3}


WIDE = {"kind": "mlp", "hidden": [3000]}


@pytest.fixture
def banded(make_plan):
    def make(noise=BANDED, **privacy):
        return make_plan(**SECTIONS, privacy=CENTRAL | privacy | ({"noise": noise} if noise else {}))

    return make


def test_flower_gives_the_bits_of_local(banded, tmp_path):
    results = [run(banded(), backend=name, out=tmp_path / name[:5]) for name in ("local", "flower:inprocess")]
    assert digest_of(results[0]) == digest_of(results[1])


@pytest.mark.parametrize("after", [False, True])
def test_a_killed_run_goes_on_to_the_same_bits(banded, tmp_path, monkeypatch, after):
    whole = run(banded(), out=tmp_path / "whole")
    with monkeypatch.context() as patched:
        killed_at(patched, flspec_local, "finish_round_of", 5, after)
        with pytest.raises(Killed):
            run(banded(), out=tmp_path / "parts")
    parts = run(banded(), out=tmp_path / "parts", resume=True)  # another plan object: nothing is remembered
    assert digest_of(parts) == digest_of(whole)
    assert digest_of(whole) != digest_of(run(banded({"kind": "independent"}), out=tmp_path / "plain"))


def test_a_plan_without_it_is_the_plan_that_it_was_and_the_statement_tells_of_it(banded, tmp_path):
    assert banded(None).digest == banded({"kind": "independent"}).digest
    assert "noise" not in banded(None).spec["privacy"]
    told = run(banded(), out=tmp_path / "run").privacy
    assert told
    assert "takes back a part of that of earlier ones (banded matrix factorization, 3 bands)" in told.statement
    assert "from 3 groups that take turns" in told.statement


REFUSED = {
    "poisson": (
        {"cohort": {"kind": "poisson", "size": 1}},
        {},
        "privacy.noise: is banded, but a client may come again",
    ),
    "all": ({"cohort": {"kind": "all"}}, {}, "privacy.noise: is banded, but a client may come again within 3 rounds"),
    "fewer groups": ({"cohort": {"kind": "cyclic_poisson", "size": 1, "groups": 2}}, {}, "privacy.noise.bands: is 3,"),
    "adaptive": (
        {},
        {"clip": {"kind": "adaptive"}},
        "privacy.clip: is not fixed, but noise that later rounds take back",
    ),
    "too many": (
        {"cohort": {"kind": "cyclic_poisson", "size": 2, "groups": 3}},
        {},
        "cohort: cohort.size is 2 in 3 gr",
    ),
    "simulated": ({}, {"noise_cohort": 3}, "privacy.noise_cohort: is 3 in 3 groups, more than the 5 clients"),
}


@pytest.mark.parametrize(("sections", "privacy", "message"), REFUSED.values(), ids=list(REFUSED))
def test_what_would_not_cover_the_noise_is_refused_by_its_field(make_plan, sections, privacy, message):
    with pytest.raises(SpecError) as refused:
        make_plan(**(SECTIONS | sections), privacy=CENTRAL | {"noise": BANDED} | privacy)
    assert message in str(refused.value)


def test_the_memory_of_what_is_remembered_is_counted(make_plan):
    def estimated(noise):
        return estimate_memory(make_plan(**SECTIONS, model=WIDE, privacy=CENTRAL | {"noise": noise}), workers=1)

    values = sum(weight.size for weight in make_plan(model=WIDE).weights.values())
    more = estimated(BANDED) - estimated({"kind": "independent"})
    assert abs(more - 3 * 8 * values) <= 2**20


def test_it_is_not_audited_round_by_round(banded):
    sampler = CyclicPoisson(size=1, groups=3)
    for noise, field in ((BANDED, "privacy.noise"), (None, "cohort")):
        with pytest.raises(SpecError, match=rf"{field}: "):
            audit(banded(noise), sampler, trials=100)
