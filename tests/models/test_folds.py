from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold

from tests.plain_rows import competition_of, with_cv
from tests.small import make_small
from workbench.core.errors import ConfigError, DamagedError, DataError
from workbench.data.competition import Competition
from workbench.models.folds import (
    Folds,
    group_column,
    group_folds,
    kfold,
    load_folds,
    make_folds,
    saved_content,
    size_ratios,
    stratified_folds,
    stratified_group_folds,
    time_column,
    time_folds,
    time_horizon,
)

sizes = st.integers(20, 200)
n_folds = st.integers(2, 7)
seeds = st.integers(0, 2**32 - 1)


def assert_partition(split: Folds, n: int, k: int) -> None:
    """Every row is validated once; no fold trains on what it validates."""
    assert split.n_rows == n
    assert split.n_folds == k
    validated = np.concatenate([split.valid_rows(f) for f in range(k)])
    assert sorted(validated) == list(range(n))
    for f in range(k):
        assert not set(split.train_rows(f)) & set(split.valid_rows(f))
        assert len(split.train_rows(f)) + len(split.valid_rows(f)) == n


@given(sizes, n_folds, seeds)
def test_kfold_is_a_partition_of_even_sizes(n: int, k: int, seed: int) -> None:
    split = kfold(n, k, seed)
    assert_partition(split, n, k)
    counts = np.bincount(split.valid)
    assert counts.max() - counts.min() <= 1


@given(st.lists(st.integers(0, 3), min_size=20, max_size=200), n_folds, seeds)
def test_stratified_folds_share_each_stratum_to_within_one_row(strata: list[int], k: int, seed: int) -> None:
    split = stratified_folds(strata, k, seed)
    assert_partition(split, len(strata), k)
    for value in set(strata):
        counts = np.bincount(split.valid[np.array(strata) == value], minlength=k)
        assert counts.max() - counts.min() <= 1
    totals = np.bincount(split.valid, minlength=k)
    assert totals.max() - totals.min() <= 1


@given(st.data(), n_folds, seeds)
def test_groups_stay_on_one_side(data: st.DataObject, k: int, seed: int) -> None:
    n_groups = data.draw(st.integers(k, 30))
    extra = data.draw(st.lists(st.integers(0, n_groups - 1), max_size=150))
    groups = np.array([*range(n_groups), *extra])
    strata = np.array(data.draw(st.lists(st.integers(0, 2), min_size=len(groups), max_size=len(groups))))
    for split in (group_folds(groups, k, seed), stratified_group_folds(strata, groups, k, seed)):
        assert len(split.valid) == len(groups)
        for g in range(n_groups):
            assert len(set(split.valid[groups == g])) == 1
    largest = np.bincount(groups).max()
    counts = np.bincount(group_folds(groups, k, seed).valid, minlength=k)
    # The greedy rule never leaves the fullest fold more than one group ahead of the emptiest.
    assert counts.max() - counts.min() <= largest


def test_stratified_groups_are_as_even_as_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 120, 3000)
    strata = (rng.random(3000) < 0.1 + 0.5 * (groups % 5 == 0)).astype(int)

    def spread(valid: np.ndarray) -> float:
        return float(np.std([strata[valid == f].mean() for f in range(5)]))

    theirs = np.empty(3000, int)
    for f, (_, rows) in enumerate(StratifiedGroupKFold(5).split(strata, strata, groups)):
        theirs[rows] = f
    ours = stratified_group_folds(strata, groups, 5, seed=1).valid
    assert spread(ours) <= spread(theirs) + 0.01
    assert np.bincount(ours).std() <= 0.1 * 600


def test_a_rare_stratum_counts_as_much_as_a_common_one() -> None:
    """Of ten rows in some thousands each fold has two, however large the groups are that they lie in."""
    for seed in range(5):
        rng = np.random.default_rng(seed)
        groups = np.repeat(np.arange(200), rng.integers(5, 40, 200))
        strata = np.isin(np.arange(len(groups)), np.searchsorted(groups, rng.choice(200, 10, replace=False)))
        split = stratified_group_folds(strata, groups, 5, seed)
        assert np.bincount(split.valid[strata], minlength=5).tolist() == [2] * 5


