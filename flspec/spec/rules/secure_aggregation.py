"""What a server that sees a sum alone cannot do beside it."""

from __future__ import annotations

from collections.abc import Iterator

from flspec.aggregators import Aggregator
from flspec.compressors import Compressor
from flspec.postprocessors import Postprocessor
from flspec.privacy import Privacy
from flspec.secure_aggregation import SecureAggregation
from flspec.spec.rules.base import Contradiction, rule
from flspec.spec.spec import ClientWork

_HERE = ("secure_aggregation",)


@rule
def _sum_alone(
    secure_aggregation: SecureAggregation | None,
    aggregator: Aggregator,
    client: ClientWork,
    postprocessors: tuple[Postprocessor, ...],
    mode: str,
) -> Iterator[Contradiction]:
    if mode != "federated" or secure_aggregation is None:
        return
    if not aggregator.is_plain_mean:
        message = (
            "looks at each update, and with secure_aggregation the server has a sum alone; choose fedavg or fedadam"
        )
        yield Contradiction(("aggregator",), _HERE, message)
    if (algorithm := client.algorithm) is not None and (algorithm.sends or algorithm.sends_numbers):
        message = (
            "sends records or numbers beside the update, which secure_aggregation does not sum; remove one of them"
        )
        yield Contradiction(("client", "algorithm"), _HERE, message)
    for number, part in enumerate(postprocessors):
        if part.acts_without_updates or type(part).measure is not Postprocessor.measure:
            message = (
                "measures each update or noises their mean, which secure_aggregation has no part in; remove one of them"
            )
            yield Contradiction(("postprocessors", str(number)), _HERE, message)


@rule
def _no_words_of_payloads(
    secure_aggregation: SecureAggregation | None, compression: Compressor | None, mode: str
) -> Iterator[Contradiction]:
    if mode == "federated" and secure_aggregation is not None and compression is not None:
        message = "sends a payload in place of the values that secure_aggregation sums; remove one of them"
        yield Contradiction(("compression",), _HERE, message)


@rule
def _noise_is_in_no_sum(
    secure_aggregation: SecureAggregation | None, privacy: Privacy | None
) -> Iterator[Contradiction]:
    if secure_aggregation is not None and privacy is not None:
        message = (
            "is a simulation: nothing in it is secret, and its clipping and rounding are not what privacy is accounted "
            "for; remove secure_aggregation or privacy"
        )
        yield Contradiction(_HERE, ("privacy",), message)
