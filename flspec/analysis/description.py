"""The numbers of a plan, before anything trains."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from flspec.analysis.faults import faults_in_words
from flspec.analysis.inventory import untested_labels
from flspec.analysis.leakage import Leakage, find_leakage
from flspec.analysis.memory_estimate import estimate_device_memory, estimate_memory
from flspec.analysis.networks import NetworkFacts, network_facts, phases_in_words, pictures_in_words
from flspec.analysis.skew import Skew, count_labels, measure_skew
from flspec.compiler.masked_sums import sum_remarks
from flspec.core.components import Document, parse_component
from flspec.data.client_names import client_names, names_of_clients
from flspec.data.readings import Reading
from flspec.data.store import open_data
from flspec.data.synthetic.twin_cache import twin_in_words
from flspec.datasets import Dataset
from flspec.errors import InputError
from flspec.execution.parts import aggregator_of, bytes_per_client, secure_aggregation_of, step_multiply_adds
from flspec.metrics.undefined import why_never_defined
from flspec.partitioners import Partitioner
from flspec.privacy.statement import privacy_record
from flspec.protocol.native import is_native
from flspec.protocol.part_scope import using_its_parts
from flspec.protocol.plan import Plan
from flspec.protocol.records import PrivacyRecord
from flspec.protocol.registry import find_backend, installed_backends

__all__ = ["Description", "describe_plan", "partition_counts", "plan_skew"]

_STATISTICS = {"running_mean", "running_var"}  # names of batch norm's statistics


class DataFacts(Document):
    """The examples and their shape."""

    num_train: int
    num_test: int
    num_classes: int
    shape: tuple[int, ...]
    twin: str | None = None  # a note that the data are synthetic; None for published data
    label_names: tuple[str, ...] = ()  # empty where labels are the numbers of their classes
    untested: tuple[str, ...] = ()  # labels that training examples have and no test example has
    reading: Reading | None = None  # the columns that were read and left out; None where the files are not at hand
    remarks: tuple[str, ...] = ()  # on the features of a table


class PlannedClients(Document):
    """The number of clients and the numbers of their examples."""

    num: int
    min_examples: int
    median_examples: float
    max_examples: int
    num_unheld: int  # training examples that no client has
    names: tuple[str, ...] = ()  # of natural clients, each of whom is a client; empty otherwise


class RoundFacts(Document):
    """The amount of training; steps are of one client in one round, except their total."""

    num: int
    min_cohort: int
    max_cohort: int
    min_steps: int
    max_steps: int
    total_steps: int
    remarks: tuple[str, ...] = ()  # the range of each learning rate with a schedule


class ModelFacts(Document):
    """The size of the model; `multiply_adds` are of one example's forward passes in a step."""

    num_parameters: int  # trained parameters
    num_tensors: int  # tensors of trained parameters
    num_constants: int = 0  # values that never change and are never sent
    num_local: int = 0  # values, trained or updated in training, that stay with each client
    multiply_adds: int
    networks: tuple[NetworkFacts, ...] = ()  # if there are several
    phases: tuple[str, ...] = ()  # of a step, in words, if it has several
    remarks: tuple[str, ...] = ()  # on constants that were not read from a file


class Traffic(Document):
    """Bytes of float32 weights in one direction, without the overhead of a transport."""

    each_time: int  # for one client in one round
    busiest_client: int  # over all rounds
    total: int  # over all rounds and clients


class TimeEstimate(Document):
    """Seconds, scaled up from training steps measured on this machine, without starting the engine."""

    seconds: float  # of all rounds
    seconds_a_round: float
    num_steps_measured: int


class Estimates(Document):
    """Estimates of memory and time."""

    memory_bytes: int  # of one process that trains and evaluates with torch
    device_bytes: int  # on the device of --device, beside what its driver takes
    time: dict[str, TimeEstimate]  # by backend, for those that can estimate it


class Description(Document):
    """A plan in numbers. `skew` and `leakage` are None where the data are not on this machine."""

    plan_digest: str
    name: str
    data: DataFacts
    clients: PlannedClients
    remarks: tuple[str, ...]  # on clients that differ from what the spec asks for
    skew: Skew | None
    leakage: Leakage | None
    rounds: RoundFacts
    model: ModelFacts
    bytes_down: Traffic
    bytes_up: Traffic
    estimates: Estimates
    privacy: PrivacyRecord | None = None  # what all rounds will cost; None if the spec asks for none
    faults: tuple[str, ...] = ()  # how many tasks each hits, in words
    secure_aggregation: tuple[str, ...] = ()  # what is simulated, in words, and what can go wrong
    pictures: tuple[str, ...] = ()  # how those that a model makes are measured and shown, in words
    backends: dict[str, tuple[str, ...]]  # for each installed backend, why it cannot run the plan; empty if it can