def test_too_few_groups_are_refused() -> None:
    with pytest.raises(DataError, match="5 folds need at least 5 groups; the group column has 3"):
        group_folds([1, 2, 3, 3], 5, 0)


@given(
    st.lists(st.integers(0, 1000), min_size=60, max_size=300), st.integers(2, 5), st.integers(0, 50), st.integers(0, 50)
)
def test_time_folds_look_only_back(times: list[int], k: int, gap: int, purge: int) -> None:
    time = np.array(times)
    if len(set(times)) < 30:
        return
    try:
        split = time_folds(time, k, gap=gap, purge=purge)
    except DataError:
        return
    for f in range(k):
        train, valid = split.train_rows(f), split.valid_rows(f)
        if len(train):
            assert time[train].max() + gap + purge <= time[valid].min()
            assert time[train].max() < time[valid].min()
    for value in set(times):  # equal times are never separated
        assert len(set(split.valid[time == value])) == 1
    for f in range(1, k):
        assert set(split.train_rows(f - 1)) <= set(split.train_rows(f))


def test_time_folds_are_about_equal() -> None:
    counts = np.bincount(time_folds(np.arange(600), 5).valid + 1)
    assert counts.tolist() == [100] * 6


def test_seeds_change_the_split_and_repeat_it() -> None:
    assert (kfold(100, 5, 1).valid == kfold(100, 5, 1).valid).all()
    assert (kfold(100, 5, 1).valid != kfold(100, 5, 2).valid).any()
    assert kfold(100, 5, 1).content != kfold(100, 5, 2).content


def test_a_fold_without_rows_is_named() -> None:
    with pytest.raises(DataError, match="fold 0 has no rows to validate on"):
        Folds(np.array([1, 1, 2], np.int16)).check()
    overlapping = Folds(np.array([0, 0, 1], np.int16), np.array([[True, False, True], [True, True, False]]))
    with pytest.raises(DataError, match="fold 0 trains on 1 of the rows it validates"):
        overlapping.check()


