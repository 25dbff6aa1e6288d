"""Hints lead on: each is followed to its end here, by what it says."""

from __future__ import annotations

import json
import re
from typing import Any

import polars as pl
import pytest

from workbench.cli.app import main
from workbench.core.errors import ConfigError, DataError, FeatureError, NotFoundError, TrainingError
from workbench.experiments.run import run
from workbench.experiments.seeds import same_seeds_note
from workbench.experiments.spec import read_spec

MODEL = "\n[model]\nnum_iterations = 3\n"


@pytest.fixture
def wb(monkeypatch, capsys) -> Any:
    def go(made: Any, *arguments: str) -> tuple[int, str, str]:
        monkeypatch.chdir(made.folder)
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return go


class TestNoSuchExperiment:
    @pytest.mark.parametrize(
        "command", [("submit", "55"), ("submit", "--exp", "55", "--dry-run"), ("show", "55"), ("kernel", "build", "55")]
    )
    def test_it_is_not_told_to_be_run(self, small, wb, command: tuple[str, ...]) -> None:
        made = small()
        made.experiment(1, 'features = ["ratio"]' + MODEL)
        made.open.run(1)
        made.experiment(3, 'features = ["ratio"]' + MODEL)
        code, _, err = wb(made, *command)
        assert code == 1
        assert "there is no experiment 55" in err
        assert "the nearest are 1, 3" in err
        assert "wb run" not in err
        # One that is there and was not run is told to be.
        code, _, err = wb(made, *[part.replace("55", "3") for part in command])
        assert (code, "`wb run 3` runs it" in err) == (1, True), err

    def test_where_there_is_none_at_all(self, small) -> None:
        made = small()
        for path in (made.folder / "experiments").glob("*"):
            path.unlink()
        with pytest.raises(NotFoundError, match="there is no experiment 55") as told:
            made.open.submissions.prepare(55)
        assert told.value.hint == "`wb new` writes the first one"


class TestFileNames:
    def test_one_that_was_written_by_hand_is_the_experiment(self, small) -> None:
        made = small()
        (made.folder / "experiments" / "12.toml").write_text('features = ["ratio"]' + MODEL)
        made.experiment(13, "base = 12\n[model]\nnum_iterations = 4\n")
        assert made.open.run(13).record.exp == 13
        assert made.open.run(12).record.exp == 12
        # It is still up to date in the table, and the next number is above it.
        assert [row.run.exp for row in made.open.table() if row.latest] == [12, 13]
        assert made.open.experiments.new(source=12).name == "014.toml"
        assert [f.code for f in made.open.submissions.prepare(12).warnings] == []

    @pytest.mark.parametrize("others", [["12.toml", "012.toml"], ["012.toml", "0012.toml"], ["12.toml", "00012.toml"]])
    def test_two_of_one_number_are_refused_and_named(self, small, wb, others: list[str]) -> None:
        made = small()
        for name in others:
            (made.folder / "experiments" / name).write_text('features = ["ratio"]' + MODEL)
        for use in (lambda: made.open.run(12), lambda: made.open.experiments.new(source=12)):
            with pytest.raises(ConfigError, match="experiment 12 has 2 files in .*: ") as told:
                use()
            assert all(name in told.value.message for name in others)
            assert "keep one as" in told.value.hint
        code, out, _ = wb(made, "table", "--json")
        assert (code, json.loads(out)) == (0, [])
        assert made.open.access.competition.paths.experiment_numbers().count(12) == 1
        (made.folder / "experiments" / others[1]).unlink()
        assert made.open.run(12).record.exp == 12


