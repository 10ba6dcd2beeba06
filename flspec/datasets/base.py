"""The one question a dataset answers: what are the examples?"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from flspec.core.components import Component, OneOf
from flspec.core.locations import locate
from flspec.core.randomness import Stream
from flspec.data.examples import Data, Split
from flspec.data.synthetic.twin_cache import PLACES, cached_twin
from flspec.data.synthetic.twins import TwinSize
from flspec.errors import InputError
from flspec.transforms import Transform

__all__ = ["Dataset", "ImageDataset", "Twinned"]

_NORMALISATIONS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {  # mean and deviation of each channel
    "none": ((), ()),
    "half": ((0.5,), (0.5,)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}


class Dataset(Component, ABC):
    """A source of examples for training and for evaluation.

    Where its files are: in the `folder` or `file` that the spec names, below the data root or absolute; else in the
    folder of the kind's name below the data root; else in the data root itself. So the folder of any data set can be
    given as the data root, as `flspec data check DIR --kind KIND` does.
    """

    @abstractmethod
    def read(self, root: Path, stream: Stream) -> Data:
        """Read (from below `root`) or make (from `stream`) the examples.

        Raises InputError naming the file that is missing or wrong.
        """

    def load(self, root: Path, stream: Stream) -> Data:
        """The examples as an experiment has them; raises as `read` does."""
        return self.read(root, stream)

    @classmethod
    def write_twin(cls, folder: Path, size: TwinSize, stream: Stream) -> None:
        """Write a small data set that can be learned, in the published layout, into an empty folder."""
        raise InputError(f"kind: {cls.model_fields['kind'].default} has no synthetic twin")

    def findings(self, root: Path) -> Sequence[str]:
        """What is missing or differs from what was published, a line each; by default, why it cannot be read."""
        try:
            self.load(root, Stream(0))
        except InputError as error:
            return [str(error)]
        return ()

    def places(self, root: Path, folder: str | None = None) -> list[Path]:
        """The folders in which files are looked for, the first that has them counting; see above."""
        if folder:
            return [locate(folder, root, "dataset.folder")]
        return [root / str(type(self).model_fields["kind"].default), root]


class Twinned(Dataset, ABC):
    """A data set that can be replaced by a synthetic twin, so that its experiments run where it is not."""

    twin: Annotated[
        TwinSize | None,
        Field(
            description="instead of the files, of which none is read, a synthetic twin in their layout, which flspec "
            "makes once from the seed and keeps in its cache",
            examples=[{"clients": 20, "examples": 400}],
        ),
    ] = None

    @classmethod
    @abstractmethod
    def write_twin(cls, folder: Path, size: TwinSize, stream: Stream) -> None:
        """See `Dataset.write_twin`; what is written is found without anything being said of places."""

    def load(self, root: Path, stream: Stream) -> Data:
        if self.twin is None:
            return super().load(root, stream)
        kind = str(type(self).model_fields["kind"].default)
        home = cached_twin(type(self), kind, self.twin, stream.child("twin"))
        places = [name for name in PLACES if name in type(self).model_fields]
        return self.model_copy(update=dict.fromkeys(["twin", *places])).load(home, stream)


class ImageDataset(Dataset, ABC):
    """Images, and what is done to them on their way to the model."""

    train_transforms: Annotated[
        tuple[OneOf[Transform], ...],
        Field(max_length=16, description="done to each image to train on, one after another"),
    ] = ()
    test_transforms: Annotated[
        tuple[OneOf[Transform], ...],
        Field(max_length=16, description="done to each image to evaluate on; none of them random"),
    ] = ()
    normalise: Annotated[
        Literal["none", "half", "imagenet"],
        Field(description="of pixels from 0 to 1: nothing; to -1..1; or by ImageNet's mean and deviation"),
    ] = "none"

    @field_validator("test_transforms")
    @classmethod
    def _draws_nothing(cls, transforms: tuple[Transform, ...]) -> tuple[Transform, ...]:
        for transform in transforms:
            if transform.is_random:
                kind = type(transform).model_fields["kind"].default
                raise ValueError(f"{kind} is random, but evaluation is not; use it in train_transforms alone")
        return transforms

    def load(self, root: Path, stream: Stream) -> Data:
        data = super().load(root, stream)
        return replace(
            data,
            train=self._dressed(data.train, self.train_transforms),
            test=self._dressed(data.test, self.test_transforms),
            validation=self._dressed(data.validation, self.test_transforms) if data.validation else None,
        )

    def _dressed(self, split: Split, transforms: tuple[Transform, ...]) -> Split:
        mean, std = _NORMALISATIONS[self.normalise]
        channels = split.features.shape[1]
        if len(mean) > 1 and channels != len(mean):
            raise InputError(f"dataset.normalise: imagenet is for {len(mean)} channels, these images have {channels}")
        return replace(split, transforms=transforms, mean=mean, std=std)
