"""How a study is kept: its journal and database, who works on it, what becomes of trials whose process died."""

from __future__ import annotations

import json
import threading
import time
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution

from workbench.core.errors import BusyError, ConfigError, DamagedError, StorageError
from workbench.core.locks import lock
from workbench.core.temporary import machine
from workbench.models.lightgbm.fold_scorer import FoldScore
from workbench.tuning import StudyKey, open_study, read_study
from workbench.tuning.dead_trials import settle_dead
from workbench.tuning.oof_files import OOFFiles
from workbench.tuning.plots import draw, importances
from workbench.tuning.pruning import Curve, Curves, is_prunable
from workbench.tuning.state import requeue_failed

KEY = StudyKey("small-001", {"features": "a", "folds": "b"})
OTHER = replace(KEY, parts=KEY.parts | {"folds": "z"})
SPACE = {"x": FloatDistribution(0, 1)}
RUNNING = optuna.trial.TrialState.RUNNING


def opening(folder: Path, key: StudyKey = KEY, **more: Any) -> Any:
    return open_study(folder, key, **({"greater_is_better": True} | more))


def add_trials(opened: Any, *values: float) -> None:
    for value in values:
        opened.study.tell(opened.ask(SPACE), value)


class TestOpening:
    def test_parts_that_changed_are_named_in_the_keys_order(self) -> None:
        key = StudyKey("x", {"features": "a", "folds": "b", "space": "c"})
        assert key.changed({"space": "d", "features": "a", "other": "e"}) == ["folds", "space"]
        assert key.changed(dict(key.parts)) == []

    @pytest.mark.parametrize(("greater", "direction"), [(True, "MAXIMIZE"), (False, "MINIMIZE")])
    def test_a_study_has_the_metrics_direction(self, tmp_path: Path, greater: bool, direction: str) -> None:
        with opening(tmp_path, greater_is_better=greater) as opened:
            assert opened.study.direction.name == direction
            assert opened.study.study_name == "small-001"
            assert opened.study.user_attrs["parts"] == KEY.parts
            assert isinstance(opened.study.pruner, optuna.pruners.NopPruner)

    @pytest.mark.parametrize(("values", "said"), [((), []), ((0.5,), ["1 trial"]), ((0.5, 0.6), ["2 trials"])])
    def test_it_says_that_it_goes_on(self, tmp_path: Path, values: tuple[float, ...], said: list[str]) -> None:
        with opening(tmp_path) as opened:
            add_trials(opened, *values)
        with opening(tmp_path) as opened:
            assert opened.notes == [f"the study continues after {n}" for n in said]
            assert opened.study.user_attrs["opened"] == 2

    def test_each_search_of_it_draws_from_a_seed_of_its_own(self, tmp_path: Path) -> None:
        drawn: list[float] = []
        for folder, seed in (("a", 0), ("a", 0), ("b", 0), ("c", 1)):
            with opening(tmp_path / folder, seed=seed) as opened:
                add_trials(opened, 0.5)
                drawn.append(opened.study.trials[-1].params["x"])
        first, second, same, other = drawn
        assert first == same
        assert len({first, second, other}) == 3

    def test_what_is_begun_anew_keeps_the_journal_and_the_oof(self, tmp_path: Path) -> None:
        with opening(tmp_path) as opened:
            add_trials(opened, 0.5, 0.6)
        (tmp_path / "oof").mkdir()
        with opening(tmp_path, OTHER) as opened:
            assert opened.study.trials == []
            (note,) = opened.notes
        (old,) = tmp_path.glob("journal-2*T*.log")
        assert note == f"the study starts over because folds changed; the old one, with 2 trials, is kept: {old}"
        assert old.stat().st_size > 100
        assert [p.name[:5] for p in tmp_path.glob("oof*")] == ["oof-2"]

    def test_only_another_process_at_work_keeps_it_from_that(self, tmp_path: Path) -> None:
        with opening(tmp_path):
            pass
        (tmp_path / "workers" / "one-that-died").touch()
        with opening(tmp_path, OTHER) as opened:
            assert opened.study.user_attrs["parts"] == OTHER.parts
        with (
            opening(tmp_path, OTHER),
            pytest.raises(BusyError, match="before folds changed") as caught,
            opening(tmp_path),
        ):
            pass
        assert "starts over" in str(caught.value.hint)

    def test_its_worker_is_there_while_it_is_open(self, tmp_path: Path) -> None:
        with opening(tmp_path) as opened:
            assert [p.name for p in (tmp_path / "workers").iterdir()] == [opened.worker]
            assert opened.worker.startswith("-".join(machine()) + "-")
            assert opened.position() == (0, 1)
        assert list((tmp_path / "workers").iterdir()) == []
        with pytest.raises(KeyError), opening(tmp_path):
            raise KeyError
        assert list((tmp_path / "workers").iterdir()) == []

    def test_it_says_that_it_lives_by_a_thread_that_keeps_no_process_alive(self, tmp_path: Path) -> None:
        def beating() -> list[threading.Thread]:
            return [t for t in threading.enumerate() if t.name == "heartbeat"]

        with opening(tmp_path):
            assert [t.daemon for t in beating()] == [True]
        assert beating() == []

    def test_a_folder_that_can_not_be_made_is_said(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(StorageError, match="file"), opening(tmp_path / "file" / "study"):
            pass

    def test_what_a_worker_will_take_is_reckoned_with_by_the_others(self, tmp_path: Path) -> None:
        with opening(tmp_path) as first, opening(tmp_path) as second:
            assert first.memory_announced_by_others() == 0
            first.announce_memory(2**40)
            assert first.memory_announced_by_others() == 0
            assert 2**40 - 2**36 < second.memory_announced_by_others() < 2**40
            first.announce_memory(1)  # it has taken more already
            assert second.memory_announced_by_others() == 0
        with opening(tmp_path) as third:
            third.study.set_user_attr("memory:one-that-died", [1, 2**40])
            assert third.memory_announced_by_others() == 0


class TestTrials:
    def test_a_trial_bears_its_process_and_the_time(self, tmp_path: Path) -> None:
        with opening(tmp_path) as opened:
            trial = opened.ask(SPACE)
            kept = opened.study.trials[0].user_attrs
            assert kept["worker"] == opened.worker
            seen = datetime.fromisoformat(kept["seen_at"])
            assert abs((datetime.now(UTC) - seen).total_seconds()) < 60
            assert set(trial.params) == {"x"}

    def test_a_failed_trial_is_queued_once(self, tmp_path: Path) -> None:
        with opening(tmp_path) as opened:
            study = opened.study
            opened.ask(SPACE)
            assert requeue_failed(study, study.trials[0])
            assert study.trials[1].user_attrs == {"retry_of": 0}
            assert study.trials[1].system_attrs["fixed_params"] == study.trials[0].params
            again = opened.ask(SPACE)
            assert again.params == study.trials[0].params
            assert not requeue_failed(study, study.trials[1])
            opened.ask({})
            assert not requeue_failed(study, study.trials[2])
            assert len(study.trials) == 3

    def left(self, folder: Path, *workers: dict[str, Any]) -> list[str]:
        """Leave running trials; return what settling says, and then their states."""
        with opening(folder) as opened:
            for number, attributes in enumerate(workers):
                began = attributes.pop("began", datetime.now())  # noqa: DTZ005 as Optuna has it
                trial = optuna.trial.create_trial(
                    state=RUNNING, params={"x": number / 10}, distributions=SPACE, user_attrs=attributes
                )
                trial.datetime_start = began
                opened.study.add_trial(trial)
            notes = settle_dead(opened.study, folder, shared=bool(self.shared))
            return [*notes, *(t.state.name for t in opened.study.trials[: len(workers)])]

    shared = False

    def test_those_of_the_dead_are_tried_once_more_and_counted(self, tmp_path: Path) -> None:
        dead = "-".join(machine()) + "-0123"
        attributes = [{"worker": dead}, {"worker": dead}, {"worker": dead, "retry_of": 0}]
        assert self.left(tmp_path, *attributes) == [
            "queued again, as their process ended during the trial: 2 trials",
            "marked as failed, as their process ended during the trial twice: 1 trial",
            *["FAIL"] * 3,
        ]
        study = read_study(tmp_path, "small-001")
        assert study is not None
        assert [t.user_attrs.get("failure") for t in study.trials[:3]] == ["its process ended in the middle"] * 3
        assert [t.user_attrs.get("retry_of") for t in study.trials[3:]] == [0, 1]

    @pytest.mark.parametrize("shared", [False, True])
    @pytest.mark.parametrize(("hours", "dead"), [(0.9, False), (1.1, True)])
    def test_one_of_another_machine_is_dead_after_an_hour_of_silence(
        self, tmp_path: Path, shared: bool, hours: float, dead: bool
    ) -> None:
        self.shared = shared
        seen = (datetime.now(UTC) - timedelta(hours=hours)).isoformat("T", "seconds")
        states = self.left(tmp_path, {"worker": "another-machine-0123", "seen_at": seen})
        assert states[-1] == ("FAIL" if dead else "RUNNING")
        assert len(states) == 1 + dead

    @pytest.mark.parametrize(("days", "dead"), [(1.9, False), (2.1, True)])
    def test_one_of_an_earlier_version_after_two_days(self, tmp_path: Path, days: float, dead: bool) -> None:
        began = datetime.now() - timedelta(days=days)  # noqa: DTZ005 as Optuna has it
        assert self.left(tmp_path, {"worker": "another-0123", "began": began})[-1] == ("FAIL" if dead else "RUNNING")

    @pytest.mark.parametrize("shared", [False, True])
    def test_one_without_a_name_is_dead_where_nobody_else_can_be_at_work(self, tmp_path: Path, shared: bool) -> None:
        self.shared = shared
        assert self.left(tmp_path, {})[-1] == ("RUNNING" if shared else "FAIL")

    def test_one_whose_process_holds_its_lock_lives(self, tmp_path: Path) -> None:
        (tmp_path / "workers").mkdir()
        name = "-".join(machine()) + "-0123"
        with lock(tmp_path / "workers" / name, "a worker"):
            assert self.left(tmp_path, {"worker": name, "seen_at": "2020-01-01T00:00:00+00:00"}) == ["RUNNING"]


class TestJournal:
    def journal(self, folder: Path) -> Path:
        with opening(folder) as opened:
            add_trials(opened, 0.5, 0.6)
        return folder / "journal.log"

    def values(self, folder: Path) -> list[float | None]:
        study = read_study(folder, "small-001")
        assert study is not None
        return [t.value for t in study.trials]

    @pytest.mark.parametrize(
        ("added", "stays"),
        [
            (b"", b""),
            (b"\n\n", b""),
            (b'{"op_code": 4, "work', b""),
            # Half a line may read like a whole one.
            (b'{"op_code": 4, "worker_id": "x"}', b""),
            (b"\x00\x00\n", b""),
            (b"[1]\n{}\n5\n", b""),
        ],
    )
    def test_what_says_nothing_at_its_end_is_cut_off(self, tmp_path: Path, added: bytes, stays: bytes) -> None:
        path = self.journal(tmp_path)
        whole = path.read_bytes()
        path.write_bytes(whole + added)
        assert self.values(tmp_path) == [0.5, 0.6]
        assert path.read_bytes() == whole + stays

    def test_blank_lines_in_the_middle_go(self, tmp_path: Path) -> None:
        path = self.journal(tmp_path)
        whole = path.read_bytes()
        head, _, tail = whole.partition(b"\n")
        path.write_bytes(b"\n" + head + b"\n \n" + tail)
        assert self.values(tmp_path) == [0.5, 0.6]
        assert path.read_bytes() == whole

    @pytest.mark.parametrize("damage", [b"{\n", b"[]\n", b'{"op_code": 4}\n', b'{"worker_id": "x"}\n'])
    def test_damage_that_others_depend_on_is_said(self, tmp_path: Path, damage: bytes) -> None:
        path = self.journal(tmp_path)
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join([lines[0], damage, *lines[1:]]))
        with pytest.raises(DamagedError, match=f"line 2 of {len(lines) + 1} is damaged") as caught:
            self.values(tmp_path)
        assert f"mv {path} {path}.damaged" in str(caught.value.hint)
        # The lock was let go: it is said once more, by whoever comes next.
        with pytest.raises(DamagedError):
            self.values(tmp_path)

    def test_an_empty_journal_is_one(self, tmp_path: Path) -> None:
        (tmp_path / "journal.log").touch()
        assert read_study(tmp_path, "small-001") is None
        with opening(tmp_path) as opened:
            assert opened.study.trials == []

    def test_who_writes_waits_for_who_writes(self, tmp_path: Path) -> None:
        import fcntl

        with opening(tmp_path) as opened, (tmp_path / ".journal.log.lock").open("a") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            writing = threading.Thread(target=opened.study.set_user_attr, args=("a", 1))
            writing.start()
            writing.join(0.3)
            assert writing.is_alive()
            fcntl.flock(held, fcntl.LOCK_UN)
            writing.join(30)
            assert not writing.is_alive()
            assert opened.study.user_attrs["a"] == 1

    def test_a_study_that_is_not_there(self, tmp_path: Path) -> None:
        assert read_study(tmp_path, "small-001") is None
        self.journal(tmp_path)
        assert read_study(tmp_path, "small-002") is None


