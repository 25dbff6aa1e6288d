"""The feature ``auto``: what it makes of each kind of column, and what it never looks at."""

from __future__ import annotations

import unicodedata
from datetime import date, datetime, timedelta
from pathlib import Path

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.features import ROW
from workbench.features.auto import RARE, auto_features, auto_plan
from workbench.features.auto_plan import AutoPlan

N_TRAIN, N = 400, 600


def auto_frame(
    leave_out: tuple[str, ...] = (), n_train: int = N_TRAIN, **columns: list[object] | pl.Series
) -> pl.DataFrame:
    rows = pl.DataFrame(columns).with_row_index(ROW).lazy()
    return auto_features(rows, leave_out=leave_out, n_train=n_train).collect().sort(ROW)


def test_numbers_stay_and_frequent_ones_are_counted() -> None:
    codes = [i % 120 for i in range(N)]
    frame = auto_frame(x=[i / 7 for i in range(N)], few=[i % 5 for i in range(N)], code=codes)
    assert frame.columns == [ROW, "x", "few", "code", "code_count"]
    assert frame["code"].to_list() == codes
    assert frame["code_count"].to_list() == [codes.count(c) for c in codes]


def test_what_says_nothing_is_left_out() -> None:
    half = [None] * N_TRAIN + list(range(N - N_TRAIN))
    frame = auto_frame(
        ("id",),
        id=list(range(N)),
        constant=[3] * N,
        word=["a"] * N,
        nothing=pl.Series([None] * N, dtype=pl.Float64),
        only_test=half,
        only_train=half[::-1][: N - 200] + [None] * 200,
        sometimes=[1 if i % 3 else None for i in range(N)],
        x=[i % 9 for i in range(N)],
    )
    assert set(frame.columns) == {ROW, "sometimes", "x"}


def test_times_are_taken_apart() -> None:
    start = datetime(2023, 12, 30, 6)  # noqa: DTZ001 - as files have them
    when = [start + timedelta(hours=7 * i) for i in range(N)]
    frame = auto_frame(at=when, day=[date(2024, 1, 1 + i % 28) for i in range(N)])
    for name in ("year", "month", "day", "hour", "weekday"):
        expected = [w.isoweekday() if name == "weekday" else getattr(w, name) for w in when]
        assert frame[f"at_{name}"].to_list() == expected
    assert frame["at_days"].to_list() == [(w.date() - date(1970, 1, 1)).days for w in when]
    assert frame["at_day_of_year"].to_list() == [w.timetuple().tm_yday for w in when]
    # Minutes are always 0, as are the year and month of the other column.
    assert not {"at_minute", "at_minute_of_day", "day_year", "day_month", "at", "day"} & set(frame.columns)


def test_few_values_are_categories_and_rare_ones_are_grouped() -> None:
    words = ["red"] * 300 + ["blue"] * 90 + ["once"] + ["green"] * 9 + ["red"] * 190 + ["unseen"] * 10
    frame = auto_frame(colour=words)
    assert frame["colour"].to_list() == [w if w in ("red", "blue", "green") else RARE for w in words]


