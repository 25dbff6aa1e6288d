from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.example_records import NOW, RUN, SUBMISSION
from workbench.core.errors import ConfigError
from workbench.core.intervals import family_p, t_975, window_values
from workbench.experiments.current_runs import CurrentRun
from workbench.ledger import RunRecord, SubmissionRecord
from workbench.models.folds import Folds, time_folds
from workbench.review.table import (
    Change,
    Family,
    Row,
    as_csv,
    as_dicts,
    as_text,
    change_against,
    cv_interval,
    from_elsewhere,
    scores_text,
    select,
    summarise,
)


def run(exp: int, scores: list[float], **more: Any) -> RunRecord:
    values: dict[str, Any] = {
        "run_id": f"{exp:03d}-{more.get('sample')}-{more.get('status')}-{len(scores)}",
        "exp": exp,
        "fold_scores": tuple(scores),
        "seed_scores": (tuple(scores),),
        "seeds": (1,),
        "cv_mean": float(np.mean(scores)) if scores else None,
        "created_at": NOW.replace(minute=exp % 60),
    }
    return replace(RUN, **(values | more))


def newest(runs: list[RunRecord], sent: list[SubmissionRecord]) -> list[Row]:
    """Summarise runs of which each experiment's last one stands for it."""
    return summarise(runs, sent, {r.exp: CurrentRun(r) for r in runs})


@given(st.integers(1, 200))
def test_students_quantile(degrees: int) -> None:
    assert t_975(degrees) == pytest.approx(scipy.stats.t.ppf(0.975, degrees), rel=2e-3)


