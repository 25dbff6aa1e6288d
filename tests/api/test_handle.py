"""The handle of a competition: its parts, its tables as frames and in a notebook, and calls of earlier versions."""

from __future__ import annotations

import re
from datetime import UTC
from html.parser import HTMLParser
from operator import attrgetter
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import workbench as wb
from tests.small import Small, make_small
from workbench.api.access import call_context
from workbench.api.deprecated import REPLACEMENTS
from workbench.api.studies import TuneOptions
from workbench.core.errors import ConfigError
from workbench.review.table import RunTable, as_dicts

MODEL = "[model]\nnum_iterations = 5\nnum_leaves = 4\nmin_data_in_leaf = 5\n"
HOSTILE = "<script>alert(1)</script> & <img src=x onerror=y> \x1b[31m" + "wide" * 50


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Small:
    made = make_small(tmp_path_factory.mktemp("handle"))
    made.experiment(1, 'title = "plain"\nfeatures = ["rows", "ratio"]\n' + MODEL)
    made.experiment(2, f"title = {ascii_toml(HOSTILE)}\nbase = 1\n[model]\nnum_leaves = 5\n")
    for number in (1, 2):
        made.open.run(number, threads=1)
    return made


def ascii_toml(text: str) -> str:
    return '"' + text.replace("\x1b", "\\u001b") + '"'


def html(value: Any) -> str:
    page: str = value._repr_html_()
    return page


