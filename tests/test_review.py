from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.records import NOW, RUN, SUBMISSION
from workbench.current_runs import CurrentRun
from workbench.errors import ConfigError
from workbench.folds import Folds, time_folds
from workbench.intervals import t_975
from workbench.ledger import RunRecord, SubmissionRecord
from workbench.review import Row, as_csv, as_dicts, as_text, change_against, select, summarise


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
        assert shown.change.compared == 2
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
