"""The terms of a phase's loss in torch, held to their definitions, and what a phase's gradient is of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from flspec.phases import Term
from flspec_torch.phases import _gradients, _loss

SCORES = np.array([-30.0, -1.5, -0.2, 0.3, 0.9, 2.0, 40.0])
# Of a score z, as real and as not real: its share, and the derivative of that.
DEFINITIONS: dict[tuple[str, bool], tuple[Callable[..., Any], Callable[..., Any]]] = {
    ("logistic", True): (lambda z: np.logaddexp(0, -z), lambda z: -1 / (1 + np.exp(z))),
    ("logistic", False): (lambda z: np.logaddexp(0, z), lambda z: 1 / (1 + np.exp(-z))),
    ("hinge", True): (lambda z: np.maximum(0, 1 - z), lambda z: np.where(z < 1, -1.0, 0.0)),
    ("hinge", False): (lambda z: np.maximum(0, 1 + z), lambda z: np.where(z > -1, 1.0, 0.0)),
    ("least_squares", True): (lambda z: (z - 1) ** 2, lambda z: 2 * (z - 1)),
    ("least_squares", False): (lambda z: z**2, lambda z: 2 * z),
    ("wasserstein", True): (lambda z: -z, lambda z: -np.ones_like(z)),
    ("wasserstein", False): (lambda z: z, np.ones_like),
}


def loss_and_slopes(*terms):
    scores = torch.tensor(SCORES[:, None], requires_grad=True)
    loss = _loss(terms, {"z": scores})
    (slopes,) = _gradients(loss, [scores])
    return loss.item(), slopes.numpy()[:, 0]


@pytest.mark.parametrize(("kind", "real"), DEFINITIONS)
def test_a_term_is_the_mean_of_its_definition(kind, real):
    share, slope = DEFINITIONS[kind, real]
    loss, slopes = loss_and_slopes(Term(kind=kind, of="z", real=real, factor=0.5))
    assert loss == pytest.approx(0.5 * share(SCORES).mean())
    np.testing.assert_allclose(slopes, 0.5 * slope(SCORES) / len(SCORES), rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("kind", sorted({kind for kind, _ in DEFINITIONS}))
def test_a_term_taken_the_other_way_round_is_seen(kind):
    right, wrong = (DEFINITIONS[kind, real][0](SCORES).mean() for real in (True, False))
    assert loss_and_slopes(Term(kind=kind, of="z", real=True))[0] == pytest.approx(right)
    assert right != pytest.approx(wrong)


def test_terms_add_up():
    one, other = Term(kind="logistic", of="z", real=True), Term(kind="hinge", of="z", real=False, factor=3.0)
    assert loss_and_slopes(one, other)[0] == pytest.approx(loss_and_slopes(one)[0] + loss_and_slopes(other)[0])


def test_a_tensor_that_the_loss_does_not_depend_on_has_a_gradient_of_zeros():
    used, unused = torch.ones(2, requires_grad=True), torch.ones(3, requires_grad=True)
    assert [g.tolist() for g in _gradients(used.sum(), [used, unused])] == [[1, 1], [0, 0, 0]]