class TestChange:
    def test_the_interval_is_the_corrected_resampled_t(self) -> None:
        base, new = [0.70, 0.71, 0.69, 0.72, 0.70], [0.71, 0.73, 0.70, 0.72, 0.72]
        change = change_against(run(2, new), run(1, base))
        assert change is not None
        d = np.array(new) - np.array(base)
        half = scipy.stats.t.ppf(0.975, 4) * np.sqrt(d.var(ddof=1) * (1 / 5 + 1 / 4))
        assert change.mean == pytest.approx(d.mean())
        assert (change.low, change.high) == (
            pytest.approx(d.mean() - half, rel=1e-3),
            pytest.approx(d.mean() + half, rel=1e-3),
        )
        assert not change.clear

    def test_better_is_positive_in_both_directions(self) -> None:
        base = run(1, [1.0, 1.0, 1.1], greater_is_better=False)
        change = change_against(run(2, [0.5, 0.5, 0.6], greater_is_better=False), base)
        assert change is not None
        assert change.mean == pytest.approx(0.5)
        assert change.clear

    def test_more_seeds_are_compared_by_what_their_average_scores(self) -> None:
        base = run(1, [0.5, 0.6], seeds=(1,), seed_scores=((0.5, 0.6),))
        new = run(2, [0.53, 0.65], seeds=(1, 2), seed_scores=((0.5, 0.6), (0.51, 0.62)))
        change = change_against(new, base)
        assert change is not None
        assert change.mean == pytest.approx(0.04)

    def test_folds_in_time_have_a_wider_interval(self) -> None:
        times = Folds(*(getattr(time_folds(np.arange(600), 5), name) for name in ("valid", "train")))
        assert times.size_ratio == pytest.approx(np.mean([1, 1 / 2, 1 / 3, 1 / 4, 1 / 5]), rel=1e-3)
        one, other = run(2, [0.71, 0.73, 0.70, 0.72, 0.72]), run(1, [0.70, 0.71, 0.69, 0.72, 0.70])
        plain, wide = change_against(one, other), change_against(one, other, times.size_ratio)
        assert plain is not None
        assert wide is not None
        assert (plain.high - plain.low) / (wide.high - wide.low) == pytest.approx(0.83, abs=0.005)

    @pytest.mark.parametrize(
        "other", [{"folds_hash": "g"}, {"metric": "rmse"}, {"sample": 0.1}, {"status": "interrupted"}]
    )
    def test_what_can_not_be_compared_is_not(self, other: dict[str, Any]) -> None:
        assert change_against(run(2, [0.7, 0.8]), run(1, [0.6, 0.7], **other)) is None

    def test_one_fold_has_no_interval(self) -> None:
        change = change_against(run(2, [0.7]), run(1, [0.6]))
        assert change is not None
        assert (change.low, change.high, change.clear) == (None, None, False)

    @settings(max_examples=20)
    @given(st.integers(0, 2**32 - 1))
    def test_noise_is_seldom_called_clear(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        clear = 0
        for _ in range(200):
            base = rng.normal(0.7, 0.01, 5)
            change = change_against(run(2, list(base + rng.normal(0, 0.005, 5))), run(1, list(base)))
            assert change is not None
            clear += change.clear
        assert clear <= 20  # 5 % are expected of independent folds, and the correction asks for more


class TestSummary:
    def test_the_row_of_the_current_run_is_marked(self) -> None:
        old, new = run(1, [0.6, 0.6]), run(1, [0.7, 0.7, 0.7], folds_hash="three")
        rows = summarise([old, new], [], {1: CurrentRun(old)})
        assert [r.latest for r in rows] == [True, False]
        assert [r.outdated for r in rows] == [(), ("folds",)]
        rows = summarise([old, new], [], {1: CurrentRun(new, ("experiment",))})
        assert [(r.latest, r.outdated) for r in rows] == [(False, ("folds",)), (True, ("experiment",))]

    def test_outdated_runs_are_marked_in_text_and_json(self) -> None:
        rows = summarise(
            [run(1, [0.6, 0.6], title="first")], [], {1: CurrentRun(run(1, [0.6, 0.6]), ("folds", "data"))}
        )
        assert "[other folds, other data] first" in as_text(rows)
        assert as_dicts(rows)[0]["outdated"] == ["folds", "data"]

    def test_a_base_on_other_folds_gives_way_to_its_newest_run_on_the_same(self) -> None:
        same, other = run(1, [0.6, 0.6]), run(1, [0.9, 0.9], folds_hash="other", run_id="other")
        runs = [same, other, run(2, [0.7, 0.7], base=1)]
        rows = summarise(runs, [], {1: CurrentRun(other), 2: CurrentRun(runs[2])})
        assert rows[2].change is not None
        assert rows[2].change.mean == pytest.approx(0.1)

    def test_a_run_is_compared_with_what_stands_for_its_base(self) -> None:
        rows = newest([run(1, [0.6, 0.6]), run(1, [0.65, 0.65], key="n"), run(2, [0.7, 0.7], base=1)], [])
        assert rows[2].change is not None
        assert rows[2].change.mean == pytest.approx(0.05)

    def test_scores_are_those_of_the_last_submission_that_has_some(self) -> None:
        one = run(1, [0.6, 0.6])
        sent = [replace(SUBMISSION, run_id=one.run_id, public_score=s, status="complete") for s in (0.5, 0.6)]
        (row,) = newest([one], [*sent, replace(SUBMISSION, run_id=one.run_id)])
        assert (row.public_score, len(row.submissions)) == (0.6, 3)

    def test_a_repeated_run_shows_what_was_sent_of_the_first(self) -> None:
        first, again = run(1, [0.6, 0.6]), run(1, [0.6, 0.6], run_id="again")
        changed = run(1, [0.7, 0.7], run_id="changed", key="other")
        sent = [replace(SUBMISSION, run_id=first.run_id)]
        assert [len(r.submissions) for r in newest([first, again], sent)] == [1, 1]
        assert [len(r.submissions) for r in newest([first, changed], sent)] == [1, 0]


class TestFamily:
    def test_the_best_of_many_null_changes_has_no_star(self) -> None:
        """Alone, one in twenty would have one where the correction fits; here a third of the tables would have some."""
        starred = alone = 0
        for repeat in range(60):
            rng = np.random.default_rng([7, repeat])
            base = run(1, list(rng.normal(0.7, 0.01, 5)))
            scores = np.array(base.fold_scores) + rng.normal(0, 0.004, (80, 5)) * np.exp(rng.normal(size=(80, 1)) / 2)
            rows = newest([base, *(run(i + 2, list(s), base=1, key=f"k{i}") for i, s in enumerate(scores))], [])
            changes = [r.change for r in rows if r.change is not None]
            starred += any(c.clear for c in changes)
            alone += any(c.clear_alone for c in changes)
        assert alone > 15
        assert starred <= 7  # 3 are expected at most; more than 7 in one of 100 cases

    def test_a_real_change_is_found_among_many(self) -> None:
        found = 0
        for repeat in range(20):
            rng = np.random.default_rng([8, repeat])
            base = run(1, list(rng.normal(0.7, 0.01, 5)))
            scores = np.array(base.fold_scores) + rng.normal(0, 0.002, (80, 5))
            scores[40] += 0.012
            rows = newest([base, *(run(i + 2, list(s), base=1, key=f"k{i}") for i, s in enumerate(scores))], [])
            found += bool(rows[41].beyond_noise)
        assert found >= 15  # by Holm's procedure over plain t tests it would be 3

    def test_what_is_compared_is_counted_whatever_is_shown(self) -> None:
        base, tried = run(1, [0.70, 0.71, 0.72]), run(2, [0.71, 0.73, 0.73], base=1, key="a")
        again = replace(tried, run_id="again")
        other = run(2, [0.72, 0.71, 0.74], base=1, key="b", run_id="b", title="edited")
        sampled = run(3, [0.72, 0.71, 0.74], base=1, sample=0.1)
        elsewhere = run(4, [0.72, 0.71, 0.74], base=1, folds_hash="others")
        failed = run(5, [], base=1, status="failed")
        rows = newest([base, tried, again, other, sampled, elsewhere, failed], [])
        (shown,) = select(rows, filters=["edited"])
        assert shown.change is not None
        assert shown.change.n_compared == 2
        assert as_dicts([shown])[0]["compared"] == 2

    def test_one_change_alone_is_judged_by_its_interval(self) -> None:
        for new in ([0.72, 0.73, 0.741], [0.71, 0.70, 0.74]):
            rows = newest([run(1, [0.70, 0.71, 0.72]), run(2, new, base=1)], [])
            change = rows[1].change
            assert change is not None
            assert change.clear == change.clear_alone == (change.low > 0)
            assert change.p is not None
            assert (change.p <= 0.05) == change.clear

    def test_what_was_chosen_on_these_folds_is_marked_and_has_no_star(self) -> None:
        base = run(1, [0.70, 0.71, 0.72])
        chosen = run(2, [0.80, 0.81, 0.825], base=1, optimistic="tuned on these folds")
        text = as_text(newest([base, chosen], []))
        assert "0.81167^" in text
        assert " ^  " in text
        assert "*" not in text
        (found,) = as_dicts(newest([base, chosen], [])[1:])
        assert (found["beyond_noise"], found["optimistic"]) == (None, "tuned on these folds")

    def test_what_is_held_against_a_base_that_was_chosen_has_no_star_either(self) -> None:
        """Each fold's own number of rounds flatters the base: what has one for all is worse without being so."""
        base = run(1, [0.80, 0.81, 0.825], optimistic="rounds per fold")
        rows = newest([base, run(2, [0.70, 0.71, 0.72], base=1)], [])
        assert rows[1].beyond_noise is None
        line = as_text(rows).splitlines()[2]
        assert " ^  " in line
        assert "0.71000^" not in line
        assert "*" not in line

    @pytest.mark.parametrize(
        ("reasons", "changes", "judged"),
        [
            (("tuned on these folds", "tuned on these folds"), ("+town_size", "-ratio", "seeds [1] -> [1, 2]"), True),
            (("tuned on these folds", "tuned on these folds"), ("+town_size", "num_leaves 31 -> 60"), False),
            (("tuned on these folds", "tuned on these folds"), ("+tune",), False),
            (("tuned on these folds", "selected on these folds; tuned on these folds"), ("features 9 -> two",), False),
            ((None, "tuned on these folds"), ("+town_size",), False),
            (("rounds per fold", "rounds per fold"), ("+town_size",), False),
        ],
    )
    def test_features_on_top_of_tuned_parameters_are_judged(
        self, reasons: tuple[str | None, str], changes: tuple[str, ...], judged: bool
    ) -> None:
        base = run(1, [0.70, 0.71, 0.72], optimistic=reasons[0])
        rows = newest([base, run(2, [0.80, 0.81, 0.825], base=1, optimistic=reasons[1], changes=changes)], [])
        assert rows[1].beyond_noise is (True if judged else None)
        line = as_text(rows).splitlines()[2]
        assert "0.81167^" in line
        assert ("*" in line, " ^  " in line) == (judged, not judged)

    @pytest.mark.parametrize("windows", [None, 2, 3])
    def test_the_standard_error_of_a_cv_is_that_of_its_interval(self, windows: int | None) -> None:
        scores = [0.70, 0.72, 0.69, 0.75, 0.71, 0.78]
        (found,) = as_dicts(newest([run(1, scores, cv_std=0.1, cv_windows=windows)], []))
        half = (found["cv_high"] - found["cv_low"]) / 2
        degrees = {None: 5, 2: 2, 3: 2}[windows]
        assert found["cv_standard_error"] * t_975(degrees) == pytest.approx(half)


class TestSelect:
    rows = newest([run(i, [0.5 + i / 100, 0.5], title=f"t{i}", seconds=float(i)) for i in range(5)], [])

    @pytest.mark.parametrize(
        ("sort", "expected"),
        [("exp", [0, 1, 2, 3, 4]), ("cv", [4, 3, 2, 1, 0]), ("-cv", [0, 1, 2, 3, 4]), ("-seconds", [4, 3, 2, 1, 0])],
    )
    def test_sort(self, sort: str, expected: list[int]) -> None:
        assert [r.run.exp for r in select(self.rows, sort=sort)] == expected

    def test_less_is_better_comes_first_too(self) -> None:
        rows = newest([run(i, [0.5 + i / 100], greater_is_better=False) for i in range(3)], [])
        assert [r.run.exp for r in select(rows, sort="cv")] == [0, 1, 2]

    @pytest.mark.parametrize(
        ("filters", "expected"),
        [
            (["t3"], [3]),
            (["seconds>=3"], [3, 4]),
            (["seconds>1", "seconds<3"], [2]),
            (["exp=2"], [2]),
            (["public>0"], []),
        ],
    )
    def test_filter(self, filters: list[str], expected: list[int]) -> None:
        assert [r.run.exp for r in select(self.rows, filters=filters)] == expected

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"sort": "cvv"}, "did you mean 'cv'"),
            ({"filters": ["cvv>1"]}, "did you mean 'cv'"),
            ({"filters": ["cv>x"]}, "number"),
        ],
    )
    def test_what_is_wrong_is_explained(self, options: dict[str, Any], message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            select(self.rows, **options)


class TestText:
    @pytest.mark.parametrize("width", [80, 100, 120, 160, 10_000])
    def test_it_fits_the_terminal(self, width: int) -> None:
        base = run(1, [0.5, 0.6], title="base")
        long = run(2, [0.6, 0.7], title="a long title " * 5, changes=("+a" * 30,), base=1)
        sent = replace(SUBMISSION, run_id=long.run_id, public_score=0.71234, private_score=0.70123)
        text = as_text(newest([base, long], [sent]), width=width)
        assert max(map(len, text.splitlines())) <= width
        for score in ("0.65000", "+0.10000", "0.71234", "0.70123"):
            assert score in text

    def test_a_quick_try_and_a_broken_run_say_so(self) -> None:
        rows = newest([run(1, [0.5], sample=0.05), run(2, [], status="interrupted", cv_mean=None)], [])
        text = as_text(rows)
        assert "[0.05 sample]" in text
        assert "[interrupted]" in text

    def test_json_has_the_agreed_keys(self) -> None:
        (found,) = as_dicts(newest([run(1, [0.5])], []))
        agreed = "exp run_id title kind status metric greater_is_better cv_mean cv_std cv_folds n_features seconds"
        agreed += " peak_rss_mb created_at git_commit public_score private_score"
        assert list(found)[:17] == agreed.split()

    def test_csv_has_a_line_per_run(self) -> None:
        lines = as_csv(newest([run(1, [0.5]), run(2, [0.6])], [])).splitlines()
        assert len(lines) == 3
        assert lines[0].startswith("exp,run_id,title")


# ------------------------------------------------------------------------------------------------------- line by line


def test_the_change_of_folds_and_its_interval_in_numbers() -> None:
    """Of differences 0.01, 0.02 and 0.03: the mean 0.02, the variance 0.0001, 2 degrees of freedom."""
    base, new = run(1, [0.70, 0.71, 0.72]), run(2, [0.71, 0.73, 0.75])
    for ratio, factor in ((None, 1 / 3 + 1 / 2), (0.25, 1 / 3 + 1 / 4), (0.0, 1 / 3)):
        half = 4.303 * 0.01 * factor**0.5
        change = change_against(new, base, ratio)
        assert change is not None
        assert (change.mean, change.low, change.high) == pytest.approx((0.02, 0.02 - half, 0.02 + half))
        assert (change.p, change.n_compared) == (None, 1)


@pytest.mark.parametrize(
    ("low", "high", "p", "alone", "clear"),
    [
        (0.1, 0.3, None, True, True),
        (-0.3, -0.1, None, True, True),
        (0.0, 0.3, None, False, False),
        (-0.3, 0.0, None, False, False),
        (-0.1, 0.3, 0.01, False, False),
        (0.1, 0.3, 0.05, True, True),
        (0.1, 0.3, 0.0501, True, False),
        (None, None, None, False, False),
        (None, None, 0.01, False, False),
    ],
)
def test_a_change_is_clear_by_its_interval_and_among_the_others(
    low: float | None, high: float | None, p: float | None, alone: bool, clear: bool
) -> None:
    change = Change(0.2, low, high, p)
    assert (change.clear_alone, change.clear) == (alone, clear)


@pytest.mark.parametrize(
    "other",
    [
        {"folds_hash": "g"},
        {"metric": "rmse"},
        {"greater_is_better": False},
        {"sample": 0.1},
        {"status": "interrupted"},
        {"cv_windows": 2},
        {"fold_scores": ()},
        {"fold_scores": (0.6,)},
        {"fold_scores": (0.6, 0.7, 0.8)},
    ],
)
def test_each_way_in_which_two_runs_can_not_be_compared(other: dict[str, Any]) -> None:
    one, base = run(2, [0.7, 0.8]), run(1, [0.6, 0.7])
    assert change_against(one, base) is not None
    assert change_against(one, replace(base, **other)) is None
    assert change_against(replace(one, **other), base) is None
    assert change_against(replace(one, fold_scores=()), replace(base, fold_scores=())) is None


def test_windows_in_time_are_compared_by_what_they_are_as_sure_of() -> None:
    """Three windows of two groups of users: three independent values, with no train rows shared."""
    base = run(1, [0.1, 0.2, 0.1, 0.2, 0.1, 0.2], cv_windows=3)
    new = run(2, [0.3, 0.42, 0.35, 0.45, 0.4, 0.52], cv_windows=3, base=1)
    independent = window_values([a - b for a, b in zip(new.fold_scores, base.fold_scores, strict=True)], 3)
    expected = 4.303 * np.std(independent, ddof=1) / 3**0.5
    for ratio in (None, 0.0, 7.0):
        change = change_against(new, base, ratio)
        assert change is not None
        assert change.high - change.low == pytest.approx(2 * expected)
    # Among others they are as sure.
    shown = summarise([base, new], [], {1: CurrentRun(base), 2: CurrentRun(new)}, {"f": 7.0})[1].change
    assert shown is not None
    assert shown.high - shown.low == pytest.approx(2 * expected)
    t = np.mean(independent) / (np.std(independent, ddof=1) / 3**0.5)
    assert shown.p == pytest.approx(2 * scipy.stats.t.sf(t, 2))
    low, high = cv_interval(replace(new, cv_std=0.1), 7.0) or (0, 0)
    half = 4.303 * np.std(window_values(new.fold_scores, 3), ddof=1) / 3**0.5
    assert (low, high) == pytest.approx((new.cv_mean - half, new.cv_mean + half))


@pytest.mark.parametrize("ratio", [None, 0.5])
def test_the_interval_of_a_cv_is_of_two_folds_at_least(ratio: float | None) -> None:
    one = run(1, [0.6, 0.8], cv_std=0.1)
    half = 12.706 * 0.02**0.5 * (1 / 2 + (1 if ratio is None else ratio)) ** 0.5
    assert cv_interval(one, ratio) == pytest.approx((0.7 - half, 0.7 + half))
    for unknown in ({"cv_mean": None}, {"cv_std": None}, {"fold_scores": (0.6,)}):
        assert cv_interval(replace(one, **unknown), ratio) is None


def test_two_folds_have_an_interval() -> None:
    change = change_against(run(2, [0.7, 0.9]), run(1, [0.6, 0.7]))
    assert change is not None
    half = 12.706 * 0.1 / 2**0.5 * (1 / 2 + 1) ** 0.5
    assert (change.low, change.high) == pytest.approx((0.15 - half, 0.15 + half))


def test_a_family_counts_the_definitions_that_can_be_compared() -> None:
    base, family = run(1, [0.70, 0.71, 0.72]), Family(0.25)
    tried = run(2, [0.71, 0.73, 0.75], key="a")
    family.add(tried, base)
    family.add(replace(tried, fold_scores=(0.71, 0.73, 0.77)), base)  # the same definition run again
    family.add(run(3, [0.71, 0.73, 0.74], key="a"), base)
    family.add(run(4, [0.71, 0.73]), base)  # of other folds
    family.add(run(5, [0.71]), run(1, [0.70]))  # one difference has no variance
    assert len(family) == 2
    change = family.change(tried, base)
    assert change is not None
    expected = family_p([[0.01, 0.02, 0.05], [0.01, 0.02, 0.02]], 0.25)
    assert (change.p, change.n_compared) == (pytest.approx(expected[0]), 2)
    # What it has not counted is compared by itself.
    alone = family.change(run(6, [0.71, 0.73, 0.74]), base)
    assert alone is not None
    assert (alone.p, alone.n_compared) == (None, 1)
    assert family.change(run(4, [0.71, 0.73]), base) is None
    assert Family().size_ratio is None
    two = Family()
    two.add(run(2, [0.71, 0.75]), run(1, [0.70, 0.71]))
    assert len(two) == 1


def test_folds_have_their_own_ratio_and_metrics_their_own_family() -> None:
    runs = [run(1, [0.70, 0.71, 0.72]), run(2, [0.71, 0.73, 0.75], base=1)]
    for more in ({"folds_hash": "g"}, {"sample": 0.5}, {"metric": "rmse"}, {"greater_is_better": False}):
        runs += [replace(r, run_id=f"{r.run_id}{more}", **more) for r in runs[:2]]
    current = {n: CurrentRun(runs[n - 1]) for n in (1, 2)}
    rows = summarise(runs, [], current, {"f": 1.5})
    changes = [row.change for row in rows if row.run.exp == 2 and row.change is not None]
    assert [c.n_compared for c in changes] == [1, 1, 1]  # the last two have a base of the first metric on their folds
    width = {
        row.run.folds_hash: row.change.high - row.change.low
        for row in rows
        if row.change is not None and row.run.sample is None
    }
    assert width["f"] / width["g"] == pytest.approx(((1 / 3 + 1.5) / (1 / 3 + 1 / 2)) ** 0.5)
    assert {id(row.family) for row in rows if row.run.exp == 2} == {id(row.family) for row in rows if row.run.exp == 1}
    assert len({id(row.family) for row in rows}) == 5


class TestBase:
    old = run(1, [0.6, 0.6], run_id="old", key="old")
    new = run(1, [0.65, 0.65], run_id="new", key="new")

    def change(self, *runs: RunRecord, current: RunRecord, of: RunRecord) -> float | None:
        rows = summarise([*runs, of], [], {1: CurrentRun(current), 2: CurrentRun(of)})
        return None if rows[-1].change is None else round(rows[-1].change.mean, 9)

    def test_what_stands_for_the_base_is_it_else_the_newest(self) -> None:
        of = run(2, [0.7, 0.7], base=1)
        assert self.change(self.old, self.new, current=self.old, of=of) == 0.1
        assert self.change(self.old, self.new, current=self.new, of=of) == 0.05

    def test_one_that_has_not_finished_is_no_base(self) -> None:
        of, broken = run(2, [0.7, 0.7], base=1), replace(self.new, status="failed")
        assert self.change(self.old, broken, current=broken, of=of) == 0.1
        assert self.change(broken, current=broken, of=of) is None

    def test_a_quick_try_is_compared_with_one_of_the_same_share(self) -> None:
        of = run(2, [0.7, 0.7], base=1, sample=0.1)
        quick = replace(self.new, sample=0.1)
        assert self.change(self.old, quick, current=self.old, of=of) == 0.05
        assert self.change(self.old, replace(quick, sample=0.2), current=self.old, of=of) is None

    def test_without_a_base_there_is_no_change(self) -> None:
        of = run(2, [0.7, 0.7])
        assert self.change(self.old, current=self.old, of=of) is None


@pytest.mark.parametrize(
    ("earlier", "standing", "outdated", "expected"),
    [
        ({}, {}, (), ()),
        ({}, {}, ("experiment",), ()),
        ({}, {}, ("folds",), ("folds",)),
        ({"folds_hash": "g"}, {}, (), ("folds",)),
        ({"folds_hash": "g", "status": "failed"}, {}, (), ()),
        ({"folds_hash": "g", "sample": 0.1}, {}, (), ()),
        ({"folds_hash": "g"}, {"sample": 0.1}, (), ()),
    ],
)
def test_an_earlier_run_on_other_folds_says_so(
    earlier: dict[str, Any], standing: dict[str, Any], outdated: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    one, other = run(1, [0.6, 0.6], **(earlier | {"run_id": "earlier"})), run(1, [0.6, 0.6], **standing)
    rows = summarise([one, other], [], {1: CurrentRun(other, outdated)})
    assert [row.outdated for row in rows] == [expected, outdated]
    assert [row.latest for row in rows] == [False, True]


def test_a_submission_from_elsewhere_is_a_line_of_its_own() -> None:
    sent = replace(SUBMISSION, submission_id="s9", public_score=0.7, message="by hand", error="late", status="complete")
    row = from_elsewhere(sent, "rmse", greater_is_better=False)
    assert (row.run.run_id, row.run.title, row.run.error) == ("s9", "by hand", "late")
    assert (row.run.metric, row.run.greater_is_better, row.run.exp) == ("rmse", False, 0)
    assert (row.run.kind, row.run.status, row.run.cv_mean) == ("elsewhere", "elsewhere", 0.74)
    assert (row.latest, row.base, row.change, row.public_score) == (True, None, None, 0.7)
    (found,) = as_dicts([row])
    assert (found["exp"], found["latest"], found["submissions"]) == (None, True, 1)
    line = as_text([row]).splitlines()[1]
    assert line.strip().startswith("[elsewhere] by hand")
    assert "0.70000" in line


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"public_score": 0.5}, "public 0.50000"),
        ({"public_score": 0.0, "private_score": 0.25, "status": "complete"}, "public 0.00000, private 0.25000"),
        ({"private_score": 0.25, "status": "error"}, "private 0.25000"),
        ({"status": "error"}, ""),
        ({"status": "unlisted"}, "not listed, may have arrived"),
        ({"status": "complete"}, "no score is shown"),
        ({"status": "pending"}, "not scored yet"),
    ],
)
def test_scores_in_words(more: dict[str, Any], expected: str) -> None:
    assert scores_text(replace(SUBMISSION, **more)) == expected


