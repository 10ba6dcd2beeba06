"""Checks of what parts return in a run. A package's mistake stops the run with the part's name and changes no result.

Without them numpy and torch would broadcast a tensor of another shape, and a record that is missing would be noticed
rounds later, in other code.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flspec.core.components import named_part
from flspec.core.randomness import Stream
from flspec.core.tracebacks import place_of, raised_in
from flspec.errors import FlspecError, RunError, shorten
from flspec.protocol.named_records import Records, Weights
from flspec.protocol.updates import all_finite

__all__ = ["PartCall", "read_only", "read_only_records", "stream_for"]


class PartCall:
    """One method of a part, by the spec's field that names it: turns what goes wrong there into a RunError."""

    def __init__(self, field: str, part: Any, method: str, way_out: str = "") -> None:
        self._method, self._way_out = method, way_out or f"repair {method} there, or remove {field}"
        self._package = type(part).__module__.partition(".")[0]
        self._field, self._part = field, part

    def error(self, what: str) -> RunError:
        """Return the error that the method did `what`."""
        where = f"{self._field}: {named_part(self._part, self._method)}"
        return RunError(f"{where}: {self._method} {' '.join(what.split())}; {self._way_out}")

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Raise RunError, which names the line, in place of whatever the part raises."""
        try:
            yield
        except FlspecError:
            raise
        except SystemExit as stop:
            if not raised_in(stop, self._package):  # a signal, which may arrive at any moment
                raise
            raise self._raised(stop) from stop
        except Exception as error:  # a part may raise anything
            raise self._raised(error) from error

    def _raised(self, error: BaseException) -> RunError:
        place = place_of(error, self._package)
        return self.error(f"raised {type(error).__name__}: {error}{f' in {place}' if place else ''}")

    def pair(self, given: Any, names: str) -> tuple[Any, Any]:
        """Return the two values that the method gave."""
        if not (isinstance(given, tuple) and len(given) == 2):
            raise self.error(f"gave {_kind(given)}, not {names}")
        return given

    def records(self, given: Any, names: Iterable[str], like: Mapping[str, NDArray[Any]]) -> dict[str, Weights]:
        """Return records in float32: exactly those named, each with a tensor for each of `like`, of its shape."""
        names = list(names)
        self._same_names("records", given, names)
        return {name: self.tensors(given[name], like, f"record {name}", np.float32) for name in names}

    def tensors(
        self, given: Any, like: Mapping[str, NDArray[Any]], what: str, dtype: Any = None
    ) -> dict[str, NDArray[Any]]:
        """Return tensors in the order of `like`: its names, of its shapes and, without `dtype`, of its types."""
        self._same_names(what, given, like)
        tensors = {name: self._array(given[name], f"{what}: {name}", dtype or like[name].dtype) for name in like}
        for name, value in tensors.items():
            if value.shape != (planned := like[name].shape):
                raise self.error(f"gave {what}: {name} of shape {list(value.shape)}, not {list(planned)}")
        return tensors

    def record(self, given: Any) -> dict[str, NDArray[Any]]:
        """Return one record in float32: any tensors with finite values, by names without a slash."""
        if not isinstance(given, Mapping):
            raise self.error(f"gave {_kind(given)}, not a record: tensors by name")
        if wrong := [name for name in given if not isinstance(name, str) or not name or "/" in name]:
            raise self.error(f"named a tensor of its record {wrong[0]!r}; a name is text without a slash")
        record = {name: self._array(value, f"record: {name}", np.float32) for name, value in given.items()}
        self.check_finite(record, "record")
        return record

    def sums(self, given: Any) -> dict[str, float]:
        """Return numbers by name."""
        if not isinstance(given, Mapping) or not all(isinstance(name, str) and name for name in given):
            raise self.error(f"gave {_kind(given)}, not sums by name")
        try:
            return {name: float(value.item() if hasattr(value, "item") else value) for name, value in given.items()}
        except (TypeError, ValueError, RuntimeError):
            raise self.error(f"gave sums that are not numbers: {shorten(repr(dict(given)))}") from None

    def numbers(self, given: Any, names: Iterable[str]) -> dict[str, float]:
        """Return exactly the numbers named."""
        self._same_names("numbers", given, names)
        return self.sums({name: given[name] for name in names})

    def check_finite(self, tensors: Mapping[str, NDArray[Any]], what: str) -> None:
        """Raise RunError if a value is not finite."""
        if wrong := [name for name, value in tensors.items() if not all_finite(value)]:
            raise self.error(f"gave {what}: {wrong[0]} with values that are not finite")

    def _same_names(self, what: str, given: Any, names: Iterable[str]) -> None:
        if not isinstance(given, Mapping):
            raise self.error(f"gave {_kind(given)}, not {what} by name")
        if (found := given.keys()) == (expected := set(names)):
            return
        if missing := expected - found:
            raise self.error(f"gave {what} without {_listed(missing)}")
        if others := found - expected:
            raise self.error(f"gave {what} with {_listed(others)}, which should not be there")

    def _array(self, value: Any, what: str, dtype: Any) -> NDArray[Any]:
        try:
            return np.asarray(value, dtype)
        except (TypeError, ValueError, RuntimeError):
            raise self.error(f"gave {what} as {_kind(value)}, not as numbers") from None


class _UndeclaredDraws:
    """In place of the stream of a part that does not declare that it draws, and for which the plan has no seeds."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("a random draw that the class does not declare; give it `is_random = True`")


def stream_for(is_random: bool, stream: Stream) -> Stream:
    """Return the stream, or for a part that does not declare that it draws one that refuses to."""
    return stream if is_random else _UndeclaredDraws()  # type: ignore[return-value]


def read_only(tensors: Weights) -> Weights:
    """Return the same tensors as views that cannot be written: other clients share them."""
    views = {name: np.asarray(value).view() for name, value in tensors.items()}
    for view in views.values():
        view.flags.writeable = False
    return views


def read_only_records(records: Records) -> Records:
    """Return the same records as views that cannot be written."""
    return {name: read_only(tensors) for name, tensors in records.items()}


def _kind(value: Any) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"


def _listed(names: Iterable[Any]) -> str:
    return ", ".join(sorted(map(str, names))) or "none"