class TestOfACompetition:
    def test_they_are_made_once_and_shared(self, small) -> None:
        made = small()
        first = load_folds(made.open.access.competition)
        files = list((made.folder / "data" / "folds").glob("*.parquet"))
        assert len(files) == 1
        assert load_folds(made.open.access.competition).content == first.content
        made.definition("seed = 42", "seed = 43")
        assert load_folds(made.open.access.competition).content != first.content

    def test_damage_is_noticed(self, small) -> None:
        made = small()
        load_folds(made.open.access.competition)
        (path,) = (made.folder / "data" / "folds").glob("*.parquet")
        path.write_bytes(path.read_bytes()[:-20])
        with pytest.raises(DamagedError, match="the folds of 'small' are damaged"):
            load_folds(made.open.access.competition)
        pl.DataFrame({"valid": [0, 1]}).write_parquet(path)
        with pytest.raises(DamagedError, match="remove that file"):
            load_folds(made.open.access.competition)

    @pytest.mark.parametrize(
        ("cv", "check"),
        [
            ('scheme = "group"\ngroup = "household"', "household"),
            ('scheme = "stratified_group"\ngroup = "household"', "household"),
            ('scheme = "time"\ncolumn = "day"\ngap = "3d"', None),
            ('scheme = "kfold"', None),
        ],
    )
    def test_every_scheme(self, small, cv: str, check: str | None) -> None:
        made = small()
        text = (made.folder / "competition.toml").read_text()
        (made.folder / "competition.toml").write_text(text[: text.index("[cv]")] + f"[cv]\n{cv}\nfolds = 4\n")
        competition = made.open.access.competition
        split = load_folds(competition)
        assert split.n_folds == 4
        assert load_folds(competition).content == split.content
        if check:
            groups = competition.train_columns(check)[check].to_numpy()
            assert all(len(set(split.valid[groups == g])) == 1 for g in set(groups))
        if "time" in cv:
            days = competition.train_columns("day")["day"].to_numpy()
            for f in range(4):
                assert days[split.train_rows(f)].max() + np.timedelta64(3, "D") <= days[split.valid_rows(f)].min()

    def use_custom(self, made, code: str) -> None:
        text = (made.folder / "competition.toml").read_text()
        cv = '[cv]\nscheme = "custom"\nfunction = "split.py:split"\n'
        (made.folder / "competition.toml").write_text(text[: text.index("[cv]")] + cv)
        (made.folder / "split.py").write_text(code)

    def test_a_function_of_ones_own(self, small) -> None:
        made = small()
        self.use_custom(made, "def split(train):\n    return (train['id'] % 3).to_numpy()\n")
        split = load_folds(made.open.access.competition)
        assert split.n_folds == 3
        self.use_custom(
            made, "def split(train):\n    return [(range(0, 200), range(200, 300)), (range(0, 300), range(300, 400))]"
        )
        split = load_folds(made.open.access.competition)
        assert split.valid_rows(1).tolist() == list(range(300, 400))
        assert split.covered.sum() == 200

    @pytest.mark.parametrize(
        ("code", "message"),
        [
            ("def split(train):\n    return [1, 2]", "cv.function 'split.py:split'"),
            (
                "def split(train):\n    return [(range(0, 201), range(200, 300)), (range(0, 300), range(300, 400))]",
                "fold 0 trains on 1 of the rows it validates",
            ),
            ("def split(train):\n    return 1 / 0", r"ZeroDivisionError.*line 2"),
            ("def other(train):\n    return 1", "has no function 'split'"),
            ("def split(train):\n    return [([1], [2]), ([3], [2])]", "rows that an earlier fold validates too"),
        ],
    )
    def test_a_wrong_function_is_explained(self, small, code: str, message: str) -> None:
        made = small()
        self.use_custom(made, code)
        with pytest.raises((DataError, ConfigError), match=message):
            load_folds(made.open.access.competition)

    def test_the_sizes_of_all_saved_folds_are_known(self, small) -> None:
        made = small()
        plain = load_folds(made.open.access.competition)
        text = (made.folder / "competition.toml").read_text()
        cv = 'scheme = "time"\ncolumn = "day"\nfolds = 3\n'
        (made.folder / "competition.toml").write_text(text[: text.index("[cv]")] + f"[cv]\n{cv}")
        timed = load_folds(made.open.access.competition)
        folder = made.open.access.competition.paths.folds
        expected = {plain.content: plain.size_ratio, timed.content: timed.size_ratio}
        assert size_ratios(folder) == expected
        assert plain.size_ratio == pytest.approx(1 / (plain.n_folds - 1), rel=0.02)
        assert timed.size_ratio > 1 / 2
        assert made.open.runs.fold_size_ratios() == expected
        # An earlier version wrote no sizes down; what is damaged has none.
        first, second = folder.glob("*.json")
        first.unlink()
        second.write_text("{")
        (folder / "broken.parquet").write_bytes(b"PAR1")
        assert made.open.runs.fold_size_ratios() == size_ratios(folder) == expected
        assert len(list(folder.glob("*.json"))) == 2
        assert size_ratios(folder / "none") == {}

    @pytest.mark.parametrize(
        ("cv", "message"),
        [
            ('scheme = "tme"', "did you mean 'time'"),
            ('scheme = "time"', "needs cv.column"),
            ('scheme = "time"\ncolumn = "town"', "'town' is a String"),
            ('scheme = "time"\ncolumn = "day"\ngap = "3x"', 'expected a duration such as "12h"'),
            ('scheme = "time"\ncolumn = "day"\ngap = 3', "write a duration"),
            ('scheme = "time"\ncolumn = "dy"', "did you mean 'day'"),
            ('scheme = "group"\ngroup = "town"\nfolds = 50', "50 folds need at least 50 groups"),
            ("scheme = 'kfold'\nfold = 5", "did you mean 'folds'"),
            ("scheme = 'kfold'\nfolds = '5'", "cv.folds: Input should be a valid integer, got '5'"),
        ],
    )
    def test_a_wrong_table_is_explained(self, small, cv: str, message: str) -> None:
        made = small()
        text = (made.folder / "competition.toml").read_text()
        (made.folder / "competition.toml").write_text(text[: text.index("[cv]")] + f"[cv]\n{cv}\n")
        with pytest.raises((ConfigError, DataError)) as caught:
            load_folds(made.open.access.competition)
        assert message in str(caught.value)


