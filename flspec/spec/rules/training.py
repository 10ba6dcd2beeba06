"""What clients do in a round, and how it is measured."""

from __future__ import annotations

from collections.abc import Iterator

from flspec.compressors import Compressor
from flspec.metrics import find_metric
from flspec.partitioners import Partitioner
from flspec.samplers import Sampler
from flspec.spec.evaluation import Evaluation, measured_metrics
from flspec.spec.rules.base import Contradiction, rule
from flspec.spec.spec import ClientWork
from flspec.spec.stopping import Stop


@rule
def _epochs_or_steps(client: ClientWork) -> Iterator[Contradiction]:
    if client.epochs is None and client.steps is None:
        yield Contradiction(("client",), None, "needs epochs or steps; add one, e.g. epochs: 1")
    if client.epochs is not None and client.steps is not None:
        yield Contradiction(("client", "steps"), ("client", "epochs"), "client.epochs is given too; remove one")


@rule
def _measured_schedule(client: ClientWork, partition: Partitioner) -> Iterator[Contradiction]:
    schedule, where = client.optimizer.schedule, ("client", "optimizer", "schedule")
    if schedule is None or schedule.is_planned:
        return
    if client.epochs is None:
        yield Contradiction(where, ("client", "steps"), "measures after each pass; give client.epochs, not steps")
    if client.batch_across_epochs:
        yield Contradiction(
            where, ("client", "batch_across_epochs"), "measures after each pass; set client.batch_across_epochs: false"
        )
    if not partition.holdout:
        yield Contradiction(
            where, ("partition", "holdout"), "measures the clients' holdout, but there is none; set partition.holdout"
        )


@rule
def _weights_of_labels(client: ClientWork) -> Iterator[Contradiction]:
    if client.label_weights is not None and client.loss.weighs is None:
        message = f"{client.loss.kind} has no label weights; remove them"  # type: ignore[attr-defined]
        yield Contradiction(("client", "label_weights"), ("client", "loss"), message)


@rule
def _best_is_measured(evaluation: Evaluation, client: ClientWork) -> Iterator[Contradiction]:
    if (best := evaluation.best) is None:
        return
    at = ("evaluation", "best", "metric")
    if best.metric not in measured_metrics(evaluation, client.objective.is_generative):
        yield Contradiction(
            at, ("evaluation", "metrics"), f"{best.metric} is not among evaluation.metrics; add it there"
        )
    if find_metric(best.metric).better == "neither" and not (best.on or "").endswith((" gap", "/gini")):
        yield Contradiction(
            at, None, f"{best.metric} is good neither high nor low; name another metric, or on: a gap between groups"
        )


@rule
def _patience_by_a_metric(stop: Stop | None, evaluation: Evaluation) -> Iterator[Contradiction]:
    if stop and stop.patience is not None and evaluation.best is None:
        message = "waits for a better round; say by which metric, e.g. evaluation.best: {metric: loss}"
        yield Contradiction(("stop", "patience"), ("evaluation", "best"), message)


@rule
def _cohort_of_clients(cohort: Sampler, partition: Partitioner, mode: str) -> Iterator[Contradiction]:
    if mode == "federated" and partition.num_clients and (problem := cohort.why_invalid(partition.num_clients)):
        yield Contradiction(("cohort",), ("partition", "clients"), problem)


@rule
def _state_of_clients_drawn_once(
    client: ClientWork, cohort: Sampler, compression: Compressor | None, mode: str
) -> Iterator[Contradiction]:
    """What two tasks of one client in one round would both go on from and both leave."""
    if mode != "federated" or not cohort.may_repeat:
        return
    several = "from round to round, but this cohort may draw a client several times in one"
    if client.optimizer.state == "kept":
        message = f"keeps each client's state {several}; choose reset, or cohort: {{kind: uniform}}"
        yield Contradiction(("client", "optimizer", "state"), ("cohort",), message)
    if client.algorithm is not None and client.algorithm.client_slots:
        message = f"keeps records of each client {several}; remove it, or choose cohort: {{kind: uniform}}"
        yield Contradiction(("client", "algorithm"), ("cohort",), message)
    if compression is not None and compression.error_feedback:
        message = f"remembers of each client {several}; set error_feedback: false, or choose cohort: {{kind: uniform}}"
        yield Contradiction(("compression",), ("cohort",), message)
