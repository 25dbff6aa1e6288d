"""`wb check`: planted defects are found and named, clean data gives no alarm; `--time` finds what reads the future."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.small import Small, make_small
from workbench.analysis.checks import CheckReport, leak_error, plots, time_columns
from workbench.analysis.checks.drift import ks_statistic, total_variation
from workbench.analysis.checks.finding import Adversarial, ColumnDrift
from workbench.analysis.checks.page import as_page
from workbench.api import library
from workbench.cli.app import main
from workbench.core.distribution import install_hint
from workbench.core.errors import ConfigError, FeatureError, NotFoundError
from workbench.data.competition import write_manifest
from workbench.data.workspace import create_workspace
from workbench.rehearsal import RehearsalSpec, create

N = 3000


def clean(seed: int = 0, *, task: str = "binary") -> dict[str, Any]:
    """Columns without a defect, and a target that depends on two of them; train and test are cut at random."""
    rng = np.random.default_rng(seed)
    x, z = rng.normal(size=N), rng.normal(size=N)
    signal = x + 0.6 * z + rng.normal(size=N)
    return {
        "id": rng.permutation(N) + 1000,
        "x": x,
        "z": z,
        "count": rng.poisson(3, N),
        "town": [f"town {t}" for t in rng.integers(0, 15, N)],
        "street": [f"street {t}" for t in rng.integers(0, 700, N)],
        "holes": np.where(rng.random(N) < 0.15, np.nan, rng.normal(size=N)),
        "y": (signal > 0.2).astype(int) if task == "binary" else signal,
    }


@pytest.fixture
def check(tmp_path: Path) -> Callable[..., CheckReport]:
    """Host the given columns as a competition and check it; `change` edits train and test as they are on disk."""
    made = 0

    def run(columns: dict[str, Any], *, change: Any = None, options: Any = None, **spec: Any) -> CheckReport:
        nonlocal made
        made += 1
        place = create_workspace(tmp_path / f"w{made}")
        pl.DataFrame(columns).write_csv(place.root / "all.csv", null_value="")
        spec = {"targets": ("y",), "metric": "auc", "holdout": 0.3, "after": None, "tables": ()} | spec
        create(place.root, "data", RehearsalSpec(train=place.root / "all.csv", **spec))
        library.fetch("data", where=place)
        opened = library.OpenCompetition(place, "data")
        if change is not None:
            change_tables(opened, change)
        return library.OpenCompetition(place, "data").data.check(**(options or {}))

    return run


def change_tables(
    opened: Any, change: Callable[[pl.DataFrame, pl.DataFrame], tuple[pl.DataFrame, pl.DataFrame]]
) -> None:
    c = opened.access.competition
    tables = {n: c.table(n).collect() for n in ("train", "test")}
    manifest = dict(c.manifest.tables)
    for name, frame in zip(("train", "test"), change(tables["train"], tables["test"]), strict=True):
        path = c.paths.tables / f"{name}.parquet"
        frame.write_parquet(path)
        manifest[name] = replace(
            manifest[name],
            rows=frame.height,
            dtypes={k: str(v) for k, v in frame.schema.items()},
            size_bytes=path.stat().st_size,
            mtime_ns=path.stat().st_mtime_ns,
        )
    write_manifest(c.paths.tables, replace(c.manifest, tables=manifest))


def checks_and_columns(report: CheckReport) -> list[tuple[str, str]]:
    return [(f.check, f.column) for f in report.findings]


class TestClean:
    @pytest.mark.parametrize("seed", [0, 1])
    @pytest.mark.parametrize("task", ["binary", "regression"])
    def test_clean_data_gives_no_alarm(self, check, seed: int, task: str) -> None:
        report = check(clean(seed, task=task), metric="auc" if task == "binary" else "rmse")
        assert report.findings == ()
        assert [c for c, _, _ in report.power[:1]] == ["x"]

    @pytest.mark.slow
    def test_no_name_of_a_column_is_in_the_way(self, check) -> None:
        rng = np.random.default_rng(5)
        names = [
            "n",
            "v",
            "len",
            "h",
            "p",
            "rows",
            "train",
            "test",
            "first",
            "literal",
            "count",
            "row number",
            "x less",
        ]
        columns = {name: np.where(rng.random(N) < 0.1, np.nan, rng.normal(size=N)) for name in names}
        report = check(clean() | columns | {"value": [f"v{i}" for i in rng.integers(0, 9, N)]})
        assert report.findings == ()
        assert set(names) <= set(report.columns)
        assert "<section" in as_page(report)

    @settings(max_examples=30)
    @given(st.integers(0, 2**32 - 1), st.integers(1, 400))
    def test_alike_counts_have_no_total_variation(self, seed: int, n_values: int) -> None:
        rng = np.random.default_rng(seed)
        share = rng.dirichlet(np.ones(n_values))
        one, other = rng.multinomial(4000, share), rng.multinomial(1500, share)
        assert total_variation(one, other) < 0.05

    @settings(max_examples=50)
    @given(st.lists(st.integers(-5, 5), min_size=1), st.lists(st.integers(-5, 5), min_size=1))
    def test_ks_is_the_largest_distance_of_the_distribution_functions(self, a: list[int], b: list[int]) -> None:
        plain = max(abs(np.mean(np.array(a) <= t) - np.mean(np.array(b) <= t)) for t in [*a, *b])
        assert ks_statistic(np.array(a, float), np.array(b, float)) == pytest.approx(plain)


def shifted(train: pl.DataFrame, test: pl.DataFrame) -> Any:
    return train, test.with_columns(pl.col("x") + 1.5)


def new_towns(train: pl.DataFrame, test: pl.DataFrame) -> Any:
    return train, test.with_columns(town=pl.when(pl.col("x") > 0).then(pl.lit("new")).otherwise("town"))


def holes_in_test(train: pl.DataFrame, test: pl.DataFrame) -> Any:
    return train, test.with_columns(z=pl.when(pl.col("x") > 0.5).then("z"))


def copied_into_test(train: pl.DataFrame, test: pl.DataFrame) -> Any:
    copies = train.head(100).select(test.columns).with_columns(id=pl.int_range(90_000, 90_100))
    return train, pl.concat([test, copies])


def other_target(train: pl.DataFrame, test: pl.DataFrame) -> Any:
    copies = train.head(60).with_columns(id=pl.int_range(90_000, 90_060), y=1 - pl.col("y"))
    return pl.concat([train, copies]), test


def given_away(train: pl.DataFrame, test: pl.DataFrame) -> Any:
    return train.with_columns(paid=pl.col("y") * 3.5 + pl.col("z") / 100), test


def ordered(train: pl.DataFrame, test: pl.DataFrame) -> Any:
    return train.sort(pl.col("y") + 0.8 * pl.col("z")), test


def constant_in_train(train: pl.DataFrame, test: pl.DataFrame) -> Any:
    return train.with_columns(count=pl.lit(3, pl.Int64)), test


DEFECTS: dict[str, tuple[Any, str, str, str, str]] = {
    "drift": (shifted, "serious", "drift", "x", r"KS 0\.\d+, PSI"),
    "unseen": (new_towns, "serious", "drift", "town", r"value that train lacks"),
    "nulls": (holes_in_test, "serious", "drift", "z", r"missing in 0.0% of train and [67]\d\.\d% of test"),
    "told apart": (shifted, "notable", "adversarial", "", r"AUC 0\.\d+, by x \(\d+%\)"),
    "copies": (
        copied_into_test,
        "serious",
        "repeats",
        "",
        r"10\.\d% of the test rows are train rows \(test \d+ is train \d+\)",
    ),
    "conflicts": (other_target, "notable", "repeats", "", r"copy with another target \(train 0 and train 21\d\d\)"),
    "train only": (given_away, "minor", "leak", "paid", r"is in train only and predicts 'y'"),
    "order": (ordered, "notable", "order", "", r"the place of a row in the train file predicts 'y' with AUC"),
    "constant": (constant_in_train, "notable", "columns", "count", r"is 3 in every row, in train, but not in test"),
}


class TestDefects:
    @pytest.mark.parametrize("name", DEFECTS)
    def test_a_defect_on_disk_is_found_and_named(self, check, name: str) -> None:
        change, severity, kind, column, text = DEFECTS[name]
        report = check(clean(), change=change)
        found = [f for f in report.findings if (f.check, f.column) == (kind, column)]
        assert any(re.search(text, f.text) for f in found), checks_and_columns(report)
        assert {f.severity for f in found} <= {severity, "serious"}
        assert all(f.todo for f in report.findings)

    def test_columns_that_are_one_another(self, check) -> None:
        data = clean()
        towns = {t: f"place {i}" for i, t in enumerate(sorted(set(data["town"]), reverse=True))}
        data |= {
            "again": data["x"],
            "scaled": 3 - 2 * data["z"],
            "place": [towns[t] for t in data["town"]],
            "flag": np.arange(N) == 5,
            "never": np.zeros(N),
        }
        found = {f.column: f for f in check(data).findings}
        assert found["again"].figures == {"same_as": "x"}
        assert "same content" in found["again"].text
        assert found["scaled"].figures == {"same_as": "z"}
        assert "trees can't tell" in found["scaled"].text
        assert found["place"].figures == {"same_as": "town"}
        assert "under other names" in found["place"].text
        assert "has the same value in" in found["flag"].text
        assert "is 0.0 in every row, throughout" in found["never"].text
        assert set(found) == {"again", "scaled", "place", "flag", "never"}

    @pytest.mark.parametrize("task", ["binary", "regression"])
    def test_the_target_under_another_name(self, check, task: str) -> None:
        data = clean(task=task)
        data["answer"] = 10 - 2 * data["y"]
        report = check(data, metric="auc" if task == "binary" else "rmse")
        assert checks_and_columns(report) == [("leak", "answer")]
        assert "is the target 'y' under another name" in report.findings[0].text

    def test_too_good_to_be_true_and_nulls_that_tell(self, check) -> None:
        data = clean()
        rng = np.random.default_rng(1)
        data["near"] = data["y"] + rng.normal(scale=0.2, size=N)
        data["closed"] = np.where((data["y"] == 1) ^ (rng.random(N) < 0.15), np.nan, rng.normal(size=N))
        data["closed_at"] = np.where(np.isnan(data["closed"]), np.nan, rng.normal(size=N))
        report = check(data)
        found = {(f.check, f.column): f for f in report.findings if "same rows" not in f.text}
        assert "alone predicts 'y' with AUC 0.9" in found["leak", "near"].text
        assert found["leak", "near"].severity == "serious"
        assert "whether it is missing predicts 'y'" in found["nulls", "closed"].text
        assert set(found) == {("leak", "near"), ("nulls", "closed"), ("nulls", "closed_at")}
        assert set(report.nulls.groups) == {("closed", "closed_at")}

    def test_an_id_that_tells_the_target(self, check) -> None:
        data = clean()
        rank = np.argsort(np.argsort(data["y"] + 0.5 * data["z"]))
        data["id"] = [f"case_{r:05d}" for r in rank]
        report = check(data)
        assert ("order", "id") in checks_and_columns(report)
        assert "mixed with" in dict(report.facts)["ids (id)"]
        assert {o.column for o in report.order} == {"row number", "id"}

    def test_a_column_that_counts_the_rows(self, check) -> None:
        data = clean() | {"counter": np.arange(N) * 7}
        report = check(data)
        assert ("order", "counter") in checks_and_columns(report)

    def test_unusual_targets(self, check) -> None:
        rare = clean() | {"y": (np.arange(N) % 150 == 0).astype(int)}
        assert "class '0.7%" not in str(rare)
        found = [f for f in check(rare).findings if f.check == "target"]
        assert re.search(r"class 1 has 0\.\d+% of the rows", found[0].text)
        wild = clean(task="regression")
        wild["y"] = np.where(np.arange(N) % 300 == 0, 1e5, wild["y"])
        found = [f for f in check(wild, metric="rmse").findings if f.check == "target"]
        assert "interquartile ranges" in found[0].text
        skewed = clean(task="regression")
        skewed["y"] = np.exp(skewed["y"])
        found = [f for f in check(skewed, metric="rmse").findings if f.check == "target"]
        assert "lie more than 10 interquartile ranges from the median" in found[0].text

    @pytest.mark.parametrize("task", ["binary", "regression"])
    def test_a_target_without_a_value(self, check, task: str) -> None:
        def emptied(train: pl.DataFrame, test: pl.DataFrame) -> Any:
            empty = train.with_columns(y=pl.lit(None, train["y"].dtype))
            return tuple(f.with_columns(day=pl.date(2024, 1, 1 + pl.col("id") % 28)) for f in (empty, test))

        metric, few = "auc" if task == "binary" else "rmse", {"names": ["rows.x", "rows.town", "rows.holes"]}
        report = check(clean(task=task), change=emptied, metric=metric, options=few)
        found = [f for f in report.findings if f.check == "target"]
        assert [f.text for f in found] == ["2,100 missing and 0 infinite targets among 2,100 rows"]
        assert "<section" in as_page(report)

    def test_infinite_values(self, check) -> None:
        def divided(train: pl.DataFrame, test: pl.DataFrame) -> Any:
            return train.with_columns(x=pl.when(pl.col("z") > 2).then(float("inf")).otherwise("x")), test

        assert ("columns", "x") in checks_and_columns(check(clean(), change=divided))

    def test_a_target_that_rises_with_time(self, check) -> None:
        rng = np.random.default_rng(0)
        data = clean()
        day = np.sort(rng.integers(0, 300, N))
        data["day"] = np.datetime64("2023-01-01") + day.astype("timedelta64[D]")
        assert checks_and_columns(check(data)) == []
        data["y"] = (rng.random(N) < 0.2 + 0.5 * day / 300).astype(int)
        report = check(data)
        trend = next(f for f in report.findings if f.check == "time")
        assert "the share of y = 1 goes from 0.3" in trend.text
        assert report.periods is not None
        assert sum(n for _, n, _ in report.periods.lines) == report.n_train
        assert report.periods.every == "week"

    def test_a_split_by_time_explains_itself(self, check) -> None:
        data = clean()
        data["day"] = np.datetime64("2023-01-01") + (np.arange(N) // 10).astype("timedelta64[D]")
        report = check(data, after=("day", "2023-08-01"), holdout=None)
        assert checks_and_columns(report) == []
        assert "test lies after train" in dict(report.facts)["time"]
        assert report.adversarial is not None
        assert report.adversarial.left_out == ("id", "day")
        assert report.drift[0].column == "day"

    def test_folds_by_a_time_that_only_train_has(self, timed) -> None:
        change_tables(timed.open, lambda train, test: (train.with_columns(pl.col("day").alias("sold")), test))
        timed.definition('column = "day"', 'column = "sold"')
        assert dict(timed.open.data.check().facts)["time"].startswith("by day, ")  # the first date that both have
        change_tables(timed.open, lambda train, test: (train.drop("day"), test.drop("day")))
        assert "time" not in dict(timed.open.data.check().facts)
        with pytest.raises(NotFoundError, match="rows have no column 'sold' for the time"):
            timed.open.data.check(time="sold")

    def test_a_number_that_tells_the_time_differs_by_definition(self, check) -> None:
        data = clean()
        data["hour"] = np.arange(N)
        report = check(data, after=("hour", "2000"), holdout=None, options={"time": "hour"})
        assert [(f.check, f.column) for f in report.findings if f.check in ("drift", "adversarial")] == []
        assert report.drift[0].column == "hour"
        assert ("drift", "hour") in checks_and_columns(
            check(data, after=("hour", "2000"), holdout=None, options={"time": "x"})
        )

    def test_groups_that_only_one_side_has_are_no_difference(self, check) -> None:
        """Whether the folds keep them together or nobody has said that they are groups."""
        rng = np.random.default_rng(3)
        user = np.repeat(np.arange(150), 20)
        of_user = {f"x{i}": rng.normal(size=150)[user] for i in range(4)}
        y = (rng.normal(size=150)[user] + 0.3 * rng.normal(size=N) > 0).astype(int)
        name = np.array([f"user {u:03d}" for u in range(150)])[user]
        data = {"id": np.arange(N), "user": name, **of_user, "amount": rng.normal(size=N), "y": y}
        report = check(data, after=("user", "user 100"), holdout=None)
        assert report.adversarial is not None
        assert report.adversarial.grouped_by == "user"
        assert "user" in report.adversarial.left_out
        assert {f.column for f in report.findings if f.check in ("drift", "adversarial", "leak")} <= {"user"}
        facts = dict(report.facts)["groups (user)"]
        assert facts.startswith("100 in train, 50 in test, none of which train has")
        data["x0"] = data["x0"] + 2.5 * (user >= 100)
        shifted = check(data, after=("user", "user 100"), holdout=None)
        assert ("drift", "x0") in checks_and_columns(shifted)
        told_apart = next(f for f in shifted.findings if f.check == "adversarial")
        assert "on rows of a user that it has not seen, by x0" in told_apart.text

    def test_the_copies_that_are_shown_have_two_targets(self, check) -> None:
        def copied(train: pl.DataFrame, test: pl.DataFrame) -> Any:
            same = train.head(60).with_columns(id=pl.int_range(80_000, 80_060))
            other = train.head(60).with_columns(id=pl.int_range(90_000, 90_060), y=1 - pl.col("y"))
            return pl.concat([same, train, other]), test

        found = next(f for f in check(clean(), change=copied).findings if "another target" in f.text)
        assert "(train 0 and train 2160)" in found.text
        assert found.figures["rows"] == [0, 2160]

    def test_nobody_is_told_to_validate_forward_who_does(self, check) -> None:
        data = clean()
        data["day"] = np.datetime64("2023-01-01") + (np.arange(N) // 10).astype("timedelta64[D]")
        # After the split the values lie elsewhere; the folds that fetch guesses go forward in time.
        data["x"] = data["x"] + 3 * (np.arange(N) > 0.7 * N)
        report = check(data, after=("day", "2023-07-30"), holdout=None)
        told_apart = next(f for f in report.findings if f.check == "adversarial")
        assert "to be expected" in told_apart.text
        assert told_apart.todo.startswith("the folds go forward in time, too")
        assert not any("validate forward" in f.todo for f in report.findings)


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages have tables in the place of their pictures, most of whose time it is to draw them; `TestPage` looks at those."""
    monkeypatch.setattr(plots, "can_plot", lambda: False)


