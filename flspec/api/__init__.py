"""What a script or notebook calls beyond single functions: runs that know their folders, matrices, models."""

from flspec.api.memory import dataset_of
from flspec.api.models import Model, load_model
from flspec.api.results import Results, RunResult
from flspec.api.running import run

__all__ = ["Model", "Results", "RunResult", "dataset_of", "load_model", "run"]