class TestTuned:
    def test_nothing_better_was_found(self, small, wb) -> None:
        made = small()
        made.experiment(1, 'features = ["ratio"]' + MODEL)
        from workbench.experiments.plan import untuned_key

        folder = made.open.access.competition.paths.study(1)
        folder.mkdir(parents=True)
        key = untuned_key(made.workspace, made.open.access.competition, 1)
        best = {"model": {"num_iterations": 3}, "asked": None, "of": key}
        (folder / "best.json").write_text(json.dumps(best))
        code, _, err = wb(made, "new", "--from", "1", "--tuned")
        said = "tuning found no better parameters than those of experiment 1, which are kept"
        assert (code, f"{said}; `wb tune 1 --minutes 30` continues the search" in err) == (0, True), err
        assert f"# {said}\n" in (made.folder / "experiments" / "002.toml").read_text()
        assert read_spec(made.open.access.competition, 2).model == read_spec(made.open.access.competition, 1).model
        best["model"] = {"num_iterations": 7}
        (folder / "best.json").write_text(json.dumps(best))
        assert "num_iterations = 7" in made.open.experiments.new(source=1, tuned=True).read_text()

    def test_no_trial_finished(self, small) -> None:
        made = small()
        made.experiment(1, 'features = ["ratio"]' + MODEL)
        with pytest.raises(NotFoundError, match="has no tuned parameters") as told:
            made.open.experiments.new(source=1, tuned=True)
        assert told.value.hint == "`wb tune 1 --minutes 10` finds some"
        folder = made.open.access.competition.paths.study(1)
        folder.mkdir(parents=True)
        (folder / "journal.log").write_text("")
        with pytest.raises(NotFoundError, match="has no tuned parameters: no trial finished in the time") as told:
            made.open.experiments.new(source=1, tuned=True)
        assert told.value.hint == "`wb tune 1 --minutes 30` goes on"

    def test_of_another_kind(self, small) -> None:
        made = small()
        made.experiment(1, 'features = ["ratio"]\n[sklearn]\nestimator = "sklearn.linear_model.LogisticRegression"\n')
        with pytest.raises(NotFoundError, match=r"is of \[sklearn\], and `wb tune` tunes \[model\]") as told:
            made.open.experiments.new(source=1, tuned=True)
        assert "wb tune" not in told.value.hint

    def test_of_no_experiment(self, small) -> None:
        made = small()
        for path in (made.folder / "experiments").glob("*"):
            path.unlink()
        with pytest.raises(NotFoundError, match="has no experiment that could have been tuned"):
            made.open.experiments.new(tuned=True)


class TestSeeds:
    @pytest.mark.parametrize(
        ("kind", "model", "advice"),
        [
            ("model", {}, "bagging_fraction"),
            ("xgboost", {}, "subsample"),
            ("xgboost", {"booster": "gblinear"}, None),
            ("catboost", {}, "bootstrap_type"),
            ("sklearn", {"estimator": "sklearn.linear_model.LogisticRegression"}, None),
            ("sklearn", {"estimator": "sklearn.linear_model.Ridge"}, None),
            ("sklearn", {"estimator": "sklearn.svm.SVR"}, None),
            ("sklearn", {"estimator": "sklearn.neighbors.KNeighborsClassifier"}, None),
            ("sklearn", {"estimator": "sklearn.ensemble.HistGradientBoostingClassifier"}, "sample rows"),
            ("python", {}, "the `seed` argument"),
            ("recommend", {}, None),
            ("blend", {}, None),
        ],
    )
    def test_by_the_kind_of_model(self, kind: str, model: dict[str, Any], advice: str | None) -> None:
        note = same_seeds_note(kind, model, (7, 8))
        assert note.startswith("the seeds make no difference: ")
        assert note.endswith("one is enough, and saves the others' time: seeds = [7]")
        assert ("bagging" in note) == (kind == "model")
        assert (advice is None) == ("; or " not in note)
        if advice is not None:
            assert advice in note

    def test_a_linear_model_is_not_told_to_bag(self, small) -> None:
        made = small(metric="logloss")
        made.experiment(
            1,
            'features = ["ratio"]\nseeds = [3, 4]\n[sklearn]\nestimator = "sklearn.linear_model.LogisticRegression"\n',
        )
        outcome = run(made.workspace, made.open.access.competition, 1)
        [note] = [n for n in outcome.notes if "seeds make no difference" in n]
        assert note == "the seeds make no difference: one is enough, and saves the others' time: seeds = [3]"


class TestRareClasses:
    def competition(self, small, positives: int, cv: str, metric: str = "auc") -> Any:
        """A competition whose train has so many positives."""
        made = small(metric=metric)
        path = made.folder / "data" / "raw" / "train.csv"
        train = pl.read_csv(path)
        chosen = pl.int_range(train.height, eager=True) < positives
        train.with_columns(y=chosen.cast(pl.Int64)).write_csv(path)
        from workbench.data.ingest import convert

        convert(path.parent, made.folder / "data" / "tables", made.slug, force=True)
        text = (made.folder / "competition.toml").read_text()
        text = re.sub(r'scheme = "\w+".*', cv, text)
        (made.folder / "competition.toml").write_text(text)
        made.experiment(1, 'features = ["ratio"]' + MODEL)
        return made

    @pytest.mark.parametrize("metric", ["auc", "logloss"])
    def test_three_positives_are_at_most_three_folds(self, small, metric: str) -> None:
        made = self.competition(small, 3, 'scheme = "stratified"', metric)
        with pytest.raises(TrainingError, match="that all have y = 0") as told:
            made.open.run(1)
        assert told.value.hint == "only 3 rows of train have y = 1: at most folds = 3 under [cv] in competition.toml"
        made.definition("folds = 5", "folds = 3")
        assert made.open.run(1).record.status == "finished"

    @pytest.mark.parametrize(
        ("positives", "cv", "hint"),
        [
            (1, 'scheme = "stratified"', "only 1 row of train has y = 1: no split has it on both sides"),
            (
                3,
                'scheme = "kfold"',
                'only 3 rows of train have y = 1: at most folds = 3, and scheme = "stratified", under',
            ),
            (6, 'scheme = "time"\ncolumn = "day"', "fewer and longer folds"),
            (6, 'scheme = "group"\ngroup = "town"', 'scheme = "stratified_group"'),
        ],
    )
    def test_by_the_scheme(self, small, positives: int, cv: str, hint: str) -> None:
        made = self.competition(small, positives, cv)
        with pytest.raises(TrainingError) as told:
            made.open.run(1)
        assert hint in told.value.hint
        assert ('"stratified"' in told.value.hint) == ("kfold" in cv)