class TestDatabase:
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path / 'studies.db'}"

    def test_studies_of_other_data_stay_beside_each_other(self, tmp_path: Path, url: str) -> None:
        with opening(tmp_path / "s", url=url) as opened:
            add_trials(opened, 0.5)
            name = opened.study.study_name
        assert name.startswith("small-001-")
        assert len(name) == len("small-001-") + 12
        with opening(tmp_path / "s", OTHER, url=url) as opened:
            assert opened.study.study_name != name
            said = f"the study starts over because folds changed; the old one is kept: study {name!r} of the database"
            assert opened.notes == [said]
            add_trials(opened, 0.7, 0.8)
        last = read_study(tmp_path / "s", "small-001", url=url)
        assert last is not None
        assert [t.value for t in last.trials] == [0.7, 0.8]
        with opening(tmp_path / "s", url=url) as opened:
            assert opened.study.study_name == name
            assert opened.notes[0].startswith("an earlier study is continued because folds changed")
            assert opened.notes[1] == "the study continues after 1 trial"
        assert not (tmp_path / "s" / "journal.log").exists()
        last = read_study(tmp_path / "s", "small-001", url=url)
        assert last is not None
        assert last.study_name == name

    @pytest.mark.slow
    @pytest.mark.parametrize("text", [None, "{", "[]", '{"name": "x"}', '{"name": "x", "parts": 5}'])
    def test_a_folder_that_does_not_tell_which_was_last(self, tmp_path: Path, url: str, text: str | None) -> None:
        """Then it is the one that was begun last, of this name."""
        with opening(tmp_path / "s", url=url) as opened:
            add_trials(opened, 0.5)
        time.sleep(0.01)
        with opening(tmp_path / "s", OTHER, url=url) as opened:
            add_trials(opened, 0.7)
        with opening(tmp_path / "s", replace(KEY, name="small-0011"), url=url) as opened:
            add_trials(opened, 0.9)
        path = tmp_path / "s" / "database.json"
        assert json.loads(path.read_text())["parts"] == KEY.parts
        path.unlink() if text is None else path.write_text(text)
        last = read_study(tmp_path / "s", "small-001", url=url)
        assert last is not None
        assert [t.value for t in last.trials] == [0.7]
        with opening(tmp_path / "s", url=url) as opened:
            assert opened.notes == ["the study continues after 1 trial"]

    def test_a_database_without_such_a_study(self, tmp_path: Path, url: str) -> None:
        with opening(tmp_path / "s", url=url):
            pass
        assert read_study(tmp_path / "s", "small-002", url=url) is None

    @pytest.mark.parametrize(
        ("url", "error", "message"),
        [
            ("postgresql+nodriver://me:secret@h/x", (ConfigError, StorageError), "nodriver"),
            ("no address at all: secret", StorageError, r"\(not a URL\) can't be used"),
            ("sqlite:////nowhere/at/all.db", StorageError, "can't be used: "),
        ],
    )
    def test_one_that_can_not_be_used(self, tmp_path: Path, url: str, error: Any, message: str) -> None:
        with pytest.raises(error, match=message) as caught, opening(tmp_path / "s", url=url):
            pass
        assert "secret" not in str(caught.value)

    def test_one_that_goes_away_is_said(self, tmp_path: Path, url: str) -> None:
        with (
            pytest.raises(StorageError, match="can't be used any more: OperationalError") as caught,
            opening(tmp_path / "s", url=url),
        ):
            raise optuna.exceptions.StorageInternalError from _operational()
        assert "same command continues" in str(caught.value.hint)


