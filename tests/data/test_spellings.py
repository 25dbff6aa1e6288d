"""How numbers, dates and times are written where more than one reading is possible: what decides, and what is said."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conversion import column_as_csv, convert_files, small_reads
from workbench.core.errors import DataError
from workbench.data.competition.answer import as_written
from workbench.data.inference import definition_text, infer
from workbench.data.ingest.convert import convert
from workbench.data.ingest.counting import column_stats
from workbench.data.ingest.dates import choose_day
from workbench.data.ingest.delimited import plan_types
from workbench.data.ingest.grouping import tables_in
from workbench.data.ingest.sources import ReadOptions
from workbench.data.ingest.text import form_of
from workbench.data.ingest.types import ColumnStats, Evidence, evidence_from, facts_of
from workbench.platforms.protocol import CompetitionFacts

NOW = datetime.now(UTC).year


def read(*values: str, separator: str = ",", size: int = 1 << 20, types: dict[str, str] | None = None) -> Any:
    """Return the column, and what is said of it."""
    name = "train.tsv" if separator == "\t" else "train.csv"
    with small_reads(size):
        result = convert_files({name: column_as_csv(values, separator)}, types=types)
    return result.train["v"].to_list(), result.infos["train"].notes.get("v", "")


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


SIZES = pytest.mark.parametrize("size", [12, 1 << 20])


class TestNumbers:
    @SIZES
    @pytest.mark.parametrize("separator", ["\t", ";", "|", ","])
    def test_groups_of_three_beside_short_numbers_are_thousands(self, separator: str, size: int) -> None:
        values, said = read("567", "1,234", "12,500", separator=separator, size=size)
        assert values == [567.0, 1234.0, 12500.0]
        assert "groups of three digits throughout" in said

    @SIZES
    @pytest.mark.parametrize("separator", ["\t", ";"])
    def test_where_nothing_tells_they_stay_text_and_it_is_said(self, separator: str, size: int) -> None:
        values, said = read("1,234", "2,345", separator=separator, size=size)
        assert values == ["1,234", "2,345"]
        assert "undecided, so it stays text" in said
        assert "Float64 , or Float64 1,000" in said
        assert read("1,234", "2,345", separator=separator, types={"v": "Float64 1,000"})[0] == [1234.0, 2345.0]
        assert read("1,234", "2,345", separator=separator, types={"v": "Float64 ,"})[0] == [1.234, 2.345]

    def test_three_decimals_throughout_cost_no_second_reading(self, tmp_path: Path) -> None:
        """They could be groups of three, but only where a comma is the decimal mark elsewhere."""
        (tmp_path / "train.csv").write_text(
            "k,v\n" + "".join(f"{i},{i % 90 + 1}.{i % 900 + 100}\n" for i in range(500))
        )
        (table,) = tables_in(tmp_path)
        form = form_of(table.parts[0], {})
        stats = column_stats(pl.DataFrame({"v": [f"{i % 90 + 1}.{i % 900 + 100}" for i in range(500)]}))
        for evidence, direct in ((Evidence(), True), (Evidence(decimal=","), False)):
            plans = plan_types({"train": stats}, {"train": form}, ReadOptions({}, {}), evidence)
            assert plans["train"]["v"].is_parsed_by_reader == direct

    @SIZES
    def test_other_columns_tell_the_decimal_mark(self, size: int) -> None:
        with small_reads(size):
            comma = convert_files(
                {"train.csv": "k;a;b\n1;1,234;1,5\n2;2,345;2\n", "side.csv": "d;c\n1,234;1.234\n2,345;2\n"}
            )
            point = convert_files({"train.csv": "k;a;b\n1;1,234;1.5\n2;2,345;2\n"})
        assert comma.train["a"].to_list() == [1.234, 2.345]
        assert comma.frames["side"]["d"].to_list() == [1.234, 2.345]
        # And so points stand between thousands there.
        assert comma.frames["side"]["c"].to_list() == [1234.0, 2.0]
        assert point.train["a"].to_list() == [1234.0, 2345.0]
        assert "in other columns '.' is the decimal mark" in point.infos["train"].notes["a"]

    def test_fractions_with_exponents_and_commas(self) -> None:
        assert read("1,5E-05", "2,25", "3", separator=";")[0] == [1.5e-05, 2.25, 3.0]
        assert read("1,234.5e3", "2", "1,5e3")[0] == ["1,234.5e3", "2", "1,5e3"]

    def test_columns_that_contradict_each_other_prove_nothing(self) -> None:
        frame = convert_files({"train.csv": "k;a;b;c\n1;1,234;1.5;2,5\n2;2,345;2;3\n"}).train
        assert frame["a"].to_list() == ["1,234", "2,345"]

    @given(whole=st.lists(st.integers(-(10**8), 10**8), min_size=1, max_size=20), separator=st.sampled_from(";\t,"))
    @settings(max_examples=25)
    def test_numbers_with_thousands_read_back(self, whole: list[int], separator: str) -> None:
        values, said = read(*[f"{n:,}" for n in whole], "7", separator=separator)
        assert values == [float(n) for n in (*whole, 7)]
        assert bool(said) == (all(abs(n) < 10**6 for n in whole) and any(abs(n) > 999 for n in whole))


MONTHS = [date(y, m, 1) for y in (2023, 2024) for m in range(1, 13)]


class TestOrderOfDayAndMonth:
    @SIZES
    @pytest.mark.parametrize("form", ["%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y"])
    @pytest.mark.parametrize("days", [MONTHS[:12], MONTHS, MONTHS[::3], MONTHS[:3]])
    def test_in_steps_of_months_the_constant_field_is_the_day(self, form: str, days: list[date], size: int) -> None:
        values, said = read(*[d.strftime(form) for d in days], size=size)
        assert values == days
        assert "in steps of months" in said

    def test_another_constant_day_takes_several_years(self) -> None:
        fifth = [d.replace(day=5) for d in MONTHS]
        assert read(*[d.strftime("%d/%m/%Y") for d in fifth])[0] == fifth

    def test_whole_weeks_tell(self) -> None:
        days = [date(2024, 1, 8) + timedelta(weeks=w) for w in (0, 4, 8, 13, 17)]
        assert all(d.day <= 12 for d in days)
        for form in ("%d/%m/%Y", "%m/%d/%Y"):
            assert read(*[d.strftime(form) for d in days])[0] == days

    @SIZES
    def test_all_files_of_the_competition_tell(self, size: int) -> None:
        days = "day,x\n01/02/2024,1\n03/04/2024,2\n"
        with small_reads(size):
            result = convert_files(
                {
                    "train.csv": "k,at\n1,05/06/2024\n2,07/08/2024\n3,13/08/2024\n",
                    "test.csv": "k,at\n4,15/09/2024\n",
                    "holidays.csv": days,
                    "a.csv": days.replace("/", "-"),
                }
            )
        for name in ("holidays", "a"):
            assert result.frames[name]["day"].to_list() == [date(2024, 2, 1), date(2024, 4, 3)]
            assert "as other columns of the competition have it" in result.infos[name].notes["day"]

    def test_a_table_that_is_read_last_tells_too(self) -> None:
        far = "".join(f"{i},01/02/2024\n" for i in range(30))
        with small_reads(100):
            result = convert_files(
                {"train.csv": "k,at\n1,05/06/2024\n2,07/08/2024\n", "z.csv": f"k,d\n{far}30,31/01/2024\n"}
            )
        assert result.train["at"].to_list() == [date(2024, 6, 5), date(2024, 8, 7)]
        assert any("another table shows what the values mean" in line for line in result.said)

    def test_columns_that_contradict_each_other_prove_nothing(self) -> None:
        result = convert_files(
            {"train.csv": "a,b,c\n13/01/2024,01/13/2024,02/03/2024\n14/01/2024,01/14/2024,03/05/2024\n"}
        )
        assert result.train.row(0) == (date(2024, 1, 13), date(2024, 1, 13), date(2024, 2, 3))
        assert "nothing tells days from months: the month is taken to come first" in result.infos["train"].notes["c"]

    def test_its_own_values_go_before_the_others(self) -> None:
        result = convert_files({"train.csv": "a,b\n01/13/2024,25/12/2024\n02/14/2024,02/03/2024\n"})
        assert result.train["b"].to_list() == [date(2024, 12, 25), date(2024, 3, 2)]

    @given(
        days=st.lists(st.dates(date(1990, 1, 1), date(2020, 1, 1)), min_size=1, max_size=40),
        form=st.sampled_from(["%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y"]),
    )
    @settings(max_examples=40)
    def test_one_day_that_only_one_order_has_is_enough(self, days: list[date], form: str) -> None:
        texts = [d.strftime(form) for d in (*days, date(2001, 1, 31))]
        possible = [f for f in ("%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y") if f[2] == form[2]]
        fitting = [f for f in possible if pl.Series(texts).str.to_date(f, strict=False).null_count() == 0]
        choice = choose_day(fitting, texts)
        assert (choice.day_format, choice.certain) == (form, True)


class TestYearsOfTwoDigits:
    @SIZES
    @pytest.mark.parametrize("mark", ["/", "-", "."])
    def test_the_year_may_come_first(self, mark: str, size: int) -> None:
        days = [date(2020, 1, 15), date(2020, 2, 20), date(2020, 3, 31), date(2021, 1, 2)]
        values, said = read(*[d.strftime(f"%y{mark}%m{mark}%d") for d in days], size=size)
        assert values == days
        assert said

    def test_or_last(self) -> None:
        days = [date(2015, 1, 20), date(2015, 2, 21), date(2016, 3, 2)]
        assert read(*[d.strftime("%d/%m/%y") for d in days])[0] == days

    def test_where_nothing_tells_it_stays_text(self) -> None:
        values, said = read("20/01/15")
        assert values == ["20/01/15"]
        assert "the year may come first or last (Date %d/%m/%y or Date %y/%m/%d)" in said
        assert read("20/01/15", types={"v": "Date %y/%m/%d"})[0] == [date(2020, 1, 15)]

    def test_another_column_tells_it(self) -> None:
        frame = convert_files({"train.csv": "a,b\n20/01/15,99/12/31\n20/01/15,98/01/02\n"}).train
        assert frame["a"].to_list() == [date(2020, 1, 15)] * 2

    @SIZES
    def test_births_do_not_lie_in_the_future(self, size: int) -> None:
        values, said = read("31/01/55", "03/04/60", "15/05/72", "01/02/03", size=size)
        assert [v.year for v in values] == [1955, 1960, 1972, 2003]
        assert f"until {NOW}" in said

    def test_a_birthday_is_past_whatever_the_year(self) -> None:
        ahead = (NOW + 3) % 100
        texts = [f"31/01/{ahead:02}", "25/02/99", f"13/03/{NOW % 100:02}"]
        frame = convert_files(
            {"train.csv": "k,birth_date\n" + "".join(f"{i},{t}\n" for i, t in enumerate(texts))}
        ).train
        assert [d.year for d in frame["birth_date"]] == [NOW + 3 - 100, 1999, NOW]

    def test_plans_lie_ahead(self) -> None:
        years = [NOW - 2, NOW, NOW + 4]
        frame = convert_files({"train.csv": "k,due\n" + "".join(f"{y},31-Jan-{y % 100:02}\n" for y in years)}).train
        assert [d.year for d in frame["due"]] == years

    def test_the_century_can_be_named(self) -> None:
        assert read("31/01/55", types={"v": "Date %d/%m/%y until 2060"})[0] == [date(2055, 1, 31)]
        assert read("31/01/15", types={"v": "Date %d/%m/%y until 2010"})[0] == [date(1915, 1, 31)]


class TestTimes:
    @SIZES
    @pytest.mark.parametrize(
        ("texts", "expected"),
        [
            (["2024-01-02", "2024-01-02 10:00"], ["2024-01-02", "2024-01-02T10:00"]),
            (["02.01.2024 10:00:05", "NA", "02.01.2024"], ["2024-01-02T10:00:05", None, "2024-01-02"]),
            (["2024-01-02T10:00:00+00:00"] * 2, ["2024-01-02T10:00"] * 2),
            (["2024-01-02T10:00:00+0900", "2024-01-02T10:00:00+0900"], ["2024-01-02T01:00"] * 2),
            (
                ["2024-01-02 10:00:00-05:00", "2024-01-02 10:00:00.5+01:00"],
                ["2024-01-02T15:00", "2024-01-02T09:00:00.5"],
            ),
            (["2024-01-02T10:00:00Z", "2024-01-02T10:00:00+02:00"], ["2024-01-02T10:00", "2024-01-02T08:00"]),
            (["2024-01-02 10:00:00,250", "2024-01-02 11:00:00,5"], ["2024-01-02T10:00:00.25", "2024-01-02T11:00:00.5"]),
            (["31.01.2024 17.06", "01.02.2024 7.06"], ["2024-01-31T17:06", "2024-02-01T07:06"]),
            (["1/31/2024 5:06pm", "1/31/2024 12:06AM"], ["2024-01-31T17:06", "2024-01-31T00:06"]),
            (["31 Jan 2024 17:06", "1 May 2024 07:06:01"], ["2024-01-31T17:06", "2024-05-01T07:06:01"]),
            (["20240131", "20240201"], [20240131, 20240201]),
        ],
    )
    def test_they_are_read(self, texts: list[str], expected: list[Any], size: int) -> None:
        wanted = [moment(e) if isinstance(e, str) else e for e in expected]
        assert read(*texts, size=size)[0] == wanted

    @pytest.mark.parametrize("text", ["2024-01-02 25:00", "2024-01-02 10:61", "2024-02-30 10:00", "1/31/2024 13:00 PM"])
    def test_what_is_none_stays_text(self, text: str) -> None:
        assert read(text, "2024-01-02 10:00")[0] == [text, "2024-01-02 10:00"]

    def test_offsets_beside_none_stay_text_and_it_is_said(self) -> None:
        values, said = read("2024-01-02 10:00", "2024-01-02 10:00Z")
        assert values == ["2024-01-02 10:00", "2024-01-02 10:00Z"]
        assert "some times have an offset from UTC and others none" in said

    @pytest.mark.slow
    @given(
        times=st.lists(
            st.datetimes(datetime(1995, 1, 1), datetime(2030, 1, 1)).map(lambda t: t.replace(microsecond=0)),  # noqa: DTZ001
            min_size=1,
            max_size=8,
        ),
        form=st.sampled_from(
            [
                "%Y-%m-%dT%H:%M:%S+00:00",
                "%Y-%m-%dT%H:%M:%S-0330",
                "%d.%m.%Y %H.%M.%S",
                "%Y/%m/%d %I:%M:%S %p",
                "%d %B %Y %H:%M:%S",
                "%Y-%m-%d %H:%M:%S UTC",
            ]
        ),
    )
    @settings(max_examples=40)
    def test_they_are_written_as_they_were(self, times: list[datetime], form: str) -> None:
        """An id that is a time goes into a submission in the sample's spelling, with its offset."""
        texts = [t.strftime(form) for t in times]
        result = convert_files({"train.csv": column_as_csv(tuple(texts))})
        assert result.train["v"].dtype == pl.Datetime("us")
        back = as_written(result.train, result.infos["train"].spelled)["v"].to_list()
        assert back == texts

    @pytest.mark.parametrize(
        "texts",
        [
            ("1/2/2024 5:03", "1/31/2024 17:03"),
            ("1/2/2024 5:03 PM", "12/31/2024 11:00 AM"),
            ("31.1.24 7:06", "1.2.24 17:06"),
            ("1/31/2024 9:05", "2/1/2024"),
            ("2024-01-02 5:03+02:00", "2024-01-02 15:03Z"),
        ],
    )
    def test_what_the_definition_says_of_them_reads_the_same(self, texts: tuple[str, ...]) -> None:
        guessed = convert_files({"train.csv": column_as_csv(texts)})
        named = convert_files({"train.csv": column_as_csv(texts)}, types={"v": guessed.infos["train"].types["v"]})
        assert guessed.train["v"].dt.hour().max() > 0
        assert named.train["v"].to_list() == guessed.train["v"].to_list()

    @pytest.mark.parametrize(
        "texts", [("2024-01-02", "2024-01-02 10:00"), ("1/31/2024", "1/31/2024 9:05", "2/1/2024 10:00")]
    )
    def test_days_beside_times_are_written_as_they_were(self, texts: tuple[str, ...]) -> None:
        result = convert_files({"train.csv": column_as_csv(texts)})
        assert as_written(result.train, result.infos["train"].spelled)["v"].to_list() == list(texts)


