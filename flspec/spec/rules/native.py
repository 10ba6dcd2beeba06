"""What an engine's own algorithm of the server would not see."""

from __future__ import annotations

from collections.abc import Iterator

from flspec.aggregators import Aggregator
from flspec.client_algorithms import ClientAlgorithm
from flspec.postprocessors import Postprocessor
from flspec.privacy import Privacy
from flspec.secure_aggregation import SecureAggregation
from flspec.spec.rules.base import Contradiction, rule
from flspec.spec.spec import ClientWork

_HERE = ("aggregator", "implementation")


@rule
def _updates_alone(
    aggregator: Aggregator,
    privacy: Privacy | None,
    secure_aggregation: SecureAggregation | None,
    postprocessors: tuple[Postprocessor, ...],
    client: ClientWork,
    mode: str,
) -> Iterator[Contradiction]:
    """It is given updates, and nothing of what flspec's step of the server does beside combining them."""
    if mode != "federated" or aggregator.implementation != "native":
        return
    beside = {
        "privacy": privacy is not None,
        "secure_aggregation": secure_aggregation is not None,
        "postprocessors": bool(postprocessors),
    }
    for section, is_there in beside.items():
        if is_there:
            message = f"native has the engine's own algorithm, which knows nothing of {section}; remove one of them"
            yield Contradiction(_HERE, (section,), message)
    algorithm = client.algorithm
    if algorithm is not None and _works_on_the_server(algorithm):
        message = (
            "native has the engine's own algorithm, which knows nothing of what client.algorithm does on the server; "
            "remove one of them"
        )
        yield Contradiction(_HERE, ("client", "algorithm"), message)


def _works_on_the_server(algorithm: ClientAlgorithm) -> bool:
    return bool(algorithm.server_slots) or type(algorithm).combine is not ClientAlgorithm.combine
