"""SCAFFOLD: Karimireddy et al., Stochastic Controlled Averaging for Federated Learning, ICML 2020, arXiv:1910.06378."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from flspec.client_algorithms.base import (
    ClientAlgorithm,
    ClientOutcome,
    CohortWork,
    LocalWork,
    Measurement,
    Need,
    Tensors,
)
from flspec.protocol.updates import Delta


class Scaffold(ClientAlgorithm):
    """Each gradient is corrected by how the server's control variate c differs from the client's c_i.

    The paper's Algorithm 1. A client takes K steps y <- y - eta (g(y) - c_i + c) from the server's x. Then its c_i
    becomes, by option I, the gradient of its mean loss at x, over all of its examples as they are evaluated; by option
    II, c_i - c + (x - y) / (K eta). The server adds to c the sum of the changes of c_i, divided by the number N of all
    clients, so c stays the mean of c_i over all clients, which start at 0. The aggregator moves x; its learning rate is
    the paper's eta_g.

    Clients must count alike, since c is such a mean. Option II needs plain SGD with one learning rate a round and no
    `client.clip`: only then is (x - y) / (K eta) a mean of corrected gradients. Weight decay is part of the gradient.
    """

    kind: Literal["scaffold"] = "scaffold"
    goes_with: ClassVar[dict[str, Any]] = {"aggregator": {"weighting": "uniform"}}
    option: Annotated[
        Literal["I", "II"],
        Field(
            description="what a control variate becomes: I, the gradient at the server's weights; II, from the steps"
        ),
    ] = "II"
    server_slots: ClassVar[Mapping[str, float]] = {"control": 0.0}
    client_slots: ClassVar[Mapping[str, float]] = {"control": 0.0}
    sends: ClassVar[tuple[str, ...]] = ("control_change",)

    @property
    def needs(self) -> tuple[Need, ...]:
        return ("uniform_mean", "plain_sgd", "no_clip") if self.option == "II" else ("uniform_mean",)

    @property
    def measured_at_start(self) -> tuple[Measurement, ...]:
        return ("gradient",) if self.option == "I" else ()

    def correct(self, gradient: Any, weight: Any, start: Any, server: Mapping[str, Any], own: Mapping[str, Any]) -> Any:
        return gradient - own["control"] + server["control"]

    def finish(self, work: LocalWork) -> ClientOutcome:
        before = work.own["control"]
        after = work.start_gradient if self.option == "I" else _from_steps(work)
        assert after is not None, "option I has the gradient measured"
        change = {name: after[name] - value for name, value in before.items()}
        return ClientOutcome(super().finish(work).delta, {"control": after}, {"control_change": change})

    def combine(self, work: CohortWork) -> tuple[Delta, Mapping[str, Tensors]]:
        changes = [records["control_change"] for records in work.sent]
        control = {
            name: value + sum(change[name].astype(np.float64) for change in changes) / work.num_clients
            for name, value in work.server["control"].items()
        }
        return work.mean, {"control": control}


def _from_steps(work: LocalWork) -> Tensors:
    """Return c_i - c + (x - y) / (K eta), or what it was if no step was taken or the learning rate was 0."""
    own, server, length = work.own["control"], work.server["control"], work.num_steps * work.learning_rate
    if length == 0:
        return own
    return {name: own[name] - server[name] + (work.start[name] - work.after[name]) / np.float32(length) for name in own}
