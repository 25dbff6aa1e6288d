"""What decides which run stands for an experiment, part by part: runs whose records and folders say what is compared."""

from __future__ import annotations

import json
import os
import shutil
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.example_records import RUN
from tests.small import Small
from workbench.core.cache import read_json, write_json
from workbench.core.errors import NotFoundError
from workbench.experiments.current_runs import (
    CurrentRun,
    current_run,
    current_runs,
    never_run,
    outdated_text,
    with_marks,
)
from workbench.experiments.definition_differences import HEAD_BYTES, stopped_per_fold
from workbench.ledger import RunRecord

TEXT = 'features = ["ratio", "doubled"]\nseeds = [1]\n[model]\nnum_iterations = 2\nearly_stopping_round = 0\n'
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def now() -> datetime:
    """A moment after all that was written, and before all that is written next: times of files are not that exact."""
    time.sleep(0.02)
    moment = datetime.now(UTC)
    time.sleep(0.02)
    return moment


@dataclass(frozen=True)
class Place:
    """A competition with a finished run, which others are made of."""

    small: Small
    first: RunRecord

    @property
    def folder(self) -> Path:
        return self.small.folder

    def kept(self, run: RunRecord) -> Path:
        return self.small.workspace.root / run.folder

    def run(self, name: str, *, details: dict[str, Any] | None = None, **record: Any) -> RunRecord:
        """Write a run like the first one, but for these fields of its record, and these details; None takes one out."""
        folder = self.small.workspace.root / "competitions" / "small" / "runs" / name
        if not folder.exists():
            shutil.copytree(self.kept(self.first), folder)
        run = replace(self.first, **({"run_id": name, "key": name, "created_at": LONG_AGO} | record))
        run = replace(run, folder=str(folder.relative_to(self.small.workspace.root)))
        said = read_json(folder / "run.json") | (details or {}) | {"record": run.to_dict()}
        write_json(folder / "run.json", {k: v for k, v in said.items() if v is not None})
        return run

    def current(self, *runs: RunRecord, exp: int = 1) -> CurrentRun:
        found = current_runs(self.small.workspace, "small", runs)[exp]
        assert current_run(self.small.workspace, "small", exp, runs) == found
        return found

    def outdated(self, *runs: RunRecord) -> tuple[str, ...]:
        return self.current(*runs).outdated


@pytest.fixture
def place(small) -> Place:
    made = small(n_rows=120, runs=(TEXT,))
    (path,) = made.folder.glob("runs/001-*/run.json")
    return Place(made, RunRecord.from_dict(read_json(path)["record"]))


def names(found: CurrentRun) -> tuple[str, tuple[str, ...]]:
    return found.record.run_id, found.outdated


