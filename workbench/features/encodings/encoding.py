"""Target encodings as `features.py` declares them: groups, statistics, column names and content keys."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.core.cache import content_key
from workbench.core.errors import FeatureError, NotFoundError, did_you_mean
from workbench.features.definition import FoldFeature
from workbench.features.encodings.learned import Learned, Source, TargetLike
from workbench.features.encodings.split import Split
from workbench.features.encodings.statistics import STATISTICS, Statistic, statistic, weight_of_evidence_of

__all__ = ["TargetEncoding", "target_count", "target_mean", "target_stats", "weight_of_evidence"]

VERSION = 2
"""The version of the algorithm, which is part of every content key."""

EVIDENCE = Statistic("weight_of_evidence", frozenset({"n", "sum"}), weight_of_evidence_of)

Group = str | Sequence[str]


@dataclass(frozen=True)
class _EncodedStatistic:
    """A column: its name, the index of the target, the class (None for numbers), and the statistic."""

    name: str
    target_index: int
    class_index: int | None
    statistic: Statistic


@dataclass
class TargetEncoding(FoldFeature):
    """Statistics of the target over the rows of a group, in which no row uses its own label.

    Created by `target_mean`, `target_count`, `weight_of_evidence` and `target_stats`.

    Attributes
    ----------
    kind : str
        The name of the function that created it.
    groups : tuple of tuples of str
        The columns that define each grouping.
    statistics : tuple of Statistic
    smoothing : float
    target : str, or sequence of str, or None
        The target columns: names, "all", or None for the one that the model predicts.
    suffixed : bool
        Whether the names of the columns end with the name of the statistic.
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
        """Return an encoding for each grouping, named after its columns if there are several."""
        if len(self.groups) == 1:
            return [self]
        return [replace(self, groups=(g,), name="_".join((self.name, *g)).replace(".", "_")) for g in self.groups]

    def check(self, task: str, targets: Sequence[str]) -> None:
        """Check that the encoding fits the competition.

        Raises
        ------
        FeatureError
            When the statistic does not fit the task.
        NotFoundError
            For an unknown target column; the hint has similar names.
        """
        if EVIDENCE in self.statistics and task not in ("binary", "multiclass"):
            raise FeatureError(
                f"{self.name}: weight_of_evidence compares classes; the task is {task!r}",
                hint="target_mean is for numbers",
            )
        for name in self._target_names():
            if name not in targets:
                raise NotFoundError(
                    f"{self.name}: target={name!r} is not a target column",
                    hint=did_you_mean(name, targets, kind="target"),
                )

    def names(self, targets: Sequence[TargetLike], target_index: int) -> list[str]:
        """Return the names of the columns for a model that predicts ``targets[target_index]``."""
        return [column.name for encoding in self.each() for column in encoding._columns(targets, target_index)]

    def learn(
        self, groups: npt.NDArray[Any], targets: Sequence[TargetLike], target_index: int, split: Split
    ) -> Learned:
        """Return an object that computes the columns of each fold.

        Parameters
        ----------
        groups : int array (n_rows,)
            The group of each row as a code from 0; train rows first.
        targets : sequence of TargetLike
            All target columns, of n_train values each.
        target_index : int
            The index of the target that the model predicts.
        split : Split
        """
        sources: list[tuple[Source, list[Statistic]]] = []
        for column in self._columns(targets, target_index):
            source = Source(targets[column.target_index], column.class_index)
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
            A single column for a numeric or binary target; one-hot columns for a multiclass target.
        split : Split
        fold : int

        Returns
        -------
        float32 array (n_rows, n_columns)
        """
        return np.column_stack(self.learn(groups, [_ArrayTarget(target)], 0, split).columns(fold))

    def _target_names(self) -> tuple[str, ...]:
        if isinstance(self.target, tuple):
            return self.target
        return () if self.target in (None, "all") else (str(self.target),)

    def _columns(self, targets: Sequence[TargetLike], target_index: int) -> list[_EncodedStatistic]:
        target_names = [t.name for t in targets]
        indices = [target_names.index(name) for name in self._target_names()] or (
            range(len(target_names)) if self.target else [target_index]
        )
        columns: list[_EncodedStatistic] = []
        for i in indices:
            stem = f"{self.name}_{target_names[i]}" if self.target else self.name
            is_multiclass = targets[i].width > 1
            for number, label in enumerate(targets[i].labels):
                prefix, class_index = (f"{stem}_{label}", number) if is_multiclass else (stem, None)
                for s in self.statistics:
                    suffix = f"_{s.name}" if self.suffixed else ""
                    if s.of_labels:
                        columns.append(_EncodedStatistic(prefix + suffix, i, class_index, s))
                    elif i == indices[0] and number == 0:
                        columns.append(_EncodedStatistic(self.name + suffix, i, class_index, s))
        return columns


class _ArrayTarget:
    """A target from an array: numbers (n, 1), or one-hot classes (n, width)."""

    def __init__(self, target: npt.NDArray[np.float64]) -> None:
        self.name = "target"
        self.width = target.shape[1]
        self.labels = [str(i) for i in range(self.width)]
        self.values = target[:, 0] if self.width == 1 else target.argmax(axis=1).astype(np.float64)


def _check_classes(name: str, source: Source) -> None:
    values = source.values()
    non_binary = values[(values != 0) & (values != 1)]
    if len(non_binary):
        raise FeatureError(
            f"{name}: weight_of_evidence compares classes; target {source.target.name!r} has values such as "
            f"{non_binary[0]:g}",
            hint="target_mean is for numbers",
        )


# ------------------------------------------------------------------------------------------------- public functions


def target_mean(*columns: Group, smoothing: float = 20.0, target: str | Sequence[str] | None = None) -> TargetEncoding:
    """Encode a group by the smoothed mean of the target over its rows; no row uses its own label.

    The value is ``(sum + smoothing * prior) / (count + smoothing)`` (Micci-Barreca 2001), where the prior is the
    overall mean. All of these are computed from the train rows of the fold. For one of these rows itself, only the rows
    in other folds count or, in a "time" scheme, earlier rows (at the distance of the gap and the purge of the folds).
    The value is the prior if no row of the group counts, and missing if no row at all counts. A multiclass target gives
    one column per class.

    Parameters
    ----------
    *columns : str, or lists of str
        The columns that define a group, of ``rows`` or ``"feature.column"`` of another feature. Null is a group like
        any other. Each list is a separate grouping: ``target_mean(["carrier"], ["origin", "dest"])`` gives a column for
        each, named after its columns.
    smoothing : float
        The weight of the prior in rows; 0 for the plain mean.
    target : str, or list of str, optional
        The target columns: a name, names, or "all"; the new columns then have their names in theirs. By default the
        target that the model predicts.

    Examples
    --------
    In ``features.py``, where the name of the variable becomes that of the feature and the column::

        te_route = target_mean("origin", "dest", smoothing=50)

    >>> import numpy as np
    >>> groups, y = np.array([0, 0, 0, 1, 1]), np.array([[1.0], [0.0], [1.0], [0.0]])
    >>> encoding = target_mean("route", smoothing=0)
    >>> encoding.encode(groups, y, Split(valid=np.array([0, 1, 2, 2])), fold=0)[:, 0].tolist()
    [0.5, 1.0, 0.0, 0.0, 0.0]
    """
    return _encoding("target_mean", columns, [STATISTICS["mean"]], smoothing, target)


def target_count(*columns: Group) -> TargetEncoding:
    """Encode a group by the number of train rows that `target_mean` is computed from.

    It is one column, as the number is the same for all targets and classes.

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
    """Encode a group by its weight of evidence for the positive class; no row uses its own label.

    With p positives and q negatives in the group and P and Q in all, it is ``ln((p / P) / (q / Q))``: the logarithm of
    the factor by which the group changes the odds (Good 1950, "Probability and the Weighing of Evidence", chapter 6; in
    credit scoring Siddiqi 2006). For smoothing, `smoothing` rows with the overall class shares are added to the group,
    so that a group without rows has 0: ``ln((p + s P / n) / (q + s Q / n)) - ln(P / Q)`` with ``n = P + Q``. A
    multiclass target gives a column per class, against all others. See `target_mean` for the rows that count.

    Parameters
    ----------
    *columns : str, or lists of str
        As in `target_mean`.
    smoothing : float
        Greater than 0, as groups with a single class would be infinite otherwise.
    target : str, or list of str, optional
        As in `target_mean`.

    Examples
    --------
    In ``features.py``::

        woe_carrier = weight_of_evidence("carrier", smoothing=10)
    """
    if smoothing == 0:
        raise FeatureError(
            "weight_of_evidence: expected smoothing > 0, got 0", hint="groups with a single class would be infinite"
        )
    return _encoding("weight_of_evidence", columns, [EVIDENCE], smoothing, target)