def test_groups_are_spread_by_tenths_of_a_number_whole_or_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the values themselves the folds' means differed by four times as much: hardly two rows have the same."""
    made = make_small(tmp_path, task="regression", metric="rmse", n_rows=600)
    made.definition('scheme = "kfold"', 'scheme = "stratified_group"\ngroup = "household"')
    competition = made.open.access.competition
    tenths = make_folds(competition)
    read = type(competition).train_columns

    def in_millionths(self: Competition, *names: str, **more: str) -> pl.DataFrame:
        return read(self, *names, **more).with_columns(
            (pl.col(n) * 1e6).round().cast(pl.Int64) for n in names if n == "y"
        )

    monkeypatch.setattr(type(competition), "train_columns", in_millionths)
    assert make_folds(competition).content == tenths.content


# ------------------------------------------------------------------------------------------------- of a few plain rows


STRATIFIED = 'scheme = "stratified"\nfolds = 4\nseed = 3'


class TestStrata:
    def split(self, root: Path, y: Any, **more: Any) -> np.ndarray:
        return make_folds(competition_of(root, {"y": y}, STRATIFIED, **more)).valid

    def test_a_number_of_many_values_is_cut_into_tenths_of_its_rows(self, tmp_path: Path) -> None:
        y = np.random.default_rng(0).permutation(400) / 7
        tenths = np.argsort(np.argsort(y)) * 10 // 400
        assert self.split(tmp_path, y).tolist() == stratified_folds(tenths, 4, 3).valid.tolist()

    @pytest.mark.parametrize("values", [20, 21])
    def test_up_to_twenty_values_are_strata_themselves(self, tmp_path: Path, values: int) -> None:
        y = np.random.default_rng(0).permutation(np.arange(420) % values) / 2
        valid = self.split(tmp_path, y)
        by_value = stratified_folds(y, 4, 3).valid
        assert (valid == by_value).all() == (values == 20)

    def test_whole_numbers_are_strata_however_many(self, tmp_path: Path) -> None:
        y = np.random.default_rng(0).permutation(np.arange(400) % 50)
        assert self.split(tmp_path, y).tolist() == stratified_folds(y, 4, 3).valid.tolist()

    def test_of_two_targets_each_pair_is_a_stratum(self, tmp_path: Path) -> None:
        rng = np.random.default_rng(0)
        y, z = rng.integers(0, 3, 200), rng.integers(0, 4, 200)
        competition = competition_of(tmp_path, {"y": y, "z": z}, STRATIFIED, targets=("y", "z"))
        assert make_folds(competition).valid.tolist() == stratified_folds(y * 4 + z, 4, 3).valid.tolist()

    @pytest.mark.parametrize(("task", "is_cut"), [("regression", True), ("ranking", True), ("binary", False)])
    def test_groups_are_spread_by_tenths_of_amounts_alone(self, tmp_path: Path, task: str, is_cut: bool) -> None:
        rng = np.random.default_rng(0)
        y, g = rng.permutation(400), rng.integers(0, 60, 400)
        y = y if is_cut else y % 2
        cv = 'scheme = "stratified_group"\ngroup = "g"\nfolds = 4\nseed = 3'
        split = make_folds(competition_of(tmp_path, {"y": y, "g": g}, cv, task=task))
        strata = y * 10 // 400 if is_cut else y
        assert split.valid.tolist() == stratified_group_folds(strata, g, 4, 3).valid.tolist()