class TestWithoutADefinition:
    def test_what_has_changed_in_words(self) -> None:
        every = ("folds", "data", "competition", "experiment", "rounds")
        expected = "other folds, other data, other target or metric, edited since, rounds per fold"
        assert outdated_text(every) == outdated_text(every[::-1]) == expected
        assert outdated_text(()) == ""

    @pytest.mark.parametrize(
        ("text", "change", "expected"),
        [
            ('"patience": 5', {}, True),
            ('"patience": 5', {"kind": "xgboost"}, True),
            ('"patience": 5', {"kind": "catboost"}, True),
            ('"patience": 5', {"kind": "sklearn"}, False),
            ('"patience": 5', {"status": "failed"}, False),
            ('"patience": 1', {}, True),
            ('"patience": 0', {}, False),
            ('"patience": null', {}, False),
            ("", {}, False),
            ('"rounds_by": "mean", "patience": 5', {}, False),
            (" " * HEAD_BYTES + '"patience": 5', {}, False),
            (None, {}, False),
        ],
    )
    def test_runs_of_an_earlier_version_that_stopped_each_fold_by_itself(
        self, tmp_path: Path, text: str | None, change: dict[str, Any], expected: bool
    ) -> None:
        from workbench.data.workspace import create_workspace

        workspace, run = create_workspace(tmp_path), replace(RUN, **change)
        if text is not None:
            (workspace.root / run.folder).mkdir(parents=True)
            (workspace.root / run.folder / "run.json").write_text(text)
        assert stopped_per_fold(workspace, run) == expected
        marked = replace(run, optimistic="chosen on these folds")
        optimistic = [r.optimistic for r in with_marks(workspace, [run, marked])]
        assert optimistic == ["rounds per fold" if expected else None, "chosen on these folds"]

    @pytest.mark.parametrize(
        ("files", "ran", "exp", "hint"),
        [
            ([3], [], 3, "`wb run 3` runs it"),
            ([], [], 3, "`wb new` writes the first one"),
            ([1, 9], [5], 3, "the nearest are 1, 5, 9; `wb table` lists them"),
            ([1, 2, 4, 5, 6, 7, 8], [7, 8, 30], 3, "the nearest are 1, 2, 4, 5, 6; `wb table` lists them"),
            ([10, 12], [14, 6, 2, 20], 9, "the nearest are 6, 10, 12, 14, 2"),
        ],
    )
    def test_an_experiment_that_was_never_run_is_explained(
        self, tmp_path: Path, files: list[int], ran: list[int], exp: int, hint: str
    ) -> None:
        from workbench.data.workspace import create_workspace

        workspace = create_workspace(tmp_path)
        (workspace.competitions / "c" / "experiments").mkdir(parents=True)
        for number in files:
            (workspace.competitions / "c" / "experiments" / f"{number:03}.toml").write_text("")
        error = never_run(workspace, "c", exp, ran)
        assert f"experiment {exp} of 'c' was never run" in str(error)
        if "10, 12" in hint:
            assert error.hint.startswith("the nearest are 2, 6, 10, 12, 14;")
        else:
            assert error.hint == hint

    def test_runs_of_others_stand_only_where_there_is_none_of_this_workspace(self, tmp_path: Path) -> None:
        from workbench.data.workspace import create_workspace

        workspace = create_workspace(tmp_path)
        (workspace.competitions / "c" / "experiments").mkdir(parents=True)
        own = [replace(RUN, run_id=f"own{i}", folder=f"o{i}", workspace=workspace.id, status="failed") for i in (1, 2)]
        theirs = [replace(RUN, run_id=f"their{i}", folder=f"t{i}", workspace="other", status="failed") for i in (1, 2)]
        second = [replace(r, exp=2) for r in theirs]

        def standing(*runs: RunRecord) -> dict[int, str]:
            return {e: c.record.run_id for e, c in current_runs(workspace, "c", runs).items()}

        assert standing(own[0], own[1], *theirs, *second) == {1: "own2", 2: "their2"}
        assert standing(*theirs) == {1: "their2"}
        for exp, message in (
            (2, "its runs in this ledger are of another workspace\n`wb run 2` runs it here"),
            (3, "there is no experiment 3"),
        ):
            with pytest.raises(NotFoundError, match=f"experiment {exp} of 'c' was never run.*{message}"):
                current_run(workspace, "c", exp, [*own, *second])
        # One that does not say whose it is, is told by its folder, as is one that came from elsewhere.
        untold = replace(RUN, run_id="untold", folder="u", workspace="", status="failed")
        assert standing(untold, *theirs) == {1: "their2"}
        assert current_run(workspace, "c", 1, [untold]).record == untold
        for folder in ("u", "t1"):
            (tmp_path / folder).mkdir()
            (tmp_path / folder / "run.json").write_text("{}")
        assert standing(untold, theirs[1]) == {1: "untold"}
        assert standing(theirs[0], theirs[1]) == {1: "their1"}
        assert current_run(workspace, "c", 2, [second[0]]).record == second[0]

    @pytest.mark.parametrize(
        ("runs", "expected"),
        [
            ("failed failed", 1),
            ("failed running", 1),
            ("sample failed", 0),
            ("sample sample failed", 1),
            ("finished sample failed", 0),
            ("finished failed running", 0),
            ("finished finished", 1),
        ],
    )
    def test_finished_runs_on_all_rows_go_first_then_the_newest(self, tmp_path: Path, runs: str, expected: int) -> None:
        from workbench.data.workspace import create_workspace

        workspace = create_workspace(tmp_path)
        (workspace.competitions / "c").mkdir(parents=True)
        made = [
            replace(
                RUN, run_id=f"{i}", key=f"{i}", workspace=workspace.id, created_at=LONG_AGO + timedelta(days=i),
                status="finished" if what == "sample" else what, sample=0.1 if what == "sample" else None,
            )
            for i, what in enumerate(runs.split())
        ]  # fmt: skip
        assert names(current_runs(workspace, "c", made)[1]) == (f"{expected}", ())


