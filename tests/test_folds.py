from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold

from tests.small import make_small
from workbench.competition import Competition
from workbench.errors import ConfigError, DamagedError, DataError
from workbench.folds import (
    Folds,
    group_folds,
    kfold,
    load_folds,
    make_folds,
    size_ratios,
    stratified_folds,
    stratified_group_folds,
    time_folds,
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
        first = load_folds(made.open.definition)
        files = list((made.folder / "data" / "folds").glob("*.parquet"))
        assert len(files) == 1
        assert load_folds(made.open.definition).content == first.content
        made.definition("seed = 42", "seed = 43")
        assert load_folds(made.open.definition).content != first.content

    def test_damage_is_noticed(self, small) -> None:
        made = small()
        load_folds(made.open.definition)
        (path,) = (made.folder / "data" / "folds").glob("*.parquet")
        path.write_bytes(path.read_bytes()[:-20])
        with pytest.raises(DamagedError, match="the folds of 'small' are damaged"):
            load_folds(made.open.definition)
        pl.DataFrame({"valid": [0, 1]}).write_parquet(path)
        with pytest.raises(DamagedError, match="remove that file"):
            load_folds(made.open.definition)

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
        competition = made.open.definition
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
        split = load_folds(made.open.definition)
        assert split.n_folds == 3
        self.use_custom(
            made, "def split(train):\n    return [(range(0, 200), range(200, 300)), (range(0, 300), range(300, 400))]"
        )
        split = load_folds(made.open.definition)
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
            load_folds(made.open.definition)

    def test_the_sizes_of_all_saved_folds_are_known(self, small) -> None:
        made = small()
        plain = load_folds(made.open.definition)
        text = (made.folder / "competition.toml").read_text()
        cv = 'scheme = "time"\ncolumn = "day"\nfolds = 3\n'
        (made.folder / "competition.toml").write_text(text[: text.index("[cv]")] + f"[cv]\n{cv}")
        timed = load_folds(made.open.definition)
        folder = made.open.definition.folds_folder
        expected = {plain.content: plain.size_ratio, timed.content: timed.size_ratio}
        assert size_ratios(folder) == expected
        assert plain.size_ratio == pytest.approx(1 / (plain.n_folds - 1), rel=0.02)
        assert timed.size_ratio > 1 / 2
        assert made.open.fold_size_ratios() == expected
        # An earlier version wrote no sizes down; what is damaged has none.
        first, second = folder.glob("*.json")
        first.unlink()
        second.write_text("{")
        (folder / "broken.parquet").write_bytes(b"PAR1")
        assert made.open.fold_size_ratios() == size_ratios(folder) == expected
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
            load_folds(made.open.definition)
        assert message in str(caught.value)


def test_groups_are_spread_by_tenths_of_a_number_whole_or_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the values themselves the folds' means differed by four times as much: hardly two rows have the same."""
    made = make_small(tmp_path, task="regression", metric="rmse", n_rows=600)
    made.definition('scheme = "kfold"', 'scheme = "stratified_group"\ngroup = "household"')
    competition = made.open.definition
    tenths = make_folds(competition)
    read = type(competition).train_columns

    def in_millionths(self: Competition, *names: str, **more: str) -> pl.DataFrame:
        return read(self, *names, **more).with_columns(
            (pl.col(n) * 1e6).round().cast(pl.Int64) for n in names if n == "y"
        )

    monkeypatch.setattr(type(competition), "train_columns", in_millionths)
    assert make_folds(competition).content == tenths.content
