"""FedDyn: Acar et al., Federated Learning Based on Dynamic Regularization, ICLR 2021, arXiv:2111.04263."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from flspec.client_algorithms.base import ClientAlgorithm, ClientOutcome, CohortWork, LocalWork, Need, Tensors
from flspec.protocol.updates import Delta


class FedDyn(ClientAlgorithm):
    """Each client's loss gets a linear and a quadratic term, so that its minimum moves to that of the mean loss.

    The paper's Algorithm 1, with its signs. Client k minimises, by its planned steps from the server's theta,

        L_k(w) - <grad_k, w> + (alpha / 2) ||w - theta||^2,

    and then its grad_k becomes grad_k - alpha (w - theta). Of m clients in all, those of a cohort P change the server's
    h to h - alpha (1 / m) sum over P of (w_k - theta), and the new weights are the mean of w_k over P less h / alpha;
    grad_k and h start at 0. That is so with aggregator fedavg at learning rate 1; another server optimizer is given the
    same change of the weights. Clients must count alike.
    """

    kind: Literal["feddyn"] = "feddyn"
    goes_with: ClassVar[dict[str, Any]] = {"aggregator": {"weighting": "uniform"}}
    alpha: Annotated[
        float, Field(gt=0, le=1e6, description="strength of both terms; the paper's 0.001 to 0.1", examples=[0.1])
    ]
    server_slots: ClassVar[Mapping[str, float]] = {"h": 0.0}
    client_slots: ClassVar[Mapping[str, float]] = {"gradient": 0.0}

    @property
    def needs(self) -> tuple[Need, ...]:
        return ("uniform_mean",)

    def correct(self, gradient: Any, weight: Any, start: Any, server: Mapping[str, Any], own: Mapping[str, Any]) -> Any:
        return gradient - own["gradient"] + self.alpha * (weight - start)

    def finish(self, work: LocalWork) -> ClientOutcome:
        delta = super().finish(work).delta
        gradient = {name: value - np.float32(self.alpha) * delta[name] for name, value in work.own["gradient"].items()}
        return ClientOutcome(delta, {"gradient": gradient})

    def combine(self, work: CohortWork) -> tuple[Delta, Mapping[str, Tensors]]:
        share = len(work.shares) / work.num_clients  # the sum over P, divided by m, is this much of the mean
        h = {name: value - self.alpha * share * work.mean[name] for name, value in work.server["h"].items()}
        moved = {name: value - h[name] / self.alpha if name in h else value for name, value in work.mean.items()}
        return moved, {"h": h}