def _operational() -> Exception:
    from sqlalchemy.exc import OperationalError

    return OperationalError("x", {}, Exception())


# ------------------------------------------------------------------------------------------------- pruning and pictures


class TestPruning:
    @pytest.mark.parametrize("greater", [True, False])
    @pytest.mark.parametrize(
        ("gains", "hopeless"),
        [
            ([-1.0, -2.0], False),
            ([-1.0, -2.0, -3.0], True),
            ([1.0, 2.0, 3.0], False),
            ([-1.0, -2.0, 3.0], False),
            ([0.0, 0.0, 0.0], False),
            ([-1.0, -2.0, -3.0, 0.5], True),
            ([-1.0, -2.0, -3.0, 2.5], False),
            ([-1.0, 0.0, 0.0], False),
        ],
    )
    def test_a_trial_is_given_up_by_its_folds(self, greater: bool, gains: list[float], hopeless: bool) -> None:
        sign = 1 if greater else -1
        rival = dict.fromkeys(range(5), 0.5)
        scores = {k: 0.5 + sign * g / 100 for k, g in enumerate(gains)}
        assert is_prunable(scores, rival, greater_is_better=greater) == hopeless
        # What only one of the two has says nothing.
        assert is_prunable(scores | {9: 0.5 - sign}, rival, greater_is_better=greater) == hopeless

    def test_a_curve_between_its_points(self) -> None:
        curve = Curve()
        curve.add(10, 0.5)
        curve.add(20, 0.6)
        assert [curve.best_at(n) for n in (9, 10, 19, 20, 99)] == [None, 0.5, 0.5, 0.6, 0.6]
        assert Curve().best_at(5) is None

    @pytest.mark.parametrize(("n", "expected"), [(0, []), (3, [1, 2, 3]), (4, [1, 2, 3, 4]), (5, [1, 3, 5]), (8, [2, 4, 6, 8]), (9, [3, 6, 9])])  # fmt: skip
    def test_a_thinned_curve_ends_where_it_ended(self, n: int, expected: list[int]) -> None:
        curve = Curve(list(range(1, n + 1)), [k / 10 for k in range(1, n + 1)])
        assert curve.thinned(4) == (expected, [k / 10 for k in expected])

    def rivals(self, *, greater: bool, n: int = 5) -> Curves:
        curves = Curves(greater)
        sign = 1 if greater else -1
        for number in range(n):
            curves.add(0, number, Curve([100, 200, 1000], [sign * v for v in (0.5, 0.6 + number / 1000, 0.9)]))
        return curves

    @pytest.mark.parametrize("greater", [True, False])
    @pytest.mark.parametrize(
        ("leaves", "best", "expected"),
        [
            (299, 0.0, False),  # 0.3 of the rivals' thousand
            (300, 0.0, True),
            (300, 0.499, True),
            (300, 0.5, False),
            (599, 0.5, False),
            (600, 0.5, True),  # then they had 200
            (600, 0.6, False),
            (600, 0.5999, True),
        ],
    )
    def test_a_fold_is_behind_with_a_third_of_its_leaves(
        self, greater: bool, leaves: int, best: float, expected: bool
    ) -> None:
        sign = 1 if greater else -1
        curves = self.rivals(greater=greater)
        assert curves.is_behind(0, [0, 1, 2, 3, 4], leaves, sign * best) == expected
        # The five first of them count, and they have to be five.
        assert curves.is_behind(0, [0, 1, 2, 3, 4, 99], leaves, sign * best) == expected
        assert not curves.is_behind(0, [0, 1, 2, 3], leaves, sign * best)
        assert not curves.is_behind(0, [99, 0, 1, 2, 3, 4], leaves, sign * best)
        assert not curves.is_behind(1, [0, 1, 2, 3, 4], leaves, sign * best)

    def test_before_the_rivals_first_point_nothing_is_known(self) -> None:
        curves = Curves(True)
        for number in range(5):
            curves.add(0, number, Curve([900], [0.9]))
        assert not curves.is_behind(0, [0, 1, 2, 3, 4], 300, 0.0)

    def test_curves_go_from_one_process_to_the_other(self) -> None:
        mine, other = self.rivals(greater=True), Curves(True)
        mine.add(3, 0, Curve([5], [0.1]))
        mine.add(3, 1, Curve())
        kept = json.loads(json.dumps({n: mine.of_trial(n) for n in (0, 1)}))
        assert set(kept["0"]) == {"0", "3"}
        assert set(kept["1"]) == {"0"}
        other.load(0, {int(n): of for n, of in kept.items()})
        assert set(other.by_fold) == {0}
        assert other.by_fold[0] == {0: mine.by_fold[0][0], 1: mine.by_fold[0][1]}
        # Its own stay.
        other.load(0, {0: {"0": [[1], [0.0]]}})
        assert other.by_fold[0][0] == mine.by_fold[0][0]


