"""The encodings that `features.py` names: what they read, what their columns are called, and their keys."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.core.cache import content_key
from workbench.core.errors import FeatureError, NotFoundError, near
from workbench.features.definition import FoldFeature
from workbench.features.encodings.learned import Learned, Source, TargetLike
from workbench.features.encodings.split import Split
from workbench.features.encodings.statistics import STATISTICS, Statistic, statistic, weight_of_evidence_of

__all__ = ["TargetEncoding", "target_count", "target_mean", "target_stats", "weight_of_evidence"]

VERSION = 2
"""Of the algorithm; a change of it changes every key."""

EVIDENCE = Statistic("weight_of_evidence", frozenset({"n", "sum"}), weight_of_evidence_of)

Group = str | Sequence[str]


@dataclass(frozen=True)
class _Column:
    name: str
    target: int
    of_class: int | None
    statistic: Statistic


@dataclass
class TargetEncoding(FoldFeature):
    """Statistics of the target over the rows of a group, none of which a row learns from its own label.

    Made by `target_mean`, `target_count`, `weight_of_evidence` and `target_stats`.

    Attributes
    ----------
    kind : str
        What made it.
    groups : tuple of tuples of str
        Each a group of its own: the columns that define it.
    statistics : tuple of Statistic
    smoothing : float
    target : str, or sequence of str, or None
        Which target columns: names, "all", or None for the one that the model is trained for.
    suffixed : bool
        Whether the columns' names end with the statistic's.
    """

    kind: str
    groups: tuple[tuple[str, ...], ...]
    statistics: tuple[Statistic, ...]
    smoothing: float = 0.0
    target: str | tuple[str, ...] | None = None
    suffixed: bool = False
    name: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        self.columns = tuple(dict.fromkeys(column for group in self.groups for column in group))

    @property
    def key(self) -> str:
        """The content key of the definition."""
        target = list(self.target) if isinstance(self.target, tuple) else self.target
        groups = [list(group) for group in self.groups]
        return content_key(self.kind, VERSION, groups, [s.key for s in self.statistics], float(self.smoothing), target)

    def each(self) -> list[TargetEncoding]:
        """Return an encoding for each of its groups; where there are several, their names end with the columns'."""
        if len(self.groups) == 1:
            return [self]
        return [replace(self, groups=(g,), name="_".join((self.name, *g)).replace(".", "_")) for g in self.groups]

    def check(self, task: str, targets: Sequence[str]) -> None:
        """Refuse a competition that it does not fit.

        Raises
        ------
        FeatureError
            When the statistic does not fit the task.
        NotFoundError
            For an unknown target column, with the near names.
        """
        if EVIDENCE in self.statistics and task not in ("binary", "multiclass"):
            raise FeatureError(
                f"{self.name}: weight_of_evidence compares classes; the task is {task!r}",
                hint="target_mean is for numbers",
            )
        for name in self._named():
            if name not in targets:
                raise NotFoundError(
                    f"{self.name}: target={name!r} is no target column", hint=near(name, targets, kind="target")
                )

    def names(self, targets: Sequence[TargetLike], target_index: int) -> list[str]:
        """Return the names of its columns where the model is trained for ``targets[target_index]``."""
        return [name for one in self.each() for name in (column.name for column in one._columns(targets, target_index))]

    def learn(
        self, groups: npt.NDArray[Any], targets: Sequence[TargetLike], target_index: int, split: Split
    ) -> Learned:
        """Return what gives the columns of each fold.

        Parameters
        ----------
        groups : int array (n_rows,)
            The group of each row, train first, from 0 up.
        targets : sequence of TargetLike
            All target columns, of n_train values each.
        target_index : int
            Which of them the model is trained for.
        split : Split
        """
        sources: list[tuple[Source, list[Statistic]]] = []
        for column in self._columns(targets, target_index):
            source = Source(targets[column.target], column.of_class)
            if not sources or sources[-1][0] != source:
                sources.append((source, []))
            sources[-1][1].append(column.statistic)
        if EVIDENCE in self.statistics:
            for source, _ in sources:
                _check_classes(self.name, source)
        return Learned(groups, sources, split, self.smoothing)

    def encode(
        self, groups: npt.NDArray[Any], target: npt.NDArray[np.float64], split: Split, fold: int
    ) -> npt.NDArray[np.float32]:
        """Compute the columns of one fold.

        Parameters
        ----------
        groups : int array (n_rows,)
        target : float array (n_train, width)
            One column for a number or a binary target, one of zeros and ones per class for a multiclass one.
        split : Split
        fold : int

        Returns
        -------
        float32 array (n_rows, n_columns)
        """
        return np.column_stack(self.learn(groups, [_ArrayTarget(target)], 0, split).columns(fold))

    def _named(self) -> tuple[str, ...]:
        if isinstance(self.target, tuple):
            return self.target
        return () if self.target in (None, "all") else (str(self.target),)

    def _columns(self, targets: Sequence[TargetLike], target_index: int) -> list[_Column]:
        target_names = [t.name for t in targets]
        wanted = [target_names.index(name) for name in self._named()] or (
            range(len(target_names)) if self.target else [target_index]
        )
        columns: list[_Column] = []
        for i in wanted:
            stem = f"{self.name}_{target_names[i]}" if self.target else self.name
            several = targets[i].width > 1
            for number, label in enumerate(targets[i].labels):
                prefix, of_class = (f"{stem}_{label}", number) if several else (stem, None)
                for s in self.statistics:
                    suffix = f"_{s.name}" if self.suffixed else ""
                    if s.of_labels:
                        columns.append(_Column(prefix + suffix, i, of_class, s))
                    elif i == wanted[0] and number == 0:
                        columns.append(_Column(self.name + suffix, i, of_class, s))
        return columns