def test_each_score_is_of_the_last_submission_that_has_it() -> None:
    one = run(1, [0.6, 0.6])
    sent = [
        replace(SUBMISSION, run_id=one.run_id, public_score=public, private_score=private)
        for public, private in ((0.1, 0.2), (0.0, None), (None, 0.4), (None, None))
    ]
    (row,) = newest([one], sent)
    assert (row.public_score, row.private_score) == (0.0, 0.4)
    assert [s.public_score for s in row.submissions] == [0.1, 0.0, None, None]
    assert (newest([one], [])[0].public_score, newest([one], [])[0].private_score) == (None, None)


@pytest.mark.parametrize(
    ("optimistic", "of_base", "changes", "chosen"),
    [
        (None, None, ("+a",), False),
        ("tuned on these folds", None, ("+a",), True),
        (None, "selected on these folds", ("+a",), True),
        ("tuned on these folds", "tuned on these folds", (), False),
        ("tuned on these folds", "tuned on these folds", ("+a", "-b"), False),
        ("tuned on these folds", "tuned on these folds", ("features 3 -> 4", "refit no -> yes"), False),
        ("tuned on these folds", "tuned on these folds", ("+a", "-tune"), True),
        ("tuned on these folds", "tuned on these folds", ("num_leaves 7 -> 8", "+a"), True),
    ],
)
def test_what_was_chosen_on_its_own_folds(
    optimistic: str | None, of_base: str | None, changes: tuple[str, ...], chosen: bool
) -> None:
    base = run(1, [0.6, 0.61, 0.62], optimistic=of_base)
    rows = newest([base, run(2, [0.9, 0.911, 0.92], base=1, optimistic=optimistic, changes=changes)], [])
    assert rows[1].is_biased == chosen
    assert rows[1].beyond_noise == (None if chosen else True)
    assert rows[0].is_biased == (of_base is not None)