class Tags(HTMLParser):
    """What a page consists of, as a browser would read it."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


class TestFrames:
    def test_all_runs(self, made: Small) -> None:
        frame = made.open.runs.frame()
        assert frame["exp"].to_list() == [1, 2]
        assert (frame["cv_mean"].dtype, frame["exp"].dtype, frame["latest"].dtype) == (pl.Float64, pl.Int64, pl.Boolean)
        assert frame["created_at"].dtype == pl.Datetime("us", "UTC")
        assert frame["created_at"][0].astimezone(UTC) == made.open.runs[1].record.created_at
        assert frame["fold_scores"].to_list()[0] == list(made.open.runs[1].record.fold_scores)
        assert frame["public_score"].to_list() == [None, None]

    def test_its_columns_are_those_of_the_table_in_json(self, made: Small) -> None:
        [first, *_] = as_dicts(made.open.table())
        assert set(made.open.runs.frame().columns) == set(first)
        assert RunTable().frame().schema == made.open.runs.frame().select(RunTable().frame().columns).schema

    def test_of_a_run(self, made: Small) -> None:
        run = made.open.runs[1]
        assert run.oof.columns[:2] == [wb.ROW, "fold"]
        assert run.test.columns[0] == "id"
        assert run.test["id"].to_list() == made.open.data.test_ids["id"].to_list()
        assert run.importance.columns[0] == "column"


class TestShown:
    def pages(self, made: Small) -> dict[str, str]:
        place = made.open
        parts: dict[str, Any] = {"competition": place, "run": place.runs[2], "table": place.table()}
        return {name: html(part) for name, part in (parts | {"features": place.features}).items()}

    @pytest.mark.parametrize("name", ["competition", "run", "table", "features"])
    def test_in_a_notebook(self, made: Small, name: str) -> None:
        page = Tags(self.pages(made)[name])
        assert page.tags <= {"table", "caption", "tr", "td", "th"}
        assert page.attributes <= {"style"}
        assert "overflow-wrap:anywhere" in self.pages(made)[name]

    def test_titles_are_shown_as_they_are_written(self, made: Small) -> None:
        for name in ("run", "table"):
            page = self.pages(made)[name]
            assert "\x1b" not in page
            assert "<script>alert(1)</script> & <img src=x onerror=y>" in " ".join(Tags(page).texts)

    def test_names_of_features_are_escaped(self, made: Small) -> None:
        page = " ".join(Tags(html(made.open.features)).texts)
        assert "ratio" in page
        assert "te_town" in page

    def test_plain(self, made: Small) -> None:
        place = made.open
        assert repr(place) == "competition('small')"
        assert repr(place.features) == repr(place.features.names)
        assert re.match(r"run 001-\S+, experiment 1 plain, kind model, auc 0\.\d{5} \(fold SD", repr(place.runs[1]))
        assert repr(place.table()).splitlines()[0].split()[:2] == ["exp", "title"]
        assert "\x1b" not in repr(place.table()) + repr(place.runs[2])

    def test_a_competition_without_data_is_shown(self, tmp_path: Path) -> None:
        place = wb.init(tmp_path)
        (place.competitions / "one").mkdir()
        (place.competitions / "one" / "competition.toml").write_text("task = '<b>'\n")
        page = Tags(html(wb.competition("one", where=place)))
        assert "b" not in page.tags
        assert "one" in page.texts


class TestParts:
    def test_features_are_their_names(self, made: Small) -> None:
        features = made.open.features
        assert features == ["ratio", "doubled", "town_size", "te_town"]
        assert (len(features), features[0], "ratio" in features, [*features]) == (4, "ratio", True, features.names)

    def test_experiments_are_a_mapping(self, made: Small) -> None:
        experiments = made.open.experiments
        assert (list(experiments), experiments[1].title, 3 in experiments) == ([1, 2], "plain", False)
        with pytest.raises(KeyError):
            experiments[3]

    @pytest.mark.parametrize("part", ["runs", "studies"])
    def test_what_has_gaps_is_not_counted_through(self, made: Small, part: str) -> None:
        with pytest.raises(TypeError, match="not iterable"):
            iter(getattr(made.open, part))


class TestEarlierCalls:
    @pytest.mark.parametrize("name", REPLACEMENTS)
    def test_they_work_and_name_the_better_one(self, made: Small, name: str) -> None:
        place = made.open
        with pytest.warns(DeprecationWarning, match=re.escape(f"is now competition.{REPLACEMENTS[name]}")) as warned:
            value = getattr(place, name)
        assert warned[0].filename == __file__
        better = attrgetter(REPLACEMENTS[name])(place)
        assert callable(value) if callable(better) else value == better

    def test_their_keywords_are_options(self, made: Small, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("workbench.api.studies.Studies.tune", lambda _self, *a, **k: (a, k))
        with pytest.warns(DeprecationWarning, match="studies.tune"):
            tune = made.open.tune
        assert tune(1, trials=2, report=print) == ((1, TuneOptions(trials=2)), {"report": print})

    def test_messages_go_to_say_and_stages_to_report(self, made: Small, monkeypatch: pytest.MonkeyPatch) -> None:
        def tune_that_tells(_self: Any, _number: int, _options: TuneOptions, **callbacks: Any) -> None:
            context = call_context(**callbacks)
            context.stage("low-fidelity")
            context.say("the study starts again")

        monkeypatch.setattr("workbench.api.studies.Studies.tune", tune_that_tells)
        with pytest.warns(DeprecationWarning, match="studies.tune"):
            tune = made.open.tune
        reported: list[str] = []
        said: list[str] = []
        tune(1, trials=2, report=reported.append, say=said.append)
        assert (reported, said) == (["low-fidelity"], ["the study starts again"])

    def test_a_misspelled_keyword_is_explained(self, made: Small) -> None:
        with pytest.warns(DeprecationWarning, match="features.select"):
            select = made.open.select
        with pytest.raises(ConfigError, match="unknown option 'shufles'") as caught:
            select(1, "null", shufles=3)
        assert "shuffles" in caught.value.hint

    def test_submissions_as_a_call(self, made: Small) -> None:
        with pytest.warns(DeprecationWarning, match=re.escape("submissions.records()")):
            assert made.open.submissions() == list(made.open.submissions) == []

    def test_of_another_name_there_is_none(self, made: Small) -> None:
        with pytest.raises(AttributeError, match="no attribute 'tabels'"):
            _ = made.open.tabels


def test_the_example_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a small competition of the name, which has other tables and features than the real one."""
    made = make_small(tmp_path, slug="flights")
    made.experiment(3, 'features = ["rows", "ratio"]\n' + MODEL)
    section = (Path(__file__).parents[2] / "docs" / "how-to" / "library.md").read_text(encoding="utf-8")
    example = section.partition("```python\n")[2].partition("```")[0]
    monkeypatch.chdir(made.workspace.root)
    names: dict[str, Any] = {}
    exec(example.replace('"weather"', '"towns"').replace('"calendar"', '"ratio"'), names)
    assert names["run"].record.exp == 3
    assert (made.folder / "experiments" / "004.toml").exists()
