"""Estimate of a round's time on this machine, from a few training steps of the first cohort."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import cycle, islice

import numpy as np
import torch

from flspec.aggregators import ServerSide
from flspec.aggregators.fedavg import FedAvg
from flspec.data.store import open_data
from flspec.execution.parts import aggregator_of, sample_of, scored_networks, step_multiply_adds
from flspec.execution.rounds import initial_state, timed
from flspec.execution.server_step import finish_round
from flspec.phases import draws_of_sample
from flspec.protocol.backend import Rehearsal
from flspec.protocol.plan import ClientTask, Plan
from flspec.protocol.updates import ClientUpdate
from flspec_local.choice import useful_workers
from flspec_torch.private_steps import warm_up
from flspec_torch.scoring import TorchScorer
from flspec_torch.scoring_batches import examples_at_once
from flspec_torch.training import Trainer

_BUDGET = 0.4  # seconds of training to measure at least
_MOST_WORK = 2**31  # multiplications in a measured step or scoring, which take less than a second
_MOST_ADDED = 2**24  # parameters of updates in a measured aggregation, which takes some tenths of a second
_MOST_COMBINED = 2**22  # of a rule that is of all pairs of updates


def rehearse(plan: Plan, workers: int, cores: int = 1) -> Rehearsal | None:
    """Measure with so many clients at once, as a run begins with; a long run may go on with one a core.

    None if a single example takes too long.
    """
    plan = replace(plan, noise_key=b"none of a run's")
    work = step_multiply_adds(plan)
    if work > _MOST_WORK:
        return None
    num_examples = _MOST_WORK // max(1, work)
    planned = plan.first_cohort[:workers]
    tasks = [_bounded(task, num_examples) for task in planned]
    full, cut = (sum(max(map(len, task.batches)) for task in some) for some in (planned, tasks))
    if not cut:
        return None
    if plan.settings.private_steps:
        warm_up()
    seconds_a_step, num_steps, updates = _train(plan, tasks)
    step = seconds_a_step * full / cut
    train = step * _mean_steps_in_a_row(plan, useful_workers(plan, workers, step, cores))
    return Rehearsal(train + _aggregate(plan, updates) + _evaluate(plan, num_examples), num_steps)


def _train(plan: Plan, tasks: Sequence[ClientTask]) -> tuple[float, int, list[ClientUpdate]]:
    """Train clients side by side. Returns the seconds for a step, the number of steps, and the last updates."""
    trainer, start = Trainer(plan), initial_state(plan)
    with ThreadPoolExecutor(len(tasks), initializer=torch.set_num_threads, initargs=(1,)) as pool:

        def train(task: ClientTask) -> ClientUpdate:
            return trainer.train_from(start, task)

        def seconds(steps: int) -> tuple[float, list[ClientUpdate]]:
            lap = timed()
            shortened = [replace(task, batches=tuple(islice(cycle(task.batches), steps))) for task in tasks]
            updates = list(pool.map(train, shortened))
            return lap(), updates

        first, updates = seconds(1)  # this also reads the data, and torch chooses its algorithms
        if first > _BUDGET:
            return first, len(tasks), updates
        once, _ = seconds(1)
        # Short tasks are measured whole, because their beginning and end count too.
        steps = max(1, min(*(len(task.batches) for task in tasks), int(_BUDGET / 2 / once)))
        spent, taken = 0.0, 0
        while spent < _BUDGET:
            elapsed, updates = seconds(steps)
            spent, taken = spent + elapsed, taken + steps
    return spent / taken, taken * len(tasks), updates


def _bounded(task: ClientTask, num_examples: int) -> ClientTask:
    """Return the task with batches cut to at most `num_examples`."""
    return replace(task, batches=tuple(batch[:num_examples] for batch in task.batches))


def _mean_steps_in_a_row(plan: Plan, workers: int, most_rounds: int = 50) -> float:
    """Return the mean, over some rounds, of the steps of the worker that ends last. Each free worker takes a task."""
    ends = plan.arrays["round_task_ends"]
    steps = np.diff(plan.arrays["task_batch_ends"], prepend=0)
    picked = np.unique(np.linspace(0, plan.num_rounds - 1, most_rounds).astype(int))
    longest = []
    for number in picked:
        taken = [0] * workers
        for task in steps[(ends[number - 1] if number else 0) : ends[number]]:
            taken[taken.index(min(taken))] += int(task)
        longest.append(max(taken))
    return float(np.mean(longest))


def _aggregate(plan: Plan, updates: Sequence[ClientUpdate]) -> float:
    """Measure the seconds of the server's half: those of its step, and those that each update adds."""
    # One update stands for several, which a private round would not take, nor attackers know, nor masks fit.
    plan = replace(plan, settings=replace(plan.settings, privacy=None, faults=(), secure_aggregation=None))
    state = initial_state(plan)
    cohort, combining = len(plan.arrays["task_clients"]) / plan.num_rounds, 0.0
    if any(aggregator_of(plan).needs()):
        combining = _combine(plan, updates, math.ceil(cohort))
        plan = replace(plan, settings=replace(plan.settings, aggregator=FedAvg().model_dump(mode="json")))
    several = min(max(2, _MOST_ADDED // max(1, sum(weight.size for weight in plan.weights.values()))), 64)
    lap = timed()
    finish_round(plan, state, updates[:1])
    one = lap()
    finish_round(plan, state, list(islice(cycle(updates), several)))
    return combining + one + max(0.0, lap() - one) / (several - 1) * (cohort - 1)


def _combine(plan: Plan, updates: Sequence[ClientUpdate], cohort: int) -> float:
    """Measure the seconds of a rule that few updates are not enough for, on some coordinates of a whole cohort's."""
    rule, num_values = aggregator_of(plan), sum(weight.size for weight in plan.weights.values())
    share = min(1.0, _MOST_COMBINED / cohort / max(1, num_values))
    parts = {name: slice(math.ceil(share * weight.size)) for name, weight in plan.weights.items()}
    cut = [
        replace(update, delta={name: value.reshape(-1)[parts[name]] for name, value in update.delta.items()})
        for update in islice(cycle(updates), cohort)
    ]
    lap = timed()
    rule.combine_with(cut, ServerSide(statistics=plan.statistics))
    return lap() / share


def _evaluate(plan: Plan, num_examples: int) -> float:
    """Measure the seconds of evaluation for each round, scaled up from at most one batch for each core.

    Of pictures it is the time to make them, without that of their features.
    """
    test, sample, pictures = open_data(plan.settings.data).test, sample_of(plan), plan.settings.evaluation.pictures
    whole = pictures.generated if pictures else len(test)
    num = min(whole, num_examples, min(map(examples_at_once, scored_networks(plan))) * (os.cpu_count() or 1))
    scorer, weights = TorchScorer(plan), plan.weights | plan.local
    lap = timed()
    if sample:
        scorer.pictures(weights, draws_of_sample(sample, num, plan.settings.image_seed))
    else:
        scorer.logits(weights, test.part(slice(num)))
    kept = sum(map(plan.keeps, range(1, plan.num_rounds + 1)))
    return lap() * whole / num * kept / plan.num_rounds
