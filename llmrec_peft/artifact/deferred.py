"""Deferred: a sequence whose values are read when the first of them is asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Generic, TypeVar, overload

T = TypeVar("T")


class Deferred(Sequence[T], Generic[T]):
    """A sequence of known length whose values are read when the first of them is asked for."""

    def __init__(self, length: int, read: Callable[[], Sequence[T]]) -> None:
        """Set how many values there are, and what reads them."""
        self._length, self._read = length, read

    @cached_property
    def _values(self) -> Sequence[T]:
        return self._read()

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, at: int) -> T: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[T]: ...
    def __getitem__(self, at: int | slice) -> T | Sequence[T]:
        """Return a value, or several."""
        return self._values[at]