def target_stats(
    *columns: Group,
    stats: Sequence[str | Callable[[npt.NDArray[np.float64]], float]],
    smoothing: float = 20.0,
    target: str | Sequence[str] | None = None,
) -> TargetEncoding:
    """Encode a group by statistics of the target over its rows; no row uses its own label.

    Each statistic is a column, whose name ends with that of the statistic. See `target_mean` for the rows that count.

    - "mean", "std" (ddof 1, of two rows or more), "skew" (biased, of three or more), "median" and quantiles such as
      "q05" or "q97.5" (linear interpolation) are smoothed towards the statistic of all rows, the prior:
      ``(count * value + smoothing * prior) / (count + smoothing)``. Groups with too few rows have the prior.
    - "count", "sum", "min" and "max" are not smoothed; the last two are missing for a group without rows.
    - A function takes the values of a group, an array of at least one value in the order of the rows or of time, and
      returns a number. It is not smoothed, and missing for a group without rows. It is slow: it is called for every
      group and set of folds or, in a "time" scheme, for every row.

    Parameters
    ----------
    *columns : str, or lists of str
        As in `target_mean`.
    stats : sequence of str or callable
        A callable must be a top-level function, so that changes of its code are noticed.
    smoothing : float
        The weight of the prior in rows; 0 for the plain statistic.
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
    single_columns = [c for c in columns if isinstance(c, str)]
    groups = (
        [tuple(single_columns)]
        if len(single_columns) == len(columns)
        else [(c,) if isinstance(c, str) else tuple(c) for c in columns]
    )
    if target is not None and not isinstance(target, str):
        target = tuple(target)
    return TargetEncoding(kind, tuple(groups), tuple(statistics), float(smoothing), target)
