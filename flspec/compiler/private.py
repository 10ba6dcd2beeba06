"""Privacy of a spec: its mechanism among the postprocessors or in the clients' steps, and what it is accounted for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from flspec.errors import Problem, SpecError
from flspec.layers import Tensor
from flspec.privacy import ClientsWork, PlannedPrivacy, refused
from flspec.protocol.batch_rule import BatchRule
from flspec.spec.rules.privacy import MIXES_EXAMPLES, SENDS_STATISTICS
from flspec.spec.spec import Spec

__all__ = ["check_bounded", "made_private"]


def made_private(
    spec: Spec, num_examples: NDArray[np.int64], rule: BatchRule, cohort: Callable[[int], NDArray[np.int64]]
) -> tuple[Spec, PlannedPrivacy | None]:
    """Return the spec with its privacy as a postprocessor and as many rounds as the budget allows, and the facts.

    `num_examples` are the clients'. `cohort` draws the clients of a round.
    """
    if spec.privacy is None:
        return spec, None
    num_clients = len(num_examples)
    sampling = spec.cohort.sampling(num_clients)
    if found := list(spec.privacy.refusals(num_clients, sampling)):
        raise refused(found)
    work = ClientsWork(
        sampling=sampling,
        rounds=spec.rounds,
        cohort=cohort,
        num_examples=num_examples,
        num_steps=rule.num_steps(num_examples),
        batch_size=spec.client.batch_size,
    )
    planned = spec.privacy.planned(work)
    facts = replace(planned.facts, secret=spec.privacy.seed == "secret")
    mechanisms = (planned.mechanism,) if planned.mechanism else ()
    made = spec.model_copy(update={"postprocessors": mechanisms or spec.postprocessors, "rounds": planned.rounds})
    return made, replace(planned, facts=facts)


def check_bounded(parameters: Mapping[str, Tensor], planned: PlannedPrivacy | None) -> None:
    """Raise SpecError if training makes tensors that privacy does not bound: statistics of the examples."""
    if planned is None:
        return
    batch_norm = [name for name, tensor in parameters.items() if not tensor.is_learned and tensor.placement != "plan"]
    sent = [name for name in batch_norm if parameters[name].placement == "server"]
    if planned.steps and batch_norm:
        raise SpecError([Problem(f"{MIXES_EXAMPLES} ({batch_norm[0]})", "model.batch_norm")])
    if sent:
        raise SpecError([Problem(f"{SENDS_STATISTICS} ({sent[0]})", "model.batch_norm")])