class TestSelection:
    rows = newest(
        [
            run(1, [0.5, 0.6], title="Plain", n_features=9, cv_std=0.2, seconds=5.0, peak_rss_mb=50.0, changes=()),
            run(2, [0.6, 0.7], title="more", n_features=7, cv_std=None, seconds=None, base=1, changes=("+towN",)),
            run(3, [0.4, 0.5], title="LESS", n_features=None, cv_std=0.1, seconds=9.0, base=1, changes=()),
            run(4, [], title="broken", status="failed", cv_mean=None, n_features=8, cv_std=0.3, changes=()),
        ],
        [
            replace(SUBMISSION, run_id=f"00{n}-None-None-2", public_score=p, private_score=1 - p)
            for n, p in ((1, 0.3), (2, 0.4))
        ],
    )

    def exps(self, **options: Any) -> list[int]:
        return [row.run.exp for row in select(self.rows, **options)]

    @pytest.mark.parametrize(
        ("column", "expected"),
        [
            ("exp", [1, 2, 3, 4]),
            ("title", [3, 1, 4, 2]),
            ("status", [4, 1, 2, 3]),
            ("cv", [2, 1, 3, 4]),
            ("-cv", [3, 1, 2, 4]),
            ("std", [3, 1, 4, 2]),
            ("-std", [4, 1, 3, 2]),
            ("change", [2, 3, 1, 4]),
            ("-change", [3, 2, 1, 4]),
            ("features", [2, 4, 1, 3]),
            ("seconds", [4, 1, 3, 2]),
            ("memory", [1, 2, 3, 4]),
            ("created", [1, 2, 3, 4]),
            ("-created", [4, 3, 2, 1]),
            ("public", [2, 1, 3, 4]),
            ("private", [1, 2, 3, 4]),
        ],
    )
    def test_by_each_column_what_has_none_comes_last(self, column: str, expected: list[int]) -> None:
        assert self.exps(sort=column) == expected

    def test_scores_of_which_less_is_better_are_best_first_too(self) -> None:
        rows = [replace(row, run=replace(row.run, greater_is_better=False)) for row in self.rows]
        for column in ("cv", "public", "private"):
            best = select(rows, sort=column)[0].run.exp
            assert best == {"cv": 3, "public": 1, "private": 2}[column]
        assert [r.run.exp for r in select([rows[3]], sort="cv")] == [4]

    @pytest.mark.parametrize(
        ("filters", "expected"),
        [
            ([], [1, 2, 3, 4]),
            (["less"], [3]),
            (["TOWN"], [2]),
            (["failed"], [4]),
            (["more", "less"], []),
            (["exp>=3"], [3, 4]),
            (["exp > 3"], [4]),
            (["exp<=2"], [1, 2]),
            (["exp<2"], [1]),
            (["exp=2"], [2]),
            (["title=more"], [2]),
            (["title>M"], [1, 2, 4]),
            (["seconds>=5"], [1, 3, 4][:2]),
            (["cv<=0.55"], [1, 3]),
            (["change>0"], [2]),
            (["created>=2026-11-23T20:03"], [3, 4]),
            (["features=7"], [2]),
        ],
    )
    def test_words_and_comparisons(self, filters: list[str], expected: list[int]) -> None:
        found = self.exps(filters=filters)
        assert [n for n in found if n != 4 or "seconds" not in "".join(filters)] == expected