class TestWhatIsCompared:
    def test_where_nothing_was_touched_nothing_is(self, place: Place) -> None:
        """However much it differs: whatever defines it is older than the run."""
        other = {"spec": {}, "rows": "other", "data": "other"}
        made = place.run("001-b", details=other, created_at=now(), folds_hash="other")
        assert place.outdated(made) == ()
        ahead = replace(made, created_at=datetime.now(UTC) + timedelta(days=9))  # by a clock that was set back since
        assert set(place.outdated(ahead)) == {"experiment", "folds", "data"}

    @pytest.mark.parametrize(
        ("file", "kind", "outdated"),
        [
            ("experiments/001.toml", "model", ("experiment",)),
            ("experiments/002.toml", "model", ()),
            ("selections/own.toml", "model", ("experiment",)),
            ("selections/own.txt", "model", ()),
            ("competition.toml", "model", ("competition",)),
            ("data/tables/manifest.json", "model", ("data",)),
            ("features.py", "model", ()),
            ("features.py", "notebook", ("experiment",)),
            ("lib/deep/more.py", "notebook", ("experiment",)),
            ("lib/deep/more.txt", "notebook", ()),
            (".hidden/more.py", "notebook", ()),
            ("cache/more.py", "notebook", ()),
            ("kernels/more.py", "notebook", ()),
            ("more.ipynb", "notebook", ("experiment",)),
            ("more.ipynb", "model", ()),
            ("../../notebooks/more.py", "notebook", ("experiment",)),
            ("../../notebooks/more.ipynb", "notebook", ("experiment",)),
            ("../../notebooks/more.txt", "notebook", ()),
        ],
    )
    def test_each_part_where_its_file_was_touched_since(
        self, place: Place, file: str, kind: str, outdated: tuple[str, ...]
    ) -> None:
        for written in ("selections", "lib/deep", ".hidden", "cache", "kernels", "../../notebooks"):
            (place.folder / written).mkdir(parents=True, exist_ok=True)
        other = {"spec": {"of": "another"}, "rows": "other"}
        made = place.run("001-b", details=other, kind=kind)
        source = place.kept(made) / "source" / "competition.toml"
        source.write_text(source.read_text().replace('metric = "auc"', 'metric = "logloss"'))
        made = replace(made, created_at=now())
        assert place.outdated(made) == ()
        path = place.folder / file
        path.touch()
        os.utime(path)
        assert place.outdated(made) == outdated

    @pytest.mark.parametrize(
        ("edit", "details", "outdated"),
        [
            (None, {}, ()),
            (None, {"spec": None}, ()),
            (None, {"spec": {"kind": "model"}}, ("experiment",)),
            ("", {}, ("experiment",)),
            ("this is [no TOML", {}, ("experiment",)),
            (TEXT + "# a comment\n", {}, ()),
            (TEXT + "max_depth = 3\n", {}, ("experiment",)),
            ("gone", {}, ()),
        ],
    )
    def test_the_experiment(self, place: Place, edit: str | None, details: dict[str, Any], outdated: Any) -> None:
        made = place.run("001-b", details=details)
        if edit == "gone":
            (place.folder / "experiments" / "001.toml").unlink()
        elif edit is not None:
            place.small.experiment(1, edit)
        assert place.outdated(made) == outdated

    @pytest.mark.parametrize(
        ("old", "new", "outdated"),
        [
            ('metric = "auc"', 'metric = "auc"', ()),
            ('title = "small"', 'title = "larger"', ()),
            ('metric = "auc"', 'metric = "logloss"', ("competition",)),
            ('metric = "auc"', 'metric = "auc"\npositive = 1', ()),
            ('metric = "auc"', 'metric = "auc"\npositive = 0', ("competition",)),
            ('metric = "auc"', 'metric = "auk"', ()),  # nobody can say
        ],
    )
    def test_the_competition(self, place: Place, old: str, new: str, outdated: tuple[str, ...]) -> None:
        made = place.run("001-b")
        place.small.definition(old, new)
        assert place.outdated(made) == outdated

    @pytest.mark.parametrize("before", ["positive = 0\n", "positive = 1\n"])
    def test_a_positive_class_that_was_taken_out(self, place: Place, before: str) -> None:
        made = place.run("001-b")
        source = place.kept(made) / "source" / "competition.toml"
        source.write_text(source.read_text().replace('metric = "auc"\n', f'metric = "auc"\n{before}'))
        if before not in source.read_text():
            source.write_text(before + source.read_text())
        assert place.outdated(made) == ("competition",)

    def test_a_copy_of_the_definition_that_can_not_be_read_says_nothing(self, place: Place) -> None:
        made = place.run("001-b")
        place.small.definition('metric = "auc"', 'metric = "logloss"')
        for text in ("[broken", None):
            source = place.kept(made) / "source" / "competition.toml"
            source.write_text(text) if text else source.unlink()
            assert place.outdated(made) == ()

    def test_the_folds_by_their_content_or_where_they_were_never_saved_by_their_definition(self, place: Place) -> None:
        made, other = place.run("001-b"), place.run("001-c", folds_hash="other")
        assert (place.outdated(made), place.outdated(other)) == ((), ("folds",))
        place.small.definition("folds = 5", "folds = 4")  # of which there are none yet
        assert (place.outdated(made), place.outdated(other)) == (("folds",), ("folds",))
        source = place.kept(made) / "source" / "competition.toml"
        source.write_text(source.read_text().replace("folds = 5", "folds = 4"))
        assert place.outdated(made) == ()

    def test_the_code_of_the_folds(self, place: Place) -> None:
        made = place.run("001-b")
        split = "def split(train):\n    return [0, 1]\n"
        custom = ('scheme = "stratified"', 'scheme = "custom"\nfunction = "split.py:split"')
        place.small.definition(*custom)
        source = place.kept(made) / "source"
        definition = (source / "competition.toml").read_text()
        (source / "competition.toml").write_text(definition.replace(*custom))
        for path in (place.folder, source):
            (path / "split.py").write_text(split)
        assert place.outdated(made) == ()
        made = replace(made, created_at=now())
        (place.folder / "split.py").write_text(split.replace("[0, 1]", "[1, 0]"))
        assert place.outdated(made) == ("folds",)
        (place.folder / "split.py").write_text("# a comment\n" + split)
        assert place.outdated(made) == ()

    @pytest.mark.parametrize(
        ("kind", "details", "outdated"),
        [
            ("model", {"rows": "other"}, ("data",)),
            ("model", {"data": "other"}, ()),  # a table that no feature need have read
            ("model", {"rows": None}, ()),
            ("recommend", {"rows": "other"}, ()),
            ("recommend", {"data": "other"}, ("data",)),
        ],
    )
    def test_the_data(self, place: Place, kind: str, details: dict[str, Any], outdated: tuple[str, ...]) -> None:
        made = place.run("001-b", details=details | {"spec": None}, kind=kind)
        assert place.outdated(made) == outdated
        (place.folder / "data" / "tables" / "manifest.json").write_text("{")
        assert place.outdated(made) == ()

    @pytest.mark.parametrize(
        ("told", "change", "outdated"),
        [
            ({}, {}, ("folds",)),
            ({"validation": {}}, {}, ()),
            ({}, {"cv_windows": 3}, ()),
            ({}, {"optimistic": "held out"}, ()),
            ({}, {"kind": "model"}, ()),
            ([], {}, ()),
            (None, {}, ()),
        ],
    )
    def test_a_recommender_that_held_users_out_whatever_the_log(
        self, place: Place, told: Any, change: dict[str, Any], outdated: tuple[str, ...]
    ) -> None:
        """It is compared though nothing was touched since."""
        record = {"kind": "recommend", "cv_windows": None, "optimistic": None} | change
        made = place.run("001-b", details={"recommend": told, "spec": None}, **record)
        assert place.outdated(replace(made, created_at=now())) == outdated

    @pytest.mark.parametrize(
        ("old", "new", "outdated"),
        [
            ("folds = 5", "folds = 4", True),
            ("seed = 42", "seed = 7", True),
            ('scheme = "stratified"', 'scheme = "kfold"', True),
        ],
    )
    def test_the_validation_of_a_recommender(self, place: Place, old: str, new: str, outdated: bool) -> None:
        made = place.run("001-b", details={"spec": None}, kind="recommend", folds_hash="of no meaning")
        assert place.outdated(made) == ()
        place.small.definition(old, new)
        assert place.outdated(made) == (("folds",) if outdated else ())

    def test_what_can_not_be_read_counts_as_equal(self, place: Place) -> None:
        made = place.run("001-b", details={"spec": {}, "rows": "other"}, folds_hash="other")
        assert place.outdated(made) == ("experiment", "folds", "data")
        (place.folder / "competition.toml").write_text("[broken")
        assert place.outdated(made) == ()

    def test_a_run_without_its_folder_has_nothing_to_compare(self, place: Place) -> None:
        made = replace(place.first, folder="competitions/small/runs/gone", created_at=LONG_AGO)
        assert names(place.current(made)) == (made.run_id, ())