class TestGroups:
    def test_the_group_of_each_row(self, tmp_path: Path) -> None:
        columns = {"y": np.arange(6.0), "g": ["b", "a", "c", "a", "b", "c"]}
        competition = competition_of(tmp_path, columns, 'scheme = "group"\ngroup = "g"\nfolds = 3\nseed = 1')
        assert group_column(competition).tolist() == [2, 1, 3, 1, 2, 3]
        assert sorted(make_folds(competition).valid[[0, 1, 2]]) == [0, 1, 2]  # as many groups as folds
        assert group_column(with_cv(competition, 'scheme = "stratified_group"\ngroup = "g"')) is not None
        assert group_column(with_cv(competition, 'scheme = "kfold"')) is None

    def test_a_row_without_a_group_is_refused(self, tmp_path: Path) -> None:
        columns = {"y": np.arange(6.0), "g": ["b", None, "c", "a", None, "c"]}
        competition = competition_of(tmp_path, columns, 'scheme = "group"\ngroup = "g"\nfolds = 2')
        with pytest.raises(DataError, match=r"cv\.group 'g' has 2 nulls among 6 train rows"):
            make_folds(competition)

    def test_the_largest_group_goes_first_and_each_to_the_smallest_fold(self) -> None:
        groups = np.repeat([0, 1, 2, 3, 4], [10, 7, 5, 4, 3])
        for seed in range(5):
            split = group_folds(groups, 2, seed)
            sizes = sorted(np.bincount(split.valid).tolist())
            assert sizes == [14, 15]  # 10 + 4, 7 + 5 + 3
            assert len({group_folds(groups, 5, seed).valid[groups == g][0] for g in range(5)}) == 5
        order = {tuple(group_folds(np.arange(6), 3, seed).valid) for seed in range(9)}
        assert len(order) > 1

    def test_strata_that_go_together_are_kept_apart(self) -> None:
        # Two groups of each stratum, for two folds: one of each in each fold.
        strata, groups = np.repeat([0, 0, 1, 1, 2, 2], 5), np.repeat(np.arange(6), 5)
        for seed in range(9):
            valid = stratified_group_folds(strata, groups, 2, seed).valid[::5]
            assert (valid[::2] + valid[1::2] == 1).all()
            # Of folds that are alike in this stratum it is the one with least in all.
            assert sorted(stratified_group_folds([0, 1, 2], [0, 1, 2], 3, seed).valid) == [0, 1, 2]