def test_a_row_as_json_has_every_number_of_the_run() -> None:
    base = run(1, [0.70, 0.71, 0.72])
    new = run(2, [0.80, 0.81, 0.825], base=1, cv_std=0.02, error="odd", sample=None, oof_score=0.5)
    sent = replace(SUBMISSION, run_id=new.run_id, public_score=0.4)
    rows = summarise([base, new], [sent], {1: CurrentRun(base), 2: CurrentRun(new, ("data",))}, {"f": 0.25})
    found, change = as_dicts(rows)[1], rows[1].change
    assert change is not None
    assert found["exp"] == 2
    assert [found[f"change{n}"] for n in ("", "_low", "_high", "_p")] == [
        change.mean,
        change.low,
        change.high,
        change.p,
    ]
    assert change.p is not None
    assert (found["compared"], found["beyond_noise"], found["base"]) == (1, True, 1)
    assert found["fold_scores"] == [0.80, 0.81, 0.825]
    assert (found["cv_low"], found["cv_high"]) == cv_interval(new, 0.25)
    assert found["cv_standard_error"] == pytest.approx(np.std([0.80, 0.81, 0.825], ddof=1) * (1 / 3 + 1 / 4) ** 0.5)
    assert (found["submissions"], found["public_score"], found["latest"]) == (1, 0.4, True)
    assert (found["outdated"], found["error"], found["oof_score"]) == (["data"], "odd", 0.5)
    assert found["changes"] == ["+weather", "num_leaves 31 -> 63"]
    without = as_dicts([replace(rows[0], run=replace(base, fold_scores=(0.7, float("nan")), cv_std=None))])[0]
    assert without["fold_scores"] == [0.7, None]
    names = ("change", "change_low", "change_high", "change_p", "compared", "beyond_noise", "cv_low", "cv_high")
    assert [without[n] for n in (*names, "cv_standard_error")] == [None] * 9