class TestJoinKeys:
    CODE = (
        "import polars as pl\nfrom workbench.features import ROW, feature\n\n\n@feature\ndef sized(rows, towns):\n"
        "    known = towns.with_columns(z=pl.lit(1.0))\n"
        "    return rows.select(ROW, {keys}).join(known, on='town', how='left'){end}\n"
    )

    def write(self, made: Any, end: str = "", keys: str = "'town', 'x'") -> None:
        (made.folder / "features.py").write_text(self.CODE.format(end=end, keys=keys))
        made.experiment(1, 'features = ["rows", "sized"]' + MODEL)

    def test_they_are_named_and_where_to_drop_them(self, small) -> None:
        made = small()
        self.write(made)
        with pytest.raises(FeatureError, match="both give the columns 'town', 'x', 'z'") as told:
            made.open.run(1)
        assert told.value.hint == (
            'they are columns of train and test, kept from a join? End sized with .drop("town", "x", "z")'
        )
        self.write(made, told.value.hint.partition("with ")[2])
        assert made.open.run(1).record.status == "finished"

    def test_a_column_of_two_features_is_renamed(self, small) -> None:
        made = small()
        (made.folder / "features.py").write_text(
            "import polars as pl\nfrom workbench.features import ROW, feature\n\n\n"
            "@feature\ndef one(rows):\n    return rows.select(ROW, a=pl.col('x'))\n\n\n"
            "@feature\ndef two(rows):\n    return rows.select(ROW, a=pl.col('z'))\n"
        )
        made.experiment(1, 'features = ["one", "two"]' + MODEL)
        with pytest.raises(FeatureError, match="features 'one' and 'two' both give a column 'a'") as told:
            made.open.run(1)
        assert told.value.hint == 'rename one; drop = ["a"] leaves out both'

    def test_what_is_listed_twice_is_taken_out(self, small) -> None:
        made = small()
        made.experiment(1, 'features = ["rows", "rows.town"]' + MODEL)
        with pytest.raises(FeatureError, match="both give a column 'town'") as told:
            made.open.run(1)
        assert told.value.hint == "remove one of the two from features"


class TestWrongTables:
    @pytest.mark.parametrize(
        ("text", "message", "hint"),
        [
            ('base = 1\n[model]\nfeatures = ["ratio"]\n', "'features' is a key of the experiment", "above [model]"),
            ("base = 1\n[xgboost]\nseeds = [1, 2]\n", "'seeds' is a key of the experiment", "above [xgboost]"),
            ("base = 1\n[model]\n[tune]\nminutes = 1\nseeds = [1]\n", "unknown key 'tune.seeds'", "above [tune]"),
            ("base = 1\nnum_leaves = 7\n[model]\n", "'num_leaves': it is a parameter", "below the line [model]"),
            ("base = 1\nlearning_rate = 0.1\n", "unknown key 'learning_rate'", "below the line [model]"),
            ("base = 1\nseed = 7\n[model]\n", "unknown key 'seed'", "did you mean 'seeds'"),
            ("base = 1\ntrials = 7\n[model]\n", "unknown key 'trials'", "write it under [tune]"),
        ],
    )
    def test_of_an_experiment(self, small, text: str, message: str, hint: str) -> None:
        made = small()
        made.experiment(1, 'features = ["ratio"]' + MODEL)
        made.experiment(2, text)
        with pytest.raises(ConfigError) as told:
            read_spec(made.open.access.competition, 2)
        assert message in told.value.message
        assert hint in told.value.hint

    @pytest.mark.parametrize(
        ("before", "after", "message", "hint"),
        [
            ("", 'weight = "x"\n', "unknown key 'cv.weight'", "write weight above [cv]"),
            ("folds = 3\n", "", "unknown key 'folds'", "write it under [cv]"),
            ("", "fold = 3\n", "unknown key 'cv.fold'", "did you mean 'folds'?"),
        ],
    )
    def test_of_a_definition(self, small, before: str, after: str, message: str, hint: str) -> None:
        made = small()
        path = made.folder / "competition.toml"
        text = path.read_text()
        path.write_text(before + text.partition("\n# How the files")[0] + "\n" + after)
        with pytest.raises(ConfigError) as told:
            _ = made.open.access.competition.definition
        assert message in told.value.message
        assert hint in told.value.hint


