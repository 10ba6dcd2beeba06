"""Privacy of a spec: its mechanism among the postprocessors, and what the rounds are accounted for."""

from __future__ import annotations

from collections.abc import Mapping

from flspec.errors import Problem, SpecError
from flspec.layers import Tensor
from flspec.protocol.settings import PrivacySettings
from flspec.spec.spec import Spec

__all__ = ["check_bounded", "made_private"]


def made_private(spec: Spec, num_clients: int) -> tuple[Spec, PrivacySettings | None]:
    """Return the spec with its privacy as a postprocessor and as many rounds as the budget allows, and the facts."""
    if spec.privacy is None:
        return spec, None
    planned = spec.privacy.planned(spec.cohort.sampling(num_clients), num_clients, spec.rounds)
    changed = {"postprocessors": (planned.mechanism,), "rounds": planned.rounds}
    return spec.model_copy(update=changed), planned.facts


def check_bounded(parameters: Mapping[str, Tensor]) -> None:
    """Raise SpecError if clients send what training does not learn: statistics of their data, averaged as they are."""
    if sent := [name for name, tensor in parameters.items() if tensor.placement == "server" and not tensor.is_learned]:
        message = (
            f"averaged would have clients send statistics of their pictures ({sent[0]}), which no step has bounded; "
            "privacy needs frozen or local, or group norm"
        )
        raise SpecError([Problem(message, "model.batch_norm")])
