"""Known causes of differences between engines.

A cause is a class with a name, words, and one question: what would the round have given, had this been done in it? Most
answer by having the reference carry out another plan. To add one, write it in a module here and name it in `CAUSES`.
"""

from __future__ import annotations

from flspec.comparison.causes import cohorts, server, training
from flspec.comparison.causes.base import Cause, Guess, Scene, with_cohort

__all__ = ["CAUSES", "Cause", "Guess", "Scene", "with_cohort"]

CAUSES: tuple[Cause, ...] = (
    server.TensorsLeftAsTheyWere(),
    server.UpdateScaled(),
    cohorts.UniformWeights(),
    cohorts.ExampleWeights(),
    cohorts.PartialBatches(),
    cohorts.BatchSkipped(),
    cohorts.BatchRepeated(),
    cohorts.OtherRound(),
    cohorts.ClientLeftOut(),
    server.BiasCorrectionLate(),
    server.BiasCorrectionLeftOut(),
    server.ServersEpsilon(),
    server.PlainMean(),
    server.NoiseOfAnotherRound(),
    server.StatisticsNotAveraged(),
    training.NoMomentum(),
    training.MomentumKept(),
    training.NoWeightDecay(),
    training.ClientsEpsilon(),
    training.NoSchedule(),
    training.NotClipped(),
    training.LabelsAlike(),
    training.NotNormalised(),
    training.OtherDraws(),
    training.LearningRate(),
)
