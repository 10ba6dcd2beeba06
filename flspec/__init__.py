"""flspec: write a federated-learning experiment once; know that every backend ran the same thing.

spec = flspec.load_spec("specs/quickstart.yaml")
plan = flspec.compile(spec)
result = flspec.run(plan, backend="local")
certificate = flspec.certify(plan, backends=["local", "flower", "tff"])
comparison = flspec.compare(["runs/a", "runs/b"])
results = flspec.run(spec.with_matrix({"client.epochs": [1, 3]}, seeds=[0, 1, 2]))
print(results.table(metric="accuracy"))
rows = flspec.measurements_of("runs").frame()
classes = flspec.load_model(results[0].folder).predict(x)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flspec.api import dataset_of, load_model, run
    from flspec.comparison.certification import certify
    from flspec.comparison.results import compare
    from flspec.compiler.compile import compile
    from flspec.measurements import measurements_of
    from flspec.spec.loading import load_spec

__all__ = ["certify", "compare", "compile", "dataset_of", "load_model", "load_spec", "measurements_of", "run"]

_HOME = {
    "certify": "flspec.comparison.certification",
    "compare": "flspec.comparison.results",
    "compile": "flspec.compiler.compile",
    "dataset_of": "flspec.api",
    "load_model": "flspec.api",
    "load_spec": "flspec.spec.loading",
    "measurements_of": "flspec.measurements",
    "run": "flspec.api",
}


def __dir__() -> list[str]:
    return [*globals(), *__all__]


def __getattr__(name: str) -> Any:
    """Import each function when it is first asked for, so that a worker with fewer packages can import flspec."""
    if name not in _HOME:
        raise AttributeError(f"module 'flspec' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
