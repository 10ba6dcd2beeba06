"""Base classes of data sets."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from numpy.typing import NDArray
from pydantic import Field, field_validator

from flspec.core.components import Component, OneOf
from flspec.core.locations import candidates, locate
from flspec.core.randomness import Stream
from flspec.data.examples import NORMALISATIONS, Data, Split
from flspec.data.synthetic.twin_cache import PLACES, cached_twin
from flspec.data.synthetic.twins import TwinSize
from flspec.errors import InputError
from flspec.transforms import Transform

if TYPE_CHECKING:
    from flspec.data.readings import FileFacts, Reading

__all__ = ["Dataset", "ImageDataset", "Twinned"]


class Dataset(Component, ABC):
    """A source of examples for training and for evaluation.

    Its files are looked for in the `folder` or `file` that the spec names: absolute, below the data root, or in the
    spec's own folder. Without one, they are looked for in the folder with the kind's name below the data root, then in
    the data root itself, so the folder of any data set can be the data root: `flspec data check DIR --kind KIND`.
    """

    copies_while_read: ClassVar[float] = 1.0  # of all features in memory at once, for the estimate of a plan's memory
    copies_while_encoded: ClassVar[float] = 4.0  # where columns are encoded; texts that are cut take more

    @abstractmethod
    def read(self, root: Path, stream: Stream) -> Data:
        """Read the examples from files below `root`, or draw them from `stream`.

        Raises InputError, which names the file that is missing or wrong.
        """

    def load(self, root: Path, stream: Stream) -> Data:
        """Return the examples of an experiment, with its transforms, or those of its twin. Raises as `read` does."""
        return self.read(root, stream)

    @classmethod
    def write_twin(cls, folder: Path, size: TwinSize, stream: Stream) -> None:
        """Write a small data set that can be learned, in the published layout, into an empty folder."""
        raise InputError(f"kind: {cls.model_fields['kind'].default} has no synthetic twin")

    def findings(self, root: Path) -> Sequence[str]:
        """List what is missing or differs from the published data set. By default, say why it cannot be read."""
        try:
            self.load(root, Stream(0))
        except InputError as error:
            return [str(error)]
        return ()

    def complete(self, root: Path) -> str:
        """Say how many examples there are, in a sentence, once `findings` has found nothing."""
        counts = " + ".join(f"{len(split):,}" for split in self.load(root, Stream(0)).splits.values())
        return f"readable: {counts} examples; there is no published data set to compare them with"

    def reading(self, root: Path) -> Reading | None:
        """Return the columns that are read below `root` and those left out; None if a data set has none of its own.

        Values are not read. Raises InputError if the files are not there.
        """
        return None

    def remarks(self, data: Data) -> Sequence[str]:
        """Return what is worth knowing of the examples that were loaded, a sentence each, with a way out."""
        return ()

    def urgent_remarks(self, data: Data) -> Sequence[str]:
        """Return those of `remarks` that are told whenever a spec is compiled, because training would be in vain."""
        return ()

    def features_of_texts(self, texts: list[str]) -> NDArray[Any] | None:
        """Return texts as features, as reading makes them; None if it needs more than the spec, or examples are none.

        Raises ValueError for a text that no example could have.
        """
        return None

    def file_facts(self, path: Path) -> FileFacts:
        """Return what one file holds and as what it is taken. Raises InputError if it cannot be read at all."""
        raise InputError(
            f"{path}: {type(self).model_fields['kind'].default} is not read from one file; name its folder"
        )

    def suited_to(self, path: Path) -> Self:
        """Return this data set with settings that one file shows and nobody gave, such as the separator of a table."""
        return self

    def as_read_from(self, path: Path) -> dict[str, Any]:
        """Return the section of a spec that reads one file; empty if a file alone is no data set."""
        return {}

    def places(self, root: Path, folder: str | None = None) -> list[Path]:
        """Return the folders in which files are looked for, in order. See the class."""
        if folder:
            found = locate(folder, root, "dataset.folder")
            return [found] if found.exists() else candidates(folder, root, "dataset.folder")  # all, for the error
        return [root / str(type(self).model_fields["kind"].default), root]


class Twinned(Dataset, ABC):
    """A data set that a synthetic twin can replace, so that its experiments run on machines without its files."""

    twin: Annotated[
        TwinSize | None,
        Field(
            description="a synthetic twin in place of the files, none of which is read; flspec makes it once from the "
            "seed, in the layout of the files, and caches it",
            examples=[{"clients": 20, "examples": 400}],
        ),
    ] = None

    @classmethod
    @abstractmethod
    def write_twin(cls, folder: Path, size: TwinSize, stream: Stream) -> None:
        """See `Dataset.write_twin`. The files must be found there by a data set without `folder` or `file`."""

    def load(self, root: Path, stream: Stream) -> Data:
        if self.twin is None:
            return super().load(root, stream)
        kind = str(type(self).model_fields["kind"].default)
        twin_root = cached_twin(type(self), kind, self.twin, stream.child("twin"))
        places = [name for name in PLACES if name in type(self).model_fields]
        return self.model_copy(update=dict.fromkeys(["twin", *places])).load(twin_root, stream)


class ImageDataset(Dataset, ABC):
    """A data set of images, with the transforms and the normalisation that are applied to them."""

    train_transforms: Annotated[
        tuple[OneOf[Transform], ...],
        Field(max_length=16, description="applied to each training image, in this order"),
    ] = ()
    test_transforms: Annotated[
        tuple[OneOf[Transform], ...],
        Field(max_length=16, description="applied to each image for evaluation, in this order; none may be random"),
    ] = ()
    normalise: Annotated[
        Literal["none", "half", "imagenet"],
        Field(description="of pixels from 0 to 1: none; half to -1..1; imagenet by ImageNet's mean and deviation"),
    ] = "none"

    @field_validator("test_transforms")
    @classmethod
    def _draws_nothing(cls, transforms: tuple[Transform, ...]) -> tuple[Transform, ...]:
        for transform in transforms:
            if transform.is_random:
                kind = type(transform).model_fields["kind"].default
                raise ValueError(f"{kind} is random, but evaluation is not; use it in train_transforms only")
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
        mean, std = NORMALISATIONS[self.normalise]
        channels = split.features.shape[1]
        if len(mean) > 1 and channels != len(mean):
            raise InputError(f"dataset.normalise: imagenet is for {len(mean)} channels, these images have {channels}")
        return replace(split, transforms=transforms, mean=mean, std=std)
