"""What a script or notebook calls beyond single functions: runs that know their folders, and matrices of them."""

from flspec.api.results import Results, RunResult
from flspec.api.running import run

__all__ = ["Results", "RunResult", "run"]
