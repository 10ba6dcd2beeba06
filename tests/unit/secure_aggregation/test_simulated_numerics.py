"""Fixed-point sums under masks, against Python's own integers."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
from pydantic import ValidationError

from flspec.core.randomness import Stream
from flspec.errors import RunError
from flspec.protocol.updates import ClientUpdate, weighted_mean
from flspec.secure_aggregation import simulated_numerics
from flspec.secure_aggregation.simulated_numerics import SimulatedNumerics

ROUND = Stream(7, "secure_aggregation")


def update(client, delta, weight=1.0, repeat=0):
    return ClientUpdate(client, {"w": np.asarray(delta, np.float64)}, weight, 1, {"loss": 0.0}, repeat=repeat)


def masked(part, updates, absent=(), stream=ROUND):
    senders = sorted([*((one.client, one.repeat) for one in updates), *absent])
    return part.mean(updates, senders, stream)


def by_integers(part, updates):
    """The mean in whole numbers of any size: no masks, no words, no clients that go missing."""
    modulus, scale = 2**part.bits, 2**part.fraction_bits
    decoded = []
    for place in range(updates[0].delta["w"].size):
        values = (max(-part.clip, min(part.clip, float(one.delta["w"].flat[place]))) for one in updates)
        total = sum(
            int(one.weight) * round(Fraction(value) * scale) for one, value in zip(updates, values, strict=True)
        )
        signed = (total + modulus // 2) % modulus - modulus // 2
        decoded.append(float(signed) / scale / sum(int(one.weight) for one in updates))
    return np.reshape(decoded, updates[0].delta["w"].shape)


def some(num, size=40, spread=1.0, seed=0):
    rng = np.random.default_rng(seed)
    weights = rng.integers(1, 50, num)
    return [update(2 * n, rng.normal(0, spread, (size // 4, 4)), float(weights[n])) for n in range(num)]


@pytest.mark.parametrize(
    ("bits", "fraction_bits", "spread"), [(32, 16, 1), (64, 40, 2), (17, 9, 1), (12, 8, 3), (9, 6, 3)]
)
def test_the_mean_is_that_of_pythons_integers(bits, fraction_bits, spread):
    part = SimulatedNumerics(bits=bits, fraction_bits=fraction_bits, clip=3.5)
    updates = some(6, spread=spread)
    got = masked(part, updates, absent=[(1, 0), (6, 1)])
    np.testing.assert_array_equal(got.mean["w"], by_integers(part, updates))
    assert got.num_clipped == sum(int((abs(one.delta["w"]) > 3.5).sum()) for one in updates)
    assert (got.num_wrapped > 0) == (bits < 20)


def test_every_set_of_absent_clients_leaves_the_sum_of_the_others():
    part, updates = SimulatedNumerics(), some(4, size=8)
    senders = [(one.client, 0) for one in updates]
    for num in range(1, 5):
        for kept in itertools.combinations(updates, num):
            got = part.mean(kept, senders, ROUND)
            np.testing.assert_array_equal(got.mean["w"], by_integers(part, kept))
            alone = part.mean(kept, [(one.client, 0) for one in kept], ROUND)  # the absent never agreed on masks
            np.testing.assert_array_equal(got.mean["w"], alone.mean["w"])


def test_masks_are_uniform_and_each_pair_has_its_own():
    pair = ROUND.child("mask", 0, 0, 2, 0).words(4000) & np.uint64(2**32 - 1)
    assert abs(pair.astype(float).mean() / 2**32 - 0.5) < 0.02  # uniform: deviation of such a mean is 0.0046
    assert not np.array_equal(pair, ROUND.child("mask", 0, 0, 4, 0).words(4000) & np.uint64(2**32 - 1))


def test_masks_that_are_not_recovered_leave_garbage(monkeypatch):
    part, updates = SimulatedNumerics(), some(3, size=400)
    right = masked(part, updates, absent=[(9, 0)]).mean["w"]
    reach = 2**31 / 2**16 / sum(one.weight for one in updates)
    masks, told = simulated_numerics._masks, []

    def forget(sender, others, stream, size):
        told.append(others)
        return masks(sender, others, stream, size) * np.uint64(others != [(9, 0)])

    monkeypatch.setattr(simulated_numerics, "_masks", forget)
    wrong = masked(part, updates, absent=[(9, 0)]).mean["w"]
    assert [(9, 0)] in told
    assert abs(right).max() < 4.0
    assert np.abs(wrong).mean() > reach / 4  # uniform in (-reach, reach): half of it on average


def test_a_sum_that_does_not_fit_wraps_round_by_hand():
    part = SimulatedNumerics(bits=8, fraction_bits=4, clip=4)
    got = masked(part, [update(0, [3.5, -4, 4]), update(1, [4, -4, 3.9])])
    # 56 + 64 = 120; -64 - 64 = -128, the last that fits; 64 + 62 = 126. Then with 16 more: 136 = -120, -144 = 112.
    assert (got.mean["w"] * 2 * 16).tolist() == [120, -128, 126]
    assert got.num_wrapped == 0
    more = masked(part, [update(0, [3.5, -4, 4]), update(1, [4, -4, 4]), update(2, [1, -1, -0.5])])
    np.testing.assert_allclose(more.mean["w"] * 3 * 16, [-120, 112, 120], rtol=1e-15)
    assert more.num_wrapped == 2
    edge = masked(part, [update(0, [4.0]), update(1, [4.0])])
    assert (edge.mean["w"].tolist(), edge.num_wrapped) == ([-4.0], 1)


def test_values_beyond_the_range_are_clipped_and_counted():
    got = masked(SimulatedNumerics(clip=2.0), [update(0, [2.0, 5.0, -1e30]), update(1, [2.0, 1.0, -2.5])])
    assert got.mean["w"].tolist() == [2.0, 1.5, -2.0]
    assert (got.num_clipped, got.num_wrapped) == (3, 0)


@pytest.mark.parametrize("fraction_bits", [4, 12, 20])
def test_the_mean_is_off_by_half_a_step_at_most_however_clients_are_weighed(fraction_bits):
    part = SimulatedNumerics(bits=48, fraction_bits=fraction_bits, clip=8.0)
    updates = some(20, size=400)
    error = np.abs(masked(part, updates).mean["w"] - weighted_mean(updates)["w"]).max()
    assert 2.0 ** -(fraction_bits + 1) / 20 < error <= 2.0 ** -(fraction_bits + 1)
    same = [update(n, np.full(3, 2.5 * 2.0**-fraction_bits)) for n in range(5)]  # ties go to the even neighbour
    assert (masked(part, same).mean["w"] * 2.0**fraction_bits).tolist() == [2.0] * 3


def test_neither_order_nor_seed_changes_a_bit():
    part, updates = SimulatedNumerics(), some(4)
    first = masked(part, updates, absent=[(3, 0)]).mean["w"].tobytes()
    for order in itertools.permutations(updates):
        assert masked(part, list(order), absent=[(3, 0)]).mean["w"].tobytes() == first
    assert masked(part, updates, stream=Stream(8, "other")).mean["w"].tobytes() == first


def test_two_tasks_of_a_client_have_masks_of_their_own_and_shapes_stay():
    part = SimulatedNumerics()
    one = ClientUpdate(0, {"a": np.full((), 1.5), "b": np.ones((2, 0)), "c": np.ones((1, 2))}, 3.0, 1, {})
    two = ClientUpdate(0, {"a": np.full((), 0.5), "b": np.ones((2, 0)), "c": np.zeros((1, 2))}, 1.0, 1, {}, repeat=1)
    got = part.mean([one, two], [(0, 0), (0, 1), (0, 2)], ROUND).mean
    assert {name: value.shape for name, value in got.items()} == {"a": (), "b": (2, 0), "c": (1, 2)}
    assert (float(got["a"]), got["c"].tolist()) == (1.25, [[0.75, 0.75]])


def test_a_weight_that_is_no_whole_number_is_refused():
    with pytest.raises(RunError, match=r"client 0 has weight 0\.5, and words are multiplied by whole numbers"):
        masked(SimulatedNumerics(), [update(0, [1.0], weight=0.5)])


def test_one_update_fits_into_its_words():
    assert SimulatedNumerics(bits=8, fraction_bits=4, clip=7.9)
    with pytest.raises(ValidationError, match=r"clip \* 2\^fraction_bits is 128, and must be below 2\^7 for one"):
        SimulatedNumerics(bits=8, fraction_bits=4, clip=8)
    with pytest.raises(ValidationError, match=r"must be below 2\^52"):
        SimulatedNumerics(bits=64, fraction_bits=52, clip=1)


def test_remarks_say_how_many_bits_the_largest_sum_needs():
    part = SimulatedNumerics()  # 2^18 a client of weight 1, and 2^31 is the first that does not fit
    assert not part.remarks(2**13 - 1)
    (remark,) = part.remarks(2**13)
    assert "8,192 does not fit into 32 bits; raise bits to 33" in remark
    raised = SimulatedNumerics(bits=33)
    assert not raised.remarks(2**13)
    assert "simulated, nothing is secret: sums modulo 2^33" in raised.title
    worst = [update(0, [4.0, -4.0], weight=2.0**13)]
    assert (part.num_bytes(3), raised.num_bytes(3)) == (12, 13)
    assert [masked(which, worst).num_wrapped for which in (part, raised)] == [1, 0]
