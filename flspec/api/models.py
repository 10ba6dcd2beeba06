"""Models of finished runs, to be used: predictions as the run's own evaluation makes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flspec.api.inputs import examples_of, no_labels
from flspec.compiler.acting_parts import check_code
from flspec.core.part_files import known_files
from flspec.data.client_names import client_names
from flspec.data.column_types import is_whole
from flspec.data.store import open_data
from flspec.errors import InputError, choose, printable, shorten
from flspec.execution.parts import network_of, sample_of
from flspec.layers import trace
from flspec.metrics import Scores, Undefined
from flspec.protocol.part_scope import part_files_of, using_parts_of
from flspec.protocol.plan import Plan
from flspec.protocol.registry import REFERENCE, find_backend
from flspec.runs.generated import as_pictures, generated
from flspec.runs.judging import has_own_models, scorer_of
from flspec.runs.result import Result, load_result
from flspec.runs.stored_models import stored_model
from flspec.spec.trust import why_not_trusted

if TYPE_CHECKING:
    from flspec.api.results import RunResult

__all__ = ["Model", "load_model"]

_PLAN = "plan"  # folder in a run's folder


class Model:
    """One model of a run, which gives what the run's own evaluation measures, without dropout.

    `x` is what the data set's file has, and flspec encodes, transforms, divides and normalises it as the test set:

    - pictures and other arrays: [num_examples, *shape] as stored, for pictures [num, channels, height, width] of 0..255
    - a table whose columns are encoded: columns by name, as a mapping, a frame or a list of rows
    - any other table: an array of the features, or the columns that the spec's `features` name
    - texts: a list of them

    With `encoded=True` an array has columns or texts as the numbers that they become. What is nothing of the kind is
    refused by InputError, with what was expected. Nothing is trained, drawn or written.
    """

    def __init__(self, plan: Plan, weights: Mapping[str, NDArray[np.float32]], round: int, folder: Path) -> None:
        self.plan, self.round, self.folder = plan, round, folder
        self.weights = {**plan.constants, **weights}
        self._trained = dict(weights)
        for value in self.weights.values():
            value.flags.writeable = False  # a change would reach what the scorer gets, or not

    def __repr__(self) -> str:
        data = self.plan.settings.data
        makes = f"{len(self.classes)} {'labels' if data.multi_label else 'classes'}"
        kind = self.plan.spec["model"]["kind"]
        what = "pictures" if sample_of(self.plan) else makes
        return f"<{kind} of {self.folder} after round {self.round}: {list(data.input_shape)} to {what}>"

    @property
    def classes(self) -> tuple[str | int, ...]:
        """The classes or labels in the order of the outputs: their names in the data set, or their numbers."""
        data = self.plan.settings.data
        names = data.label_names or tuple(map(str, range(data.num_classes)))
        return tuple(map(int, names)) if all(map(is_whole, names)) else names

    def predict(self, x: Any, encoded: bool = False) -> NDArray[Any]:
        """Return the class of each example, as the data set names or numbers it, [num_examples].

        It is that of the largest output, the first of equal ones. If an example may have several labels, return whether
        each label's probability is above one half, bool [num_examples, num_labels].
        """
        scores = self._scores("predict", x, encoded)
        return np.asarray(scores.taken if scores.is_multi_label else np.array(self.classes)[scores.predicted])

    def probabilities(self, x: Any, encoded: bool = False) -> NDArray[np.float64]:
        """Return the probability of each class, or of each label on its own: [num_examples, num_classes].

        Raises InputError if the model learned by a loss whose outputs are no logits.
        """
        scores = self._scores("probabilities", x, encoded)
        try:
            return scores.probabilities
        except Undefined as error:
            raise InputError(f"probabilities: {error}; take outputs") from None

    def outputs(self, x: Any, encoded: bool = False) -> NDArray[np.float32]:
        """Return what the network gives: [num_examples, num_outputs]; one output for two classes is the logit of 1."""
        if sample := sample_of(self.plan):
            raise InputError(
                f"outputs: the model ({self.plan.spec['model']['kind']}) has {len(sample.networks)} networks for "
                "pictures, which it makes and does not judge; take generate"
            )
        with using_parts_of(self.plan.settings):
            examples = examples_of(self.plan, x, encoded)
            if not len(examples):
                network = network_of(self.plan)
                return np.zeros((0, *trace(network)[network.output]), np.float32)
            return scorer_of(self.plan).logits(self._trained, examples)

    def scores(self, x: Any, encoded: bool = False) -> Scores:
        """Return outputs with what follows from them, such as `predicted`, by number, and `probabilities`."""
        return self._scores("scores", x, encoded)

    def inputs(self, x: Any, encoded: bool = False) -> NDArray[np.float32]:
        """Return what the network is given, [num_examples, *input_shape], which `torch()` takes."""
        with using_parts_of(self.plan.settings):
            return examples_of(self.plan, x, encoded).inputs(slice(None))

    def generate(self, num: int, seed: int | None = None) -> NDArray[Any]:
        """Return pictures that the model makes: uint8 [num, channels, height, width]; what are none stay float32.

        More of them begin with the same ones. Without a seed, they are those that the run was evaluated by.
        """
        if sample_of(self.plan) is None:
            raise InputError(f"generate: the model ({self.plan.spec['model']['kind']}) makes no pictures; take predict")
        if num < 1 or (seed is not None and not 0 <= seed < 2**63):
            raise InputError(f"generate: {num} pictures of seed {seed}; give 1 or more, and a seed from 0 to 2^63 - 1")
        with using_parts_of(self.plan.settings):
            drawn_by = self.plan.settings.image_seed if seed is None else seed
            parts = generated(self.plan, scorer_of(self.plan), self._trained, num, drawn_by)
            return np.concatenate([as_pictures(self.plan, part) for part in parts])

    def torch(self) -> Any:
        """Return a `torch.nn.Module` with copies of the weights, in evaluation mode; of several networks a ModuleDict.

        It takes what `inputs` gives. A torch module of one's own is an instance of its class. Raises InputError without
        torch.
        """
        with using_parts_of(self.plan.settings):
            module = find_backend(REFERENCE).torch_module(self.plan, self._trained)
        if module is None:
            raise InputError(f"torch: backend {REFERENCE!r} has no torch; install flspec again")
        return module

    def torch_program(self) -> bytes:
        """Return a file of `torch.export`, which `torch.export.load(FILE).module()` reads without flspec.

        It takes what `inputs` gives, in batches of any size. Raises InputError for a model that torch cannot export.
        """
        return self._exported("torch", find_backend(REFERENCE).torch_program)

    def onnx_model(self) -> bytes:
        """Return the model in ONNX, for batches of any size of what `inputs` gives. Needs onnx and onnxscript.

        Raises InputError for a model that cannot be exported.
        """
        if not all(map(find_spec, ("onnx", "onnxscript"))):
            raise InputError("onnx: needs onnx and onnxscript; install them with: pip install 'flspec[onnx]'")
        return self._exported("onnx", find_backend(REFERENCE).onnx_model)

    def _exported(self, kind: str, export: Callable[[Plan, Mapping[str, Any]], bytes | None]) -> bytes:
        with using_parts_of(self.plan.settings):
            try:
                program = export(self.plan, self._trained)
            except ValueError as error:
                raise InputError(f"{kind}: {printable(shorten(str(error), 200))}; take safetensors") from None
        if program is None:
            raise InputError(f"{kind}: backend {REFERENCE!r} has no torch; install flspec again")
        return program

    def _scores(self, what: str, x: Any, encoded: bool) -> Scores:
        if sample_of(self.plan):
            kind = self.plan.spec["model"]["kind"]
            raise InputError(f"{what}: the model ({kind}) makes pictures and predicts nothing; take generate")
        outputs, settings = self.outputs(x, encoded), self.plan.settings
        with using_parts_of(settings):
            labels = no_labels(settings.data, len(outputs))
            return Scores(outputs, labels, settings.loss, settings.data.label_names)


def load_model(run: str | Path | RunResult, which: str | int = "last", client: int | str | None = None) -> Model:
    """Return the model of a run, by its folder or result: after its `last` round, its `best`, or a round it keeps.

    If parts of the model stay with clients, each has its own, and `client` says whose, by number or natural name.
    Raises InputError if there is no such model, a file is not what the run wrote, or the plan holds code of a folder
    that is not yours (`SECURITY.md`).
    """
    folder = Path(run) if isinstance(run, str | Path) else run.folder
    result = load_result(folder) if isinstance(run, str | Path) else run
    plan = _plan_of(folder, result)
    model = stored_model(folder, plan, result, which)
    with using_parts_of(plan.settings):
        tensors = model.of_client(plan, _client(plan, client))
    return Model(plan, tensors, model.round, folder)


def _plan_of(folder: Path, result: Result) -> Plan:
    plan = Plan.load(folder / _PLAN)
    if plan.digest != result.plan_digest:
        raise InputError(f"{folder}: its result is of another plan than it holds; run it again")
    _check_trust(folder, plan)
    check_code(plan.settings)
    return plan


def _check_trust(folder: Path, plan: Plan) -> None:
    """Raise InputError if the plan would have code imported and its folder is somebody else's."""
    files = part_files_of(plan.settings)
    modules = [layer["module"] for layer in plan.settings.layers if layer["kind"] == "torch_module"]
    if not (files or modules) or (files and known_files(files.package)):  # which this process has imported already
        return
    if why := why_not_trusted(folder / _PLAN, ["plan.json"]):
        named = ", ".join((*(files.files if files else ()), *modules))
        raise InputError(f"{folder}: its plan holds parts ({named}): {why}")


def _client(plan: Plan, client: int | str | None) -> int | None:
    """Return the number of the client whose model is meant; None if all have the same."""
    if not has_own_models(plan):
        if client is not None:
            raise InputError("client: all clients of this run have one model; leave it out")
        return None
    if client is None:
        raise InputError(f"client: each of {plan.num_clients} clients has a model of its own; name one, e.g. client=0")
    if isinstance(client, int) and 0 <= client < plan.num_clients:
        return client
    names = client_names(plan, open_data(plan.settings.data))
    if str(client) not in names:
        raise InputError(f"client: {choose(str(client), names)}")
    return names.index(str(client))