@using_its_parts
def describe_plan(plan: Plan, *, rehearse: bool = False, data_root: Path | None = None) -> Description:
    """Return the numbers of a plan, and for each installed backend why it cannot run the plan.

    The columns of its data are looked up in the files below `data_root`, if that is given.

    With `rehearse`, backends that support it also measure a few steps, for a second or less, to estimate the time.
    """
    backends = {name: _problems(name, plan) for name in installed_backends()}
    counts = partition_counts(plan)
    skew = None if counts is None else measure_skew(counts)
    able = [name for name, problems in backends.items() if not problems] if rehearse and counts is not None else []
    down, up = bytes_per_client(plan)
    return Description(
        plan_digest=plan.digest,
        name=str(plan.spec["name"]),
        data=_data(plan, data_root),
        clients=_clients(plan),
        faults=faults_in_words(plan),
        secure_aggregation=_sums(plan),
        remarks=(*_remarks(plan), *_unmeasured(plan), *_remarks_on_combining(plan, skew)),
        skew=skew,
        leakage=_leakage(plan),
        rounds=_rounds(plan),
        model=_model(plan),
        bytes_down=_traffic(plan, down),
        bytes_up=_traffic(plan, up),
        estimates=Estimates(
            memory_bytes=estimate_memory(plan),
            device_bytes=estimate_device_memory(plan),
            time=_times(able, plan),
        ),
        privacy=privacy_record(plan, plan.num_rounds) if plan.settings.privacy else None,
        pictures=pictures_in_words(plan),
        backends=backends,
    )


def _remarks_on_combining(plan: Plan, skew: Skew | None) -> tuple[str, ...]:
    """Return what to know of the aggregator with clients that differ so much."""
    return tuple(aggregator_of(plan).remarks(skew)) if skew else ()


def _sums(plan: Plan) -> tuple[str, ...]:
    part = secure_aggregation_of(plan)
    return (part.title, *sum_remarks(part, plan)) if part else ()


def plan_skew(plan: Plan) -> Skew | None:
    """Return how much the clients of a plan differ; None without the data, or if an example may have several labels."""
    counts = partition_counts(plan)
    return None if counts is None else measure_skew(counts)


def partition_counts(plan: Plan) -> NDArray[np.int64] | None:
    """Return int64 [num_clients, num_classes]: each client's examples of each label; None without the data."""
    try:
        classes = open_data(plan.settings.data).examples.classes("dataset")
    except InputError:  # also where an example may have several labels
        return None
    return count_labels(plan.arrays["client_examples"], plan.arrays["client_ends"], *classes)


def _data(plan: Plan, root: Path | None) -> DataFacts:
    data, reading = plan.settings.data, None if root is None else _reading(plan, root)
    return DataFacts(
        num_train=data.num_train - data.num_changed,
        num_test=data.num_test,
        num_classes=data.num_classes,
        shape=data.input_shape,
        twin=twin_in_words(plan.spec),
        label_names=data.label_names,
        untested=_untested(plan),
        reading=reading,
        remarks=_remarks_on_data(plan, reading),
    )


def _remarks_on_data(plan: Plan, reading: Reading | None) -> tuple[str, ...]:
    try:
        dataset = parse_component(Dataset, dict(plan.spec["dataset"]))
        data = open_data(plan.settings.data)
    except (InputError, ValidationError):  # the data are gone, or the kind is not installed here
        return ()
    listed = getattr(dataset, "features", None)  # in their order
    read = [column.name for column in reading.columns if column.role.startswith("feature")] if reading else []
    names = data.feature_names or tuple(listed if isinstance(listed, Mapping) else read)
    return tuple(dataset.remarks(replace(data, feature_names=names)))


def _untested(plan: Plan) -> tuple[str, ...]:
    try:
        return untested_labels(open_data(plan.settings.data))
    except InputError:
        return ()


def _reading(plan: Plan, root: Path) -> Reading | None:
    """Return what was read of the files that the spec names, with the types that the columns got."""
    try:
        dataset = parse_component(Dataset, dict(plan.spec["dataset"]))
        found = None if plan.spec["dataset"].get("twin") else dataset.reading(root)
        return found and found.with_types(open_data(plan.settings.data).train.columns)
    except (InputError, ValidationError):  # the files are gone, or the kind is not installed here
        return None


def _clients(plan: Plan) -> PlannedClients:
    sizes = _parts(plan, "client_ends")
    return PlannedClients(
        num=plan.num_clients,
        min_examples=int(sizes.min()),
        median_examples=float(np.median(sizes)),
        max_examples=int(sizes.max()),
        num_unheld=plan.settings.data.num_train - plan.settings.data.num_changed - int(sizes.sum()),
        names=_client_names(plan),
    )


def _client_names(plan: Plan) -> tuple[str, ...]:
    try:
        return names_of_clients(plan, open_data(plan.settings.data))
    except InputError:  # the data are not on this machine
        return ()