def test_composed_and_decomposed_letters_are_one_category(tmp_path: Path) -> None:
    few = ["café", "thé", "lait"]
    many = [f"é{i:02d}" for i in range(30)]

    def spelled(texts: list[str], i: int) -> str:
        return unicodedata.normalize("NFD" if i >= N_TRAIN else "NFC", texts[i % len(texts)])

    columns = {"few": [spelled(few, i) for i in range(N)], "many": [spelled(many, i) for i in range(N)]}
    rows = pl.DataFrame(columns).with_row_index(ROW).lazy()
    plan = auto_plan(rows, leave_out=(), n_train=N_TRAIN)
    frame = plan.apply(rows).collect().sort(ROW)
    assert frame["few"].to_list() == [few[i % 3] for i in range(N)]
    assert frame["many"].to_list() == [i % 30 for i in range(N)]
    assert frame["many_count"].to_list() == [N // 30] * N
    # A served model reads the plan from its files, and composes other rows alike.
    plan.write(tmp_path)
    again = AutoPlan.read({p.name: p for p in tmp_path.iterdir()})
    assert again.apply(rows).collect().sort(ROW).equals(frame)


def test_many_values_are_numbered_by_the_alphabet() -> None:
    words = [f"w{(i * 7) % 30:02}" for i in range(N)]
    words[5], words[-1] = "apple", None  # type: ignore[call-overload]
    frame = auto_frame(word=words)
    seen = sorted({w for w in words[:N_TRAIN] if w and w != "apple"})
    expected = [None if w is None else seen.index(w) if w in seen else -1 for w in words]
    assert frame["word"].to_list() == expected
    assert frame["word_count"].to_list() == [None if w is None else words.count(w) for w in words]


def test_texts_that_are_written_alike_are_taken_apart() -> None:
    cabins = [f"{'ABC'[i % 3]}/{i}/{'PS'[i % 2]}" for i in range(N)]
    planes = [f"N{100 + i}{'MQ' if i % 2 else 'AA'}" for i in range(N)]
    frame = auto_frame(cabin=cabins, plane=planes)
    assert frame["cabin_part1"].to_list() == [c[0] for c in cabins]
    assert frame["cabin_part2"].to_list() == list(range(N))
    assert frame["cabin_part3"].to_list() == [c[-1] for c in cabins]
    assert frame["plane_number"].to_list() == [100 + i for i in range(N)]
    assert frame["plane_suffix"].to_list() == [p[-2:] for p in planes]
    assert not {"cabin", "plane", "plane_letters"} & set(frame.columns)


def test_free_text_gives_its_lengths() -> None:
    texts = [" ".join(["word"] * (1 + i % 7)) + str(i) for i in range(N)]
    frame = auto_frame(text=texts)
    assert frame["text_length"].to_list() == [len(t) for t in texts]
    assert frame["text_words"].to_list() == [len(t.split()) for t in texts]
    assert "text" not in frame.columns


def test_missing_values_are_counted() -> None:
    a = [None if i % 2 else i % 9 for i in range(N)]
    b = [None if i % 3 else i % 9 for i in range(N)]
    frame = auto_frame(a=a, b=b)
    assert frame["missing_values"].to_list() == [(x is None) + (y is None) for x, y in zip(a, b, strict=True)]


def test_names_that_are_taken_and_lists() -> None:
    frame = auto_frame(
        code=[i % 120 for i in range(N)],
        code_count=[i % 11 for i in range(N)],
        items=[list(range(i % 4)) for i in range(N)],
    )
    assert frame.columns == [ROW, "code", "code_count", "items_length", "code_count_"]
    assert frame["items_length"].to_list() == [i % 4 for i in range(N)]


@settings(max_examples=30)
@given(
    st.lists(
        st.tuples(
            st.one_of(st.none(), st.integers(-(2**62), 2**62)),
            st.one_of(st.none(), st.text(max_size=12)),
            st.one_of(st.none(), st.dates()),
            st.one_of(st.none(), st.floats(allow_nan=False)),
        ),
        min_size=4,
        max_size=60,
    ),
    st.integers(1, 3),
)
def test_one_line_per_row_whatever_the_values(values: list[tuple[object, ...]], at: int) -> None:
    types = {"i": pl.Int64, "s": pl.String, "d": pl.Date, "f": pl.Float64}
    frame = pl.DataFrame(values, schema=types, orient="row").with_row_index(ROW)
    n_train = len(values) * at // 4
    result = auto_features(frame.lazy(), leave_out=(), n_train=n_train).collect().sort(ROW)
    assert result[ROW].to_list() == list(range(len(values)))
    assert all(t.is_numeric() or t in (pl.String, pl.Boolean) for t in result.schema.values())


def test_it_sees_neither_target_nor_id_nor_what_test_lacks(small) -> None:
    made = small()
    frame = made.open.feature("auto").collect()
    assert frame.height == made.open.access.competition.n_train + made.open.access.competition.n_test
    assert not {"y", "id"} & set(frame.columns)
    assert made.open.feature("auto").collect().equals(frame)


def test_a_feature_of_that_name_takes_its_place(small) -> None:
    made = small()
    (made.folder / "features.py").write_text(
        "import polars as pl\nfrom workbench.features import ROW, feature\n\n@feature\ndef auto(rows):\n"
        "    return rows.select(ROW, mine=pl.col(ROW) * 2)\n"
    )
    assert made.open.feature("auto").collect().columns == [ROW, "mine"]
