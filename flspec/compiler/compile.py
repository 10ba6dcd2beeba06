"""Compilation of a Spec into a Plan. Every random draw of an experiment is made here, once."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flspec.compiler.acting_parts import code_digests
from flspec.compiler.algorithm_needs import check_algorithm
from flspec.compiler.client_data import assign_examples
from flspec.compiler.enough_updates import check_enough_updates
from flspec.compiler.evaluation import check_evaluation, planned_evaluation, planned_stop, why_undefined
from flspec.compiler.faults import PlannedFaults
from flspec.compiler.foreign_parts import naming_parts
from flspec.compiler.initial_weights import start_tensors
from flspec.compiler.masked_sums import sum_remarks
from flspec.compiler.modes import TrainedOn, as_carried_out
from flspec.compiler.networks import Networks, described, layers_without_variance, networks_for, tensors_of
from flspec.compiler.phases import count_slot_values, planned_phases, planned_steps
from flspec.compiler.pictures import planned_pictures
from flspec.compiler.placements import placements
from flspec.compiler.private import check_bounded, made_private
from flspec.core.components import named_part
from flspec.core.locations import searching_beside
from flspec.core.part_files import part_files_in_use, using
from flspec.core.randomness import Stream
from flspec.data.examples import Data
from flspec.data.store import store_data
from flspec.errors import DataRemark, InputError, Problem, SpecError, shorten
from flspec.faults import ExampleFault, UpdateFault
from flspec.layers import Placement, Tensor, draws_in_training
from flspec.phases import Phase
from flspec.protocol.batch_rule import BatchRule, DrawnBatches, of_task
from flspec.protocol.plan import ClientTask, Plan
from flspec.protocol.settings import ClipSettings, PartSettings, PictureSettings, PlanSettings
from flspec.samplers import Sampler
from flspec.spec.evaluation import measured_metrics
from flspec.spec.loading import validate_draft
from flspec.spec.overlays import Draft, compose
from flspec.spec.places import naming_places
from flspec.spec.rules import contradictions
from flspec.spec.spec import Spec
from flspec.spec.study import Cell

__all__ = ["compile", "data_root"]

# What a plan holds. With more batches it holds what they follow from, so these two are part of what a digest covers.
_MOST_INDICES, _MOST_BATCHES = 2**28, 2**24
_MOST_TASKS = 2**24
_MOST_KEPT = 2**30  # bytes of client state of all clients together; a run holds about five copies
_PLACEMENTS: tuple[Placement, ...] = ("server", "plan", "client")


def compile(spec: Spec | Cell | str | Path, data: Path | None = None) -> Plan:
    """Compile a spec, a cell of a study, or the spec in a file, into a plan: make every decision that it leaves open.

    `data` is the folder below which data sets are found, by default `data_root()`; what is not there is looked for in
    the folder of the spec's file. The examples are put into the store,
    where the processes of every backend find them. Raises InputError if the spec cannot be carried out, with the place
    of each field that is at fault if the spec was read from a file.
    """
    written, draft = _read(spec)
    with (
        using(written.part_files),
        naming_places(draft),
        naming_parts(written),
        searching_beside(written.folders),
    ):
        return _compiled(written, data)


def _read(spec: Spec | Cell | str | Path) -> tuple[Spec, Draft | None]:
    """Return a spec with the draft that it was read from, if there is one."""
    if isinstance(spec, Spec):
        return spec, None
    if isinstance(spec, Cell):
        return spec.spec, spec.draft
    draft = compose(Path(spec))
    return validate_draft(draft), draft


def _compiled(written: Spec, data: Path | None) -> Plan:
    if found := contradictions(dict(written)):
        raise SpecError([Problem(one.message, ".".join(one.path)) for one in found])
    spec, root, folder = as_carried_out(written), Stream(written.seed), data or data_root()
    examples = spec.dataset.load(folder, root.child("dataset"))
    for remark in spec.dataset.urgent_remarks(examples):
        warnings.warn(f"dataset: {remark}", DataRemark, stacklevel=3)
    check_evaluation(spec, examples)
    separate, holdout = assign_examples(spec.partition, replace(examples.examples, root=folder), root)
    clients = TrainedOn(separate, is_pooled=spec.mode == "centralized")
    if wrong := spec.cohort.why_invalid(len(clients)):
        raise SpecError([Problem(wrong, "cohort")])
    whole, rule = clients.whole, _batch_rule(spec)
    spec = spec.model_copy(update={"cohort": spec.cohort.for_clients(whole.sizes, folder)})
    spec, privacy = made_private(spec, whole.sizes, rule, partial(_cohort_of_round, spec, len(clients)))
    networks = networks_for(spec, examples)
    phases = planned_phases(spec, networks, examples.input_shape)
    parameters = placements(spec, tensors_of(networks))
    check_algorithm(spec, parameters)
    check_bounded(parameters, privacy)
    tensors = start_tensors(spec.model, parameters, folder, root.child("weights"), networks=networks)
    pictures, features = None, dict[str, NDArray[np.float32]]()
    if spec.client.objective.is_generative:
        pictures, features = planned_pictures(spec.evaluation, examples, folder)
    steps = privacy.steps if privacy else None
    draws = bool(steps) or _draws_in_training(spec, networks, phases, examples)
    at = {where: [name for name, tensor in parameters.items() if tensor.placement == where] for where in _PLACEMENTS}
    faults = PlannedFaults(spec.faults, examples, len(clients), spec.rounds, root)
    is_held = _is_held(spec, rule, clients)
    plan = Plan.build(
        settings=replace(
            _settings(spec, examples, networks, phases, parameters, pictures, root),
            privacy=privacy.facts if privacy else None,
            private_steps=steps,
            batch_rule=None if is_held else rule,
        ),
        weights={name: tensors[name] for name in at["server"]},
        constants={name: tensors[name] for name in at["plan"]},
        local={name: tensors[name] for name in at["client"]},
        clients=whole,
        pooled=None if is_held or len(clients) == len(separate) else separate.ends,
        holdout=holdout,
        rounds=(
            faults.applied(number, tasks) for number, tasks in enumerate(_rounds(spec, rule, clients, draws), start=1)
        ),
        rates={who: factors[: spec.rounds] for who, factors in _rates(spec, written.rounds).items()},
        round_seeds=_round_seeds(spec, root),
        features=features,
        spec=written.model_dump(mode="json"),
    )
    if log := faults.log:
        examples = faults.examples()
        settings = replace(plan.settings, data=examples.describe())
        plan = replace(plan, settings=settings, arrays={**plan.arrays, **log})
    _check_clients(spec, networks, parameters, examples, plan)
    for remark in sum_remarks(spec.secure_aggregation, plan):
        warnings.warn(f"secure_aggregation: {remark}", DataRemark, stacklevel=3)
    store_data(examples)
    return plan


def _draws_in_training(spec: Spec, networks: Networks, phases: Sequence[Phase], examples: Data) -> bool:
    """Return whether a task draws random numbers, privacy's aside."""
    return (
        any(draws_in_training(network) for network in networks.values())
        or any(phase.draws for phase in phases)
        or any(transform.is_random for transform in examples.train.transforms)
        or (spec.compression is not None and spec.compression.is_random)
    )


