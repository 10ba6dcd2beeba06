"""What is told of several networks before they are trained: sizes by their definition, and the step in words."""

from __future__ import annotations

import numpy as np
import pytest

from flspec.analysis.description import describe_plan
from flspec.analysis.memory_estimate import estimate_memory, kept_bytes
from flspec.compiler.compile import compile
from flspec.execution.parts import step_multiply_adds, step_values
from flspec.spec.loading import parse_spec

SPEC = """
flspec: 1
name: tiny-gan
rounds: 1
dataset: {kind: digits}
partition: {kind: iid, clients: 2}
model: {kind: dcgan, latent: 4, width: 2, batch_norm: averaged, local: [LOCAL]}
client:
  steps: 2
  batch_size: 8
  objective: {kind: gan}
  optimizer: {kind: adam, learning_rate: 0.002, state: kept}
  optimizers: {discriminator: {kind: sgd, learning_rate: 0.02, momentum: 0.9}}
evaluation: {generated: 20}
"""
# At 8 x 8 pixels of one colour: kernels of 4 x 4, and of the generator's batch norm a weight and a bias.
GENERATOR, DISCRIMINATOR = 4 * 2 * 16 + 2 * 2 + 2 * 1 * 16, 1 * 2 * 16 + 2 * 1 * 16
STATISTICS = 2 * 2
# A transposed convolution uses each weight at its input's places, a convolution at its output's.
OF_GENERATOR = 4 * 2 * 16 * 1 + 2 * 1 * 16 * 16
OF_DISCRIMINATOR = 1 * 2 * 16 * 16 + 2 * 1 * 16 * 1


def plan(local=""):
    return compile(parse_spec(SPEC.replace("LOCAL", local)))


@pytest.fixture(scope="module")
def federated():
    return plan()


def test_each_network_is_counted_by_itself(federated):
    generator, discriminator = describe_plan(federated).model.networks
    assert (generator.name, generator.num_parameters) == ("generator", GENERATOR)
    assert generator.num_bytes == 4 * (GENERATOR + STATISTICS)
    assert (discriminator.num_parameters, discriminator.num_bytes) == (DISCRIMINATOR, 4 * DISCRIMINATOR)
    assert generator.num_bytes_kept == discriminator.num_bytes_kept == 0


def test_what_stays_with_clients_is_not_sent():
    _, discriminator = describe_plan(plan("discriminator")).model.networks
    assert (discriminator.num_bytes, discriminator.num_bytes_kept) == (0, 4 * DISCRIMINATOR)


def test_a_step_is_told_in_words(federated):
    assert describe_plan(federated).model.phases == (
        "discriminator: logistic of on_real as real, logistic of on_fake as not real; sgd 0.02 steps discriminator",
        "generator: logistic of judged as real; adam 0.002 steps generator",
    )


def test_a_step_calls_the_generator_once_and_the_discriminator_three_times(federated):
    norm = step_multiply_adds(federated) - OF_GENERATOR - 3 * OF_DISCRIMINATOR
    assert 0 <= norm < OF_GENERATOR  # batch norm's products are few


def test_values_are_of_the_phase_that_needs_most(federated):
    """The discriminator's: real and generated pictures judged, and these made. The other phase has one less."""
    pictures, made = 64, 4 + 3 * (2 * 16) + 2 * 64
    judged = pictures + 2 * 16 + 2 * 16 + 1
    assert step_values(federated) == pytest.approx(made + 2 * judged, abs=2)


def test_a_client_keeps_the_slots_of_those_optimizers_that_go_on(federated):
    assert kept_bytes(federated) == 2 * 4 * (GENERATOR + STATISTICS)  # two moments; statistics are counted, too


def test_memory_grows_with_the_batch(federated):
    large = compile(parse_spec(SPEC.replace("LOCAL", "").replace("batch_size: 8", "batch_size: 700")))
    assert estimate_memory(large, workers=1) > estimate_memory(federated, workers=1)
    assert int(np.diff(large.arrays["batch_ends"], prepend=0).max()) == 700