def _remarks(plan: Plan) -> tuple[str, ...]:
    if plan.spec.get("mode") == "centralized":
        return ()  # the partition no longer matters
    sizes = plan.clients.sizes + plan.holdout.sizes if plan.holdout else plan.clients.sizes
    try:
        partitioner = parse_component(Partitioner, dict(plan.spec["partition"]))
    except ValidationError:  # of a kind that is not installed here
        return ()
    return tuple(partitioner.remarks(sizes))


def _unmeasured(plan: Plan) -> Iterator[str]:
    """Yield a remark on the clients for which the metric of a schedule is never defined: their rates never fall."""
    metric = (plan.settings.client_optimizer.get("schedule") or {}).get("metric")
    if metric is None:
        return
    try:
        data = open_data(plan.settings.data)
        labels, num_classes = data.examples.classes("dataset")
    except InputError:  # also where an example may have several labels, of which every such metric has a value
        return

    def why(holdout: NDArray[Any]) -> str | None:
        return why_never_defined(metric, holdout, num_classes, plan.settings.loss)

    own = {client: labels[plan.holdout_examples(client)] for client in plan.participants}
    kinds = {client: tuple(np.unique(holdout)) for client, holdout in own.items()}
    never = {kind for kind in set(kinds.values()) if why(np.array(kind, np.int64))}
    if without := [client for client, kind in kinds.items() if kind in never]:
        yield (
            f"{len(without):,} of {len(own):,} have no value of {metric}, so their learning rates never fall; client "
            f"{client_names(plan, data)[without[0]]}: {why(own[without[0]])}"
        )


def _leakage(plan: Plan) -> Leakage | None:
    try:
        return find_leakage(plan, open_data(plan.settings.data))
    except InputError:
        return None


def _rounds(plan: Plan) -> RoundFacts:
    cohorts, steps = _parts(plan, "round_task_ends"), _parts(plan, "task_batch_ends")
    return RoundFacts(
        num=plan.num_rounds,
        min_cohort=int(cohorts.min()),
        max_cohort=int(cohorts.max()),
        min_steps=int(steps.min()),
        max_steps=int(steps.max()),
        total_steps=int(steps.sum()),
        remarks=(*_rates(plan), *_natively(plan)),
    )


def _rates(plan: Plan) -> Iterator[str]:
    """Yield the range of each learning rate with a schedule; a schedule may be longer than the run."""
    for who in ("client", "server"):
        if (factors := plan.arrays.get(f"{who}_rates")) is not None:
            span = f"{factors[0]:.3g} in the first round and {factors[-1]:.3g} in the last, {factors.max():.3g} at most"
            yield f"the {who}'s learning rate is multiplied by {span}"


def _natively(plan: Plan) -> Iterator[str]:
    """Yield that the server's step is the engine's own, and what that costs."""
    if is_native(plan):
        kind = plan.settings.aggregator["kind"]
        yield f"the engine's own {kind}, beside flspec's definition of it: each round is trained twice, once for each"


def _model(plan: Plan) -> ModelFacts:
    changing = plan.weights | plan.local
    learned = [value.size for name, value in changing.items() if name not in plan.statistics]
    return ModelFacts(
        num_parameters=sum(learned),
        num_tensors=len(learned),
        num_constants=sum(value.size for value in plan.constants.values()),
        num_local=sum(value.size for value in plan.local.values()),
        multiply_adds=step_multiply_adds(plan),
        networks=network_facts(plan),
        phases=phases_in_words(plan),
        remarks=tuple(_as_drawn(plan)),
    )


def _as_drawn(plan: Plan) -> Iterator[str]:
    """Yield remarks on constants that keep their random initial values."""
    if not plan.constants or plan.spec.get("model", {}).get("pretrained"):
        return
    names = {name.rpartition(".")[2] for name in plan.constants}
    if names - _STATISTICS:
        yield "constants keep their random initial values: model.pretrained names no file"
    if names & _STATISTICS:
        yield "batch norm is frozen at mean 0 and variance 1, which normalises nothing: model.pretrained names no file"


def _traffic(plan: Plan, each: int) -> Traffic:
    """Return the traffic in one direction, of `each` bytes a client and round."""
    tasks = plan.arrays["task_clients"]
    return Traffic(each_time=each, busiest_client=each * int(np.bincount(tasks).max()), total=each * len(tasks))


def _times(names: list[str], plan: Plan) -> dict[str, TimeEstimate]:
    rehearsals = {name: find_backend(name).rehearse(plan) for name in names}
    return {
        name: TimeEstimate(
            seconds=rehearsal.seconds_a_round * plan.num_rounds,
            seconds_a_round=rehearsal.seconds_a_round,
            num_steps_measured=rehearsal.num_steps,
        )
        for name, rehearsal in rehearsals.items()
        if rehearsal
    }


def _problems(name: str, plan: Plan) -> tuple[str, ...]:
    try:
        return tuple(find_backend(name).refusals(plan))
    except InputError as error:
        return (str(error),)


def _parts(plan: Plan, ends: str) -> NDArray[Any]:
    """Return the lengths of consecutive parts, given their ends."""
    return np.diff(plan.arrays[ends], prepend=0)
