"""Phases: what is refused before training, by phase and value, and what is drawn."""

from __future__ import annotations

import json

import numpy as np
import pytest

from flspec.core.randomness import Stream
from flspec.layers import Dense, Dropout, Network, chain
from flspec.phases import (
    Draw,
    Term,
    check_phases,
    check_sample,
    draws_of_sample,
    draws_of_step,
    masks_of_call,
    metric_names,
    parse_phases,
    parse_sample,
    scored_values,
)
from tests.unit.phases.gan import (
    LATENT,
    PICTURE,
    PLAYERS,
    call,
    discriminator_phase,
    generator_phase,
    networks,
    sample,
)

D, G = discriminator_phase, generator_phase


def as_real(*values):
    return tuple(Term(kind="logistic", of=value, real=True) for value in values)


def check(*phases, players=PLAYERS, networks=None, real=PICTURE):
    check_phases(phases, networks or {}, players, real)


def test_the_phases_of_a_gan_can_be_carried_out():
    check(D(), G(), networks=networks())
    check_sample(sample(), networks(), PICTURE)


def with_third():
    return networks() | {"third": Network("third", {"input": (1,)}, chain([Dense(name="d", units=1)]))}


REFUSED = {
    "a network that there is not": (
        [D(), G(calls=(call("judged", "discriminater", x="fake"),))],
        "phase generator: judged is a call of network unknown 'discriminater'; did you mean 'discriminator'",
    ),
    "a value that nobody made": (
        [D(), G(calls=(call("judged", "discriminator", x="fakes"),))],
        "phase generator: value unknown 'fakes'; did you mean 'fake'",
    ),
    "a term of a value that nobody made": (
        [D(), G(terms=as_real("judge"))],
        "phase generator: value unknown 'judge'",
    ),
    "a draw of another phase": (
        [D(), G(calls=(call("again", "generator", latent="latent"), call("judged", "discriminator", x="again")))],
        "phase generator: value unknown 'latent'",
    ),
    "a value that is made twice": (
        [D(), G(calls=(call("on_fake", "discriminator", x="fake"),))],
        "phase generator: there is a value named on_fake already",
    ),
    "a draw with the name of what is given": (
        [D(draws={"real": Draw(shape=LATENT)}), G()],
        "phase discriminator: there is a value named real already",
    ),
    "another input than the network's": (
        [D(), G(calls=(call("judged", "discriminator", image="fake"),))],
        "phase generator: judged gives discriminator image, but it takes x",
    ),
    "an input of another shape": (
        [D(draws={"latent": Draw(shape=(4,))}), G()],
        "phase discriminator: fake gives generator latent of shape [4] as latent, whose is [3]",
    ),
    "a term of pictures": (
        [D(), G(terms=as_real("fake"))],
        "phase generator: term logistic takes one score a row, but fake is [6]",
    ),
    "a value whose network has stepped since": (
        [D(), G(terms=as_real("judged", "on_fake"))],
        "phase generator: on_fake is derived from discriminator, which changed since phase discriminator made it",
    ),
    "a fake whose generator has stepped since": (
        [D(), G(), G(name="again", calls=(call("anew", "discriminator", x="fake"),), terms=as_real("anew"))],
        "phase again: fake is derived from generator, which changed since phase discriminator made it",
    ),
    "a value that is seldom made": (
        [D(every=2), G(every=3)],
        "phase generator: fake is made by phase discriminator, which takes place every 2 steps, but this one every 3",
    ),
    "terms that do not depend on what is trained": (
        [D(), G(calls=(call("judged", "discriminator", detached=True, x="fake"),))],
        "phase generator: its terms do not depend on generator, which generator trains",
    ),
    "two phases of one name": ([D(), G(name="discriminator")], "two phases are named discriminator"),
    "a player that there is not": ([D(), G(optimizer="generater")], "phase generator: optimizer unknown 'generater'"),
    "a player without a phase": ([D()], "optimizer generator steps in no phase"),
    "a value with the name of a phase": (
        [D(), G(calls=(call("generator", "discriminator", x="fake"),), terms=as_real("generator"))],
        "phase generator: value generator has the name of a phase",
    ),
    "no phases": ([], "there are no phases"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_carried_out_is_refused_by_phase_and_value(name):
    phases, message = REFUSED[name]
    with pytest.raises(ValueError, match="^" + message.replace("[", r"\[").replace("]", r"\]")):
        check(*phases, networks=networks())


def test_a_detached_value_may_be_used_although_its_network_stepped():
    again = G(
        name="again",
        optimizer="discriminator",
        calls=(call("anew", "discriminator", detached=True, x="fake"),),
        terms=as_real("anew"),
    )
    check(D(), G(), again, networks=networks())


def test_each_network_is_trained_by_one_optimizer():
    with pytest.raises(ValueError, match="network third is trained in no phase"):
        check(D(), G(), networks=with_third())
    both = PLAYERS | {"discriminator": ("discriminator", "generator")}
    with pytest.raises(ValueError, match="network generator is trained by generator and discriminator"):
        check(D(), G(), players=both, networks=networks())


def test_a_frozen_network_needs_no_optimizer():
    layers = chain([Dense(name="d", units=1, frozen=True)])
    check(D(), G(), networks=networks() | {"third": Network("third", {"input": (1,)}, layers)})


def test_a_sample_makes_pictures_of_the_examples_shape():
    scored = (*sample().calls, call("score", "discriminator", x="fake"))
    with pytest.raises(ValueError, match=r"sample: score has shape \[1\], but the examples' is \[6\]"):
        check_sample(sample(calls=scored, picture="score"), networks(), PICTURE)
    with pytest.raises(ValueError, match="sample: value unknown 'real'"):
        check_sample(sample(calls=(call("fake", "discriminator", x="real"),)), networks(), PICTURE)


def test_metrics_are_each_phase_and_each_score_once():
    assert metric_names([D(), G()]) == ["discriminator", "on_real", "on_fake", "generator", "judged"]
    twice = G(name="twice", terms=as_real("judged", "judged"))
    assert scored_values([D(), G(), twice])["twice"] == ()


def test_documents_are_read_back_and_leave_out_what_is_at_its_default():
    phases, documents = (D(), G()), [phase.model_dump(mode="json") for phase in (D(), G())]
    assert parse_phases(json.loads(json.dumps(documents))) == phases
    assert set(documents[1]) == {"name", "calls", "terms", "optimizer"}
    assert set(documents[1]["calls"][0]) == {"value", "network", "inputs"}
    assert parse_sample(sample().model_dump(mode="json")) == sample()


def test_draws_are_of_the_step_the_phase_and_the_name_alone():
    stream = Stream(5, "step", 0)
    drawn = draws_of_step([D(), G()], 0, 4, stream)
    assert list(drawn) == ["discriminator", "generator"]
    assert drawn["generator"] == {}
    latent = drawn["discriminator"]["latent"]
    assert (latent.shape, latent.dtype.name) == ((4, *LATENT), "float32")
    more = D(draws={"other": Draw(kind="uniform", shape=(1,)), "latent": Draw(shape=LATENT)})
    again = draws_of_step([more], 0, 4, stream)["discriminator"]
    assert np.array_equal(again["latent"], latent)
    assert ((again["other"] > 0) & (again["other"] < 1)).all()
    assert not np.array_equal(draws_of_step([D()], 1, 4, Stream(5, "step", 1))["discriminator"]["latent"], latent)


def test_a_phase_draws_only_when_it_takes_place():
    assert [number for number in range(7) if draws_of_step([D(every=3)], number, 1, Stream(0))] == [0, 3, 6]


def test_more_pictures_begin_with_the_same_ones():
    few, many = (draws_of_sample(sample(), num, seed=3)["latent"] for num in (2, 5))
    assert np.array_equal(many[:2], few)
    assert not np.array_equal(draws_of_sample(sample(), 2, seed=4)["latent"], few)


def test_each_call_drops_values_of_its_own():
    network = Network("generator", {"latent": (8,)}, chain([Dropout(name="d", rate=0.5)], "latent"))
    first, second = (
        masks_of_call(network, D(), call(value, "generator", latent="latent"), 4, Stream(0))["d"] for value in "ab"
    )
    assert not np.array_equal(first, second)