class TestPictures:
    def study(self, *values: float) -> Any:
        study = optuna.create_study(study_name="<small>", direction="maximize")
        for n, value in enumerate(values):
            params = {"x": n / 10, "y": ((n * 7) % 5) / 10}
            distributions = {"x": FloatDistribution(0, 1), "y": FloatDistribution(0, 1)}
            study.add_trial(optuna.trial.create_trial(value=value, params=params, distributions=distributions))
        study.add_trial(optuna.trial.create_trial(state=optuna.trial.TrialState.FAIL))
        return study

    def test_what_explains_the_scores_comes_first(self) -> None:
        found = importances(self.study(*(n / 10 for n in range(10))))
        assert list(found) == ["x", "y"]
        assert found["x"] > found["y"] >= 0
        assert sum(found.values()) == pytest.approx(1.0)
        assert all(type(v) is float for v in found.values())

    def test_of_two_trials_there_is_nothing_to_tell(self) -> None:
        assert importances(self.study(0.1, 0.2)) == {}

    @pytest.mark.parametrize("with_importances", [True, False])
    def test_pictures_and_a_page(self, tmp_path: Path, with_importances: bool) -> None:
        import matplotlib.pyplot as plt

        study = self.study(*(n / 10 for n in range(10)))
        folder = tmp_path / "pictures"
        folder.mkdir()
        paths = draw(study, folder, with_importances=with_importances)
        names = ["history.png", "slices.png", *(["importances.png"] if with_importances else []), "study.html"]
        assert [p.name for p in paths] == names
        assert sorted(p.name for p in folder.iterdir()) == sorted(names)
        assert all(p.read_bytes()[:4] == b"\x89PNG" for p in paths[:-1])
        page = paths[-1].read_text()
        assert "<h1>&lt;small&gt;</h1>" in page
        # The script is there once, and none is fetched.
        assert page.count("Plotly.newPlot(") == 2 + with_importances
        assert 3_000_000 < len(page) < 8_000_000
        assert 'src="http' not in page
        assert plt.get_fignums() == []
        assert np.asarray(plt.imread(paths[0])).shape[2] == 4

    def test_too_few_are_said(self, tmp_path: Path) -> None:
        from workbench.core.errors import NotFoundError

        with pytest.raises(NotFoundError, match="has 2 complete trials, too few") as caught:
            draw(self.study(0.1, 0.2), tmp_path, with_importances=True)
        assert caught.value.hint == "tune for longer"
        assert draw(self.study(0.1, 0.2, 0.3), tmp_path, with_importances=False)