class TestTimes:
    def test_a_row_counts_as_before_when_all_its_label_lies_before(self) -> None:
        times = np.arange(9)
        for gap, purge in ((0, 0), (1, 0), (0, 1), (1, 1), (0.5, 0)):
            split = time_folds(times, 2, gap=gap, purge=purge)
            for fold, start in enumerate((3, 6)):
                expected = [t for t in times if (t + gap + purge <= start if gap + purge else t < start)]
                assert split.train_rows(fold).tolist() == expected
        assert time_folds(times, 2).train.dtype == np.bool_

    def test_a_gap_is_not_rounded_away(self) -> None:
        times = 2**24 + np.arange(9) * 2
        for dtype in (np.float32, np.float64, np.int64):
            split = time_folds(times.astype(dtype), 2, gap=1)
            assert split.train_rows(0).tolist() == [0, 1, 2]
            split = time_folds(times.astype(dtype), 2, gap=2.5)
            assert split.train_rows(0).tolist() == [0, 1]

    @pytest.mark.parametrize(
        ("column", "unit", "day"),
        [
            (pl.date_range(date(2024, 1, 1), date(2024, 1, 20), eager=True), "us", 86_400 * 10**6),
            (pl.Series(1_700_000_000 + np.arange(20) * 86_400), "s", 86_400),
            (pl.Series(1.7e12 + np.arange(20) * 86_400e3), "ms", 86_400_000),
        ],
    )
    def test_gap_and_purge_are_of_the_columns_unit(
        self, tmp_path: Path, column: pl.Series, unit: str, day: int
    ) -> None:
        cv = 'scheme = "time"\ncolumn = "t"\nfolds = 2\ngap = "1d"\npurge = "12h"'
        competition = competition_of(tmp_path, {"y": np.arange(20.0), "t": column}, cv)
        times, its = time_column(competition)
        assert its == unit
        assert np.diff(times).tolist() == [day] * 19
        assert time_horizon(competition) == 1.5 * day
        split = make_folds(competition)
        for fold in (0, 1):
            start = times[split.valid_rows(fold)].min()
            assert split.train_rows(fold).tolist() == np.flatnonzero(times + 1.5 * day <= start).tolist()
        plain = with_cv(competition, 'scheme = "time"\ncolumn = "t"\nfolds = 2')
        assert time_horizon(plain) == 0
        assert len(make_folds(plain).train_rows(0)) == len(split.train_rows(0)) + 1

    def test_plain_numbers_have_no_unit_and_take_numbers(self, tmp_path: Path) -> None:
        cv = 'scheme = "time"\ncolumn = "t"\nfolds = 2\n'
        competition = competition_of(
            tmp_path, {"y": np.arange(20.0), "t": np.arange(20, dtype=np.uint8)}, cv + "gap = 2\npurge = 0.5"
        )
        times, unit = time_column(competition)
        assert (times.dtype, unit) == (np.uint8, "")
        assert time_horizon(competition) == 2.5
        for key in ("gap", "purge"):
            with pytest.raises(ConfigError, match=rf"cv\.{key} = '2d': expected a number") as caught:
                time_horizon(with_cv(competition, f'{cv}{key} = "2d"'))
            assert "they need a date or time column" in caught.value.hint

    def test_durations_beside_dates_that_can_not_be(self, tmp_path: Path) -> None:
        day = pl.date_range(date(2024, 1, 1), date(2024, 1, 20), eager=True)
        cv = 'scheme = "time"\ncolumn = "t"\nfolds = 2\n'
        competition = competition_of(tmp_path, {"y": np.arange(20.0), "t": day}, cv)
        for key in ("gap", "purge"):
            with pytest.raises(ConfigError, match=rf'cv\.{key} = \'2x\': expected a duration such as "12h"'):
                time_horizon(with_cv(competition, f'{cv}{key} = "2x"'))
            with pytest.raises(ConfigError, match=rf"cv\.{key} = 2.*: the time column is a date or time"):
                time_horizon(with_cv(competition, f"{cv}{key} = 2"))
            assert time_horizon(with_cv(competition, f"{cv}{key} = 0")) == 0

    @pytest.mark.parametrize(
        "dtype", [pl.Int64, pl.Float64, pl.Date, pl.Datetime("us"), pl.Duration("us"), pl.Decimal(9, 2)]
    )
    @pytest.mark.parametrize("missing", [False, True])
    def test_a_row_without_a_time_is_nan(self, tmp_path: Path, dtype: Any, missing: bool) -> None:
        values = pl.Series(range(20), dtype=pl.Int64).cast(dtype)
        if missing:
            values = pl.select(pl.when(pl.int_range(20) != 4).then(values)).to_series()
        competition = competition_of(
            tmp_path, {"y": np.arange(20.0), "t": values}, 'scheme = "time"\ncolumn = "t"\nfolds = 2'
        )
        times, unit = time_column(competition)
        assert unit == ("" if values.dtype.is_numeric() else "us")
        assert (np.isnan(times.astype(float)) == [missing and i == 4 for i in range(20)]).all()
        step = 86_400 * 10**6 if dtype == pl.Date else 1
        assert times[5:].tolist() == [i * step for i in range(5, 20)]
        assert make_folds(competition).covered.sum() == 13 if not missing else 12

    def test_what_is_no_time_is_refused(self, tmp_path: Path) -> None:
        cv = 'scheme = "time"\ncolumn = "{}"\nfolds = 2'
        columns = {"y": np.arange(20.0), "text": ["2024-01-01"] * 19 + ["later"], "flag": [True] * 20}
        competition = competition_of(tmp_path, columns, cv.format("text"))
        for name, dtype in (("text", "String"), ("flag", "Boolean")):
            with pytest.raises(
                DataError, match=rf"cv\.column '{name}' is a {dtype}; expected a date, a time stamp or a"
            ):
                time_column(with_cv(competition, cv.format(name)))


