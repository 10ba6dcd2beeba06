"""Models that make pictures, which are held against real ones in a feature space.

Pictures are compared as bytes, as they would be written into a file, real ones and generated ones alike. Beside each
set stand other real pictures, as many of the training set as the set has (`test/other real`): what a perfect generator
of the training pictures would come to. Real features are computed once a run. If each client has a model of its own,
the pooled holdouts are held against pictures of all models, as many of each.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flspec.data.examples import Data, Split
from flspec.protocol.devices import CPU, Device
from flspec.protocol.plan import Plan
from flspec.protocol.records import FeatureSpaceRecord
from flspec.protocol.settings import FeatureSettings, PictureSettings, write_settings
from flspec.protocol.state import Weights
from flspec.quality import ComparedPictures, Features, Subsets
from flspec.quality.grids import arranged
from flspec.runs.generated import as_pictures, generated, in_parts
from flspec.runs.judging import has_own_models, scorer_of
from flspec.runs.measured import Grid
from flspec.transforms.resize import Resize

__all__ = ["PictureJudge", "feature_space_of"]

_OTHER_REAL = "other real"


class PictureJudge:
    """A judge of models by the pictures that they make."""

    def __init__(self, plan: Plan, data: Data, device: Device = CPU) -> None:
        assert plan.settings.evaluation.pictures
        self.settings: PictureSettings = plan.settings.evaluation.pictures
        self._plan, self._data, self._scorer = plan, data, scorer_of(plan, device)
        self.has_own_models = has_own_models(plan)
        self._real: dict[str, Features] = {}  # by set

    def model(self, weights: Weights) -> _ModelOfPictures:
        return _ModelOfPictures(weights, self)

    def together(self, each: Sequence[ComparedPictures]) -> ComparedPictures:
        share = -(-self.settings.generated // len(each))
        fake = np.concatenate([pictures.fake[:share] for pictures in each])
        return self.compared(np.concatenate([pictures.real for pictures in each]), fake)

    def beside(self, name: str, split: Split) -> Mapping[str, ComparedPictures]:
        train = self._data.train_as_tested
        others = train.part(_evenly(len(train), len(split)))
        return {_OTHER_REAL: self.compared(self.real(name, split), self._features(others))}

    def confusion(self, found: ComparedPictures) -> None:
        return None

    def images(self, models: Mapping[int, _ModelOfPictures]) -> dict[str, Grid]:
        """Return the grid of generated pictures, and one of real ones. Clients' own models get a row each in turn."""
        if not self.settings.rows:
            return {}
        if not self.has_own_models:
            (model,) = models.values()
            return {"generated": Grid(arranged(model.shown, self.settings.columns)), "real": self._real_grid}
        rows, columns = self.settings.rows, self.settings.columns
        clients = tuple([*models][row % len(models)] for row in range(rows))
        parts = [models[client].shown[row * columns : (row + 1) * columns] for row, client in enumerate(clients)]
        return {"generated": Grid(arranged(np.concatenate(parts), columns), clients), "real": self._real_grid}

    @cached_property
    def _real_grid(self) -> Grid:
        test = self._data.test
        shown = _evenly(len(test), self.num_shown)
        return Grid(arranged(self._bytes(test.inputs(shown)), self.settings.columns))

    @property
    def num_shown(self) -> int:
        """The number of pictures in a grid."""
        return self.settings.rows * self.settings.columns

    def compared(self, real: Features, fake: Features) -> ComparedPictures:
        """Return two sets to be compared."""
        settings = self.settings
        count, size = settings.subset_count, settings.subset_size
        pictures = ComparedPictures(real, fake, Subsets(count, size, self._plan.settings.image_seed) if count else None)
        return pictures.standardised() if settings.features.standardise else pictures

    def real(self, name: str, split: Split) -> Features:
        """Return the features of the real pictures of a set."""
        if name not in self._real:
            self._real[name] = self._features(split)
        return self._real[name]

    def made(self, weights: Weights) -> tuple[Features, NDArray[np.uint8]]:
        """Return the features of a model's pictures, and the first of these as bytes, to be shown."""
        num = max(self.settings.generated, self.num_shown)
        features, shown, start = list[Features](), list[NDArray[np.uint8]](), 0
        for made in generated(self._plan, self._scorer, weights, num, self._plan.settings.image_seed):
            features.append(self._features_of(made))
            shown += [self._bytes(made[: self.num_shown - start])] if start < self.num_shown else []
            start += len(made)
        none = np.zeros((0, 1, 1, 1), np.uint8)
        return np.concatenate(features)[: self.settings.generated], np.concatenate(shown or [none])

    def _features(self, split: Split) -> Features:
        shape = self._plan.settings.data.input_shape
        return np.concatenate([self._features_of(split.inputs(rows)) for rows in in_parts(len(split), shape)])

    def _features_of(self, values: NDArray[np.float32]) -> Features:
        """Return the features of model inputs; those of an example that is not finite are no numbers either."""
        is_finite = np.asarray(np.isfinite(values).reshape(len(values), -1).all(axis=1))
        found = self._scorer.features(_prepared(self._bytes(values), self.settings.features))
        return np.where(is_finite[:, None], found, np.float32(np.nan))

    def _bytes(self, values: NDArray[np.float32]) -> NDArray[Any]:
        """Return model inputs as bytes; what is no picture stays as it is."""
        return as_pictures(self._plan, values)


class _ModelOfPictures:
    """One model, whose pictures are made when they are first asked for."""

    def __init__(self, weights: Weights, judge: PictureJudge) -> None:
        self._weights, self._judge = weights, judge

    def on(self, name: str, split: Split) -> ComparedPictures:
        real = self._judge.real(name, split) if len(split) else np.zeros((0, self._made[0].shape[1]))
        return self._judge.compared(real, self._made[0])

    @property
    def shown(self) -> NDArray[np.uint8]:
        """The first of its pictures."""
        return self._made[1]

    @cached_property
    def _made(self) -> tuple[Features, NDArray[np.uint8]]:
        return self._judge.made(self._weights)


def _prepared(pictures: NDArray[Any], features: FeatureSettings) -> Split:
    """Return what the layers of a feature space take, made a batch at a time."""
    transforms = (Resize(size=features.size),) if features.size else ()
    divisor = 255.0 if pictures.dtype == np.uint8 else 1.0
    labels = np.zeros(len(pictures), np.int64)
    return Split(pictures, labels, divisor, features.mean, features.std, transforms=transforms)


def _evenly(num: int, wanted: int) -> NDArray[np.int64]:
    """Return at most so many of the first `num` numbers, at even distances: files are often sorted by class."""
    taken = min(num, wanted)
    return np.arange(taken) * num // taken


def feature_space_of(plan: Plan) -> FeatureSpaceRecord | None:
    """Return what pictures are compared by; None if the model makes none."""
    if (pictures := plan.settings.evaluation.pictures) is None:
        return None
    sha = hashlib.sha256(json.dumps(write_settings(pictures.features), sort_keys=True).encode())
    for name, values in plan.feature_tensors.items():
        sha.update(f"{name} {values.shape}\n".encode() + values.tobytes())
    return FeatureSpaceRecord(title=pictures.features.title, sha256=sha.hexdigest())