class TestWhichOfSeveral:
    def test_the_newest_of_those_that_differ_in_nothing(self, place: Place) -> None:
        runs = [
            place.run(f"001-{i}", details=details, created_at=LONG_AGO + timedelta(days=i))
            for i, details in enumerate([{}, {}, {"rows": "other"}])
        ]
        assert names(place.current(*runs)) == ("001-1", ())
        assert names(place.current(runs[0], runs[2])) == ("001-0", ())
        assert names(place.current(runs[2])) == ("001-2", ("data",))

    def test_else_the_one_that_differs_least_and_of_equal_ones_the_newest(self, place: Place) -> None:
        details = [{"rows": "a"}, {"rows": "b"}, {"rows": "c", "spec": {}}]
        runs = [
            place.run(f"001-{i}", details=d, created_at=LONG_AGO + timedelta(days=i)) for i, d in enumerate(details)
        ]
        assert names(place.current(*runs)) == ("001-1", ("data",))
        assert names(place.current(runs[0], runs[2])) == ("001-0", ("data",))

    def test_of_equal_ones_that_differ_the_one_with_the_present_code(self, place: Place) -> None:
        code = read_json(place.kept(place.first) / "run.json")["code"]
        other = dict.fromkeys(code, "other")
        runs = []
        for i, (rows, codes) in enumerate([("a", code), ("b", other), ("c", code), ("d", other)]):
            made = place.run(f"001-{i}", details={"rows": rows, "code": codes}, created_at=LONG_AGO + timedelta(days=i))
            if codes is other:
                (place.kept(made) / "source" / "features.py").write_text("")
            runs.append(made)
        assert names(place.current(*runs)) == ("001-2", ("data",))
        assert names(place.current(runs[1], runs[3])) == ("001-3", ("data",))

    def test_code_decides_between_runs_that_are_equal_in_all_else(self, place: Place) -> None:
        code = read_json(place.kept(place.first) / "run.json")["code"]
        half = code | {next(iter(code)): "other"}
        runs = [
            place.run(f"001-{i}", details={"code": codes}, created_at=LONG_AGO + timedelta(days=i))
            for i, codes in enumerate([code, half, half])
        ]
        # Where a key was made otherwise then, the copy of the code is compared.
        assert names(place.current(*runs)) == ("001-2", ())
        for made in runs[1:]:
            (place.kept(made) / "source" / "features.py").write_text("")
        assert names(place.current(*runs)) == ("001-0", ())
        assert names(place.current(*runs[1:])) == ("001-2", ())  # none has it: the newest
        assert names(place.current(runs[1])) == ("001-1", ())

    def test_of_runs_that_recorded_no_keys_the_files_are_compared(self, place: Place) -> None:
        runs = [
            place.run(f"001-{i}", details={"code": None}, created_at=LONG_AGO + timedelta(days=i)) for i in range(3)
        ]
        assert names(place.current(*runs)) == ("001-2", ())
        (place.kept(runs[2]) / "source" / "features.py").write_text("")
        assert names(place.current(*runs)) == ("001-1", ())
        shutil.rmtree(place.kept(runs[1]) / "source")
        assert names(place.current(*runs)) == ("001-0", ())
        (place.kept(runs[0]) / "source" / "more.py").write_text("")  # which the competition has not
        assert names(place.current(*runs)) == ("001-2", ())

    def test_code_that_was_touched_since_is_compared_and_other_code_is_not(self, place: Place) -> None:
        runs = [
            place.run(f"001-{i}", details={"code": {"features.py:ratio": key}}, created_at=LONG_AGO)
            for i, key in enumerate(["old", "new"])
        ]
        for made in runs:
            (place.kept(made) / "source" / "features.py").write_text("")
        moment = now()
        first, second = (replace(r, created_at=moment + timedelta(microseconds=i)) for i, r in enumerate(runs))
        assert names(place.current(first, second)) == ("001-1", ())
        (place.kept(first) / "source" / "features.py").write_bytes((place.folder / "features.py").read_bytes())
        assert names(place.current(first, second)) == ("001-1", ())  # nothing was touched
        os.utime(place.folder / "features.py")
        assert names(place.current(first, second)) == ("001-0", ())

    def test_a_metric_that_was_turned_round_is_another_definition(self, place: Place) -> None:
        up, down = (place.run(f"001-{i}", key="one", greater_is_better=bool(i)) for i in (1, 0))
        shown = place.current(up, replace(down, created_at=LONG_AGO + timedelta(days=1)))
        assert shown.record.run_id == "001-0"
        source = place.kept(down) / "source" / "competition.toml"
        source.write_text(source.read_text().replace('metric = "auc"', 'metric = "logloss"'))
        shown = place.current(up, replace(down, created_at=LONG_AGO + timedelta(days=1)))
        assert names(shown) == ("001-1", ())