class TestSaved:
    def competition(self, root: Path, cv: str = 'scheme = "kfold"\nfolds = 3\nseed = 1') -> Competition:
        return competition_of(root, {"y": np.arange(30.0), "t": np.arange(30)}, cv)

    def test_they_are_read_again_and_not_made(self, tmp_path: Path) -> None:
        code = "from pathlib import Path\ndef split(train):\n    with Path({!r}).open('a') as f: f.write('x')\n    return train['t'] % 3"
        calls = tmp_path / "calls"
        competition = self.competition(tmp_path, 'scheme = "custom"\nfunction = "split.py:split"')
        (competition.folder / "split.py").write_text(code.format(str(calls)))
        assert saved_content(competition) is None
        first = load_folds(competition)
        again = load_folds(competition)
        assert (first.scheme, again.scheme) == ("custom", "custom")
        assert first.content == again.content == saved_content(competition)
        assert calls.read_text() == "x"
        (competition.folder / "split.py").write_text(code.format(str(calls)).replace("% 3", "% 2"))
        assert load_folds(competition).n_folds == 2
        assert calls.read_text() == "xx"

    def test_their_file_is_named_for_the_scheme_and_lies_beside_their_size(self, tmp_path: Path) -> None:
        competition = self.competition(tmp_path)
        load_folds(competition)
        names = sorted(path.name for path in competition.paths.folds.iterdir())
        assert [re.sub("[0-9a-f]{12}", "KEY", name) for name in names] == ["kfold-KEY.json", "kfold-KEY.parquet"]

    @pytest.mark.parametrize("folds", [2, 12])
    def test_they_come_back_as_they_were(self, tmp_path: Path, folds: int) -> None:
        competition = self.competition(tmp_path, f'scheme = "time"\ncolumn = "t"\nfolds = {folds}')
        made, read = load_folds(competition), load_folds(competition)
        assert made.train is not None
        assert read.train is not None
        assert (made.train == read.train).all()
        assert made.valid.tolist() == read.valid.tolist()
        assert made.train.shape == (folds, 30)

    def test_a_split_of_other_rows_or_without_its_key_is_damage(self, tmp_path: Path) -> None:
        competition = self.competition(tmp_path)
        good = load_folds(competition)
        (path,) = competition.paths.folds.glob("*.parquet")
        for folds, content in ((kfold(29, 3, 1), None), (good, "another"), (kfold(30, 3, 2), good.content)):
            frame = pl.DataFrame({"valid": folds.valid})
            frame.write_parquet(path, metadata={"content": content or folds.content})
            with pytest.raises(DamagedError, match="the folds of 'c' are damaged"):
                load_folds(competition)
        frame = pl.DataFrame({"valid": good.valid})
        frame.write_parquet(path, metadata={"content": good.content})
        assert load_folds(competition).content == good.content
        path.write_bytes(b"PAR1")
        with pytest.raises(DamagedError, match="the folds of 'c' are damaged"):
            saved_content(competition)