class _ArrayTarget:
    """A target given as an array of numbers, or of zeros and ones per class."""

    def __init__(self, target: npt.NDArray[np.float64]) -> None:
        self.name = "target"
        self.width = target.shape[1]
        self.labels = [str(i) for i in range(self.width)]
        self.values = target[:, 0] if self.width == 1 else target.argmax(axis=1).astype(np.float64)


def _check_classes(name: str, source: Source) -> None:
    values = source.values()
    other = values[(values != 0) & (values != 1)]
    if len(other):
        raise FeatureError(
            f"{name}: weight_of_evidence compares classes; target {source.target.name!r} has values such as "
            f"{other[0]:g}",
            hint="target_mean is for numbers",
        )


# ---------------------------------------------------------------------------------------------------- what is called


def target_mean(*columns: Group, smoothing: float = 20.0, target: str | Sequence[str] | None = None) -> TargetEncoding:
    """Encode a group by the smoothed mean of the target over its rows, without a row ever seeing its own label.

    The value is ``(sum + smoothing * prior) / (count + smoothing)`` (Micci-Barreca 2001), with the prior, the mean of
    all, and the sums taken over the rows that the fold trains on; for a row that is itself trained on, over those in
    other folds, or, in a "time" scheme, over the earlier ones (by the gap and the purge of the folds, where they have
    them). A group with nothing to learn from has the prior; where there is no row at all, the value is missing. For a
    multiclass target there is one column per class.

    Parameters
    ----------
    *columns : str, or lists of str
        The group: columns of ``rows``, or ``"feature.column"`` of another feature. Null is a group like any other.
        Lists are groups of their own: ``target_mean(["carrier"], ["origin", "dest"])`` gives a column for each, named
        after its columns.
    smoothing : float
        How many rows the prior weighs; 0 for the plain mean.
    target : str, or list of str, optional
        Of which target columns: a name, names, or "all"; the columns' names then tell the target. By default the one
        that the model is trained for.

    Examples
    --------
    In ``features.py``, where the name on the left becomes the feature's and the column's name::

        te_route = target_mean("origin", "dest", smoothing=50)

    >>> import numpy as np
    >>> groups, y = np.array([0, 0, 0, 1, 1]), np.array([[1.0], [0.0], [1.0], [0.0]])
    >>> encoding = target_mean("route", smoothing=0)
    >>> encoding.encode(groups, y, Split(valid=np.array([0, 1, 2, 2])), fold=0)[:, 0].tolist()
    [0.5, 1.0, 0.0, 0.0, 0.0]
    """
    return _encoding("target_mean", columns, [STATISTICS["mean"]], smoothing, target)


def target_count(*columns: Group) -> TargetEncoding:
    """Encode a group by how many labelled rows of it the row may learn from: what `target_mean` rests on.

    It is the same for all targets and classes: one column.

    Parameters
    ----------
    *columns : str, or lists of str
        As in `target_mean`.

    Examples
    --------
    In ``features.py``::

        seen_route = target_count("origin", "dest")
    """
    return _encoding("target_count", columns, [STATISTICS["count"]], 0.0, None)