def data_root() -> Path:
    """Return the folder of data sets: `$FLSPEC_DATA`, else `data` in the working folder."""
    return Path(os.environ.get("FLSPEC_DATA") or "data")


def _rounds(spec: Spec, rule: BatchRule, clients: TrainedOn, draws: bool) -> Iterator[list[ClientTask]]:
    """Yield the tasks of each round's cohort. `draws`: whether training itself draws random numbers."""
    root, used = Stream(rule.seed), clients.num_used(rule)
    steps = rule.num_steps(used)
    for number in range(1, spec.rounds + 1):
        cohort = _cohort_of_round(spec, len(clients), number)
        repeats = np.arange(len(cohort)) - np.searchsorted(cohort, cohort)  # equal clients stand together
        yield [
            ClientTask(
                client=client,
                weight=spec.aggregator.client_weight(num_used),
                batches=DrawnBatches(rule, clients.of(client), (number, client, repeat), num_steps),
                seed=_seed(of_task(root, "transforms", number, client, repeat)) if draws else 0,
            )
            for client, repeat, num_used, num_steps in zip(
                cohort.tolist(), repeats.tolist(), used[cohort].tolist(), steps[cohort].tolist(), strict=True
            )
        ]


def _batch_rule(spec: Spec) -> BatchRule:
    """Return how the batches of a spec's tasks are drawn."""
    work = spec.client
    return BatchRule(
        batch_size=work.batch_size,
        seed=spec.seed,
        epochs=work.epochs,
        steps=work.steps,
        max_examples=work.max_examples,
        shuffle=work.shuffle,
        batch_across_epochs=work.batch_across_epochs,
        by_coins=spec.privacy is not None and spec.privacy.in_training,
    )