class TestOfAFunction:
    @pytest.mark.parametrize(
        ("code", "message"),
        [
            ("train['t'].head(5) % 2", "cv.function 'split.py:split' gave 5 folds for 30 train rows"),
            ("[([0], [1]), ([0], [1])]", "fold 1 validates rows that an earlier fold validates too"),
            ("[([0], [0])]", "fold 0 trains on 1 of the rows it validates"),
            ("[([0], [1]), ([], [2])]", "fold 1 has no rows to train on"),
            ("[([0], [1]), ([2], [])]", r"fold 1 has no rows to validate on \(30 rows, 2 folds\)"),
        ],
    )
    def test_what_it_may_not_give(self, tmp_path: Path, code: str, message: str) -> None:
        competition = competition_of(
            tmp_path, {"y": np.arange(30.0), "t": np.arange(30)}, 'scheme = "custom"\nfunction = "split.py:split"'
        )
        (competition.folder / "split.py").write_text(f"def split(train):\n    return {code}\n")
        with pytest.raises(DataError, match=message):
            make_folds(competition)

    @pytest.mark.parametrize("brackets", ["[{}]", "({})"])
    def test_pairs_of_rows(self, tmp_path: Path, brackets: str) -> None:
        competition = competition_of(
            tmp_path, {"y": np.arange(30.0), "t": np.arange(30)}, 'scheme = "custom"\nfunction = "split.py:split"'
        )
        pairs = brackets.format("([0, 2], [1, 4]), ([1, 4, 5], [0])")
        (competition.folder / "split.py").write_text(f"def split(train):\n    return {pairs}\n")
        split = make_folds(competition)
        assert split.covered.nonzero()[0].tolist() == [0, 1, 4]
        assert [split.train_rows(k).tolist() for k in (0, 1)] == [[0, 2], [1, 4, 5]]
        assert [split.valid_rows(k).tolist() for k in (0, 1)] == [[1, 4], [0]]


def test_the_parts_of_a_split() -> None:
    train = np.array([[False, True, True, True], [True, False, False, False]])
    plain, split = Folds(np.array([0, 1, 1, -1], np.int16)), Folds(np.array([0, 1, 1, -1], np.int16), train, "own")
    assert plain.covered.tolist() == [True, True, True, False]
    assert (plain.n_folds, plain.n_rows) == (2, 4)
    assert [plain.train_rows(k).tolist() for k in (0, 1)] == [[1, 2, 3], [0, 3]]
    assert [split.train_rows(k).tolist() for k in (0, 1)] == [[1, 2, 3], [0]]
    assert split.size_ratio == pytest.approx((1 / 3 + 2 / 1) / 2)
    assert Folds(split.valid, np.zeros((2, 4), np.bool_)).size_ratio == (1 + 2) / 2  # over one row, where there is none
    assert plain.content != split.content
    assert split.content == Folds(split.valid, train.copy()).content != Folds(split.valid, ~train).content
    part = split.take(np.array([2, 0, 3]))
    assert (part.valid.tolist(), part.scheme) == ([1, 0, -1], "own")
    assert part.train is not None
    assert part.train.tolist() == [[True, False, True], [False, True, False]]
    assert plain.take(np.array([1])).train is None


@pytest.mark.parametrize(
    ("valid", "train", "message"),
    [
        ([0, 0, 0], None, r"fold 0 has no rows to train on \(3 rows, 1 folds\)"),
        ([0, 2, 2], None, r"fold 1 has no rows to validate on \(3 rows, 3 folds\)"),
        ([0, 1, 1], [[False, True, True], [True, True, True]], "fold 1 trains on 2 of the rows it validates"),
        ([0, 1, 1], [[False, False, False], [True, False, False]], "fold 0 has no rows to train on"),
    ],
)
def test_a_split_that_is_none(valid: list[int], train: list[list[bool]] | None, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Folds(np.array(valid, np.int16), None if train is None else np.array(train)).check()
    Folds(np.array([0, 1], np.int16), np.array([[False, True], [True, False]])).check()


def test_a_purge_that_leaves_no_rows_to_train_on_is_named() -> None:
    with pytest.raises(DataError, match="fold 0 has no rows to train on") as caught:
        time_folds(np.arange(12.0), 3, purge=4).check()
    assert "a shorter horizon, gap or purge" in str(caught.value.hint)
