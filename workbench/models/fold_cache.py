"""Data of several folds that stay in memory until their next seed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["FoldCache"]

T = TypeVar("T")


class FoldCache(Generic[T]):
    """A value per fold, made again where it is not in memory.

    Folds are trained in turn, seed by seed, so that the fold that was used longest ago is needed first: where not all
    fit, the latest one makes room.

    Attributes
    ----------
    max_folds : int
        How many values are in memory at most.
    """

    def __init__(self, max_folds: int = 1) -> None:
        self.max_folds = max_folds
        self._values: dict[int, T] = {}

    def get(self, fold: int, make: Callable[[], T]) -> T:
        """Return the value of a fold."""
        if fold in self._values:
            return self._values[fold]
        while self._values and len(self._values) >= self.max_folds:
            self._values.popitem()  # freed before the new one is made: both may not fit
        value = make()
        if self.max_folds:
            self._values[fold] = value
        return value