class TestToml:
    @pytest.mark.parametrize(
        ("line", "hint"),
        [
            ('title = "abc', "a quote is opened there and not closed"),
            ("title = 'abc", "a quote is opened there and not closed"),
            ("title = abc", "strings need quotes"),
            ("refit = True", "true and false are lower case"),
            ('features = ["a, "b"]', "is a comma, a quote or a closing bracket missing?"),
            ('title = "a" "b"', "one key per line"),
            ("title : 3", "a line is KEY = VALUE"),
            ('title = "C:\\data"', "write a backslash as"),
            ('features = ["ratio"]', "the key is there twice"),
        ],
    )
    def test_a_line_that_is_none_is_shown(self, small, line: str, hint: str) -> None:
        made = small()
        made.experiment(1, f'features = ["ratio"]\n{line}\n' + MODEL)
        with pytest.raises(ConfigError, match=r"001\.toml is not valid TOML: .*\(at ") as told:
            read_spec(made.open.access.competition, 1)
        assert hint in told.value.hint
        assert line in told.value.message or "end of document" in told.value.message

    def test_a_value_that_is_none_is_said_plainly(self, small) -> None:
        made = small()
        path = made.folder / "competition.toml"
        path.write_text(path.read_text().replace('task = "', 'task = "x'))
        with pytest.raises(ConfigError) as told:
            _ = made.open.access.competition.definition
        assert "task: unknown task, did you mean" in told.value.message


class TestDefinition:
    def test_an_id_that_is_not_there(self, small) -> None:
        made = small()
        path = made.folder / "competition.toml"
        text = re.sub(r'(?m)^id = "(\w+)"', r'id = "\1x"', path.read_text())
        (name,) = re.findall(r'(?m)^id = "(\w+)x"', text)
        path.write_text(text)
        made.experiment(1, 'features = ["auto"]' + MODEL)
        with pytest.raises(DataError, match=f"id = '{name}x', but table 'test' has no such column") as told:
            made.open.run(1)
        assert told.value.hint == f"did you mean '{name}'?"

    @pytest.mark.parametrize("metric", ["auc", "logloss", "average_precision"])
    def test_amounts_are_not_scored_as_classes(self, small, metric: str) -> None:
        made = small(task="regression", metric="rmse")
        path = made.folder / "competition.toml"
        path.write_text(path.read_text().replace('metric = "rmse"', f'metric = "{metric}"'))
        made.experiment(1, 'features = ["ratio"]' + MODEL)
        with pytest.raises(DataError, match=f"metric = '{metric}' scores the probability of a class"):
            made.open.run(1)

    def test_gini_is_of_amounts(self, small) -> None:
        made = small(task="regression", metric="gini")
        made.experiment(1, 'features = ["ratio"]' + MODEL)
        assert made.open.run(1).score > 0


class TestTable:
    def test_its_metric_is_that_of_the_definition(self, small, wb) -> None:
        made = small()
        made.experiment(1, 'features = ["ratio"]' + MODEL)
        made.open.run(1)
        path = made.folder / "competition.toml"
        path.write_text(path.read_text().replace('metric = "auc"', 'metric = "logloss"'))
        made.experiment(2, 'features = ["ratio"]' + MODEL)
        made.open.run(2)
        _, out, err = wb(made, "table")
        assert "[other target or metric]" in out
        assert "small: logloss, less is better" in err


class TestFeatures:
    @pytest.mark.parametrize(
        ("body", "hint"),
        [
            ('[pl.col("y").log().alias("l")]', "'y' is the target, which features never see"),
            ("rows.to_pandas()", "collect().to_pandas()"),
            ("rows.assign(a=1)", "with_columns"),
        ],
    )
    def test_of_what_newcomers_write(self, small, body: str, hint: str) -> None:
        made = small()
        (made.folder / "features.py").write_text(
            f"import polars as pl\nfrom workbench.features import feature\n\n@feature\ndef f(rows):\n    return {body}\n"
        )
        made.experiment(1, 'features = ["f"]' + MODEL)
        with pytest.raises(FeatureError) as told:
            made.open.run(1)
        assert hint in told.value.hint