class TestBases:
    def standing(
        self, place: Place, *edited: int, bases: dict[int, int | None], recorded: bool = True
    ) -> tuple[str, ...]:
        """Return whether experiment 1 is outdated, whose spec is another, after some files were touched."""
        for number, base in bases.items():
            place.small.experiment(number, TEXT if base is None else f"base = {base}\n")
        moment = now()
        runs = [
            place.run(f"00{n}-b", exp=n, base=base, details={"spec": {}}, created_at=moment)
            for n, base in bases.items()
            if n == 1 or recorded
        ]
        for number in edited:
            os.utime(place.folder / "experiments" / f"{number:03}.toml")
        return place.outdated(*runs)

    @pytest.mark.parametrize("recorded", [True, False])
    @pytest.mark.parametrize(
        ("edited", "outdated"), [((), ()), ((2,), ("experiment",)), ((3,), ("experiment",)), ((4,), ())]
    )
    def test_an_edit_of_any_of_them_counts(self, place: Place, edited: Any, outdated: Any, recorded: bool) -> None:
        bases = {1: 2, 2: 3, 3: None, 4: None}
        assert self.standing(place, *edited, bases=bases, recorded=recorded) == outdated

    def test_those_that_build_on_each_other_end(self, place: Place) -> None:
        assert self.standing(place, 3, bases={1: 2, 2: 3, 3: 2}, recorded=False) == ("experiment",)

    @pytest.mark.parametrize("text", ["base = 'x'\n", "[broken", "base = 9\n"])
    def test_a_base_that_can_not_be_read_is_none(self, place: Place, text: str) -> None:
        made = place.run("001-b", base=7, details={"spec": {}}, created_at=now())
        place.small.experiment(1, text)
        assert place.outdated(made) == ("experiment",)


