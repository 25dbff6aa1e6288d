from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from workbench.api import library
from workbench.core.context import SILENT, RunContext, text_listener
from workbench.core.errors import ConfigError, DataError, FeatureError, NotFoundError, WorkbenchError
from workbench.features import ROW, Blocks, build_matrix, code_key, load_features

HEAD = "import polars as pl\nfrom workbench.features import ROW, feature, target_mean\n\n"


def blocks(small: Any, code: str | None = None, context: RunContext = SILENT) -> Blocks:
    if code is not None:
        (small.folder / "features.py").write_text(HEAD + code)
    competition = small.open.access.competition
    return Blocks(competition, load_features(competition), context)


class TestBuilding:
    def test_a_block_has_one_line_per_row_in_order(self, small) -> None:
        made = small()
        code = "@feature\ndef shuffled(rows):\n    return rows.select(ROW, x2=pl.col('x') * 2).reverse()\n"
        frame = blocks(made, code).lines("shuffled").collect()
        rows = made.open.rows.collect().sort(ROW)
        assert frame[ROW].to_list() == list(range(500))
        assert frame["x2"].to_list() == (rows["x"] * 2).to_list()

    def test_every_form_of_result(self, small) -> None:
        made = small()
        matrix = build_matrix(blocks(made), ["ratio", "doubled", "town_size"])
        assert matrix.frame.columns == ["ratio", "x2", "size"]
        rows = made.open.rows.collect().sort(ROW)
        assert matrix.frame["x2"].to_list() == pytest.approx((2 * rows["x"]).to_list(), rel=1e-6)
        sizes = [int(t.removeprefix("town ")) for t in rows["town"]]
        assert matrix.frame["size"].to_list() == sizes

    def test_a_feature_may_read_a_feature_and_a_table_of_its_own_name(self, small) -> None:
        code = (
            "@feature\ndef towns(rows, towns):\n"
            "    return rows.select(ROW, 'town').join(towns, on='town', how='left').drop('town')\n\n"
            "@feature\ndef twice(rows, ratio):\n    return ratio.select(ROW, twice=pl.col('r') * 2)\n\n"
            "@feature\ndef ratio(rows):\n    return rows.select(ROW, r=pl.col('x') + 1)\n"
        )
        matrix = build_matrix(blocks(small(), code), ["towns", "twice"])
        assert matrix.frame.columns == ["size", "twice"]

    def test_the_target_is_nowhere_to_be_seen(self, small) -> None:
        made = small()
        code = (
            "@feature\ndef peek(train):\n    assert 'y' not in train.collect_schema()\n    return train.select(a='x')\n"
        )
        with pytest.raises(FeatureError, match="lost the row key"):
            blocks(made, code).block("peek")
        assert "y" not in made.open.rows.collect_schema()

    @pytest.mark.parametrize(
        ("code", "error", "message"),
        [
            (
                "def f(rows):\n    return rows.filter(pl.col('x') > 0).select(ROW, a='x')",
                FeatureError,
                "rows are missing",
            ),
            (
                "def f(rows):\n    r = rows.select(ROW, a='x')\n    return pl.concat([r, r.head(7)])",
                FeatureError,
                "gives 507 lines for 500 rows: 7 lines repeat a row",
            ),
            (
                "def f(rows, towns):\n    t = pl.concat([towns, towns])\n"
                "    return rows.select(ROW, 'town').join(t, on='town', how='left').drop('town')",
                FeatureError,
                "gives 1,000 lines for 500 rows: 500 lines repeat a row",
            ),
            ("def f(rows):\n    return rows.select(a='x')", FeatureError, "lost the row key"),
            (
                "def f(rows):\n    return rows.select(pl.col(ROW) * 1.0, a='x')",
                FeatureError,
                r"'f' \(features.py, line 5\): its row key became Float64\n.*cast\(pl.UInt32\)",
            ),
            ("def f(rows):\n    return rows.select(ROW, y=pl.col('x') > 0)", FeatureError, "returns the target 'y'"),
            ("def f(rows):\n    return rows.select(ROW)", FeatureError, "returns no column"),
            ("def f(rows):\n    return 3", FeatureError, "returned a int"),
            (
                "def f(rows):\n    return 1 / 0",
                FeatureError,
                r"'f' \(features.py, line 5\) failed: ZeroDivisionError.*line 7",
            ),
            (
                "def f(rows):\n    return rows.select(ROW, a='nothing')",
                FeatureError,
                r"'f' \(features.py, line 5\) failed: ColumnNotFoundError: .*'nothing' \(features.py, line 7\)\nvalid",
            ),
            ("def f(rows, twns):\n    return rows", NotFoundError, "neither a table nor a feature"),
            (
                "def f(rows, g):\n    return rows\n\n@feature\ndef g(rows, f):\n    return rows",
                FeatureError,
                "f -> g -> f",
            ),
            ("def f(rows, te):\n    return rows\n\nte = target_mean('town')", FeatureError, "depends on the fold"),
            ("def f(*rows):\n    return rows", ConfigError, r"takes \*args"),
        ],
    )
    def test_a_broken_contract_is_explained(self, small, code: str, error: type[WorkbenchError], message: str) -> None:
        made = small()
        with pytest.raises(error, match=message):
            blocks(made, "\n@feature\n" + code + "\n").block("f")
        assert list(made.folder.glob("cache/*.parquet")) == []

    @pytest.mark.parametrize(
        ("code", "message"),
        [
            ("def f(:\n", "features.py, line 4"),
            ("import nothing_of_this_name\n", "ModuleNotFoundError.*line 4"),
            ("x = 1 / 0\n", "ZeroDivisionError"),
        ],
    )
    def test_a_file_that_can_not_be_loaded_is_explained(self, small, code: str, message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            blocks(small(), code)


class TestMisspelledColumns:
    """polars says which column is missing; the nearest name and the line that asks for it are ours to find."""

    @pytest.mark.parametrize(
        ("body", "missing", "line", "nearest"),
        [
            ("    return rows.select(ROW, a=pl.col('zz'))", "zz", 10, "z"),
            ("    r = rows.with_columns(\n        a='x',\n        b=pl.col('toun').len(),\n    )\n    return r", "toun", 12, "town"),
            ("    return rows.select(ROW, a=pl.col.xx)", "xx", 10, "x"),
            ("    return [pl.col('TOWN').str.len_chars()]", "TOWN", 10, "town"),
            ("    r = rows.select(ROW, 'town')\n    return r.join(towns, on='twon')", "twon", 11, "town"),
            ("    return rows.join(towns, left_on='town',\n        right_on='tonw').select(ROW, 'size')", "tonw", 11, "town"),
            ("    return rows.join(towns, on='town').select(ROW, 'sise')", "sise", 10, "size"),
            ("    return [pl.col('x').mean().over('houshold')]", "houshold", 10, "household"),
            ("    return rows.sort('dya').select(ROW, 'x')", "dya", 10, "day"),
            ("    return rows.collect().select(ROW, 'dayy')", "dayy", 10, "day"),
            ("    return f.lags(rows, 'towm', columns='x', order_by='day')", "towm", 10, "town"),
            ("    return f.lags(rows, 'town',\n        columns='xy', order_by='day')", "xy", 11, "x"),
            ("    return [helper()]", "hous hold", 5, "household"),
        ],
    )  # fmt: skip
    def test_in_a_feature(self, small, body: str, missing: str, line: int, nearest: str) -> None:
        code = "from workbench import features as f\ndef helper(): return pl.col('hous hold')\n\n@feature\n"
        with pytest.raises(FeatureError) as caught:
            blocks(small(), f"{code}def own(rows, towns):\n    # the first line\n{body}\n").block("own")
        said = caught.value
        assert said.message.startswith("feature 'own' (features.py, line 7)")
        assert repr(missing) in said.message
        assert said.message.endswith(f"(features.py, line {line})")
        assert said.hint == f"did you mean {nearest!r}?"

    def test_in_a_module_beside(self, small) -> None:
        made = small()
        (made.folder / "texts.py").write_text("import polars as pl\n\ndef length():\n    return pl.col('tovn').len()\n")
        with pytest.raises(FeatureError, match=r"no column 'tovn' \(texts.py, line 4\)\ndid you mean 'town'"):
            blocks(made, "from texts import length\n\n@feature\ndef own(rows):\n    return [length()]\n").block("own")

    def test_in_an_encoding(self, small) -> None:
        made = small()
        made.experiment(2, 'features = ["rows", "te"]\n[model]\nnum_iterations = 3\n')
        blocks(made, "\nte = target_mean(\n    'town',\n    'housold',\n)\n")
        with pytest.raises(NotFoundError, match=r"'housold' \(features.py, line 7\)\ndid you mean 'household'"):
            made.open.run(2)

    @pytest.mark.parametrize(
        ("old", "new", "key"),
        [
            ('[cv]\nscheme = "stratified"', '[cv]\nscheme = "group"\ngroup = "houshold"', "cv.group = 'houshold'"),
            ('[cv]\nscheme = "stratified"', '[cv]\nscheme = "time"\ncolumn = "DAY"', "cv.column = 'DAY'"),
            ('target = "y"', 'target = "Y"', "target = 'Y'"),
        ],
    )
    def test_in_the_definition(self, small, old: str, new: str, key: str) -> None:
        made = small()
        made.definition(old, new)
        with pytest.raises(DataError, match=f"{key}, but table 'train' has no such column\ndid you mean"):
            made.open.run(1)

    def test_under_types(self, small) -> None:
        made, said = small(), list[str]()
        path = made.folder / "competition.toml"
        path.write_text(
            path.read_text() + '\n[read.trian]\nencoding = "utf-8"\n[types]\n"towns.sise" = "String"\ntwon = "String"\n'
        )
        library.fetch("small", where=made.workspace, report=said.append)
        assert "competition.toml: [types] 'twon': no table has this column; did you mean 'town'?" in said
        assert any("[types] 'towns.sise': no table has this column; did you mean 'towns.size'" in line for line in said)
        assert "competition.toml: [read.trian]: there is no table 'trian'; did you mean 'train'?" in said


class TestOtherResults:
    """What people return who come from pandas: it is said what it is, and what to write."""

    @pytest.mark.parametrize(
        ("result", "message", "hint"),
        [
            ("rows.collect().to_pandas()", r"a pandas DataFrame, \(500, 7\)", r"pl.from_pandas\(frame"),
            ("rows.collect().to_pandas()['x']", "a pandas Series", r"pl.DataFrame\({ROW: keys"),
            ("rows.collect().to_pandas().groupby('town')", "a pandas DataFrameGroupBy", "from_pandas"),
            ("rows.collect()['x']", "a polars Series, 'x'", r"rows.select\(ROW"),
            ("rows.collect()['x'].to_numpy()", r"a numpy array, \(500,\)", r"pl.DataFrame\({ROW: keys"),
            ("[1.0] * 500", "a list of 500 values", r"pl.DataFrame\({ROW: keys"),
            ("['x', 'z']", "a list of 2 with a text, 'x'", r"pl.col\('x'\)"),
            ("[rows, rows]", "a list of 2 frames", "together"),
            ("[]", "an empty list", "LazyFrame with ROW"),
            ("{'a': pl.col('x')}", "a dict of 1", "alias"),
            ("(pl.col(c) for c in ['x'])", "a generator", "return a list"),
            ("rows.group_by('town')", "a polars LazyGroupBy: its .agg", "LazyFrame with ROW"),
            ("None", "nothing", "end with return"),
            ("'x'", "a str", "LazyFrame with ROW"),
        ],
    )
    def test_what_is_no_frame(self, small, result: str, message: str, hint: str) -> None:
        with pytest.raises(FeatureError, match=rf"'own' \(features.py, line 4\) returned {message}") as caught:
            blocks(small(), f"@feature\ndef own(rows):\n    return {result}\n").block("own")
        assert re.search(hint, caught.value.hint)

    @pytest.mark.parametrize(
        ("result", "hint"),
        [
            ("rows['x']", r"rows.select\(ROW"),
            ("rows.groupby('town')", "group_by"),
            ("pl.col('x').fillna(0)", "fill_null"),
        ],
    )
    def test_what_only_pandas_has(self, small, result: str, hint: str) -> None:
        with pytest.raises(FeatureError, match=rf"features.py, line 6\)\n.*{hint}"):
            blocks(small(), f"@feature\ndef own(rows):\n    return {result}\n").block("own")


class TestCaching:
    CODE = (
        "SCALE = 2\n\n\ndef helper(c):\n    '''Help.'''\n    return pl.col(c) * SCALE\n\n\n"
        "@feature\ndef a(rows):\n    return rows.select(ROW, a=helper('x'))\n\n\n"
        "@feature\ndef b(rows, a):\n    return a.select(ROW, b=pl.col('a') + 1)\n\n\n"
        "@feature\ndef c(rows):\n    return rows.select(ROW, c='z')\n"
    )

    def keys(self, made: Any, code: str) -> dict[str, str]:
        found = blocks(made, code)
        return {name: found.key(name) for name in "abc"}

    @pytest.mark.parametrize(
        ("old", "new", "changed"),
        [
            ("'''Help.'''", "'''Helps.'''  # a remark", ""),
            ("SCALE = 2", "SCALE = 3", "ab"),
            ("pl.col(c) * SCALE", "pl.col(c) + SCALE", "ab"),
            ("pl.col('a') + 1", "pl.col('a') + 2", "b"),
            ("c='z'", "c='x'", "c"),
        ],
    )
    def test_exactly_what_depends_on_a_change_is_built_again(self, small, old: str, new: str, changed: str) -> None:
        made = small()
        before = self.keys(made, self.CODE)
        assert old in self.CODE
        after = self.keys(made, self.CODE.replace(old, new))
        assert "".join(n for n in "abc" if before[n] != after[n]) == changed

    def test_a_file_beside_it_counts(self, small) -> None:
        made = small()
        (made.folder / "text_tools.py").write_text("FACTOR = 1\n")
        code = "from text_tools import FACTOR\n\n" + self.CODE.replace("SCALE = 2", "SCALE = FACTOR")
        before = self.keys(made, code)
        (made.folder / "text_tools.py").write_text("FACTOR = 2\n")
        after = self.keys(made, code)
        assert [before[n] != after[n] for n in "abc"] == [True, True, False]

    def test_a_block_is_built_once(self, small) -> None:
        made = small()
        said: list[str] = []
        for _ in range(2):
            blocks(made, context=RunContext((text_listener(said.append),))).block("ratio")
        assert said == ["feature ratio"]

    def test_a_damaged_block_is_built_again(self, small) -> None:
        made = small()
        path = blocks(made).block("ratio").path
        good = pl.read_parquet(path)
        path.write_bytes(path.read_bytes()[:-9])
        assert pl.read_parquet(blocks(made).block("ratio").path).equals(good)

    def test_code_keys_do_not_depend_on_the_rest_of_the_file(self, tmp_path: Path) -> None:
        path = tmp_path / "features.py"
        path.write_text(self.CODE)
        before = code_key(path, "a")
        path.write_text("# a remark\n\nOTHER = 1\n" + self.CODE)
        assert code_key(path, "a") == before


class TestMatrix:
    def test_text_becomes_codes_of_sorted_categories(self, small) -> None:
        matrix = build_matrix(blocks(small()), ["rows.town"])
        levels = matrix.categories["town"]
        assert levels == sorted(levels)
        rows = matrix.frame["town"]
        assert rows.dtype == pl.Int32
        assert matrix.n_train == 400
        assert matrix.test.height == 100

    def test_ids_are_no_features_and_times_are_numbers(self, small) -> None:
        matrix = build_matrix(blocks(small()), ["rows"])
        assert matrix.frame.columns == ["x", "z", "town", "household", "day"]
        assert matrix.frame["day"].dtype.is_integer()
        assert matrix.frame["x"].dtype == pl.Float32

    def test_whole_numbers_beyond_float32_stay_exact(self, small) -> None:
        code = "@feature\ndef f(rows):\n    return rows.select(ROW, big=pl.col('id').cast(pl.Float64) + 2**40)\n"
        assert build_matrix(blocks(small(), code), ["f"]).frame["big"].dtype == pl.Float64

    @pytest.mark.parametrize(
        ("features", "drop", "error", "message"),
        [
            (["ratoi"], [], NotFoundError, "did you mean 'ratio'"),
            (["rows.twn"], [], NotFoundError, "did you mean 'town'"),
            (["ratio.rati"], [], NotFoundError, "did you mean 'ratio'"),
            (["rows"], ["twn"], NotFoundError, "drop: no column 'twn'"),
            (["doubled"], ["x2"], FeatureError, "no column is left"),
            (["rows", "rows.town"], [], FeatureError, "both give a column 'town'"),
        ],
    )
    def test_wrong_names_are_explained(
        self, small, features: list[str], drop: list[str], error: type[WorkbenchError], message: str
    ) -> None:
        with pytest.raises(error, match=message):
            build_matrix(blocks(small()), features, drop=drop)

    @pytest.mark.parametrize(
        ("expression", "dtype"),
        [
            ("pl.col('day')", "Date"),
            ("pl.col('day').cast(pl.Datetime)", "Datetime"),
            ("pl.col('day') - pl.date(2020, 1, 1)", "Duration"),
            ("pl.concat_list('x', 'z')", "List"),
            ("pl.struct('x', 'z')", "Struct"),
            ("pl.lit(b'x')", "Binary"),
            ("pl.col('x').cast(pl.Decimal(10, 2))", "Decimal"),
            ("pl.lit(None)", "Null"),
        ],
    )
    def test_what_lightgbm_can_not_take_is_refused_by_name(self, small, expression: str, dtype: str) -> None:
        code = f"@feature\ndef f(rows):\n    return rows.select(ROW, odd={expression})\n"
        with pytest.raises(FeatureError, match=f"column 'odd' is a {dtype}.*which LightGBM can't take"):
            build_matrix(blocks(small(), code), ["f"])

    def test_categories_may_be_named(self, small) -> None:
        made = small()
        assert "household" in build_matrix(blocks(made), ["rows"], categorical=["household"]).categories
        with pytest.raises(FeatureError, match="expected integers, which are renumbered"):
            build_matrix(blocks(made), ["rows"], categorical=["x"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('target = "y"', 'target = "yy"'), "target = 'yy', but table 'train' has no such column"),
        (('id = "id"', 'id = "town"'), "id 'town' of table 'test' is not unique"),
        (('id = "id"', 'id = "nr"'), "id = 'nr', but table 'test' has no such column"),
    ],
)
def test_wrong_columns_of_the_definition_are_explained(small, change: tuple[str, str], message: str) -> None:
    made = small()
    made.definition(*change)
    with pytest.raises(DataError, match=message):
        _ = made.open.access.competition.rows.columns
        made.open.access.competition.ids.test_frame()