def weight_of_evidence(
    *columns: Group, smoothing: float = 20.0, target: str | Sequence[str] | None = None
) -> TargetEncoding:
    """Encode a group by its weight of evidence for the positive class, without a row ever seeing its own label.

    With p positives and q negatives in the group and P and Q in all, it is ``ln((p / P) / (q / Q))``: the logarithm of
    the factor by which the group changes the odds (Good 1950, "Probability and the Weighing of Evidence", chapter 6;
    in credit scoring Siddiqi 2006). Smoothed, the group is joined by `smoothing` rows of the overall mixture, so that a
    group with nothing to learn from has 0: ``ln((p + s P / n) / (q + s Q / n)) - ln(P / Q)`` with ``n = P + Q``. For a
    multiclass target there is a column per class, for it against the rest. Which rows count is said at `target_mean`.

    Parameters
    ----------
    *columns : str, or lists of str
        As in `target_mean`.
    smoothing : float
        More than 0: without, a group of one class would be infinite.
    target : str, or list of str, optional
        As in `target_mean`.

    Examples
    --------
    In ``features.py``::

        woe_carrier = weight_of_evidence("carrier", smoothing=10)
    """
    if smoothing == 0:
        raise FeatureError(
            "weight_of_evidence: expected smoothing > 0, got 0", hint="without, a group of one class is infinite"
        )
    return _encoding("weight_of_evidence", columns, [EVIDENCE], smoothing, target)


def target_stats(
    *columns: Group,
    stats: Sequence[str | Callable[[npt.NDArray[np.float64]], float]],
    smoothing: float = 20.0,
    target: str | Sequence[str] | None = None,
) -> TargetEncoding:
    """Encode a group by statistics of the target over its rows, without a row ever seeing its own label.

    Each statistic is a column, whose name ends with the statistic's. Which rows count is said at `target_mean`.

    - Smoothed towards the same statistic of all rows, ``(count * value + smoothing * prior) / (count + smoothing)``,
      and the prior itself where the group has too few rows: "mean", "std" (of two rows or more, divided by one less),
      "skew" (of three or more, not corrected for their number), "median", and quantiles such as "q05" or "q97.5"
      (interpolated between two values).
    - As they are: "count", "sum", and "min" and "max", which are missing for a group without rows.
    - A function of the values of a group, an array of one or more in the order of the rows, or of time, that returns a
      number: not smoothed, missing for a group without rows. It is called for every group and set of folds, or, in a
      "time" scheme, for the past of every row, and so takes its time.

    Parameters
    ----------
    *columns : str, or lists of str
        As in `target_mean`.
    stats : sequence of str or callable
        A callable is a function at the top of the file, so that a change of it is noticed.
    smoothing : float
        How many rows the prior weighs; 0 for the plain statistic.
    target : str, or list of str, optional
        As in `target_mean`.

    Examples
    --------
    In ``features.py``::

        delay_route = target_stats("origin", "dest", stats=["mean", "std", "q90"])  # delay_route_mean, …

    >>> [s.name for s in target_stats("origin", stats=["mean", "q90"]).statistics]
    ['mean', 'q90']
    """
    if isinstance(stats, str) or not stats:
        raise FeatureError(
            f"target_stats: stats={stats!r}: expected a list of statistics", hint='stats=["mean", "std"]'
        )
    statistics = [statistic(stat) for stat in stats]
    names = [s.name for s in statistics]
    if len(set(names)) < len(names):
        raise FeatureError(f"target_stats: stats gives a name twice: {', '.join(names)}", hint="leave one out")
    return replace(_encoding("target_stats", columns, statistics, smoothing, target), suffixed=True)


def _encoding(
    kind: str,
    columns: Sequence[Group],
    statistics: Sequence[Statistic],
    smoothing: float,
    target: str | Sequence[str] | None,
) -> TargetEncoding:
    if not all(isinstance(c, str) or (isinstance(c, Sequence) and all(isinstance(n, str) for n in c)) for c in columns):
        raise FeatureError(f"{kind}: expected names of columns, or lists of them, got {list(columns)!r}")
    if not columns or not all(columns):
        raise FeatureError(f"{kind} needs at least one column", hint=f'{kind}("carrier") or {kind}("origin", "dest")')
    if not isinstance(smoothing, int | float) or not math.isfinite(smoothing) or smoothing < 0:
        raise FeatureError(f"{kind}: expected smoothing >= 0, got {smoothing!r}")
    texts = [c for c in columns if isinstance(c, str)]
    groups = (
        [tuple(texts)] if len(texts) == len(columns) else [(c,) if isinstance(c, str) else tuple(c) for c in columns]
    )
    if target is not None and not isinstance(target, str):
        target = tuple(target)
    return TargetEncoding(kind, tuple(groups), tuple(statistics), float(smoothing), target)