class TestSample:
    def test_a_sample_is_seeded_bounded_and_said(self, check, no_pictures) -> None:
        data = clean()
        reports = [check(data, change=shifted, options={"sample": 500}) for _ in range(2)]
        assert reports[0].sampled == (500, 500)
        assert replace(reports[0], seconds=0) == replace(reports[1], seconds=0)
        assert ("drift", "x") in checks_and_columns(reports[0])
        assert "sample, chosen by a fixed seed: 500 of 2,100 train" in as_page(reports[0])

    def test_what_is_new_is_held_against_all_of_train(self, check) -> None:
        # Of a thousand users, each with a row or two in 300 sampled ones, nearly all look new; in train all are known.
        data = clean() | {"user": [f"u{i}" for i in np.arange(N) % 700]}
        assert checks_and_columns(check(data, options={"sample": 300})) == []

    def test_little_memory_gives_a_smaller_sample_and_every_k_th_content(self, check, monkeypatch) -> None:
        from workbench.analysis.checks import counts

        monkeypatch.setattr(counts, "BYTES_PER_ROW", 10**7)
        report = check(clean(), change=copied_into_test)
        assert "one row in" in dict(report.facts)["repeated rows"]


# ------------------------------------------------------------------------------------------------------------ the page


class TestPage:
    @pytest.fixture
    def report(self, check) -> CheckReport:
        data = clean()
        data["a<b & c$d"] = np.where(np.isnan(data["holes"]), np.nan, data["x"] ** 2)
        data["天气"] = data["town"]
        data["day"] = np.datetime64("2023-01-01") + (np.arange(N) // 10).astype("timedelta64[D]")
        return check(data, change=shifted)

    @pytest.mark.slow
    def test_it_is_well_formed_whole_and_loads_nothing(self, report) -> None:
        page = as_page(report)
        assert plots.drift_plot(report.drift[0]) in page  # drawn twice, the same picture
        root = ET.fromstring(page.partition("\n")[2])
        names = [s.get("id") for s in root.iter("section")]
        assert names == ["findings", "drift", "adversarial", "columns", "target", "order", "nulls", "facts"]
        svg = "{http://www.w3.org/2000/svg}svg"
        pictures = {s.get("id"): len(list(s.iter(svg))) for s in root.iter("section")}
        assert pictures == {
            "findings": 0,
            "drift": 9,
            "adversarial": 2,
            "columns": 1,
            "target": 2,
            "order": 2,
            "nulls": 1,
            "facts": 0,
        }
        linked = [v for e in root.iter() for k, v in e.attrib.items() if k.endswith(("href", "src"))]
        assert all(v.startswith("#") for v in linked)
        assert "@import" not in page
        assert not re.search(r"url\((?!#)", page)
        assert not list(root.iter("script"))
        ids = [e.get("id") for e in root.iter() if e.get("id")]
        assert len(ids) == len(set(ids))
        text = "".join(root.itertext())
        for f in report.findings:
            assert f.text in text
            assert f.todo in text
        assert "a<b & c$d" in text
        assert "天气" in text

    def test_pictures_in_a_row_are_equally_high_and_have_one_legend_above_them(self) -> None:
        bars = (("a", 0.5, 0.4), ("b", 0.5, 0.6))
        few = ColumnDrift("town", "category", 0.1, 0.1, 0.0, 0.0, 0.0, bars)
        many = replace(few, bars=tuple((f"{i}", 0.1, 0.1) for i in range(12)))
        number = replace(few, kind="number")
        adversarial = Adversarial(0.7, ((0.0, 0.0), (1.0, 1.0)), tuple((f"c{i}", 0.1) for i in range(11)), (), 9)
        for row in (
            [plots.drift_plot(d) for d in (few, many, number)],
            [plots.roc_plot(adversarial), plots.gains_plot(adversarial)],
        ):
            assert len({re.search(r'viewBox="([^"]+)"', picture)[1] for picture in row}) == 1  # type: ignore[index]
            assert not [picture for picture in row if ">train<" in picture]

    def test_the_strongest_difference_is_first(self, report) -> None:
        order = [max(d.effect, d.unseen or 0.0, abs(d.nulls_train - d.nulls_test)) for d in report.drift]
        assert order == sorted(order, reverse=True)

    def test_without_matplotlib_there_are_tables_and_a_word(self, report, monkeypatch) -> None:
        monkeypatch.setattr(plots, "can_plot", lambda: False)
        page = as_page(report)
        root = ET.fromstring(page.partition("\n")[2])
        assert "svg" not in page.partition("</style>")[2]
        assert install_hint("plots") in "".join(root.itertext())
        assert len(list(root.iter("table"))) >= 7


# ------------------------------------------------------------------------------------------------------------ --time

HEAD = "import polars as pl\nfrom workbench.features import ROW, feature, target_mean\n"
BY_DAY = 'rows.sort("day", ROW)'

READ_THE_FUTURE = {
    "global_mean": 'return [pl.col("x").mean().alias("out")]',
    "group_mean": 'return [(pl.col("x") - pl.col("x").mean().over("town")).alias("out")]',
    "count_with_test": 'return [pl.len().over("town").alias("out")]',
    "rank": 'return [pl.col("x").rank().alias("out")]',
    "lead": f'return {BY_DAY}.select(ROW, out=pl.col("x").shift(-1).over("town"))',
    "centered": f'return {BY_DAY}.select(ROW, out=pl.col("x").rolling_mean(5, center=True, min_samples=1))',
    "back_fill": f'return {BY_DAY}.select(ROW, out=pl.when(pl.col("x") > 1).then("z").backward_fill())',
    "last_seen": 'return [(pl.col("day").max().over("town") - pl.col("day")).dt.total_days().alias("out")]',
    "most_common": 'return rows.join(rows.group_by("town").agg(pl.col("household").max().alias("out")), on="town")'
    '.select(ROW, "out")',
    "later_price": 'return rows.sort("day").join_asof(prices.sort("day"), on="day", strategy="forward")'
    '.select(ROW, out="price")',
    "loses_rows": 'return rows.select(ROW, out=pl.when(pl.col("day") < pl.col("day").max()).then(1))',
}

READ_THE_PAST = {
    "row_wise": 'return [(pl.col("x") * 2 + pl.col("z")).alias("out"), pl.col("town").str.len_chars().alias("n")]',
    "expanding_mean": f'return {BY_DAY}.select(ROW, out=(pl.col("x").cum_sum() - pl.col("x")) / pl.int_range(pl.len()))',
    "lag": f'return {BY_DAY}.select(ROW, out=pl.col("x").shift(1).over("town"))',
    "rolling": f'return {BY_DAY}.select(ROW, out=pl.col("x").rolling_mean(5, min_samples=1))',
    "earlier_price": 'return rows.sort("day").join_asof(prices.sort("day"), on="day", strategy="backward")'
    '.select(ROW, out="price")',
    "whole_table": 'return rows.select(ROW, "town").join(towns, on="town", how="left").drop("town")',
    "same_day": 'return [pl.len().over("day", "town").alias("out")]',
}


@pytest.fixture
def timed(small, tmp_path) -> Small:
    """A competition whose folds go forward in time, with a table that has the time and one that has not."""
    prices = tmp_path / "prices.csv"
    days = pl.date_range(pl.date(2024, 1, 1), pl.date(2024, 8, 1), "7d", eager=True).alias("day")
    pl.DataFrame({"day": days}).with_columns(price=pl.int_range(pl.len()) * 1.5, seen=pl.col("day")).write_csv(prices)
    towns = tmp_path / "towns.csv"
    pl.DataFrame({"town": [f"town {t}" for t in range(12)], "size": list(range(12))}).write_csv(towns)
    made = small(n_rows=600, after=("day", "2024-06-01"), holdout=None, tables=(towns, prices))
    path = made.folder / "competition.toml"
    text = re.sub(r"\[cv\].*", '[cv]\nscheme = "time"\ncolumn = "day"\nfolds = 3\n', path.read_text(), flags=re.DOTALL)
    path.write_text(text)
    return made


def write(made: Small, **bodies: str) -> None:
    inputs = {"prices": "rows, prices", "towns": "rows, towns"}
    parts = [
        f"@feature\ndef {name}({next((v for k, v in inputs.items() if k in body), 'rows')}):\n    {body}\n"
        for name, body in bodies.items()
    ]
    (made.folder / "features.py").write_text(HEAD + "\n".join(["", *parts]))


class TestTime:
    def test_what_reads_the_future_is_found_and_what_does_not_passes(self, timed) -> None:
        write(timed, **READ_THE_FUTURE, **READ_THE_PAST)
        checks = {c.feature: c for c in timed.open.data.check_time()}
        assert {n for n, c in checks.items() if c.verdict == "reads the future"} == set(READ_THE_FUTURE)
        assert {n for n, c in checks.items() if c.verdict == "passes"} == set(READ_THE_PAST)
        assert checks["whole_table"].whole == ("towns",)
        assert checks["later_price"].whole == ()
        for name in READ_THE_FUTURE:
            assert [d.column for d in checks[name].differences] == ["out"], name

    def test_the_message_names_feature_column_and_rows(self, timed) -> None:
        write(timed, town_mean='return [pl.lit(1).alias("one"), pl.col("day").count().over("town").alias("days")]')
        error = leak_error(timed.open.data.check_time())
        assert error is not None
        assert re.search(
            r"feature 'town_mean' \(features\.py, line 4\) reads the future: column 'days' of \d+ of the \d+ rows "
            r"before 2024-\d\d-\d\d depends on what comes later \(train 0: \d+ with all data, \d+ with data before 2024",
            error.message,
        )
        assert "over all rows" in error.hint
        assert "--allow town_mean" in error.hint
        rows = timed.open.rows.collect()
        first = timed.open.data.check_time()[0].differences[0]
        cut = pl.lit(first.cut).str.to_date()
        before = rows.filter(pl.col("day") < cut)
        assert first.n_compared == before.height
        _, full, less = first.examples[0]
        town = rows["town"][0]
        assert int(full) == rows.filter(town=town).height
        assert int(less) == before.filter(town=town).height

    def test_lookahead_near_the_cut_gets_the_other_advice(self, timed) -> None:
        write(timed, lead=READ_THE_FUTURE["lead"])
        error = leak_error(timed.open.data.check_time())
        assert error is not None
        assert "shift(-1)" in error.hint

    def test_nothing_of_it_enters_the_cache(self, timed) -> None:
        write(timed, lead=READ_THE_FUTURE["lead"], lag=READ_THE_PAST["lag"])
        before = timed.open.feature("lead").collect()
        timed.open.data.check_time()
        assert sorted(b.what for b in timed.open.features.cached()) == ["lag", "lead"]
        assert timed.open.feature("lead").collect().equals(before)
        assert not list(timed.folder.rglob(".check-*"))

    def test_features_of_features_are_computed_again_too(self, timed) -> None:
        (timed.folder / "features.py").write_text(
            HEAD
            + "\n@feature\ndef size(rows):\n    return [pl.len().over('town').alias('n')]\n"
            + "\n@feature\ndef ratio(rows, size):\n    return size.select(ROW, ratio=pl.col('n') / 2)\n"
        )
        checks = {c.feature: c for c in timed.open.data.check_time(["ratio"])}
        assert checks["ratio"].verdict == "reads the future"
        assert list(checks) == ["ratio"]

    def test_no_name_of_a_column_is_in_the_way(self, timed) -> None:
        write(
            timed,
            names='return [pl.col("x").alias("a"), pl.col("z").alias("a less"), pl.col("x").mean().alias("0 less"), '
            'pl.col("z").alias("0"), pl.col("z").alias("1 all")]',
        )
        (found,) = timed.open.data.check_time()
        assert [d.column for d in found.differences] == ["0 less"]

    def test_ties_at_the_cut_are_no_difference(self, timed) -> None:
        write(timed, ties='return [pl.col("x").sum().over("day").alias("s"), pl.len().over("day").alias("n")]')
        assert timed.open.data.check_time()[0].verdict == "passes"

    def test_what_is_known_in_advance_is_allowed(self, timed) -> None:
        write(timed, plan=READ_THE_FUTURE["count_with_test"])
        for allowed in ("plan", "plan.out"):
            assert [c.verdict for c in timed.open.data.check_time(allow=[allowed])] == ["allowed"]
        assert leak_error(timed.open.data.check_time(allow=["plan"])) is None

    def test_what_is_named_and_allowed_has_to_be_there(self, timed) -> None:
        write(timed, plan=READ_THE_FUTURE["count_with_test"], lag=READ_THE_PAST["lag"])
        with (timed.folder / "features.py").open("a") as file:
            file.write('te = target_mean("town")\n')
        for names, allow, message in (
            (["lag"], ["paln"], "--allow paln: no feature is called 'paln' .*\n.*'plan'"),
            (["lag"], ["lag.ot"], "--allow lag.ot: 'lag' has no column 'ot'\n.*'out'"),
            (["lag.nope"], [], "^'lag' has no column 'nope'"),
            (["rows.dya"], [], "^'rows' has no column 'dya'\n.*'day'"),
            (["te.mean"], [], "'te' depends on the fold, so that its columns can't be named"),
            (["lga"], [], "^no feature is called 'lga' .*\n.*'lag'"),
        ):
            with pytest.raises(NotFoundError, match=message):
                timed.open.data.check_time(names, allow=allow)
        # What is allowed may be a column of a feature that this call does not look at, and need not build.
        assert [c.verdict for c in timed.open.data.check_time(["lag"], allow=["plan.out"])] == ["passes"]

    def test_a_column_is_judged_by_itself(self, timed) -> None:
        write(timed, both='return [pl.len().over("town").alias("n"), pl.col("x").alias("same")]')
        for names, verdict in (
            (["both.same"], "passes"),
            (["both.n"], "reads the future"),
            (["both.same", "both.n"], "reads the future"),
            (["both.same", "both"], "reads the future"),
        ):
            assert [c.verdict for c in timed.open.data.check_time(names)] == [verdict], names
        assert [c.verdict for c in timed.open.data.check_time(["both"], allow=["both.same"])] == ["reads the future"]

    def test_of_rows_it_is_said_that_nothing_is_computed(self, timed) -> None:
        write(timed, lead=READ_THE_FUTURE["lead"])
        (found,) = timed.open.data.check_time(["rows", "rows.x"])
        assert (found.feature, found.verdict) == ("rows", "not checked")
        assert "nothing is computed" in found.note

    def test_parts_are_kept_where_memory_is_short(self, timed) -> None:
        code = "@feature(partition_by='town')\ndef {}(rows):\n    return rows.sort('day', ROW).select(ROW, out=pl.col('x').shift({}).over('town'))\n"
        (timed.folder / "features.py").write_text("\n".join([HEAD, code.format("lag", 1), code.format("lead", -1)]))
        opened = library.OpenCompetition(replace(timed.workspace, memory_limit=200_000), "small")
        assert {c.feature: c.verdict for c in opened.data.check_time()} == {"lag": "passes", "lead": "reads the future"}

    def test_fold_features_are_encoded_again_with_later_labels_changed(self, timed) -> None:
        (timed.folder / "features.py").write_text(
            HEAD
            + """
class Leaky(type(target_mean("town"))):
    def learn(self, groups, targets, own, split):
        from dataclasses import replace
        return super().learn(groups, targets, own, replace(split, time=None, horizon=0.0))

@feature
def size(rows):
    return [pl.len().over("town").alias("n")]

good = target_mean("town", "size.n")
bad = target_mean("town", smoothing=1)
bad.__class__ = Leaky
"""
        )
        checks = {c.feature: c.verdict for c in timed.open.data.check_time(["good", "bad"])}
        # The column that `good` groups by is checked with it.
        assert checks == {"size": "reads the future", "good": "passes", "bad": "reads the future"}

    def test_a_table_whose_time_has_another_name(self, timed) -> None:
        later = (
            'return rows.sort("day").join_asof(prices.drop("day").sort("seen"), left_on="day", right_on="seen", '
            'strategy="forward").select(ROW, out="price")'
        )
        write(timed, later=later)
        assert timed.open.data.check_time(columns=["prices.seen"])[0].verdict == "reads the future"

    def test_a_dot_in_the_name_of_a_column_of_rows(self, tmp_path) -> None:
        made = make_small(tmp_path, n_rows=200, task="regression", metric="rmse")
        change_tables(made.open, lambda *both: tuple(f.with_columns(pl.col("day").alias("towns.day")) for f in both))
        write(made, lead='return rows.sort("towns.day").select(ROW, out=pl.col("x").shift(-1))')
        columns = ["towns.day", "train.day"]
        assert made.open.data.check_time(columns=columns)[0].verdict == "reads the future"
        assert time_columns(made.open.access.competition, columns) == ("towns.day", {"train": "day"})
        assert made.open.data.check(time="towns.day").facts[0][1].startswith("by towns.day, test lies in the same time")

    @pytest.mark.parametrize(
        ("columns", "error", "message"),
        [
            (["day", "x"], ConfigError, "more than one column of rows: 'day' and 'x'"),
            (["prices.day", "prices.seen"], ConfigError, "two columns of prices: 'day' and 'seen'"),
            (["dya"], NotFoundError, "rows have no column 'dya'"),
            (["town"], ConfigError, "'town' is a String"),
            (["price.day"], NotFoundError, "no table 'price'"),
            (["prices.dya"], NotFoundError, "'prices' has no column 'dya'"),
            (["towns.size"], ConfigError, "towns.size is a Int64, which can't be compared with 'day', a Date"),
        ],
    )
    def test_wrong_time_columns(self, timed, columns: list[str], error: type, message: str) -> None:
        with pytest.raises(error, match=message):
            timed.open.data.check_time(columns=columns)

    def test_without_a_time_it_says_how_to_name_one(self, small) -> None:
        made = small()
        with pytest.raises(ConfigError, match="no time column is named") as caught:
            made.open.data.check_time()
        assert "--time-column" in caught.value.hint
        checks = {c.feature: c for c in made.open.data.check_time(columns=["day"])}
        assert checks["ratio"].verdict == "passes"
        assert checks["te_town"].verdict == "not checked"

    def test_a_feature_that_fails_on_less_data_says_so(self, timed) -> None:
        write(
            timed, brittle='n = rows.select(pl.len()).collect().item(); return [(pl.lit(1 // (n // 600))).alias("out")]'
        )
        with pytest.raises(FeatureError, match=r"'brittle' .* failed on the data before 2024-.*ZeroDivisionError"):
            timed.open.data.check_time()


# --------------------------------------------------------------------------------------------------------- the command


class TestCommand:
    @pytest.fixture(autouse=True)
    def _inside(self, timed, monkeypatch) -> None:
        write(timed, lag=READ_THE_PAST["lag"], lead=READ_THE_FUTURE["lead"])
        monkeypatch.chdir(timed.folder)

    def run(self, capsys: Any, *arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["check", *arguments])
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    def test_json_is_one_document_and_findings_are_no_failure(self, capsys) -> None:
        code, out, _ = self.run(capsys, "--json")
        found = json.loads(out)
        assert code == 0
        assert found["n_train"] == wb_rows()
        assert found["columns"] == ["id", "x", "z", "town", "household", "day"]
        assert Path(found["page"]).read_text().startswith("<!DOCTYPE html>")
        assert found["findings"] == []
        assert {d["column"] for d in found["drift"]} == set(found["columns"]) - {"id"}

    def test_a_table_on_the_terminal(self, capsys, no_pictures) -> None:
        code, out, _ = self.run(capsys)
        assert code == 0
        assert re.match(r"small: \d+ serious, \d+ notable, \d+ minor findings in 6 columns", out)
        assert "page: " in out

    def test_features_by_name_and_by_experiment(self, timed, capsys, no_pictures) -> None:
        (timed.folder / "experiments").mkdir(exist_ok=True)
        timed.experiment(1, 'title = "t"\nfeatures = ["rows.x", "lag"]\n\n[model]\n')
        _, out, _ = self.run(capsys, "lead", "--json")
        assert json.loads(out)["columns"] == ["lead.out"]
        _, out, _ = self.run(capsys, "--exp", "1", "--json")
        assert json.loads(out)["columns"] == ["x", "lag.out"]

    def test_a_column_that_is_asked_for_twice_is_looked_at_once(self, timed) -> None:
        (timed.folder / "experiments").mkdir(exist_ok=True)
        timed.experiment(1, 'title = "t"\nfeatures = ["rows.x", "lag"]\n\n[model]\n')
        report = timed.open.data.check(["lag.out", "rows"], exp=1)
        assert report.columns == ("lag.out", "id", "x", "z", "town", "household", "day")
        assert report.not_checked == ()
        change_tables(timed.open, lambda *both: tuple(f.with_columns(pl.col("z").alias("lag.out")) for f in both))
        report = timed.open.data.check(["rows.lag.out", "lag"])
        assert report.columns == ("lag.out",)
        assert report.not_checked == ("lag.out of lag: rows has a column of this name, too",)

    def test_time_ends_with_one_where_a_feature_reads_the_future(self, capsys) -> None:
        code, out, err = self.run(capsys, "--time")
        assert code == 1
        assert "reads the future" in out
        assert "error: feature 'lead' (features.py, line" in err
        code, out, _ = self.run(capsys, "--time", "--json")
        found = json.loads(out)
        assert (code, found["error"]["type"]) == (1, "FeatureError")
        assert {f["feature"]: f["verdict"] for f in found["features"]} == {"lag": "passes", "lead": "reads the future"}
        assert self.run(capsys, "--time", "lag")[0] == 0
        assert self.run(capsys, "--time", "--allow", "lead", "--json")[0] == 0

    def test_the_time_column_is_the_same_with_and_without_time(self, capsys, no_pictures) -> None:
        _, out, _ = self.run(capsys, "--time-column", "x", "--time-column", "prices.seen", "--json")
        assert json.loads(out)["facts"][0][1].startswith("by x, ")
        for how in ([], ["--time"]):
            code, out, _ = self.run(capsys, *how, "--time-column", "town", "--json")
            assert (code, json.loads(out)["error"]["type"]) == (1, "ConfigError")
            assert "column 'town' is a String; a time column is" in json.loads(out)["error"]["message"]
            code, out, _ = self.run(capsys, *how, "--time-column", "day", "--time-column", "x", "--json")
            assert "more than one column of rows: 'day' and 'x'" in json.loads(out)["error"]["message"]

    def test_wrong_use(self, capsys) -> None:
        assert self.run(capsys, "--allow", "lead")[0] == 2
        assert self.run(capsys, "leed")[0] == 1
        assert self.run(capsys, "--sample", "3")[0] == 2


def wb_rows() -> int:
    return library.competition().access.competition.n_train
