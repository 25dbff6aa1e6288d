"""Which class a column of predictions means, how labels are spelled, and what only numbers the rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench import metrics
from workbench.core.errors import ConfigError
from workbench.data.competition import Competition, load_competition, match_classes
from workbench.data.competition.row_numbers import find_row_numbers
from workbench.data.inference import baseline_text, definition_text, infer
from workbench.data.ingest.convert import convert
from workbench.data.workspace import Workspace
from workbench.experiments.run import run
from workbench.experiments.run_folder import read_run
from workbench.metrics import find_positive
from workbench.models.serving import submission_form
from workbench.models.serving.submission_file import respelled
from workbench.models.target import read_target
from workbench.platforms.protocol import CompetitionFacts
from workbench.rehearsal import LocalPlatform, RehearsalSpec, create
from workbench.submissions.findings import file_findings, positive_class_findings

QUICK = 'features = ["auto"]\n[model]\nnum_iterations = 15\nlearning_rate = 0.3\nearly_stopping_round = 0\n'
N_TRAIN, N_TEST = 240, 80


def signal(n_rows: int = N_TRAIN + N_TEST) -> tuple[np.ndarray, np.ndarray]:
    """Return a number, and whether it is high: what is to be predicted."""
    x = np.random.default_rng(3).normal(size=n_rows).round(4)
    return x, x > 0.2


@pytest.fixture
def fetched(tmp_path: Path):
    """Return a function that writes the files of a competition and what is inferred of them."""

    def made(
        train: dict[str, Any], test: dict[str, Any], sample: dict[str, Any], metric: str = "AUC", **facts: Any
    ) -> tuple[Workspace, Competition]:
        workspace = Workspace(tmp_path)
        folder = workspace.competitions / "c"
        raw = folder / "data" / "raw"
        raw.mkdir(parents=True)
        for name, columns in (("train", train), ("test", test), ("sample_submission", sample)):
            pl.DataFrame(columns).write_csv(raw / f"{name}.csv")
        manifest = convert(raw, folder / "data" / "tables", "c")
        inferred = infer(manifest, folder / "data" / "tables", CompetitionFacts("c", "C", metric, **facts), "kaggle")
        (folder / "experiments").mkdir()
        (folder / "competition.toml").write_text(definition_text(inferred), encoding="utf-8")
        (folder / "experiments" / "001.toml").write_text(QUICK, encoding="utf-8")
        assert baseline_text(inferred)
        return workspace, load_competition(workspace, "c")

    return made


def tables(labels: tuple[Any, Any], column: str, fill: Any, target: str | None = None) -> tuple[dict, dict, dict]:
    """Return train, test and sample where the first label belongs to low and the second to high numbers."""
    x, is_high = signal()
    ids = np.arange(N_TRAIN + N_TEST) * 3 + 10
    words = [labels[int(h)] for h in is_high[:N_TRAIN]]
    train = {"row": ids[:N_TRAIN], "x": x[:N_TRAIN], target or column: words}
    return train, {"row": ids[N_TRAIN:], "x": x[N_TRAIN:]}, {"row": ids[N_TRAIN:], column: [fill] * N_TEST}


def rises(submission: Path, column: str) -> bool:
    """Say whether what is predicted is higher where the number is."""
    x, _ = signal()
    return bool(np.corrcoef(pl.read_csv(submission)[column].to_numpy(), x[N_TRAIN:])[0, 1] > 0.5)


def submitted(workspace: Workspace, competition: Competition) -> Path:
    return run(workspace, competition, 1).run.folder / "submission.csv"


class TestNames:
    @pytest.mark.parametrize(
        "name",
        [
            "approved", "Approved", "APPROVED", "is_approved", "isApproved", "IsApproved", "prob_approved", "p approved",
            "approved_probability", "P(approved)", "target_approved", "loan_approved", "isapproved", "approval", "not_denied",
        ],
    )  # fmt: skip
    def test_the_class_that_is_named(self, name: str) -> None:
        assert find_positive(["approved", "denied"], [name]).index == 0
        assert find_positive(["denied", "approved"], [name]).index == 1

    @pytest.mark.parametrize("name", ["target", "status", "p", "approved_or_denied", "disapproved", "unapproved", ""])
    def test_what_names_neither_or_both_is_undecided(self, name: str) -> None:
        assert find_positive(["approved", "denied"], [name]).index is None

    @pytest.mark.parametrize(
        ("labels", "name", "expected"),
        [
            (["No", "Yes"], "no_show", "Yes"),
            (["no", "yes"], "P(no)", "no"),
            (["0", "1"], "0", "1"),
            (["0", "1"], "target_0", "1"),
            (["0", "1"], "prob_0", "0"),
            (["0.0", "1.0"], "prob_0", "0.0"),
            (["1", "2"], "diagnosis_1", "1"),
            (["0", "1"], "diagnosis", "1"),
            (["negative", "positive"], "negative", "negative"),
            (["negative", "positive"], "is_negative", "negative"),
            (["Absence", "Presence"], "Heart Disease", "Presence"),
            (["Absence", "Presence"], "absence", "Absence"),
            (["No", "Yes"], "No", "No"),
            (["False", "True"], "false_alarm", "True"),
            (["off", "on"], "y", "on"),
            (["A", "B"], "class_A", "A"),
            ([" <=50K", " >50K"], "income_>50K", " >50K"),
            (["f", "t"], "y", "t"),
            (["-1", "1"], "y", "1"),
            (["10", "9"], "y", "10"),
            (["ja", "nein"], "y", "ja"),
            (["Canceled", "Not_Canceled"], "booking", "Canceled"),
            (["Canceled", "Not_Canceled"], "not canceled", "Not_Canceled"),
            (["B", "M"], "diagnosis_M", "M"),
            (["B", "M"], "diagnosis", None),
            (["e", "p"], "p", None),
            (["<=50K", ">50K"], ">50K", ">50K"),
            (["active", "inactive"], "inactive", "inactive"),
        ],
    )
    def test_pairs(self, labels: list[str], name: str, expected: str | None) -> None:
        for given_labels in (labels, labels[::-1]):
            index = find_positive(given_labels, [name, "diagnosis"]).index
            assert (None if index is None else given_labels[index]) == expected

    @pytest.mark.parametrize(
        ("labels", "names"),
        [(("No", "Yes"), ("no", "No")), (("0", "1"), ("prob_0",)), (("0", "1"), ("Class_0", "class_0"))],
    )
    def test_a_target_of_such_a_name_says_so_itself(self, labels: tuple[str, str], names: tuple[str, ...]) -> None:
        assert find_positive(labels, names).index == 1

    def test_the_first_name_goes_before_the_second(self) -> None:
        assert find_positive(["approved", "denied"], ["denied", "approved"]).index == 1
        assert find_positive(["approved", "denied"], ["target", "approved"]).index == 0

    def test_the_description_of_the_platform(self) -> None:
        said = "Predict the probability that a loan is approved. Denied loans cost money."
        assert find_positive(["approved", "denied"], ["target"], said).index == 0
        assert find_positive(["approved", "denied"], ["target"], "Predict approved or denied.").index is None

    @pytest.mark.parametrize(
        ("labels", "name", "expected"),
        [
            # Words among others: of three letters or more, and the longer label where one is part of the other.
            (["cat", "dog"], "my_cat_day", "cat"),
            (["ok", "bad"], "very_ok_day", None),
            (["ok", "dog"], "not_ok_dog_day", "dog"),
            (["risk", "high risk"], "patient_high_risk_case", "high risk"),
            (["high", "high risk"], "patient_high_risk_case", "high risk"),
            (["new york", "york city"], "old_new_york_city_x", None),
            (["cat", "dog"], "cat_and_dog_day", None),
            (["cat", "dog"], "one_cat_or_cat_day", "cat"),
            # Turned round by the word before it alone.
            (["approved", "denied"], "loan_not_approved", "denied"),
            (["approved", "denied"], "never_was_approved_x", "approved"),
            (["approved", "denied"], "not_a_loan_denied_x", "denied"),
            (["not approved", "approved"], "loan_not_approved", "not approved"),
            # Another form of the word: five letters and three quarters of the shorter one.
            (["admits", "refuses"], "has_admitted_x", "admits"),
            (["paid", "owed"], "pays_x", None),
            (["fails", "holds"], "has_failed_x", None),
            (["approval", "denial"], "has_approvements_x", "approval"),
            (["controlled", "treated"], "in_contract_x", None),
            (["smokers", "drinkers"], "smokeless_x", None),
            (["in hospital", "at home"], "stayed_in_hospitals", "in hospital"),
            # Glued to a word that says nothing, if that is more than a letter and the label three.
            (["abc", "xyz"], "isabc", "abc"),
            (["abc", "xyz"], "abctarget", "abc"),
            (["abc", "xyz"], "pabc", None),
            (["ab", "xy"], "isab", None),
            # Signs alone.
            (["<", ">"], ">", ">"),
            (["<", ">"], "x>", ">"),
            (["<=", ">="], "a >=", ">="),
            (["?", "known"], "known", "known"),
            # One number and a word, the same number twice, two numbers.
            (["3", "b"], "target", None),
            (["1", "b"], "is_b", "b"),
            (["5", "5.0"], "target", None),
            (["-3", "-20"], "target", "-3"),
            (["0.5", "1e-3"], "target", "0.5"),
            # A pair of letters in a name of one letter, or of two.
            (["n", "y"], "n", "y"),
            (["n", "y"], "P(n)", "n"),
            (["no", "yes"], "no", "no"),
            # A class and its opposite.
            (["a", "not a"], "t", "a"),
            (["not a", "a"], "t", "a"),
            (["never an ox", "an ox"], "t", "an ox"),
            (["a", "not b"], "t", None),
            (["a", "rather a"], "t", None),
            (["a", "not a a"], "t", None),
            (["?", "not"], "t", None),
        ],
    )  # fmt: skip
    def test_names_and_labels_at_the_limits(self, labels: list[str], name: str, expected: str | None) -> None:
        for given_labels in (labels, labels[::-1]):
            index = find_positive(given_labels, [name, "of"]).index
            assert (None if index is None else given_labels[index]) == expected

    def test_all_later_names_tell_what_is_only_the_targets(self) -> None:
        # "class_0" is a probability of 0 where the target is called "class": wherever that stands among the others.
        assert find_positive(["0", "1"], ["class_0", "class", "id"]).index == 0
        assert find_positive(["0", "1"], ["class_0", "id", "class"]).index == 0
        assert find_positive(["0", "1"], ["class_0", "id"]).index == 1

    @pytest.mark.parametrize(
        ("said", "expected"),
        [
            ("The likelihood of a cat.", 0),
            ("Predict the animal. Give the probability of a dog. Cats count double", 1),
            ("Predict a cat. Predict the dog.", None),
            ("Cats are nice.", None),
        ],
    )
    def test_what_the_platform_asks_for(self, said: str, expected: int | None) -> None:
        assert find_positive(["cat", "dog"], ["target"], said).index == expected

    @pytest.mark.parametrize(
        ("labels", "name", "words", "why"),
        [
            (["cat", "dog"], "dog", "", "the column's name, 'dog'"),
            (["no", "yes"], "t", "", "as usual for such a pair"),
            (["2", "3"], "t", "", "the larger number"),
            (["cat", "dog"], "t", "predict the dog", "the platform's description"),
            (["cat", "no cat"], "t", "", "the other class is its opposite, 'no cat'"),
            (["cat", "dog"], "t", "", "neither the column's name nor the classes say which one"),
        ],
    )
    def test_the_reason_is_told(self, labels: list[str], name: str, words: str, why: str) -> None:
        assert find_positive(labels, [name], words).why == why

    @pytest.mark.parametrize(
        ("labels", "expected"),
        [
            (["no", "yes"], 1),
            (["Yes", "NO"], 0),
            (["nein", "ja"], 1),
            (["ja", "nein"], 0),
            (["1.0", " 0"], 0),
            (["да", "Нет"], 0),
            (["cat", "dog"], None),
            (["yes", "yes"], None),
            (["no", "yes", "maybe"], None),
            (["no"], None),
        ],
    )
    def test_usual_pairs(self, labels: list[str], expected: int | None) -> None:
        assert metrics.is_pair(labels) == expected

    @pytest.mark.parametrize(
        ("text", "labels", "expected"),
        [
            ("A", ["A", "a"], 0),
            ("a", ["A", "a"], 1),
            ("yes", ["YES", "Yes"], None),
            (" Yes ", ["no", "yes"], 1),
            ("1.0", ["0", "1"], 1),
            ("1", ["1", "1.0"], 0),
            ("true", ["no", "yes"], 1),
            ("true", ["yes", "no"], 0),
            ("f", ["yes", "no"], 1),
            ("0", ["no", "yes"], 0),
            ("maybe", ["no", "yes"], None),
            ("true", ["cat", "dog"], None),
            ("yes", ["no", "yes", "maybe"], 1),
            ("true", ["no", "yes", "maybe"], None),
            ("", ["no", "yes"], None),
        ],
    )
    def test_the_label_that_a_text_means(self, text: str, labels: list[str], expected: int | None) -> None:
        assert metrics.match_label(text, labels) == expected

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("HTTPServer", ("http", "server")),
            ("isApproved2", ("is", "approved2")),
            ("É_a", ("é", "a")),
            ("ABc", ("a", "bc")),
            ("x-y  z_", ("x", "y", "z")),
            ("_", ()),
        ],
    )
    def test_the_words_of_a_name(self, text: str, words: tuple[str, ...]) -> None:
        assert metrics.name_words(text) == words

    @given(st.text(max_size=20), st.lists(st.text(min_size=1, max_size=8), min_size=2, max_size=2, unique=True))
    def test_the_order_of_the_classes_changes_nothing(self, name: str, labels: list[str]) -> None:
        one, other = find_positive(labels, [name]).index, find_positive(labels[::-1], [name]).index
        assert (one is None and other is None) or one == 1 - (other or 0)

    @pytest.mark.parametrize(
        ("asked", "labels", "expected"),
        [
            (["prob_high", "low_probability"], ["Low", "High"], (1, 0)),
            (["class_11", "class_1"], ["1", "11"], (1, 0)),
            (["class_2", "class_1"], ["1.0", "2.0"], (1, 0)),
            (["classA", "classB"], ["A", "B"], (0, 1)),
            (["p_male", "p_female"], ["female", "male"], (1, 0)),
            (["some_college", "HS grad"], ["HS-grad", "Some-college"], (1, 0)),
            (["not_approved", "approved"], ["approved", "not approved"], (1, 0)),
            (["TRUE", "FALSE"], ["False", "True"], (1, 0)),
            (["A", "a"], ["a", "A"], (1, 0)),
            (["t_11", "t_12"], ["1", "2"], None),
            (["x", "y"], ["a", "b"], None),
        ],
    )
    def test_columns_of_classes(self, asked: list[str], labels: list[str], expected: tuple[int, ...] | None) -> None:
        assert match_classes(asked, labels) == expected


class TestProbabilities:
    @pytest.mark.parametrize(
        ("labels", "column", "target", "metric", "expected"),
        [
            (("denied", "approved"), "approved", None, "AUC", True),
            (("approved", "denied"), "approved", None, "AUC", False),
            (("denied", "approved"), "Prob_Approved", "decision", "Log Loss", True),
            (("denied", "approved"), "prediction", "approved", "AUC", True),
            (("nein", "ja"), "target", None, "AUC", True),
            ((9, 10), "target", None, "AUC", True),
            (("yes", "no"), "churn", None, "AUC", False),
            ((1, -1), "y", None, "AUC", False),
        ],
    )
    def test_the_probability_is_that_of_the_class_that_is_meant(
        self, fetched, labels: tuple, column: str, target: str | None, metric: str, expected: bool
    ) -> None:
        workspace, competition = fetched(*tables(labels, column, 0.5, target), metric=metric)
        outcome = run(workspace, competition, 1)
        file = outcome.run.folder / "submission.csv"
        assert rises(file, column) == expected
        assert not [f for f in file_findings(competition, file) if f.level == "error"]
        score = outcome.run.record.cv_mean
        assert score > 0.95 if metric == "AUC" else score < 0.3

    def test_what_is_undecided_is_asked_before_training_and_the_answer_counts(self, fetched) -> None:
        workspace, competition = fetched(*tables(("cat", "dog"), "target", 0.5))
        path = competition.folder / "competition.toml"
        text = path.read_text()
        assert '# positive = "cat"' in text
        assert '# positive = "dog"' in text
        with pytest.raises(ConfigError, match="undecided") as caught:
            run(workspace, competition, 1)
        assert 'positive = "cat" or positive = "dog"' in caught.value.hint
        for label, expected in (("cat", False), ("dog", True)):
            path.write_text(text.replace(f'# positive = "{label}"', f'positive = "{label}"'))
            found = load_competition(workspace, "c")
            outcome = run(workspace, found, 1)
            assert outcome.how == "new"
            assert rises(outcome.run.folder / "submission.csv", "target") == expected
            assert outcome.run.record.cv_mean > 0.95
            details = read_run(outcome.run.folder)[1]
            assert details["positive"] == {"target": label}
            assert positive_class_findings(found, details) == []
            # A run from before is of the greater of the two.
            old = positive_class_findings(found, {k: v for k, v in details.items() if k != "positive"})
            assert [f.code for f in old] == ["positive"] * (label == "cat")

    def test_a_class_that_there_is_not(self, fetched) -> None:
        workspace, competition = fetched(*tables(("cat", "dog"), "target", 0.5))
        path = competition.folder / "competition.toml"
        path.write_text(path.read_text().replace('# positive = "cat"', 'positive = "cow"'))
        with pytest.raises(ConfigError, match="'cow'.*'cat' and 'dog'"):
            read_target(load_competition(workspace, "c"))

    def test_the_platform_and_its_description_say_it(self, fetched) -> None:
        said = "Estimate the probability that the animal is a cat."
        _, competition = fetched(*tables(("cat", "dog"), "target", 0.5), description=said)
        assert competition.definition.positive == {"target": "cat"}
        assert read_target(competition).columns[0].classes == ("dog", "cat")

    def test_accuracy_does_not_ask(self, fetched) -> None:
        workspace, competition = fetched(*tables(("cat", "dog"), "target", "cat"), metric="Categorization Accuracy")
        assert "positive" not in (competition.folder / "competition.toml").read_text()
        assert set(pl.read_csv(submitted(workspace, competition))["target"]) == {"cat", "dog"}

    def test_f1_is_of_the_class_that_is_named(self, fetched) -> None:
        _, competition = fetched(*tables(("denied", "approved"), "approved", "denied"), metric="F1 Score")
        assert 'positive = "approved"  # f1 is of this class' in (competition.folder / "competition.toml").read_text()
        assert read_target(competition).columns[0].classes == ("denied", "approved")
        _, values = signal()
        assert (read_target(competition).columns[0].values == values[:N_TRAIN]).all()

    def test_classes_in_their_usual_order_leave_the_key_as_it_was(self, fetched) -> None:
        workspace, competition = fetched(*tables(("denied", "granted"), "granted", 0.5))
        first = run(workspace, competition, 1).run.record.key
        path = competition.folder / "competition.toml"
        lines = [line for line in path.read_text().splitlines() if not line.startswith("positive")]
        path.write_text("\n".join(lines))
        assert run(workspace, load_competition(workspace, "c"), 1).run.record.key == first

    def test_several_targets_each_have_theirs(self, fetched) -> None:
        train, test, sample = tables(("denied", "approved"), "approved", 0.5)
        train |= {"risk": [("high", "low")[int(h)] for h in signal()[1][:N_TRAIN]]}
        workspace, competition = fetched(train, test, sample | {"risk": [0.5] * N_TEST})
        with pytest.raises(ConfigError, match="'risk' is 'high' or 'low'"):
            submission_form(competition, read_target(competition))
        path = competition.folder / "competition.toml"
        path.write_text(path.read_text().replace('# positive.risk = "high"', 'positive.risk = "high"'))
        file = submitted(workspace, load_competition(workspace, "c"))
        assert (rises(file, "approved"), rises(file, "risk")) == (True, False)

    def test_two_columns_of_classes_in_any_order(self, fetched) -> None:
        train, test, sample = tables(("cat", "dog"), "kind", 0.5)
        sample = {"row": sample["row"], "prob_dog": [0.5] * N_TEST, "prob_cat": [0.5] * N_TEST}
        workspace, competition = fetched(train, test, sample, metric="Log Loss")
        file = submitted(workspace, competition)
        assert (rises(file, "prob_dog"), rises(file, "prob_cat")) == (True, False)
        path = competition.folder / "competition.toml"
        path.write_text(path.read_text().replace('"multiclass"', '"binary"').replace('"mlogloss"', '"logloss"'))
        found = load_competition(workspace, "c")
        file = submitted(workspace, found)
        assert (rises(file, "prob_dog"), rises(file, "prob_cat")) == (True, False)
        # Each class has its column, whichever of the two a run predicts.
        assert positive_class_findings(found, {"positive": {"kind": "cat"}}) == []


class TestLabels:
    @pytest.mark.parametrize(
        ("labels", "shown", "expected"),
        [
            (["1.0", "2.0"], ["1"], ["1", "2"]),
            (["1", "2", "3"], ["1.0"], ["1.0", "2.0", "3.0"]),
            (["no", "yes"], ["No"], ["No", "Yes"]),
            (["no", "yes"], ["FALSE", "TRUE"], ["FALSE", "TRUE"]),
            (["no", "yes"], ["0"], ["0", "1"]),
            (["denied", "approved"], ["0.0", "1.0"], ["0.0", "1.0"]),
            (["False", "True"], ["0"], ["0", "1"]),
            (["0", "1"], ["False"], ["False", "True"]),
            (["0", "1"], ["0.5"], ["0", "1"]),
            (["1", "2"], ["0", "1"], ["0", "1"]),
            (["1", "2"], ["0"], ["1", "2"]),
            (["cat", "dog"], ["cat"], ["cat", "dog"]),
            (["a", "b", "c"], ["0"], ["a", "b", "c"]),
        ],
    )
    def test_are_spelled_as_the_sample_spells_them(
        self, labels: list[str], shown: list[str], expected: list[str]
    ) -> None:
        assert respelled(labels, shown) == expected

    @pytest.mark.parametrize(
        ("labels", "fill", "expected"),
        [
            ((0.0, 1.0), 0, ["0", "1"]),
            ((0, 1), 1.0, ["0.0", "1.0"]),
            ((0, 1), "True", ["False", "True"]),
            (("False", "True"), "TRUE", ["FALSE", "TRUE"]),
            (("no", "yes"), "No", ["No", "Yes"]),
            (("No", "Yes"), 0, ["0", "1"]),
            (("lost", "won"), "Won", ["Lost", "Won"]),
        ],
    )
    def test_in_the_file_and_in_the_check(self, fetched, labels: tuple, fill: Any, expected: list[str]) -> None:
        workspace, competition = fetched(*tables(labels, "label", fill), metric="Accuracy")
        file = submitted(workspace, competition)
        sent = pl.read_csv(file, infer_schema=False)
        assert sorted(set(sent["label"])) == sorted(expected)
        assert not [f for f in file_findings(competition, file) if f.level == "error"]
        other = file.with_name("other.csv")
        swapped = {text: f"{text}.0" if text.isdigit() else text.swapcase() for text in expected}
        sent.with_columns(pl.col("label").replace(swapped)).write_csv(other)
        if swapped[expected[0]] != expected[0]:
            (finding,) = [f for f in file_findings(competition, other) if f.level == "error"]
            assert (finding.code, "spelled" in finding.message) == ("labels", True)

    def test_other_labels_than_those_of_train_are_said(self, fetched) -> None:
        train, test, sample = tables(("setosa", "virginica"), "label", "?")
        sample["label"] = ["Iris-setosa", "Iris-virginica"] * (N_TEST // 2)
        workspace, competition = fetched(train, test, sample, metric="Accuracy")
        found = file_findings(competition, submitted(workspace, competition))
        assert [(f.level, f.code) for f in found] == [("warning", "foreign_labels")]

    def test_which_class_stands_for_one_is_asked(self, fetched) -> None:
        workspace, competition = fetched(*tables(("cat", "dog"), "label", 0), metric="Accuracy")
        with pytest.raises(ConfigError, match="stands for '1'"):
            run(workspace, competition, 1)


class TestRehearsal:
    @pytest.mark.parametrize(
        ("target", "labels"), [("approved", ("denied", "approved")), ("diagnosis", ("B", "M")), ("y", ("good", "bad"))]
    )
    def test_host_and_workbench_mean_the_same_class(self, tmp_path: Path, target: str, labels: tuple) -> None:
        from workbench.api import library

        x, is_high = signal()
        frame = pl.DataFrame({"x": x, target: [labels[int(h)] for h in is_high]})
        frame.write_csv(tmp_path / "all.csv")
        create(tmp_path, "c", RehearsalSpec(train=tmp_path / "all.csv", targets=(target,), metric="auc", holdout=0.25))
        workspace = Workspace(tmp_path)
        library.fetch("c", where=workspace)
        opened = library.OpenCompetition(workspace, "c")
        (opened.access.competition.folder / "experiments" / "001.toml").write_text(QUICK)
        outcome = opened.run(1)
        sent = opened.submissions.send(opened.submissions.prepare(1))
        assert outcome.record.cv_mean > 0.95
        (scored,) = [s for s in LocalPlatform(tmp_path).submissions("c") if s.ref == sent.ref]
        assert scored.public_score > 0.95


class TestRowNumbers:
    def test_what_only_numbers_the_rows(self) -> None:
        n, rng = 200, np.random.default_rng(1)
        frame = pl.DataFrame(
            {
                "": range(n),
                "Unnamed: 0": rng.permutation(5 * n)[:n],
                "_duplicated_0": [float(i) for i in range(1, n + 1)],
                "old_id": [float(i) for i in rng.permutation(9 * n)[:n]],
                "S.No": rng.permutation(5 * n)[:n],
                "Unnamed: 0.1": rng.permutation(5 * n)[:n],
                "rownames": np.sort(rng.permutation(5 * n)[:n]),
                "original_index": rng.permutation(5 * n)[:n],
                "column_1": np.sort(rng.permutation(5 * n)[:n]),
                "Id": rng.permutation(10**6)[:n],
                "seq": rng.permutation(n) + 5,
                "code": [f"R{i:05}" for i in rng.permutation(n)],
                "uuid": [f"{i * 7919:x}" for i in range(1, n + 1)],
                # What says something:
                "amount": rng.permutation(10**6)[:n],
                "paid": rng.permutation(10**6)[:n],
                "heat_index": rng.permutation(10**6)[:n],
                "year": range(n),
                "days_since_start": range(n),
                "SecondsElapsed": range(n),
                "trend": range(1, n + 1),
                "rank": rng.permutation(n),
                "customer_id": rng.integers(0, 50, n),
                "name": [f"Mr. {i}" for i in range(n)],
                "x": rng.normal(size=n),
            }
        )
        found = find_row_numbers(frame.lazy(), n, {c: str(t) for c, t in frame.schema.items()})
        assert list(found) == [
            "", "Unnamed: 0", "_duplicated_0", "old_id", "S.No", "Unnamed: 0.1", "rownames", "original_index", "column_1",
            "Id", "seq", "code", "uuid",
        ]  # fmt: skip
        assert find_row_numbers(frame.lazy(), n, {"amount": "Int64"}, ("amount",)) == {
            "amount": "every row has its own"
        }

    @pytest.mark.parametrize("feature", ["auto", "rows"])
    @pytest.mark.parametrize("index", ["", "Unnamed: 0", "Id", "n"])
    def test_a_train_that_is_sorted_by_target_does_not_leak_by_its_index(
        self, fetched, feature: str, index: str
    ) -> None:
        rng = np.random.default_rng(0)
        train = {index: range(N_TRAIN), "row": rng.permutation(900)[:N_TRAIN] * 7, "x": rng.normal(size=N_TRAIN)}
        train["y"] = np.sort(rng.integers(0, 2, N_TRAIN))
        test = {index: range(N_TEST), "row": range(10_000, 10_000 + N_TEST), "x": rng.normal(size=N_TEST)}
        workspace, competition = fetched(train, test, {"row": test["row"], "y": [0.5] * N_TEST})
        assert set(competition.ids.key_columns) == {index, "row"}
        (competition.folder / "experiments" / "001.toml").write_text(QUICK.replace("auto", feature))
        outcome = run(workspace, competition, 1)
        assert outcome.run.record.n_features == 1
        assert outcome.run.record.cv_mean < 0.7
        assert any(repr(index) in note and "left out" in note for note in outcome.notes)

    def test_of_several_ids_the_one_that_is_unique_is_no_feature(self, fetched) -> None:
        rng = np.random.default_rng(0)
        user = rng.integers(0, 30, N_TRAIN + N_TEST)
        row = rng.permutation(10**5)[: N_TRAIN + N_TEST]
        both = {"user": user, "row_no": row, "x": rng.normal(size=len(user))}
        train = {k: v[:N_TRAIN] for k, v in both.items()} | {"y": rng.integers(0, 2, N_TRAIN)}
        test = {k: v[N_TRAIN:] for k, v in both.items()}
        sample = {"user": test["user"], "row_no": test["row_no"], "y": [0.5] * N_TEST}
        _, competition = fetched(train, test, sample)
        assert competition.definition.id_columns == ("user", "row_no")
        assert competition.ids.key_columns == ("row_no",)


def test_metrics_that_depend_on_the_positive_class() -> None:
    symmetric = {
        *(
            "accuracy",
            "balanced_accuracy",
            "macro_f1",
            "micro_f1",
            "weighted_f1",
            "mcc",
            "qwk",
            "kappa",
            "linear_kappa",
        ),
        "balanced_logloss",
    }
    plain = {m for m in metrics.names() if "@" not in m}
    assert {m for m in plain if not metrics.depends_on_positive(metrics.get(m))} == symmetric
    assert metrics.depends_on_positive(metrics.get("pauc@0.8"))
    assert not metrics.depends_on_positive(metrics.get("map@3"))
    for prediction_type in ("value", "proba", "label"):
        own = metrics.from_function(lambda t, p: 0.5, "own", greater_is_better=True, prediction_type=prediction_type)
        assert metrics.depends_on_positive(own)