def _settings(
    spec: Spec,
    examples: Data,
    networks: Networks,
    phases: Sequence[Phase],
    parameters: Mapping[str, Tensor],
    pictures: PictureSettings | None,
    root: Stream,
) -> PlanSettings:
    """Return the settings of the plan: the parts of a spec that a run acts on and that need no random draw."""
    clip, schedule, algorithm = spec.client.clip, spec.client.optimizer.schedule, spec.client.algorithm
    objective, part_files = spec.client.objective, part_files_in_use()
    counts_epochs = (schedule and not schedule.is_planned) or (algorithm and algorithm.counts_epochs)
    settings = PlanSettings(
        data=examples.describe(),
        **described(networks),
        **planned_steps(spec, networks, phases, root.child("pictures")),
        aggregator=spec.aggregator.model_dump(mode="json", exclude={"schedule"}),
        evaluation=planned_evaluation(
            spec.evaluation, measured_metrics(spec.evaluation, objective.is_generative), examples, pictures
        ),
        weights=(),  # named with the tensors themselves
        statistics=tuple(n for n, tensor in parameters.items() if not tensor.is_learned and tensor.placement != "plan"),
        clip=ClipSettings(clip.norm, clip.by) if clip else None,
        epochs=(spec.client.epochs or 0) if counts_epochs else 0,
        label_weights=spec.client.label_weights or (),
        client_algorithm=algorithm.model_dump(mode="json") if algorithm else None,
        postprocessors=tuple(part.model_dump(mode="json") for part in spec.postprocessors),
        compression=spec.compression.model_dump(mode="json") if spec.compression else None,
        faults=tuple(fault.model_dump(mode="json") for fault in spec.faults),
        min_clients=spec.min_clients,
        stop=planned_stop(spec.stop),
        secure_aggregation=spec.secure_aggregation.model_dump(mode="json") if spec.secure_aggregation else None,
        parts=PartSettings(part_files.files, part_files.sources) if part_files else None,
    )
    return replace(settings, code=code_digests(settings))


def _rates(spec: Spec, rounds: int) -> dict[str, list[float]]:
    """Return the learning rate factors in each round of the client and the server, where a schedule changes them."""
    fields = {"client": "client.optimizer.schedule", "server": "aggregator.schedule"}
    schedules = {"client": spec.client.optimizer.schedule, "server": spec.aggregator.schedule}
    rates: dict[str, list[float]] = {}
    for who, schedule in schedules.items():
        if schedule is None or not schedule.is_planned:
            continue
        factors = [float(schedule.factor(number, rounds)) for number in range(1, rounds + 1)]
        if wrong := [number for number, factor in enumerate(factors, start=1) if not 0.0 <= factor < math.inf]:
            raise InputError(
                f"{fields[who]}: {named_part(schedule, 'factor')} gives {factors[wrong[0] - 1]} in round {wrong[0]}, "
                "but a learning rate is multiplied by 0 or more; this is a defect of the schedule"
            )
        if any(factor != 1.0 for factor in factors):
            rates[who] = factors
    return rates


def _round_seeds(spec: Spec, root: Stream) -> list[int]:
    """Return the seed of the draws in each round that are no client's own; empty if no part makes any."""
    attacks = [fault for fault in spec.faults if isinstance(fault, UpdateFault)]
    draws = [*(part.is_random for part in spec.postprocessors), *(attack.is_random for attack in attacks)]
    if not any(draws) and spec.secure_aggregation is None:
        return []
    numbers = range(1, spec.rounds + 1)
    return [_seed(root.child("postprocessors", number)) for number in numbers]


def _seed(stream: Stream) -> int:
    """Draw a seed that an int64 holds."""
    return int(stream.words(1)[0] >> np.uint64(1))


