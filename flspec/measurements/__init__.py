"""One long table of everything that runs measured, whatever they belong to: a row for each value."""

from flspec.measurements.folders import run_folders
from flspec.measurements.table import Measurement, Measurements, measurements_of
from flspec.measurements.tally import Tally

__all__ = ["Measurement", "Measurements", "Tally", "measurements_of", "run_folders"]
