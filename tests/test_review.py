from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.test_ledger import NOW, RUN, SUBMISSION
from workbench.current_runs import CurrentRun
from workbench.errors import ConfigError
from workbench.ledger import RunRecord, SubmissionRecord
from workbench.review import Row, _t975, as_csv, as_dicts, as_text, change_against, select, summarise


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
    assert _t975(degrees) == pytest.approx(scipy.stats.t.ppf(0.975, degrees), rel=2e-3)


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

    def test_shared_seeds_are_paired(self) -> None:
        base = run(1, [0.5, 0.6], seeds=(1,), seed_scores=((0.5, 0.6),))
        new = run(2, [0.9, 0.9], seeds=(2, 1), seed_scores=((0.7, 0.8), (0.51, 0.62)))
        change = change_against(new, base)
        assert change is not None
        assert change.mean == pytest.approx(0.015)

    @pytest.mark.parametrize(
        "other", [{"folds_hash": "g"}, {"metric": "rmse"}, {"sample": 0.1}, {"status": "interrupted"}]
    )
    def test_what_can_not_be_compared_is_not(self, other: dict[str, Any]) -> None:
        assert change_against(run(2, [0.7, 0.8]), run(1, [0.6, 0.7], **other)) is None

    def test_one_fold_has_no_interval(self) -> None:
        change = change_against(run(2, [0.7]), run(1, [0.6]))
        assert change is not None
        assert (change.low, change.high, change.clear) == (None, None, False)

    @settings(deadline=None, max_examples=20)
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