def _is_held(spec: Spec, rule: BatchRule, clients: TrainedOn) -> bool:
    """Return whether a plan holds its batches, by the mean client; else it holds what they follow from.

    Raises InputError if a plan can hold neither.
    """
    used = clients.num_used(rule)
    steps = np.full(len(used), rule.steps) if rule.steps else (rule.epochs or 1) * -(-used // rule.batch_size)
    examples = steps * np.minimum(used, rule.batch_size) if rule.steps else (rule.epochs or 1) * used
    drawn = len(_cohort(spec.cohort, 1, len(clients), Stream(spec.seed, "size")))
    cohort = spec.cohort.sampling(len(clients)).expected if spec.cohort.may_be_empty else drawn
    num_batches, num_indices = (round(spec.rounds * cohort * float(each.mean())) for each in (steps, examples))
    if num_batches <= _MOST_BATCHES and num_indices <= _MOST_INDICES:
        return True
    if spec.rounds * cohort > _MOST_TASKS:
        raise InputError(
            f"rounds: {spec.rounds:,} rounds of {cohort:,.0f} clients are {round(spec.rounds * cohort):,} tasks, but a "
            f"plan holds {_MOST_TASKS:,}; lower rounds or cohort.size"
        )
    if (largest := int(rule.most_trained(used).max())) > _MOST_INDICES:
        raise InputError(
            f"client.{'steps' if rule.steps else 'epochs'}: a client trains on {largest:,} examples in a round, each "
            f"counted as often as it is used, but a task has {_MOST_INDICES:,} at most; lower it, or raise rounds"
        )
    for n, fault in enumerate(spec.faults):
        if isinstance(fault, ExampleFault):
            message = (
                f"{fault.title} changes the examples of batches, so the plan would hold {num_batches:,} batches of "
                f"{num_indices:,} examples, but it holds {_MOST_BATCHES:,} and {_MOST_INDICES:,}; lower rounds or "
                "cohort.size, or leave it out"
            )
            raise SpecError([Problem(message, f"faults.{n}")])
    return False


def _cohort_of_round(spec: Spec, num_clients: int, number: int) -> NDArray[np.int64]:
    return _cohort(spec.cohort, number, num_clients, Stream(spec.seed).child("cohort"))


def _cohort(sampler: Sampler, number: int, num_clients: int, stream: Stream) -> NDArray[np.int64]:
    """Draw a round's cohort and check what samplers promise: clients in ascending order, mostly different ones."""
    cohort = np.asarray(given := sampler.cohort_of(number, num_clients, stream))
    if cohort.ndim != 1 or (len(cohort) and cohort.dtype.kind not in "iu"):
        raise InputError(
            f"cohort: {named_part(sampler, 'cohort')} chose {shorten(' '.join(repr(given).split()))}, which are not "
            "whole numbers in one list; this is a defect of the sampler"
        )
    if sampler.may_be_empty and not len(cohort):
        return cohort
    step, some = (0, "clients") if sampler.may_repeat else (1, "different clients")
    if not len(cohort) or cohort.min() < 0 or cohort.max() >= num_clients or (np.diff(cohort) < step).any():
        raise InputError(
            f"cohort: {named_part(sampler, 'cohort')} chose {cohort[:8].tolist()}, which is not one or more {some} of "
            f"{num_clients} in ascending order; this is a defect of the sampler"
        )
    return cohort


def _nothing_stays(spec: Spec) -> str:
    return "leave out model.local" if spec.model.local else "model.batch_norm: frozen"


def _check_clients(
    spec: Spec,
    networks: Networks,
    parameters: Mapping[str, Tensor],
    examples: Data,
    plan: Plan,
) -> None:
    """Raise InputError if clients cannot do their tasks, or have none."""
    check_enough_updates(spec, plan)
    _check_plateau(spec, examples)
    if spec.cohort.may_repeat and plan.local:
        message = (
            f"may draw a client several times in a round, but {next(iter(plan.local))} stays with each client from "
            f"round to round; choose cohort: {{kind: uniform}}, or {_nothing_stays(spec)}"
        )
        raise SpecError([Problem(message, "cohort")])
    single = [name for network in networks.values() for name in layers_without_variance(network)]
    if single and 1 in plan.batch_sizes:
        raise InputError(
            f"client.batch_size: some batches hold one example, whose one value a channel at {single[0]} has no "
            "variance for batch norm; choose another batch size, larger pictures, or model.batch_norm: frozen"
        )
    own = sum(math.prod(tensor.shape) for tensor in parameters.values() if tensor.placement == "client")
    own += count_slot_values(spec, parameters)
    records = len(spec.client.algorithm.client_slots) if spec.client.algorithm else 0
    records += spec.compression is not None and spec.compression.error_feedback
    if records:
        sent = sum(math.prod(t.shape) for t in parameters.values() if t.is_learned and t.placement == "server")
        own += records * sent
    num_clients = len(plan.participants)
    if 4 * own * num_clients > _MOST_KEPT:
        raise InputError(
            f"mode: {num_clients:,} clients that each keep {4 * own / 2**20:,.1f} MiB from round to round are more "
            f"than the {_MOST_KEPT >> 30} GiB that a run keeps; use fewer clients, or client.optimizer.state: reset"
        )


def _check_plateau(spec: Spec, examples: Data) -> None:
    """Raise SpecError if a schedule follows a metric that is undefined for such labels, so it would never act."""
    metric = getattr(spec.client.optimizer.schedule, "metric", None)
    if metric and (why := why_undefined(metric, spec, examples)):
        message = f"{metric} is always undefined here ({why}), so the learning rate would never fall; use loss"
        raise SpecError([Problem(message, "client.optimizer.schedule.metric")])