def test_csv_joins_lists_and_keeps_each_run_on_its_line() -> None:
    lines = as_csv(newest([run(1, [0.5, 0.6], title="two\nlines", changes=("+a", "-b"))], [])).splitlines()
    assert len(lines) == 2
    assert "two lines" in lines[1]
    assert "+a; -b" in lines[1]
    assert "0.5; 0.6" in lines[1]
    assert as_csv([]) == "exp,run_id\n"


class TestLines:
    def cells(
        self, *runs: RunRecord, sent: list[SubmissionRecord] | None = None, width: int = 10_000
    ) -> list[list[str]]:
        """Return the last row's head and cells, as far as they are parted by two blanks."""
        text = as_text(newest(list(runs), sent or []), width=width).splitlines()
        return [re.split(r"  +", line.strip()) for line in (text[0], text[-1])]

    def test_every_column_of_a_run(self) -> None:
        base = run(1, [0.70, 0.71, 0.72])
        new = run(2, [0.71, 0.73, 0.75], base=1, cv_std=0.02, title="new", changes=("+a", "-b"), peak_rss_mb=299.6)
        sent = [replace(SUBMISSION, run_id=new.run_id, public_score=0.4, private_score=1234.5678)]
        head, line = self.cells(base, new, sent=sent)
        assert head == ["exp", "title", "changes", "CV", "fold SD", "change", "95 % interval", "feat", "time", "MB",
                        "sent", "public", "private"]  # fmt: skip
        assert line[:7] == ["2", "new", "+a, -b", "0.73000", "0.02000", "+0.02000 ~", "-0.01928 +0.05928"]
        assert line[7:] == ["12", "1.5 s", "300", "1", "0.40000", "1234.57"]

    def test_columns_without_anything_are_left_out(self) -> None:
        bare = run(1, [0.7], cv_std=None, changes=(), n_features=None, seconds=None, peak_rss_mb=None, title="bare")
        assert self.cells(bare) == [["exp", "title", "CV"], ["1", "bare", "0.70000"]]
        # These three are there in any case.
        none = replace(bare, cv_mean=None, title="", status="finished")
        assert self.cells(none) == [["exp", "title", "CV"], ["1"]]
        assert as_text([]) == "exp  title  CV"

    @pytest.mark.parametrize(
        ("seconds", "text"),
        [
            (0.0, "0.0 s"),
            (99.94, "99.9 s"),
            (100.0, "1.7 min"),
            (5_999.0, "100.0 min"),
            (6_000.0, "1.7 h"),
            (36_000.0, "10.0 h"),
        ],
    )
    def test_times_have_a_unit_that_suits_them(self, seconds: float, text: str) -> None:
        assert text in self.cells(run(1, [0.7], seconds=seconds))[1]

    @pytest.mark.parametrize(
        ("score", "text"), [(0.123456, "0.12346"), (999.9, "999.90000"), (1000.0, "1000"), (-1234567.8, "-1.23457e+06")]
    )
    def test_large_scores_have_fewer_digits(self, score: float, text: str) -> None:
        assert text in self.cells(run(1, [score]))[1]

    @pytest.mark.parametrize(
        ("scores", "more", "mark"),
        [
            ([0.80, 0.81, 0.825], {}, "*"),
            ([0.71, 0.70, 0.74], {}, "~"),
            ([0.80, 0.81, 0.825], {"optimistic": "tuned on these folds"}, "^"),
        ],
    )
    def test_the_mark_of_a_change(self, scores: list[float], more: dict[str, Any], mark: str) -> None:
        base = run(1, [0.70, 0.71, 0.72], changes=())
        head, line = self.cells(base, run(2, scores, base=1, changes=(), **more))
        assert line[head.index("change")].endswith(f" {mark}")
        assert line[head.index("CV")].endswith("^") == (mark == "^")

    def test_a_single_pair_of_scores_has_no_interval_and_no_mark(self) -> None:
        head, line = self.cells(run(1, [0.6], changes=()), run(2, [0.7], base=1, changes=()))
        assert "95 % interval" not in head
        assert line[head.index("change")] == "+0.10000"

    def test_what_a_run_is_stands_before_its_title(self) -> None:
        one = run(1, [0.7], title="t", sample=0.0512, status="failed")
        text = as_text(summarise([one], [], {1: CurrentRun(one, ("folds",))}))
        assert "[failed] [other folds] [0.0512 sample] t" in text
        assert "[" not in as_text(newest([run(1, [0.7], title="t")], []))

    def test_numbers_are_to_the_right_and_words_to_the_left(self) -> None:
        runs = [run(n, [0.7], title="t" * n, changes=(), seconds=float(n), n_features=n) for n in (1, 10)]
        lines = as_text(newest(runs, [])).splitlines()
        assert lines[1].startswith("  1  t           0.70000")
        assert lines[2].startswith(" 10  tttttttttt  0.70000")
        assert [len(line) for line in lines] == [len(lines[0])] * 3

    def test_each_kind_of_line_has_its_colour(self) -> None:
        base = run(1, [0.70, 0.71, 0.72])
        runs = [
            base,
            run(2, [0.80, 0.81, 0.825], base=1, key="a"),
            run(3, [0.60, 0.61, 0.625], base=1, key="b"),
            run(4, [0.71, 0.70, 0.74], base=1, key="c"),
            run(5, [0.80, 0.81, 0.825], base=1, key="d", optimistic="tuned on these folds"),
            run(6, [0.7, 0.7, 0.7], status="failed"),
            run(7, [0.7, 0.7, 0.7], sample=0.5),
            run(8, [0.7, 0.7, 0.7]),
        ]
        current = {r.exp: CurrentRun(r, ("data",) if r.exp == 8 else ()) for r in runs}
        tones: list[str] = []
        as_text(summarise(runs, [], current), paint=lambda text, tone: tones.append(tone) or text)
        assert tones == ["head", "", "better", "worse", "", "", "quiet", "quiet", "quiet"]

    def test_what_is_too_long_ends_in_dots_and_columns_leave_one_by_one(self) -> None:
        base = run(1, [0.70, 0.71, 0.72])
        new = run(2, [0.71, 0.73, 0.75], base=1, cv_std=0.02, title="t" * 60, changes=("+a" * 30,))
        rows = newest([base, new], [replace(SUBMISSION, run_id=new.run_id, public_score=0.4, private_score=0.3)])
        whole = len(as_text(rows, width=10_000).splitlines()[-1])
        seen: list[tuple[str, ...]] = []
        for width in range(whole, 40, -1):
            lines = as_text(rows, width=width).splitlines()
            assert max(map(len, lines)) <= max(width, 74)
            columns = tuple(re.split(r"  +", lines[0].strip()))
            if not seen or seen[-1] != columns:
                # A column goes only where titles and changes have given way as far as they may.
                seen.append(columns)
        gone = [next(iter(set(a) - set(b))) for a, b in pairwise(seen)]
        assert gone == ["changes", "MB", "feat", "fold SD", "95 % interval", "time", "sent"]
        title = as_text(rows, width=whole - 1).splitlines()[-1]
        assert "t" * 60 in title
        assert f"{'+a' * 29}…" in title
        narrow = as_text(rows, width=60).splitlines()[-1]
        assert f"{'t' * 23}…" in narrow