class TestWhatIsKept:
    def definition(self, root: Path, types: dict[str, str] | None = None) -> tuple[str, Any]:
        raw, tables = root / "raw", root / "tables"
        raw.mkdir(exist_ok=True)
        months = [f"01/{1 + i % 12:02}/20{20 + i // 12 % 4}" for i in range(60)]
        lines = [f"{i};{m};1,{100 + i};{1 + i % 9},5" for i, m in enumerate(months)]
        (raw / "train.csv").write_text("\n".join(["id;month;open;y", *lines]))
        (raw / "test.csv").write_text("\n".join(["id;month;open", *(f"9{x.rpartition(';')[0]}" for x in lines)]))
        (raw / "side.csv").write_text("month;when;code\n01/02/2020;02/03/2020;1,234\n01/03/2020;04/05/2020;1,500\n")
        manifest = convert(raw, tables, "c", options=ReadOptions({}, types or {}), force=True)
        facts = CompetitionFacts("c", "C", metric="Root Mean Squared Error")
        return definition_text(infer(manifest, tables, facts, "kaggle")), manifest

    def test_every_choice_is_in_the_definition(self, tmp_path: Path) -> None:
        text, _ = self.definition(tmp_path)
        assert '# "month" = "Date %d/%m/%Y"  # read as Date %d/%m/%Y: the first number is always 1' in text
        assert '# "open" = "Float64 ,"  # read as Float64 ,: in other columns \',\' is the decimal mark' in text
        assert '# "side.when" = "Date %d/%m/%Y"  # read as Date %d/%m/%Y: as other columns' in text
        assert '"side.month"' not in text  # as in train

    def test_another_reading_is_other_content(self, tmp_path: Path) -> None:
        """What was computed of one reading is not taken for the other, though source and type are the same."""
        _, guessed = self.definition(tmp_path)
        _, named = self.definition(tmp_path, {"month": "Date %d/%m/%Y"})
        _, other = self.definition(tmp_path, {"month": "Date %m/%d/%Y"})
        contents = [m.tables["train"].content for m in (guessed, named, other)]
        assert contents[0] == contents[1] != contents[2]
        assert other.tables["train"].dtypes == guessed.tables["train"].dtypes

    def test_a_certain_reading_leaves_the_content_as_it_was(self) -> None:
        infos = convert_files({"train.csv": "k,d,b,n\n1,31/01/2024,yes,1.5\n2,01/02/2024,no,2\n"}).infos
        assert infos["train"].choices == {}
        assert infos["train"].notes == {}

    def test_a_type_that_is_none_is_explained(self) -> None:
        with pytest.raises(DataError, match="'Int64 1,000' is not a type"):
            read("1,234", types={"v": "Int64 1,000"})


def test_nothing_proves_nothing() -> None:
    assert evidence_from(facts_of(ColumnStats())).order == ""