def test_the_rounds_of_an_earlier_version(place: Place) -> None:
    model = {"patience": 5}
    (path,) = place.folder.glob("runs/001-2*/run.json")
    spec = json.loads(path.read_text())["spec"]
    made = place.run("001-b", details={"model": model}, optimistic=None)
    assert names(place.current(made)) == ("001-b", ("rounds",))
    assert place.outdated(replace(made, created_at=now())) == ("rounds",)
    assert place.outdated(replace(made, optimistic="rounds per fold")) == ()
    assert place.outdated(
        place.run("001-c", details={"model": model, "spec": spec | {"drop": ["x"]}}, optimistic=None)
    ) == (
        "experiment",
        "rounds",
    )
    place.small.experiment(1, 'rounds = "per fold"\n' + TEXT.replace("round = 0", "round = 5"))
    assert place.outdated(made) == ("experiment",)
    asked = spec | {"model": spec["model"] | {"early_stopping_round": 5}}
    assert place.outdated(place.run("001-d", details={"model": model, "spec": asked}, optimistic=None)) == ()
    # One that says itself that it is of the present rule is none of them.
    by_rule = place.run("001-e", details={"model": model | {"rounds_by": "mean"}, "spec": asked}, optimistic=None)
    assert place.outdated(by_rule) == ("experiment",)
