"""A score that is likely to be better than on new rows says so wherever it stands."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from typing import Any

import pytest

from tests.small import Small, make_small
from workbench.api.features import SelectOptions
from workbench.api.studies import TuneOptions
from workbench.cli import main
from workbench.core.errors import ConfigError
from workbench.experiments.current_runs import current_run
from workbench.experiments.spec import read_spec
from workbench.ledger import Ledger
from workbench.submissions.findings import optimistic_findings

HEAD = 'features = ["rows.x", "rows.z", "te_town"]\n'
MODEL = "[model]\nlearning_rate = 0.3\nnum_leaves = 7\nmin_data_in_leaf = 5\nnum_iterations = 40\nearly_stopping_round = 5\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Small:
    made = make_small(tmp_path_factory.mktemp("optimistic"))
    made.experiment(1, HEAD + MODEL)
    made.experiment(2, 'base = 1\nrounds = "per fold"\n')
    made.open.run(1)
    made.open.run(2)
    return made


def wb(capsys: Any, monkeypatch: Any, made: Small, *arguments: str) -> str:
    monkeypatch.chdir(made.folder)
    with pytest.raises(SystemExit):
        main(list(arguments))
    return str(capsys.readouterr().out)


def marks(made: Small) -> dict[int, str | None]:
    return {row.run.exp: row.run.optimistic for row in made.open.table() if row.latest}


class TestPerFold:
    def test_in_table_show_and_json(self, made, capsys, monkeypatch) -> None:
        assert marks(made)[1] is None
        assert marks(made)[2] == "rounds per fold"
        rows = json.loads(wb(capsys, monkeypatch, made, "table", "--json"))
        assert {r["exp"]: r["optimistic"] for r in rows if r["exp"] < 3} == {1: None, 2: "rounds per fold"}
        assert f"{made.open.runs[2].score:.5f}^" in wb(capsys, monkeypatch, made, "table")
        assert "optimistic    rounds per fold" in wb(capsys, monkeypatch, made, "show", "2")
        assert "optimistic" not in wb(capsys, monkeypatch, made, "show", "1")

    def test_before_it_is_sent(self, made) -> None:
        of_codes = [{f.code: f for f in optimistic_findings(made.open.runs[n].record)} for n in (1, 2)]
        assert "optimistic" not in of_codes[0]
        assert of_codes[1]["optimistic"].level == "note"
        assert "rounds per fold" in of_codes[1]["optimistic"].message

    def test_nothing_stops_early_nothing_is_marked(self, made) -> None:
        made.experiment(3, "base = 2\n[model]\nearly_stopping_round = 0\nnum_iterations = 5\n")
        made.open.run(3)
        assert marks(made)[3] is None


class TestEarlierRuns:
    def of_earlier_version(self, root: Any) -> Small:
        """Return a competition whose run was made before there was one number of rounds."""
        made = make_small(root)
        made.experiment(1, HEAD + 'rounds = "per fold"\n' + MODEL)
        made.open.run(1)
        (path,) = made.folder.glob("runs/001-*/run.json")
        kept = json.loads(path.read_text())
        del kept["spec"]["rounds"], kept["record"]["optimistic"]
        path.write_text(json.dumps(kept, indent=1))
        with Ledger.open(made.workspace.ledger) as ledger:
            (record,) = ledger.runs("small")
            ledger.put_run(replace(record, optimistic=None))
        return made

    def test_they_are_shown_as_such_and_run_anew(self, tmp_path) -> None:
        made = self.of_earlier_version(tmp_path)
        made.experiment(1, HEAD + MODEL)
        (row,) = made.open.table()
        assert (row.run.optimistic, row.outdated) == ("rounds per fold", ("rounds",))
        made.open.run(1)
        old, new = made.open.table()
        assert [r.run.optimistic for r in (old, new)] == ["rounds per fold", None]
        assert (new.latest, new.outdated) == (True, ())

    def test_where_that_is_asked_for_they_stand(self, tmp_path) -> None:
        made = self.of_earlier_version(tmp_path)
        with Ledger.open(made.workspace.ledger) as ledger:
            runs = ledger.runs("small")
        # Its file asks for it, though an earlier version has written nothing of that.
        assert current_run(made.workspace, "small", 1, runs).outdated == ()
        assert made.open.run(1).record.run_id == runs[0].run_id
        assert len(made.open.table()) == 1

    @pytest.mark.parametrize(
        ("text", "outdated"),
        [
            (HEAD + 'rounds = "per fold"\n' + MODEL, ()),
            (HEAD + MODEL, ("rounds",)),
            (HEAD + 'rounds = "per fold"\n' + MODEL + "lambda_l2 = 3.0\n", ("experiment",)),
            (HEAD + MODEL + "lambda_l2 = 3.0\n", ("experiment", "rounds")),
        ],
    )
    def test_what_was_edited_since_is_told_apart(self, tmp_path, text: str, outdated: tuple[str, ...]) -> None:
        made = self.of_earlier_version(tmp_path)
        made.experiment(1, text)
        with Ledger.open(made.workspace.ledger) as ledger:
            (run,) = ledger.runs("small")
        # Written after the run, on any clock.
        later = run.created_at.timestamp() + 60
        os.utime(made.folder / "experiments" / "001.toml", (later, later))
        assert current_run(made.workspace, "small", 1, [run]).outdated == outdated

    def test_their_key_has_no_word_of_rounds(self, tmp_path) -> None:
        made = self.of_earlier_version(tmp_path)
        spec = read_spec(made.open.access.competition, 1)
        assert spec.content()["rounds"] == "per fold"
        assert spec.key_content() == replace(spec, rounds_per_fold=False).content()

    def test_the_way_back_is_another_run(self, made) -> None:
        made.experiment(4, 'base = 1\nrounds = "per fold"\n')
        made.open.run(4)
        made.experiment(4, "base = 1\n")
        with Ledger.open(made.workspace.ledger) as ledger:
            runs = ledger.runs("small")
        assert current_run(made.workspace, "small", 4, runs).outdated == ("experiment",)
        assert made.open.run(4).record.optimistic is None


class TestOtherKinds:
    @pytest.mark.parametrize(
        ("table", "kind"),
        [
            ("[sklearn]\nmodel = 'linear_model.LogisticRegression'\n", "sklearn"),
            ("[python]\nfunction = 'features.py:fit'\n", "python"),
            ("[notebook]\nfile = 'x.ipynb'\n", "notebook"),
        ],
    )
    def test_rounds_that_they_do_not_have_are_refused(self, made, table, kind) -> None:
        made.experiment(9, HEAD + 'rounds = "per fold"\n' + table)
        with pytest.raises(ConfigError, match=rf'009.toml: rounds = "per fold" .*\[{kind}\]') as caught:
            made.open.run(9)
        assert 'rounds = "mean"' in caught.value.hint
        (made.folder / "experiments" / "009.toml").unlink()


class TestSelectedAndTuned:
    def test_a_list_that_was_chosen(self, made) -> None:
        made.open.features.select(1, SelectOptions("gain", top=2, name="two"))
        made.experiment(4, 'features = "two"\n' + MODEL)
        made.experiment(5, "base = 4\n[model]\nnum_leaves = 5\n")
        made.open.run(4)
        made.open.run(5)
        assert marks(made)[4] == marks(made)[5] == "selected on these folds"

    def test_parameters_that_were_found(self, made) -> None:
        outcome = made.open.studies.tune(1, TuneOptions(trials=6))
        assert outcome.tuned.best is not None
        kept = json.loads((made.folder / "studies" / "001" / "best.json").read_text())
        if outcome.tuned.best == outcome.tuned.initial:
            assert kept["searched"] == {}
            return
        lines = "".join(f"{k} = {json.dumps(v)}\n" for k, v in outcome.parameters.items())
        made.experiment(6, HEAD + "[model]\n" + lines)
        made.open.run(6)
        assert marks(made)[6] == "tuned on these folds"
        assert marks(made)[1] is None

    def test_parameters_that_were_found_and_edited(self, made) -> None:
        found = {"num_leaves": 63, "feature_fraction": 0.7, "min_data_in_leaf": 40, "extra_trees": False}
        odd = {"lambda_l2": 0.0372918, "num_leaves": 63}
        folder = made.folder / "studies" / "055"
        folder.mkdir(parents=True)
        for searched, changed, given, expected in (
            (found, ["num_leaves", "feature_fraction", "min_data_in_leaf"], "num_leaves = 60\nextra_trees = false\n"
             "feature_fraction = 0.7\nmin_child_samples = 40\n", True),
            # Those that the search did not change are the experiment's own.
            (found, ["num_leaves"], "num_leaves = 60\nextra_trees = false\nfeature_fraction = 0.7\n"
             "min_data_in_leaf = 40\n", False),
            (found, list(found), "num_leaves = 63\nfeature_fraction = 0.8\n", False),
            (odd, list(odd), "num_leaves = 31\nreg_lambda = 0.0372918\n", True),
            (odd, list(odd), "num_leaves = 63\nreg_lambda = 0.04\n", False),
        ):  # fmt: skip
            (folder / "best.json").write_text(json.dumps({"model": {}, "searched": searched, "changed": changed}))
            made.experiment(7, HEAD + "[model]\nlearning_rate = 0.3\nnum_iterations = 5\n" + given)
            made.open.run(7)
            assert (marks(made)[7] is not None) == expected, given
        (folder / "best.json").unlink()
