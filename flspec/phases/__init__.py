"""Phases: what happens in one step of a client that trains several networks, as data in the plan.

A step executes its phases in order. A phase draws numbers, calls networks, adds up a loss, and has one optimizer step.
Engines carry out phases; an objective of `flspec.objectives` writes them. All names are of values: arrays
[rows, *shape], with a row for each example of the step's batch.

1. A phase takes place in the steps whose number in the task, from 0, is a multiple of its `every`.
2. `real`, the batch's inputs after transforms and normalisation, is given. A phase's draws are made when it takes
   place and are its own. What a call makes has a name that later calls, terms and phases may use until the step ends.
3. A call evaluates a network in training with its tensors as they are then. With `detached`, its inputs carry no
   derivative. Batch norm takes the batch's moments and updates its running ones at every call, so a discriminator that
   is called three times in a step updates them three times.
4. A phase's loss is the sum of factor * term. Its gradient is with respect to the learned tensors of its optimizer's
   networks; other tensors are constants. What an earlier phase made keeps its derivation, so a network that made a
   value gets a gradient through it. No optimizer of a network in that derivation may have stepped since
   (`check_phases`): torch would fail there, and other engines would use tensors that are no longer the same.
5. Each optimizer has its own slots and its own count of steps. Phases with one optimizer share them.

A round's training metrics are, for each phase, the mean of its loss by the phase's name, and for each value that its
terms are of, the mean score by the value's name: over the steps in which the phase takes place, weighted by rows.
"""

from flspec.phases.checks import check_phases, check_sample, metric_names, scored_values
from flspec.phases.counts import count_step_multiply_adds, count_step_values
from flspec.phases.documents import REAL, Call, Draw, Phase, Sample, Term, parse_phases, parse_sample
from flspec.phases.draws import draws_of_sample, draws_of_step, masks_of_call, takes_place

__all__ = [
    "REAL",
    "Call",
    "Draw",
    "Phase",
    "Sample",
    "Term",
    "check_phases",
    "check_sample",
    "count_step_multiply_adds",
    "count_step_values",
    "draws_of_sample",
    "draws_of_step",
    "masks_of_call",
    "metric_names",
    "parse_phases",
    "parse_sample",
    "scored_values",
    "takes_place",
]
