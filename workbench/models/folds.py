"""The fixed split of the train rows into folds: splitters, and the file in which the split is saved.

A split is made once per competition, from its ``[cv]`` table and its train rows. Every experiment reads the same file,
so that scores can be compared fold by fold.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import polars as pl

from workbench.core.cache import atomic, content_key, remove_leftover_files
from workbench.core.errors import ConfigError, DamagedError, DataError, WorkbenchError
from workbench.core.frames import read_parquet
from workbench.core.times import UNITS_PER_SECOND, epoch_unit, has_time_unit, is_iso_text, moments
from workbench.core.user_code import user_code
from workbench.data.competition import own_file
from workbench.models.fold_sizes import read_size_ratios, write_size_ratio
from workbench.platforms.interactions import parse_duration

if TYPE_CHECKING:
    from workbench.data.competition import Competition, CvSpec

__all__ = [
    "Folds",
    "group_column",
    "group_folds",
    "kfold",
    "load_folds",
    "make_folds",
    "saved_content",
    "size_ratios",
    "stratified_folds",
    "stratified_group_folds",
    "time_folds",
    "time_horizon",
    "window_folds",
]

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Folds:
    """A split of n train rows into k folds.

    Attributes
    ----------
    valid : int array (n,)
        The fold that validates each row; -1 for rows that no fold validates, such as the first block of a time split.
    train : bool array (k, n), or None
        Whether fold k trains on the row; None where every fold trains on all rows that it does not validate.
    scheme : str
        The scheme under ``[cv]``, "" where it is unknown; not part of the split's key.
    """

    valid: npt.NDArray[np.int16]
    train: Bools | None = None
    scheme: str = field(default="", compare=False)

    @property
    def n_folds(self) -> int:
        """The number of folds."""
        return int(self.valid.max()) + 1

    @property
    def n_rows(self) -> int:
        """The number of train rows."""
        return len(self.valid)

    @property
    def covered(self) -> Bools:
        """Whether each row gets an OOF prediction, (n,)."""
        return self.valid >= 0

    def train_rows(self, fold: int) -> Ints:
        """Return the ascending train rows of a fold."""
        mask = self.valid != fold if self.train is None else self.train[fold]
        return np.flatnonzero(mask)

    def valid_rows(self, fold: int) -> Ints:
        """Return the ascending validation rows of a fold."""
        return np.flatnonzero(self.valid == fold)

    @property
    def size_ratio(self) -> float:
        """Validation rows over train rows, the mean over the folds; the variance of the mean score depends on it."""
        sizes = [(len(self.valid_rows(k)), len(self.train_rows(k))) for k in range(self.n_folds)]
        return float(np.mean([valid / max(1, train) for valid, train in sizes]))

    @cached_property
    def content(self) -> str:
        """The content key of the split; equal for equal splits."""
        packed = b"" if self.train is None else np.packbits(self.train).tobytes()
        return content_key("folds", self.valid.tobytes(), packed)

    def take(self, rows: Ints) -> Folds:
        """Return the split of a subset of the rows, in the given order."""
        return Folds(self.valid[rows], None if self.train is None else self.train[:, rows], self.scheme)

    def check(self) -> None:
        """Check that every fold has train and validation rows, and no row on both sides.

        Raises
        ------
        DataError
            With the number of the fold.
        """
        # `n_folds` misses trailing folds without validation rows.
        n_folds = self.n_folds if self.train is None else len(self.train)
        for fold in range(n_folds):
            train, valid = self.train_rows(fold), self.valid_rows(fold)
            if not len(train) or not len(valid):
                side = "train" if not len(train) else "validate"
                other = (
                    "a shorter horizon, gap or purge" if self.scheme == "time" and side == "train" else "another scheme"
                )
                raise DataError(
                    f"fold {fold} has no rows to {side} on ({self.n_rows:,} rows, {n_folds} folds)",
                    hint=f"fewer folds, or {other}, under [cv] in competition.toml",
                )
            if self.train is not None and self.train[fold, valid].any():
                raise DataError(
                    f"fold {fold} trains on {int(self.train[fold, valid].sum()):,} of the rows it validates"
                )


# -------------------------------------------------------------------------------------------------------- splitters


def kfold(n_rows: int, folds: int, seed: int) -> Folds:
    """Split at random into folds whose sizes differ by at most one.

    Examples
    --------
    >>> np.bincount(kfold(10, 3, seed=0).valid).tolist()
    [4, 3, 3]
    """
    valid = np.empty(n_rows, np.int16)
    valid[np.random.default_rng(seed).permutation(n_rows)] = np.arange(n_rows) % folds
    return Folds(valid)


def stratified_folds(strata: npt.ArrayLike, folds: int, seed: int) -> Folds:
    """Split so that the rows of each stratum are spread evenly over the folds, to within one row.

    Parameters
    ----------
    strata : array (n,)
        Usually the target; `make_folds` bins a float target with many values into deciles.

    Examples
    --------
    >>> split = stratified_folds([0] * 8 + [1] * 4, 4, seed=0)
    >>> [np.bincount(np.array([0] * 8 + [1] * 4)[split.valid_rows(k)]).tolist() for k in range(4)]
    [[2, 1], [2, 1], [2, 1], [2, 1]]
    """
    codes = np.unique(np.asarray(strata), return_inverse=True)[1]
    shuffled = np.random.default_rng(seed).permutation(len(codes))
    # Rows are dealt to the folds in turn, stratum by stratum; as the next stratum continues with the next fold, the
    # sizes of the folds differ by one at most.
    order = shuffled[np.argsort(codes[shuffled], kind="stable")]
    valid = np.empty(len(codes), np.int16)
    valid[order] = np.arange(len(codes)) % folds
    return Folds(valid)


def group_folds(groups: npt.ArrayLike, folds: int, seed: int) -> Folds:
    """Split so that no group is on both sides, with folds as equal in size as the groups allow.

    Groups go to the smallest fold, largest first (the greedy rule of scikit-learn's ``GroupKFold``); ties are broken
    at random.
    """
    codes = _group_codes(groups, folds)
    sizes = np.bincount(codes)
    order = np.random.default_rng(seed).permutation(len(sizes))
    order = order[np.argsort(-sizes[order], kind="stable")]
    fold_of_group = np.empty(len(sizes), np.int16)
    totals = np.zeros(folds)
    for group in order:
        fold_of_group[group] = smallest = int(np.argmin(totals))
        totals[smallest] += sizes[group]
    return Folds(fold_of_group[codes])


def stratified_group_folds(strata: npt.ArrayLike, groups: npt.ArrayLike, folds: int, seed: int) -> Folds:
    """Split so that no group is on both sides and the strata are spread about evenly over the folds.

    Greedy, as scikit-learn's ``StratifiedGroupKFold``: groups in falling order of the spread of their strata, each to
    the fold that keeps the variance of the strata's shares over the folds lowest.
    """
    codes = _group_codes(groups, folds)
    labels = np.unique(np.asarray(strata), return_inverse=True)[1]
    n_groups, n_labels = int(codes.max()) + 1, int(labels.max()) + 1
    counts = np.bincount(codes * n_labels + labels, minlength=n_groups * n_labels).reshape(n_groups, n_labels)
    share = counts / counts.sum(axis=0)
    order = np.random.default_rng(seed).permutation(n_groups)
    order = order[np.argsort(-share[order].std(axis=1), kind="stable")]
    totals = np.zeros((folds, n_labels))
    fold_of_group = np.empty(n_groups, np.int16)
    for group in order:
        fold_of_group[group] = best = _lowest_variance_fold(totals, share[group])
        totals[best] += share[group]
    return Folds(fold_of_group[codes])


def _lowest_variance_fold(totals: npt.NDArray[np.float64], share: npt.NDArray[np.float64]) -> int:
    # The variance over folds after adding `share` to a fold depends on the fold only by the dot product of its total
    # with `share`, so the lowest product wins; ties go to the fold with the lowest total.
    overlap = totals @ share
    tied = np.flatnonzero(np.isclose(overlap, overlap.min(), rtol=0, atol=1e-12))
    return int(tied[np.argmin(totals[tied].sum(axis=1))])


def _group_codes(groups: npt.ArrayLike, folds: int) -> Ints:
    codes = np.unique(np.asarray(groups), return_inverse=True)[1].astype(np.int64)
    n_groups = int(codes.max()) + 1
    if n_groups < folds:
        raise DataError(
            f"{folds} folds need at least {folds} groups; the group column has {n_groups}",
            hint="fewer folds, or another group column under [cv] in competition.toml",
        )
    return codes


def time_folds(times: npt.ArrayLike, folds: int, *, gap: float = 0, purge: float = 0) -> Folds:
    """Split forward in time: each fold validates a block of time and trains on the rows before it.

    The rows are cut, at time boundaries, into ``folds + 1`` blocks of about equal size; the first is never
    validated. Fold k validates block k + 1 and trains on the rows whose time t obeys ``t + gap + purge <= start`` of
    that block (``t < start`` if both are 0). Rows without a time (NaN) are in no fold, as they may be later than the
    validation rows.

    Parameters
    ----------
    times : array (n,) of numbers
        In any order; rows of equal time are never separated.
    gap : float
        The time between the end of training and the start of validation, as between train and test.
    purge : float
        How far a label looks ahead (López de Prado 2018, chapter 7): rows whose label reaches into the validation
        block are not trained on.

    Examples
    --------
    >>> split = time_folds([1, 2, 3, 4, 5, 6], folds=2)
    >>> split.valid.tolist(), split.train_rows(1).tolist()
    ([-1, -1, 0, 0, 1, 1], [0, 1, 2, 3])
    """
    time = np.asarray(times)
    if time.dtype == np.float32:
        time = time.astype(np.float64)  # a gap added to a Float32 would be rounded away
    has_time = ~np.isnan(time) if time.dtype.kind == "f" else np.ones(len(time), np.bool_)
    starts = _block_starts(time[has_time], folds)
    valid = np.where(has_time, np.searchsorted(starts, time, side="right") - 1, -1).astype(np.int16)
    horizon = float(gap + purge)  # a whole number would overflow in small types
    # A comparison with NaN is False.
    train = np.stack([time + horizon <= start if horizon else time < start for start in starts])
    return Folds(valid, train, "time")


def window_folds(
    times: npt.ArrayLike,
    windows: int,
    horizon: float,
    *,
    season: float | None = None,
    gap: float = 0,
    shift: float = 0,
) -> Folds:
    """Split forward in time: each fold validates a window as long as test, and trains on the rows before it.

    The windows lie next to each other and end at the latest time; with `season`, one more ends that long before. They
    are numbered in their order in time. A window begins after its lower limit and includes its upper one. A row at time
    t is trained on if ``t + gap`` is not after the first row of the window (without a gap, if t is before it). Rows in
    no window are validated by no fold, and trained on by the folds after them; rows without a time (NaN) by none.

    Parameters
    ----------
    times : array (n,) of numbers
        In any order.
    windows : int
        The number of windows, without that of `season`.
    horizon : float
        The length of a window.
    season : float, optional
    gap : float
        The sum of the gap and the purge of `time_folds`.
    shift : float
        The last window ends this many lengths before the latest time.

    Raises
    ------
    DataError
        When a window has no rows, or that of `season` overlaps the others.

    Examples
    --------
    >>> split = window_folds(range(1, 11), windows=2, horizon=2, season=5)
    >>> split.valid.tolist(), split.train_rows(1).tolist()
    ([-1, -1, -1, 0, 0, -1, 1, 1, 2, 2], [0, 1, 2, 3, 4, 5])
    """
    time = np.asarray(times).astype(np.float64)
    latest = float(np.nanmax(time))
    # Neighbours share the same limit, so that no row is lost between two windows by rounding.
    limits = [latest - (windows - i + shift) * horizon for i in range(windows + 1)]
    window_limits = list(pairwise(limits))
    if season is not None:
        end = latest - shift * horizon - season
        if end > limits[0]:
            raise DataError(
                f"cv.season lies {season:g} before the last of {windows} windows of {horizon:g} each: they overlap",
                hint="a longer season, or fewer windows (folds), under [cv] in competition.toml",
            )
        window_limits.insert(0, (end - horizon, end))
    valid = np.full(len(time), -1, np.int16)
    train = np.zeros((len(window_limits), len(time)), np.bool_)
    for fold, (low, high) in enumerate(window_limits):
        in_window = (time > low) & (time <= high)
        if not in_window.any():
            raise DataError(
                f"fold {fold} of {len(window_limits)} has no rows: the time column has none in its window",
                hint="fewer folds, or a longer horizon, under [cv] in competition.toml",
            )
        valid[in_window] = fold
        start = time[in_window].min()
        train[fold] = time + gap <= start if gap else time < start
    return Folds(valid, train, "time")


def _block_starts(time: npt.NDArray[Any], folds: int) -> npt.NDArray[Any]:
    values, counts = np.unique(time, return_counts=True)
    # The first block is only trained on, so every other one starts at a later time than the first.
    later, n_rows_before = values[1:], np.cumsum(counts)[:-1]
    wanted_rows_before = len(time) * np.arange(1, folds + 1) / (folds + 1)
    starts = np.unique(later[_nearest(n_rows_before, wanted_rows_before)]) if len(later) else later
    if len(starts) < folds:
        raise DataError(
            f"{folds} time folds need at least {folds + 1} well-spread times; the time column has {len(values)} values",
            hint="fewer folds under [cv] in competition.toml",
        )
    return starts


def _nearest(ascending: npt.NDArray[Any], values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return, for each value, the index of the nearest of the ascending numbers; ties go to the later."""
    above = np.minimum(np.searchsorted(ascending, values), len(ascending) - 1)
    below = np.maximum(above - 1, 0)
    return np.where(values - ascending[below] < ascending[above] - values, below, above)


# -------------------------------------------------------------------------------------------- from the competition


def load_folds(competition: Competition) -> Folds:
    """Load the competition's folds; make and save them on the first call.

    Raises
    ------
    DataError, ConfigError
        When the ``[cv]`` table does not fit the data.
    DamagedError
        When the saved file can't be read or is not a split of these rows.
    """
    path = competition.paths.folds / f"{_folds_key(competition)}.parquet"
    scheme = competition.definition.cv.scheme
    remove_leftover_files(path.parent)
    if path.exists():
        return replace(_read(path, competition.n_train, slug=competition.slug), scheme=scheme)
    folds = make_folds(competition)
    _write(path, folds)
    return replace(folds, scheme=scheme)


def saved_content(competition: Competition) -> str | None:
    """Return the `content` of the competition's saved folds without reading the split; None if none are saved.

    Raises
    ------
    DamagedError
        When the file can't be read.
    """
    path = competition.paths.folds / f"{_folds_key(competition)}.parquet"
    if not path.exists():
        return None
    try:
        with path.open("rb") as file:
            return pl.read_parquet_metadata(file).get("content")
    except pl.exceptions.PolarsError as exc:
        raise _damaged(path, competition.slug) from exc


def size_ratios(folder: Path) -> dict[str, float]:
    """Return the `size_ratio` of each of a competition's saved folds, by their `content`; damaged files are skipped.

    For folds saved by earlier versions, which did not write the ratio, it is computed and written.

    Parameters
    ----------
    folder : Path
        The folder of the competition's saved folds.
    """
    ratios, missing = read_size_ratios(folder)
    for path in missing:
        try:
            content = pl.read_parquet_metadata(path)["content"]
            ratios[content] = _read_any(path).size_ratio
            write_size_ratio(path, content, ratios[content])
        except (pl.exceptions.PolarsError, WorkbenchError, OSError, ValueError, KeyError):
            continue
    return ratios


def _folds_key(competition: Competition) -> str:
    """Return the file name of the folds: the scheme and a hash of all that determines the split."""
    definition = competition.definition
    cv = definition.cv
    # Windows are for recommender competitions, which have no folds of rows.
    cv_fields = {name: getattr(cv, name) for name in cv.__dataclass_fields__ if name != "windows"}
    # Options of later versions: folds that were saved without them keep their key.
    for name in ("horizon", "season"):
        if cv_fields[name] is None:
            del cv_fields[name]
    function_code = ""
    if cv.function:
        where = f"{competition.folder / 'competition.toml'}: [cv] function = {cv.function!r}"
        function_code = own_file(competition.folder, cv.function.partition(":")[0], where=where).read_text(
            encoding="utf-8"
        )
    train_hash = competition.manifest.table(definition.tables.train, slug=definition.slug).content
    return f"{cv.scheme}-{content_key('folds-v1', cv_fields, list(definition.targets), train_hash, function_code)[:12]}"


def _write(path: Path, folds: Folds) -> None:
    columns: dict[str, Any] = {"valid": folds.valid}
    if folds.train is not None:
        columns |= {f"train_{k}": folds.train[k] for k in range(folds.n_folds)}
    with atomic(path) as temporary:
        pl.DataFrame(columns).write_parquet(temporary, metadata={"content": folds.content})
    write_size_ratio(path, folds.content, folds.size_ratio)


def _read(path: Path, n_rows: int, *, slug: str) -> Folds:
    try:
        folds = _read_any(path)
        is_intact = pl.read_parquet_metadata(path).get("content") == folds.content and folds.n_rows == n_rows
    except Exception as exc:
        raise _damaged(path, slug) from exc
    if not is_intact:
        raise _damaged(path, slug)
    return folds


def _read_any(path: Path) -> Folds:
    frame = read_parquet(path)
    train = [frame[c].to_numpy() for c in frame.columns if c.startswith("train_")]
    return Folds(frame["valid"].to_numpy(), np.stack(train) if train else None)


def _damaged(path: Path, slug: str) -> DamagedError:
    return DamagedError(
        f"the folds of {slug!r} are damaged: {path}",
        hint="remove that file: the same folds are made again from [cv] and its seed",
    )


def make_folds(competition: Competition, *, shift: float = 0) -> Folds:
    """Make the split of the competition's ``[cv]`` table, and check it.

    Parameters
    ----------
    competition : Competition
    shift : float
        For windows of a fixed length: by how many lengths they lie earlier.

    Raises
    ------
    DataError
        When the table does not fit the data: too few groups or times, an empty fold, nulls in the group column, or a
        time column without times.
    """
    folds = _split(competition, competition.definition.cv, shift)
    folds.check()
    return folds


def _split(competition: Competition, cv: CvSpec, shift: float) -> Folds:
    if cv.scheme == "kfold":
        return kfold(competition.n_train, cv.folds, cv.seed)
    if cv.scheme == "stratified":
        return stratified_folds(_strata(competition), cv.folds, cv.seed)
    if cv.scheme == "group":
        return group_folds(_groups(competition, cv), cv.folds, cv.seed)
    if cv.scheme == "stratified_group":
        strata = _strata(competition, bin_integers=competition.definition.task in ("regression", "ranking"))
        return stratified_group_folds(strata, _groups(competition, cv), cv.folds, cv.seed)
    if cv.scheme == "time":
        return _folds_in_time(competition, cv, shift)
    return _custom(competition, cv)


def _folds_in_time(competition: Competition, cv: CvSpec, shift: float) -> Folds:
    times, unit = time_column(competition)
    gap, purge = _gap_and_purge(competition, unit)
    if cv.horizon is None:
        return time_folds(times, cv.folds, gap=gap, purge=purge)
    is_number = competition.train_columns(str(cv.column)).dtypes[0].is_numeric()
    horizon = _duration(cv.horizon, unit, "horizon", is_number=is_number)
    season = None if cv.season is None else _duration(cv.season, unit, "season", is_number=is_number)
    for key, value in (("horizon", horizon), ("season", season)):
        if value is not None and value <= 0:
            raise ConfigError(f"cv.{key} = {getattr(cv, key)!r}: expected more than 0")
    return window_folds(times, cv.folds, horizon, season=season, gap=gap + purge, shift=shift)


def _strata(competition: Competition, *, bin_integers: bool = False) -> Ints:
    """Return the stratum of each train row: its target, or the decile of a number with more than 20 values.

    Parameters
    ----------
    bin_integers : bool
        Whether whole numbers are binned, too. Single rows are spread as evenly by their values; groups need deciles, as
        few of them have a value in common.
    """
    frame = competition.train_columns(*competition.definition.targets)
    codes = np.zeros(frame.height, np.int64)
    for series in frame.get_columns():
        if (series.dtype.is_float() or (bin_integers and series.dtype.is_integer())) and series.n_unique() > 20:
            series = series.rank("ordinal") * 10 // (frame.height + 1)  # noqa: PLW2901 deciles
        ranks = series.rank("dense").fill_null(0).to_numpy().astype(np.int64)
        codes = codes * (int(ranks.max()) + 1) + ranks
    return codes


def group_column(competition: Competition) -> npt.NDArray[np.uint32] | None:
    """Return the group of each train row (n_train,) as a number; None for schemes without groups."""
    cv = competition.definition.cv
    return _groups(competition, cv) if cv.scheme in ("group", "stratified_group") else None


def _groups(competition: Competition, cv: CvSpec) -> npt.NDArray[np.uint32]:
    series = competition.train_columns(str(cv.group), key="cv.group")[str(cv.group)]
    _require_no_nulls(series, "cv.group")
    return series.rank("dense").to_numpy()


def time_column(competition: Competition) -> tuple[npt.NDArray[Any], str]:
    """Return the time column of a "time" scheme as numbers (n_train,), and their unit.

    The unit is "us" for dates, timestamps (with a zone in UTC), durations and texts in ISO 8601; "s", "ms", "us" or
    "ns" for numbers that are times since 1970, else "". Rows without a time are NaN.
    """
    name = str(competition.definition.cv.column)
    series = competition.train_columns(name, key="cv.column")[name]
    dtype = series.dtype
    expression = moments(name, dtype)
    if expression is None or (dtype == pl.String and not is_iso_text(series.to_frame().lazy(), name)):
        raise DataError(f"cv.column {name!r} is a {dtype}; expected a date, a time stamp or a number")
    times = series.to_frame().select(expression.alias(name)).to_series()
    low, high = times.min(), times.max()
    if low is None or high is None:
        raise DataError(f"cv.column {name!r} has no value in the {len(times):,} rows of train")
    unit = "us" if has_time_unit(dtype) else epoch_unit(low, high) or ""  # type: ignore[arg-type]
    if times.null_count():
        # Exact up to 2**53: microseconds of 285 years.
        times = times.cast(pl.Float64).fill_null(float("nan"))
    return times.to_numpy(), unit


def time_horizon(competition: Competition) -> float:
    """Return the sum of the gap and the purge of a "time" scheme, in the unit of `time_column`."""
    return sum(_gap_and_purge(competition, time_column(competition)[1]))


def _gap_and_purge(competition: Competition, unit: str) -> tuple[float, float]:
    cv = competition.definition.cv
    is_number = competition.train_columns(str(cv.column), key="cv.column").dtypes[0].is_numeric()
    gap = _duration(cv.gap, unit, "gap", is_number=is_number)
    return gap, _duration(cv.purge, unit, "purge", is_number=is_number)


def _require_no_nulls(series: pl.Series, key: str) -> None:
    if series.null_count():
        raise DataError(
            f"{key} {series.name!r} has {series.null_count():,} nulls among {len(series):,} train rows, expected none"
        )


def _duration(value: str | float, unit: str, key: str, *, is_number: bool) -> float:
    if isinstance(value, str):
        duration = parse_duration(value)
        if duration is None or not unit:
            raise ConfigError(
                f"cv.{key} = {value!r}: expected " + ('a duration such as "12h" or "7d"' if unit else "a number"),
                hint="units are s, m, h, d, w; they need a date or time column, or numbers that are times since 1970",
            )
        return duration / timedelta(seconds=1) * UNITS_PER_SECOND[unit]
    if not is_number and value:
        raise ConfigError(
            f"cv.{key} = {value}: the time column is a date or time", hint='write a duration such as "7d"'
        )
    return float(value)


def _custom(competition: Competition, cv: CvSpec) -> Folds:
    """Call the competition's own ``split(train)``, which returns the fold of each row, or (train rows, valid rows)."""
    function = competition.load_function(str(cv.function))
    train_table = competition.definition.tables.train
    with user_code(
        f"cv.function {cv.function!r}",
        DataError,
        folder=competition.folder,
        hint="it takes the train table and returns the fold of each row, or a list of (train rows, valid rows)",
        pass_through=(WorkbenchError,),
    ):
        result = function(competition.table(train_table).collect())
        if not isinstance(result, list | tuple):
            return _checked_size(Folds(np.asarray(result, np.int16)), competition.n_train, cv)
        valid = np.full(competition.n_train, -1, np.int16)
        train = np.zeros((len(result), competition.n_train), np.bool_)
        for fold, (train_rows, valid_rows) in enumerate(result):
            if (valid[valid_rows] >= 0).any():
                raise DataError(
                    f"cv.function {cv.function!r}: fold {fold} validates rows that an earlier fold validates too"
                )
            valid[valid_rows], train[fold, train_rows] = fold, True
    return Folds(valid, train)


def _checked_size(folds: Folds, n_rows: int, cv: CvSpec) -> Folds:
    if folds.n_rows != n_rows:
        raise DataError(f"cv.function {cv.function!r} gave {folds.n_rows:,} folds for {n_rows:,} train rows")
    return folds
