"""What each attack sends, against the papers' formulas value by value, and which tasks a fault hits."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest

from flspec.core.randomness import Stream
from flspec.faults import Fault
from flspec.faults.alie import ALittleIsEnough
from flspec.faults.dropout import Dropout
from flspec.faults.gaussian import Gaussian
from flspec.faults.ipm import InnerProductManipulation
from flspec.faults.label_flip import LabelFlip
from flspec.faults.non_finite import NonFinite
from flspec.faults.scaled import Scaled
from flspec.faults.sign_flip import SignFlip
from flspec.faults.straggler import Straggler
from flspec.protocol.plan import ClientTask

HONEST = [{"w": np.array([[1.0, 4.0]]), "b": np.array([-2.0])}, {"w": np.array([[3.0, 4.0]]), "b": np.array([1.0])}]
HONEST += [{"w": np.array([[5.0, 4.0]]), "b": np.array([7.0])}]
OWN = [{"w": np.array([[10.0, -1.0]]), "b": np.array([0.5])}, {"w": np.array([[0.0, 2.0]]), "b": np.array([3.0])}]
STREAMS = [Stream(5, "a"), Stream(5, "b")]


def sent(fault, own=OWN, honest=HONEST):
    return [
        {name: value.tolist() for name, value in one.items()} for one in fault.updates(own, honest, STREAMS[: len(own)])
    ]


def test_attacks_on_ones_own_update():
    assert sent(SignFlip(count=2)) == [{"w": [[-10.0, 1.0]], "b": [-0.5]}, {"w": [[-0.0, -2.0]], "b": [-3.0]}]
    assert sent(SignFlip(count=2, scale=4))[0] == {"w": [[-40.0, 4.0]], "b": [-2.0]}
    assert sent(Scaled(count=2, factor=10))[1] == {"w": [[0.0, 20.0]], "b": [30.0]}
    assert all(math.isnan(value) for value in sent(NonFinite(count=2))[0]["w"][0])
    assert sent(NonFinite(count=2, value="infinity"))[1] == {"w": [[math.inf, math.inf]], "b": [math.inf]}


def test_every_attacker_sends_the_honest_mean_turned_round():
    assert sent(InnerProductManipulation(count=2, epsilon=0.5)) == [{"w": [[-1.5, -2.0]], "b": [-1.0]}] * 2
    assert sent(InnerProductManipulation(count=2), honest=[])[0] == {"w": [[0.0, 0.0]], "b": [0.0]}


def test_a_little_is_enough_by_hand():
    """n = 5, f = 2: s = 2 + 1 - 2 = 1, and z = Phi^-1((5 - 2 - 1) / 3). Deviations: sqrt(8 / 3), 0; sqrt(14)."""
    z = NormalDist().inv_cdf(2 / 3)
    (first, second) = sent(ALittleIsEnough(count=2))
    assert first == second
    assert first["w"][0] == pytest.approx([3 - z * math.sqrt(8 / 3), 4.0], rel=1e-14)
    assert first["b"] == pytest.approx([2 - z * math.sqrt(14)], rel=1e-14)
    assert sent(ALittleIsEnough(count=2, z=1.5))[0]["w"][0][0] == pytest.approx(3 - 1.5 * math.sqrt(8 / 3))


@pytest.mark.parametrize(("num", "num_attacked", "share"), [(50, 12, 24 / 38), (25, 5, 12 / 20), (10, 4, 4 / 6)])
def test_the_z_of_the_paper(num, num_attacked, share):
    """n = 50, f = 12: s = 26 - 12 = 14, so (50 - 12 - 14) / 38, and likewise."""
    honest = [{"w": np.array([float(value)])} for value in range(num - num_attacked)]
    own = [{"w": np.zeros(1)}] * num_attacked
    values = np.arange(num - num_attacked)
    due = values.mean() - NormalDist().inv_cdf(share) * math.sqrt(((values - values.mean()) ** 2).mean())
    assert sent_value(honest, own) == pytest.approx(due, rel=1e-12)


def sent_value(honest, own):
    return float(ALittleIsEnough(count=1).updates(own, honest, [Stream(0)] * len(own))[0]["w"][0])


def test_attackers_without_company():
    assert sent(ALittleIsEnough(count=2), honest=[])[0] == {"w": [[10.0, -1.0]], "b": [0.5]}
    assert sent(ALittleIsEnough(count=2), honest=HONEST[:1])[0] == {"w": [[1.0, 4.0]], "b": [-2.0]}  # z is 0


def test_noise_is_of_its_deviation_and_each_attackers_own():
    own = [{"w": np.full((100, 100), 7.0)}, {"w": np.full((100, 100), 7.0)}]
    one, other = (each["w"] for each in Gaussian(count=2, deviation=3.0).updates(own, [], STREAMS))
    assert abs(one.mean()) < 0.1
    assert one.std() == pytest.approx(3.0, rel=0.03)
    assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.05
    added = Gaussian(count=2, deviation=3.0, added=True).updates(own, [], STREAMS)[0]["w"]
    np.testing.assert_array_equal(added, one + 7.0)


def test_flipped_labels():
    assert LabelFlip(count=1).labels(np.array([0, 1, 9]), 10).tolist() == [9, 8, 0]
    assert LabelFlip(count=1).labels(np.array([[1, 0, 0]], np.uint8), 3).tolist() == [[0, 1, 1]]


def hits(fault: Fault, number: int, num: int = 10, seed: int = 3):
    return np.flatnonzero(fault.hits(number, num, Stream(seed, "faults", 0))).tolist()


def test_which_tasks_are_hit():
    assert hits(Dropout(clients=(2, 5)), 1) == hits(Dropout(clients=(2, 5)), 9) == [2, 5]
    assert len(hits(Dropout(count=3), 1)) == 3
    assert hits(Dropout(count=3), 1) == hits(Dropout(count=3), 40)
    assert hits(Dropout(count=3), 1) != hits(Dropout(count=3), 1, seed=4)
    assert [hits(Dropout(at=((1, 2), (4, 2), (1, 3))), number) for number in (1, 2, 3)] == [[], [1, 4], [1]]
    assert [hits(Dropout(clients=(2,), rounds=(2, 3)), number) for number in (1, 2, 3, 4)] == [[], [2], [2], []]
    assert hits(Straggler(deadline=1.0), 1) == list(range(10))
    assert hits(SignFlip(), 1) == hits(SignFlip(), 5) == hits(SignFlip(count=1), 1)


def test_coins_are_thrown_for_each_task():
    dropout = Dropout(rate=0.3)
    shares = [len(hits(dropout, number, 1000)) / 1000 for number in range(1, 21)]
    assert np.mean(shares) == pytest.approx(0.3, abs=0.01)
    assert hits(dropout, 1, 1000) != hits(dropout, 2, 1000)
    # A population that grows leaves the coins of those who were there as they were.
    assert hits(dropout, 1, 500) == [client for client in hits(dropout, 1, 1000) if client < 500]


def test_who_is_late():
    """steps * seconds_a_step * exp(spread * N), N of the client's stream."""

    def task(steps):
        return ClientTask(0, 1, tuple(np.zeros(1, np.int64) for _ in range(steps)))

    even = Straggler(deadline=10.0, seconds_a_step=2.0, spread=0.0)
    assert [even.loses(task(steps), Stream(0)) for steps in (4, 5, 6)] == [False, False, True]
    slow = max((Stream(0, n) for n in range(50)), key=lambda stream: Stream(0, *stream.name).normal(1)[0])
    slowness = math.exp(0.5 * float(Stream(0, *slow.name).normal(1)[0]))
    assert slowness > 1.5
    uneven = Straggler(deadline=10.0, seconds_a_step=2.0)
    assert uneven.loses(task(5), slow)


@pytest.mark.parametrize(
    ("fault", "found"),
    [
        (Dropout(clients=(1, 10)), [("clients", "10 is no client; there are 10, counted from 0")]),
        (Dropout(at=((12, 1), (1, 7))), [("at", "12 is no client"), ("at", "round 7 is after the last; rounds is 5")]),
        (Dropout(count=11), [("count", "is 11, but there are 10 clients")]),
        (Dropout(rate=0.1, rounds=(2, 6)), [("rounds", "round 6 is after the last")]),
        (Dropout(clients=(9,), rounds=(1, 5)), []),
    ],
)
def test_clients_and_rounds_that_there_are_not(fault, found):
    problems = list(fault.why_invalid(10, 5))
    assert [field for field, _ in problems] == [field for field, _ in found]
    assert all(due in said for (_, said), (_, due) in zip(problems, found, strict=True))