class TestKeptOOF:
    """Of two folds of two rows each, and a row that no fold validates."""

    def kept(self, folder: Path, keep: int = 2, *, greater: bool = True) -> OOFFiles:
        folds = SimpleNamespace(n_folds=2, valid_rows=lambda k: np.array([2 * k, 2 * k + 1]))
        problem = SimpleNamespace(folds=folds, target=SimpleNamespace(n_rows=5, width=1))
        study: Any = SimpleNamespace(folder=folder / "study", locked=nullcontext)
        return OOFFiles(study, SimpleNamespace(problem=problem), keep, greater_is_better=greater)  # type: ignore[arg-type]

    def scores(self, value: float, *, oof: bool = True) -> dict[int, FoldScore]:
        return {k: FoldScore(value + k / 10, (9,), 1.0, np.full((2, 1), value) if oof else None) for k in range(2)}

    def tell(
        self, kept: OOFFiles, number: int, value: float, full: dict[int, float], quick: dict[int, float], **more: Any
    ) -> None:
        with kept.saving(number, self.scores(value, **more), lambda: full, lambda: quick):
            pass

    def numbers(self, folder: Path) -> set[int]:
        return {int(p.stem) for p in (folder / "study" / "oof").glob("*.npz")}

    def test_a_file_has_the_oof_and_its_score(self, tmp_path: Path) -> None:
        kept = self.kept(tmp_path)
        assert not kept.has(3, 0.55)
        self.tell(kept, 3, 0.5, {}, {3: 0.5})
        assert sorted(p.name for p in (tmp_path / "study" / "oof").iterdir()) == ["00003.npz"]
        with np.load(tmp_path / "study" / "oof" / "00003.npz") as file:
            assert file["oof"].dtype == np.float32
            assert file["oof"][:4].tolist() == [[0.5]] * 4
            assert np.isnan(file["oof"][4:]).all()
            assert float(file["value"]) == pytest.approx(0.55)
        assert kept.has(3, 0.55)
        assert kept.has(3, 0.55 * (1 + 1e-7))
        assert not kept.has(3, 0.5501)
        assert not kept.has(3, 0.0)
        (tmp_path / "study" / "oof" / "00003.npz").write_bytes(b"PK")
        assert not kept.has(3, 0.55)

    def test_a_score_of_about_nothing_is_told_from_another(self, tmp_path: Path) -> None:
        kept = self.kept(tmp_path)
        (tmp_path / "study" / "oof").mkdir(parents=True)
        np.savez(tmp_path / "study" / "oof" / "00001.npz", value=0.0)
        assert kept.has(1, 1e-10)
        assert not kept.has(1, 1e-8)

    @pytest.mark.parametrize(("greater", "stays"), [(True, {1, 2}), (False, {0, 1})])
    def test_the_best_stay_and_full_scores_come_first(self, tmp_path: Path, greater: bool, stays: set[int]) -> None:
        kept = self.kept(tmp_path, greater=greater)
        quick = {0: 0.1, 1: 0.2, 2: 0.3}
        for number in range(3):
            self.tell(kept, number, quick[number], {}, dict(list(quick.items())[: number + 1]))
        assert self.numbers(tmp_path) == stays
        worst = 0 if greater else 2
        self.tell(kept, worst, 0.05, {worst: 0.05}, quick)
        assert self.numbers(tmp_path) == {worst, max(quick, key=lambda n: quick[n] if greater else -quick[n])}

    def test_what_is_not_whole_is_not_kept(self, tmp_path: Path) -> None:
        kept = self.kept(tmp_path)
        self.tell(kept, 0, 0.5, {}, {0: 0.5}, oof=False)
        halves = self.scores(0.5)
        for scores in ({0: halves[0]}, halves | {1: self.scores(0.5, oof=False)[1]}):
            with kept.saving(0, scores, dict, lambda: {0: 0.5}):
                pass
        self.tell(self.kept(tmp_path, 0), 0, 0.5, {}, {0: 0.5})
        assert self.numbers(tmp_path) == set()

    def test_the_file_is_there_before_the_score_is_told(self, tmp_path: Path) -> None:
        kept = self.kept(tmp_path, 1)
        self.tell(kept, 0, 0.5, {}, {0: 0.5})
        with kept.saving(1, self.scores(0.6), dict, lambda: {0: 0.5, 1: 0.6}):
            assert self.numbers(tmp_path) == {0, 1}
            # Whoever else cleans up takes the same file.
            (tmp_path / "study" / "oof" / "00000.npz").unlink()
        assert self.numbers(tmp_path) == {1}
