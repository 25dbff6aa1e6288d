"""Recipes against their plain definitions: nulls, ties, single rows, any order of the rows, in parts, no future."""

from __future__ import annotations

import datetime as dt
import inspect
import math
import re
import statistics
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from workbench import features as f
from workbench.core.errors import FeatureError
from workbench.features import ROW, recipes
from workbench.features.recipes.hashing import hash_texts

Line = dict[str, Any]
START = dt.datetime(2024, 2, 28)


def table(seed: int) -> pl.DataFrame:
    """A few rows with nulls, NaN, ties in time and groups of one, in no order."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 24))

    def of(values: list[Any], missing: float = 0.15) -> list[Any]:
        drawn = [values[i] for i in rng.integers(0, len(values), n)]
        return [None if rng.random() < missing else v for v in drawn]

    hours = of(list(range(12)), 0.1)
    floats = [v if v is None or rng.random() > 0.1 else math.nan for v in of([0.5, 1.5, -2.0, 4.0, 1e6])]
    frame = pl.DataFrame(
        {
            ROW: pl.Series(range(n), dtype=pl.UInt32),
            "g": pl.Series(of(["a", "b", "c"]), dtype=pl.String),
            "h": pl.Series(of([1, 2]), dtype=pl.Int16),
            "t": pl.Series(hours, dtype=pl.Int32),
            "ts": pl.Series([None if h is None else START + dt.timedelta(hours=h) for h in hours], dtype=pl.Datetime),
            "x": pl.Series(floats, dtype=pl.Float64),
            "i": pl.Series(of([0, 3, 7, -5]), dtype=pl.Int8),
            "c": pl.Series(of(["u", "v", "w|", "V x, 9!"]), dtype=pl.String),
        }
    )
    return frame.sample(fraction=1, shuffle=True, seed=seed)


# ------------------------------------------------------------------------------------------------- plain definitions


def there(values: list[Any]) -> list[Any]:
    return [v for v in values if v is not None and not (isinstance(v, float) and math.isnan(v))]


def group(lines: list[Line], line: Line, by: tuple[str, ...]) -> list[Line]:
    return [o for o in lines if all(o[b] == line[b] for b in by)]


def before(lines: list[Line], line: Line, by: tuple[str, ...] = ("g",), *, with_it: bool = False) -> list[Line]:
    """The earlier rows of the group, oldest first."""
    if line["t"] is None:
        return []
    same = [o for o in group(lines, line, by) if o["t"] is not None]
    same.sort(key=lambda o: (o["t"], o[ROW]))
    place = (line["t"], line[ROW])
    return [o for o in same if (o["t"], o[ROW]) < place or (with_it and o[ROW] == line[ROW])]


def statistic(values: list[Any], stat: str) -> Any:
    known = there(values)
    if stat == "count":
        return len(known)
    if stat == "nulls":
        return len(values) - len(known)
    if stat == "nunique":
        return len(set(known))
    if stat == "sum":
        return sum(known)
    if not known or (stat == "std" and len(known) < 2):
        return None
    if stat.startswith("q"):
        return float(np.quantile(known, float(stat[1:]) / 100))
    if stat == "skew":
        spread = np.std(known)
        return None if spread < 1e-9 else float(np.mean((np.array(known) - np.mean(known)) ** 3) / spread**3)
    named: dict[str, Callable[[list[Any]], Any]] = {
        "mean": statistics.fmean,
        "std": lambda v: float(np.std(v, ddof=1)),
        "min": min,
        "max": max,
        "median": statistics.median,
    }
    return named[stat](known)


def window(lines: list[Line], line: Line, size: int, closed: str, by: tuple[str, ...] = ("g",)) -> list[Line]:
    same = [o for o in group(lines, line, by) if o["t"] is not None]
    low, high = line["t"] - size, line["t"]
    inside = {
        "left": lambda t: low <= t < high,
        "right": lambda t: low < t <= high,
        "both": lambda t: low <= t <= high,
    }[closed]
    return [o for o in same if inside(o["t"])]


def timed(plain: Callable[[list[Line], Line], tuple[Any, ...]]) -> Callable[[list[Line], Line], tuple[Any, ...]]:
    """Null throughout for a row without a time."""

    def of(lines: list[Line], line: Line) -> tuple[Any, ...]:
        if line["t"] is not None:
            return plain(lines, line)
        return (None,) * len(plain(lines, {**line, "t": 0}))

    return of


def lagged(lines: list[Line], line: Line, column: str, n: int) -> Any:
    earlier = before(lines, line)
    if n < 0:
        later = [o for o in group(lines, line, ("g",)) if o["t"] is not None]
        later = [o for o in later if (o["t"], o[ROW]) > (line["t"], line[ROW])]
        earlier = sorted(later, key=lambda o: (o["t"], o[ROW]), reverse=True)
    return earlier[-abs(n)][column] if len(earlier) >= abs(n) else None


def position(lines: list[Line], line: Line, kind: str) -> Any:
    known = there([o["x"] for o in group(lines, line, ("g",))])
    value = line["x"]
    if not there([value]):
        return None
    less, same = sum(v < value for v in known), sum(v == value for v in known)
    if kind == "rank":
        return less + 1
    if kind == "percentile":
        return (less + (same + 1) / 2 - 0.5) / len(known)
    mean, std = statistics.fmean(known), statistic(known, "std")
    if kind == "difference":
        return value - mean
    above, below = {"ratio": (value, mean), "zscore": (value - mean, std), "share": (value, sum(known))}[kind]
    return above / below if below else None


def session_numbers(lines: list[Line]) -> dict[int, int | None]:
    """Sessions of g by a gap of more than 2."""
    numbers: dict[int, int | None] = {}
    for line in lines:
        if line["t"] is None:
            numbers[line[ROW]] = None
            continue
        times = [o["t"] for o in before(lines, line, with_it=True)]
        numbers[line[ROW]] = sum(b - a > 2 for a, b in pairwise(times))
    return numbers


def in_session(lines: list[Line], line: Line) -> tuple[Any, ...]:
    numbers = session_numbers(lines)
    own = [o for o in group(lines, line, ("g",)) if numbers[o[ROW]] == numbers[line[ROW]] and o["t"] is not None]
    own.sort(key=lambda o: (o["t"], o[ROW]))
    at = [o[ROW] for o in own].index(line[ROW])
    first, last = own[0]["t"], own[-1]["t"]
    return (
        at,
        len(own) - 1 - at,
        len(own),
        (last - first) * 3600,
        (line["t"] - first) * 3600,
        at == 0,
        at == len(own) - 1,
    )


def most_frequent(lines: list[Line], column: str) -> list[Any]:
    counted = Counter(there([o[column] for o in lines]))
    return sorted(counted, key=lambda v: (-counted[v], v))


def joined(line: Line, *columns: str) -> str:
    parts = [None if line[c] is None else str(line[c]) for c in columns]
    return "|".join("\\0" if p is None else p.replace("\\", "\\\\").replace("|", "\\|") for p in parts)


def forms(text: str | None) -> tuple[Any, ...]:
    if text is None:
        return (None,) * 5
    letters, upper = [c for c in text if c.isalpha()], [c for c in text if c.isupper()]
    marks = sum(not c.isalnum() and not c.isspace() for c in text)
    share = len(upper) / len(letters) if letters else None
    return len(text), len(re.findall(r"\w+", text)), sum(c.isdigit() for c in text), marks, share


def plain_hash(text: str) -> int:
    prime, mask, raw = 0x100000001B3, 2**64 - 1, text.encode()
    value = (sum((b + 1) * prime ** (i + 1) for i, b in enumerate(raw)) + len(raw)) & mask
    value = (value + 0x9E3779B97F4A7C15) & mask
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & mask
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & mask
    return value ^ (value >> 31)


def ngram_counts(text: str | None, of: str, sizes: tuple[int, ...], buckets: int, *, signed: bool) -> tuple[int, ...]:
    counts = [0] * buckets
    tokens = re.findall(r"\w+" if of == "words" else r"(?s).", (text or "").lower())
    for size in sizes:
        for i in range(len(tokens) - size + 1):
            value = plain_hash((" " if of == "words" else "").join(tokens[i : i + size]))
            counts[(value >> 1) % buckets] += -1 if signed and value & 1 else 1
    return tuple(counts)


# ------------------------------------------------------------------------------------------------------------- cases

STATS = ["count", "nulls", "nunique", "sum", "mean", "std", "skew", "min", "max", "median", "q25"]
FEASTS = [dt.date(2024, 2, 29), dt.date(2024, 2, 20)]


@dataclass(frozen=True)
class Case:
    """A recipe, its plain definition for one row, whether parts by g give the same, whether it sees only the past."""

    name: str
    made: Callable[[pl.LazyFrame], Any]
    plain: Callable[[list[Line], Line], tuple[Any, ...]]
    local: bool = True
    past: bool = False


def first_last(lines: list[Line], line: Line) -> tuple[Any, ...]:
    same = [o for o in group(lines, line, ("g",)) if o["t"] is not None and there([o["x"]])]
    same.sort(key=lambda o: (o["t"], o[ROW]))
    return (same[0]["x"], same[-1]["x"]) if same else (None, None)


def since(lines: list[Line], line: Line, where: Callable[[Line], bool], scale: int, *, ahead: bool = False) -> Any:
    if ahead:
        same = [o for o in group(lines, line, ("g",)) if o["t"] is not None and where(o)]
        times = [o["t"] for o in same if (o["t"], o[ROW]) > (line["t"], line[ROW])]
        return (min(times) - line["t"]) * scale if times else None
    times = [o["t"] for o in before(lines, line) if where(o)]
    return (line["t"] - times[-1]) * scale if times else None


def feast_distance(lines: list[Line], line: Line) -> tuple[Any, ...]:
    if line["ts"] is None:
        return None, None, None
    days = [(line["ts"].date() - d).days for d in FEASTS]
    past, coming = [d for d in days if d >= 0], [-d for d in days if d <= 0]
    return min(map(abs, days)), min(past, default=None), min(coming, default=None)


def codes(lines: list[Line], line: Line) -> tuple[Any, ...]:
    values = sorted(set(there([o["c"] for o in lines])))
    return (values.index(line["c"]) if line["c"] is not None else None,)


def rare(lines: list[Line], line: Line) -> tuple[Any, ...]:
    counted = Counter(o["c"] for o in lines)
    kept = [v for v in most_frequent(lines, "c") if counted[v] >= 2][:2]
    return (None if line["c"] is None else line["c"] if line["c"] in kept else "(rare)",)


def parts_of(lines: list[Line], line: Line) -> tuple[Any, ...]:
    at = line["ts"]
    if at is None:
        return (None,) * 6
    end = (at + dt.timedelta(days=1)).month != at.month
    return (
        at.isocalendar().week,
        at.timetuple().tm_yday,
        at.isoweekday(),
        end,
        (at - dt.datetime(1970, 1, 1)).days,
        at.hour,
    )


def pivot(lines: list[Line], line: Line, kind: str) -> tuple[Any, ...]:
    same = group(lines, line, ("g", "h"))
    made = []
    for value in most_frequent(lines, "c")[:2]:
        hit = [o for o in same if o["c"] == value]
        mean = statistic([o["x"] for o in hit], "mean")
        made.append({"count": len(hit), "share": len(hit) / len(same), "mean": mean}[kind])
    return tuple(made)


def bought(o: Line) -> bool:
    return o["i"] is not None and o["i"] > 0


COUNTED = ["count", "sum", "mean", "std", "min", "max", "median"]
POSITIONS = ["difference", "ratio", "zscore", "share", "rank", "percentile"]
SESSIONS = ["position", "from_end", "length", "duration", "since_start", "is_first", "is_last"]

CASES = [
    Case(
        "group_stats",
        lambda r: f.group_stats(r, "g", columns=["x", "i"], stats=STATS),
        lambda lines, line: tuple(
            statistic([o[c] for o in group(lines, line, ("g",))], s) for c in ("x", "i") for s in STATS
        ),
    ),
    Case(
        "group_stats_of_two_keys",
        lambda r: f.group_stats(r, ["g", "h"], columns=["c", "g"], stats=["nunique", "count", "nulls"]),
        lambda lines, line: tuple(
            statistic([o[c] for o in group(lines, line, ("g", "h"))], s)
            for c in "cg"
            for s in ("nunique", "count", "nulls")
        ),
    ),
    Case(
        "group_stats_first_last",
        lambda r: f.group_stats(r, "g", columns="x", stats=["first", "last"], order_by="t"),
        first_last,
    ),
    Case(
        "counts",
        lambda r: f.counts(r, ["g", "x"], kinds="count"),
        lambda lines, line: (
            sum(o["g"] == line["g"] and (o["x"] == line["x"] or str(o["x"]) == str(line["x"])) for o in lines),
        ),
    ),
    Case(
        "frequencies",
        lambda r: f.frequencies(r, ["c", "h"], kinds=["count", "share"]),
        lambda lines, line: tuple(
            v for c in "ch" for n in [sum(o[c] == line[c] for o in lines)] for v in (n, n / len(lines))
        ),
        local=False,
    ),
    Case(
        "group_position",
        lambda r: f.group_position(r, "g", columns="x", kinds=POSITIONS),
        lambda lines, line: tuple(position(lines, line, k) for k in POSITIONS),
    ),
    *[
        Case(
            f"top_pivot_{kind}",
            lambda r, kind=kind: f.top_pivot(
                r, ["g", "h"], column="c", values=2, kind=kind, of="x" if kind == "mean" else None
            ),
            lambda lines, line, kind=kind: pivot(lines, line, kind),
            local=False,
        )
        for kind in ("count", "share", "mean")
    ],
    Case(
        "lags",
        lambda r: f.lags(r, "g", columns=["x", "c"], order_by="t", n=[1, 3]),
        timed(lambda lines, line: tuple(lagged(lines, line, c, n) for c in "xc" for n in (1, 3))),
        past=True,
    ),
    Case(
        "leads",
        lambda r: f.lags(r, "g", columns="c", order_by="ts", n=-2),
        timed(lambda lines, line: (lagged(lines, line, "c", -2),)),
    ),
    Case(
        "differences",
        lambda r: f.differences(r, "g", columns=["i", "ts"], order_by="t"),
        timed(
            lambda lines, line: (
                None if line["i"] is None or (p := lagged(lines, line, "i", 1)) is None else line["i"] - p,
                None if (p := lagged(lines, line, "t", 1)) is None else (line["t"] - p) * 3600,
            )
        ),
        past=True,
    ),
    *[
        Case(
            f"rolling_{closed}",
            lambda r, closed=closed: f.rolling(
                r, "g", columns=["x", "i"], order_by="ts", windows="3h", stats=COUNTED, closed=closed
            ),
            timed(
                lambda lines, line, closed=closed: tuple(
                    statistic([o[c] for o in window(lines, line, 3, closed)], s) for c in "xi" for s in COUNTED
                )
            ),
            past=closed == "left",
        )
        for closed in ("left", "right", "both")
    ],
    Case(
        "rolling_rows",
        lambda r: f.rolling(r, "g", columns=["x", "i"], order_by="t", windows=[3], stats=COUNTED),
        timed(
            lambda lines, line: tuple(
                statistic([o[c] for o in before(lines, line)[-3:]], s) for c in "xi" for s in COUNTED
            )
        ),
        past=True,
    ),
    Case(
        "rolling_rows_with_it",
        lambda r: f.rolling(r, "g", columns="x", order_by="t", windows=2, stats=COUNTED, closed="right"),
        timed(
            lambda lines, line: tuple(
                statistic([o["x"] for o in before(lines, line, with_it=True)[-2:]], s) for s in COUNTED
            )
        ),
        past=True,
    ),
    Case(
        "rolling_whole_numbers",
        lambda r: f.rolling(r, None, columns="i", order_by="t", windows="4i", stats="sum"),
        timed(lambda lines, line: (statistic([o["i"] for o in window(lines, line, 4, "left", ())], "sum"),)),
        local=False,
        past=True,
    ),
    Case(
        "expanding",
        lambda r: f.expanding(r, "g", columns=["x", "i"], order_by="t", stats=["count", "sum", "mean", "min", "max"]),
        timed(
            lambda lines, line: tuple(
                statistic([o[c] for o in before(lines, line)], s)
                for c in "xi"
                for s in ("count", "sum", "mean", "min", "max")
            )
        ),
        past=True,
    ),
    Case(
        "since_last",
        lambda r: f.since_last(r, "g", order_by="ts"),
        timed(lambda lines, line: (since(lines, line, lambda o: True, 3600),)),
        past=True,
    ),
    Case(
        "since_last_of_a_kind",
        lambda r: f.since_last(r, "g", order_by="t", where=pl.col("i") > 0),
        timed(lambda lines, line: (since(lines, line, bought, 1),)),
        past=True,
    ),
    Case(
        "until_next_of_a_kind",
        lambda r: f.until_next(r, "g", order_by="t", where=pl.col("i") > 0),
        timed(lambda lines, line: (since(lines, line, bought, 1, ahead=True),)),
    ),
    Case(
        "sessions",
        lambda r: f.sessions(r, "g", order_by="ts", gap="2h"),
        lambda lines, line: (session_numbers(lines)[line[ROW]],),
        past=True,
    ),
    Case(
        "session_position",
        lambda r: f.session_position(r, "g", order_by="ts", gap=dt.timedelta(hours=2), kinds=SESSIONS),
        lambda lines, line: in_session(lines, line) if line["t"] is not None else (None,) * 7,
    ),
    Case(
        "distinct_so_far",
        lambda r: f.distinct_so_far(r, "g", columns=["c", "x"], order_by="t"),
        timed(
            lambda lines, line: tuple(len(set(there([o[c] for o in before(lines, line, with_it=True)]))) for c in "cx")
        ),
        past=True,
    ),
    Case(
        "date_parts",
        lambda r: f.date_parts(r, "ts", parts=["week", "day_of_year", "weekday", "is_month_end", "days", "hour"]),
        parts_of,
    ),
    Case(
        "cyclic_dates",
        lambda r: f.cyclic_dates(r, "ts", parts=["hour", "day"]),
        lambda lines, line: (
            (None,) * 4
            if line["ts"] is None
            else tuple(
                w(2 * math.pi * v)
                for v in (line["ts"].hour / 24, (line["ts"].day - 1) / 31)
                for w in (math.sin, math.cos)
            )
        ),
    ),
    Case("holiday_distances", lambda r: f.holiday_distances(r, "ts", dates=FEASTS), feast_distance),
    Case("rare_grouped", lambda r: f.rare_grouped(r, "c", min_count=2, top=2), rare, local=False),
    Case("crosses", lambda r: f.crosses(r, ["c", "g"]), lambda lines, line: (joined(line, "c", "g"),)),
    Case(
        "crosses_hashed",
        lambda r: f.crosses(r, ["c", "g", "h"], pairs=[("c", "h"), ("g", "h", "c")], buckets=50),
        lambda lines, line: (plain_hash(joined(line, "c", "h")) % 50, plain_hash(joined(line, "g", "h", "c")) % 50),
    ),
    Case("ordinal_codes", lambda r: f.ordinal_codes(r, "c"), codes, local=False),
    Case(
        "ordinal_codes_by_frequency",
        lambda r: f.ordinal_codes(r, "c", order="frequency"),
        lambda lines, line: (None if line["c"] is None else most_frequent(lines, "c").index(line["c"]),),
        local=False,
    ),
    Case("text_forms", lambda r: f.text_forms(r, "c"), lambda lines, line: forms(line["c"])),
    Case(
        "hashed_ngrams",
        lambda r: f.hashed_ngrams(r, "c", n=[1, 2], buckets=5),
        lambda lines, line: ngram_counts(line["c"], "words", (1, 2), 5, signed=False),
    ),
    Case(
        "hashed_characters_signed",
        lambda r: f.hashed_ngrams(r, "c", n=3, of="characters", buckets=3, signed=True),
        lambda lines, line: ngram_counts(line["c"], "characters", (3,), 3, signed=True),
    ),
    Case(
        "null_counts",
        lambda r: f.null_counts(r, ["x", "c"]),
        lambda lines, line: (2 - len(there([line["x"], line["c"]])),),
    ),
    Case(
        "together",
        lambda r: f.together(r, f.counts(r, "g"), f.null_counts(r, "c"), (pl.col("t") + 1).alias("t1")),
        lambda lines, line: (
            int(line["c"] is None),
            None if line["t"] is None else line["t"] + 1,
            len(group(lines, line, ("g",))),
        ),
    ),
]
by_name = pytest.mark.parametrize("case", CASES, ids=[c.name for c in CASES])
seeds = st.integers(0, 10_000)
few = settings(max_examples=8)


def computed(case: Case, frame: pl.DataFrame) -> pl.DataFrame:
    rows = frame.lazy()
    made = case.made(rows)
    return (made if isinstance(made, pl.LazyFrame) else rows.select(ROW, *made)).collect().sort(ROW)


def values(frame: pl.DataFrame) -> dict[int, tuple[Any, ...]]:
    return {line[0]: line[1:] for line in frame.select(ROW, pl.exclude(ROW)).rows()}


def close(got: tuple[Any, ...], expected: tuple[Any, ...]) -> bool:
    def same(a: Any, b: Any) -> bool:
        if isinstance(a, str | bool) or isinstance(b, str | bool) or a is None or b is None:
            return bool(a == b)
        if isinstance(a, float) and math.isnan(a):
            return isinstance(b, float) and math.isnan(b)
        return bool(a == pytest.approx(b, rel=2e-6, abs=2e-6))

    return len(got) == len(expected) and all(map(same, got, expected))


@by_name
@given(seed=seeds)
@few
def test_a_recipe_is_its_plain_definition(case: Case, seed: int) -> None:
    frame = table(seed)
    assume("pivot" not in case.name or frame["c"].count())
    lines = frame.to_dicts()
    got = values(computed(case, frame))
    assert sorted(got) == list(range(frame.height))
    for line in lines:
        expected = case.plain(lines, line)
        assert close(got[line[ROW]], expected), (line, got[line[ROW]], expected)


@by_name
@given(seed=seeds)
@few
def test_the_order_of_the_rows_does_not_matter(case: Case, seed: int) -> None:
    frame = table(seed)
    assume("pivot" not in case.name or frame["c"].count())
    one, other = computed(case, frame), computed(case, frame.sort(ROW))
    assert one.schema == other.schema
    assert all(close(a, b) for a, b in zip(one.rows(), other.rows(), strict=True))


@pytest.mark.parametrize("case", [c for c in CASES if c.local], ids=lambda c: c.name)
@given(seed=seeds)
@few
def test_parts_give_what_the_whole_gives(case: Case, seed: int) -> None:
    frame = table(seed)
    whole = computed(case, frame)
    parts = [computed(case, part) for part in frame.partition_by("g")]
    assert all(part.schema == whole.schema for part in parts)
    assert all(close(a, b) for a, b in zip(pl.concat(parts).sort(ROW).rows(), whole.rows(), strict=True))


@pytest.mark.parametrize("case", [c for c in CASES if c.past], ids=lambda c: c.name)
@given(seed=seeds, now=st.integers(0, 11))
@few
def test_nothing_is_seen_of_the_future(case: Case, seed: int, now: int) -> None:
    frame = table(seed)
    later = pl.col("t") > now
    changed = frame.with_columns(
        pl.when(later).then(-3.0).otherwise("x").alias("x"),
        pl.when(later).then(7).otherwise("i").cast(pl.Int8).alias("i"),
        pl.when(later).then(pl.lit("new")).otherwise("c").alias("c"),
    ).filter(~later.fill_null(value=False) | (pl.col(ROW) % 2 == 0))
    known = frame.filter(pl.col("t") <= now)[ROW].to_list()
    one, other = values(computed(case, frame)), values(computed(case, changed))
    assert all(close(one[row], other[row]) for row in known)


def test_every_recipe_has_cases_and_an_example_that_runs() -> None:
    tried = inspect.getsource(sys.modules[__name__])
    for name in recipes.__all__:
        made = getattr(f, name)
        text = inspect.getdoc(made) or ""
        assert ">>> " in text, name
        assert f"{name}(" in text.split("Examples")[1], name
        assert re.search(r"\b(null|missing|nan)", text.lower()), f"{name} does not say what becomes of nulls"
        assert f"f.{name}(" in tried, name


# -------------------------------------------------------------------------------------------------- single behaviours


def rows_of(**columns: Any) -> pl.LazyFrame:
    n = len(next(iter(columns.values())))
    return pl.LazyFrame({ROW: pl.Series(range(n), dtype=pl.UInt32), **columns})


class TestNames:
    def test_names_say_what_they_are(self) -> None:
        rows = rows_of(g=["a", "b"], h=[1, 2], x=[1.0, 2.0], t=[1, 2])
        made = f.group_stats(rows, ["g", "h"], columns="x", stats=["mean", "q2.5"])
        assert made.collect_schema().names() == [ROW, "x_mean_by_g_h", "x_q2.5_by_g_h"]
        made = f.rolling(rows, "g", columns="x", order_by="t", windows=[3, "7i"], prefix="p_", suffix="")
        assert made.collect_schema().names() == [ROW, "p_x_mean_3", "p_x_mean_7i"]
        made = f.expanding(rows, None, columns="x", order_by="t", stats="max")
        assert made.collect_schema().names() == [ROW, "x_max_before"]
        made = f.session_position(rows, "g", order_by="t", gap=3, kinds="position")
        assert made.collect_schema().names() == [ROW, "position_by_g_session"]

    def test_numbers_are_as_narrow_as_they_may_be(self) -> None:
        rows = rows_of(g=["a", "b"], x=pl.Series([1.0, 2.0], dtype=pl.Float32), i=[1, 2], t=[1, 2])
        stats = ["count", "mean", "sum", "min"]
        made = f.group_stats(rows, "g", columns=["x", "i"], stats=stats).collect_schema()
        assert list(made.dtypes()[1:]) == [pl.UInt32, *[pl.Float32] * 3, pl.UInt32, pl.Float64, pl.Int64, pl.Int64]

    def test_whole_numbers_do_not_overflow(self) -> None:
        big = pl.Series([2**31 - 1] * 3, dtype=pl.Int32)
        rows = rows_of(g=["a"] * 3, x=big, t=[1, 2, 3])
        assert f.group_stats(rows, "g", columns="x", stats="sum").collect()["x_sum_by_g"][0] == 3 * (2**31 - 1)
        made = f.rolling(rows, "g", columns="x", order_by="t", windows=2, stats="sum").sort(ROW).collect()
        assert made["x_sum_2_by_g"][2] == 2 * (2**31 - 1)
        low = rows_of(x=pl.Series([250, 3], dtype=pl.UInt8), t=[1, 2])
        assert f.differences(low, None, columns="x", order_by="t").collect()["x_diff1"].to_list() == [None, -247]


class TestErrors:
    ROWS = rows_of(g=["a"], x=[1.0], t=[1], ts=[START], c=["u"])

    @pytest.mark.parametrize(
        ("call", "message"),
        [
            (lambda r: f.group_stats(r, "gg", columns="x"), r"group_stats: by: rows have no column 'gg'\n.*'g'"),
            (lambda r: f.group_stats(r, [], columns="x"), "by is empty"),
            (lambda r: f.group_stats(r, ["g", "g"], columns="x"), "names 'g' twice"),
            (lambda r: f.group_stats(r, 3, columns="x"), "by=3 must be a column's name"),
            (lambda r: f.group_stats(r, "g", columns="c"), "\"mean\" needs numbers, but 'c' is a String"),
            (lambda r: f.group_stats(r, "g", columns="x", stats="men"), r"'men' is not known\n.*'mean'"),
            (lambda r: f.group_stats(r, "g", columns="x", stats="q101"), "'q101' is not known"),
            (lambda r: f.group_stats(r, "g", columns="x", stats="first"), "need an order"),
            (lambda r: f.group_stats(r, "g", columns="x", stats=[]), "stats is empty"),
            (lambda r: f.group_stats(r, "g", columns="x", sufix="_x"), "no argument 'sufix'"),
            (lambda r: f.group_stats(r, "g", columns="x", suffix=3), "suffix=3 must be a text"),
            (lambda r: f.group_stats(r.collect(), "g", columns="x"), "must be a LazyFrame, got a DataFrame"),
            (lambda r: f.group_stats(r.drop(ROW), "g", columns="x"), "no row key"),
            (
                lambda r: f.rolling(r, "g", columns="x", order_by="t", windows="7d"),
                "a duration, but 't' is a Int64",
            ),
            (lambda r: f.rolling(r, "g", columns="x", order_by="ts", windows="7i"), "counts whole numbers, but 'ts'"),
            (lambda r: f.rolling(r, "g", columns="x", order_by="ts", windows="soon"), "'soon' is not a window"),
            (lambda r: f.rolling(r, "g", columns="x", order_by="ts", windows="0d"), "'0d' is not a window"),
            (lambda r: f.rolling(r, "g", columns="x", order_by="c", windows=3), "order_by must be a time"),
            (lambda r: f.rolling(r, "g", columns="x", order_by="t", windows=0), "whole number of at least 1"),
            (lambda r: f.rolling(r, "g", columns="x", order_by="t", windows=[]), "windows is empty"),
            (lambda r: f.rolling(r, "g", columns="x", order_by="t", windows=1, closed="none"), "closed: 'none'"),
            (lambda r: f.lags(r, "g", columns="x", order_by="t", n=0), "other than 0"),
            (lambda r: f.differences(r, "g", columns="c", order_by="t"), "a difference needs numbers"),
            (lambda r: f.since_last(r, "g", order_by="t", where=pl.col("x")), "where must be true or false"),
            (lambda r: f.since_last(r, "g", order_by="t", where="x"), "where='x' must be an expression"),
            (lambda r: f.since_last(r, "g", order_by=["t", "x"]), "must be one column's name"),
            (lambda r: f.sessions(r, "g", order_by="t", gap="30m"), "gap='30m', but 't' is a Int64"),
            (lambda r: f.sessions(r, "g", order_by="ts", gap=30), "gap=30 is not a duration"),
            (lambda r: f.sessions(r, "g", order_by="ts", gap="1mo"), "not a duration"),
            (lambda r: f.date_parts(r, "t"), "'t' is a Int64, expected a Date or Datetime"),
            (lambda r: f.holiday_distances(r, "ts", dates=[]), "expected dates, got none"),
            (lambda r: f.holiday_distances(r, "ts", dates=["2024-01-01"]), "expected dates, got '2024-01-01'"),
            (lambda r: f.rare_grouped(r, "c"), "nothing would be rare"),
            (lambda r: f.rare_grouped(r, "c", top=0), "whole number of at least 1"),
            (lambda r: f.rare_grouped(r, "c", counted_in=r.drop("c")), "counted_in has no column 'c'"),
            (lambda r: f.crosses(r, ["c"]), "not a pair"),
            (lambda r: f.crosses(r, ["c", "g"], buckets=1), "whole number of at least 2"),
            (lambda r: f.hashed_ngrams(r, "x"), "needs texts, but 'x' is a Float64"),
            (lambda r: f.hashed_ngrams(r, "c", n=0), "whole number of at least 1"),
            (lambda r: f.top_pivot(r, "g", column="c", values=0), "whole number of at least 1"),
            (lambda r: f.top_pivot(r, "g", column="c", kind="mean"), "kind='mean' with of=None"),
            (lambda r: f.top_pivot(r.with_columns(c=None), "g", column="c"), "no value to make a column of"),
            (lambda r: f.svd_embeddings(r, "g", items="c", n=0), "whole number of at least 1"),
            (lambda r: f.text_embeddings(r, "c", weight="bm25"), "'bm25' is not known"),
            (lambda r: f.together(r, 3), "got a int"),
            (lambda r: f.together(r, pl.col("x"), [pl.col("x")]), "give a column 'x'"),
        ],
    )
    def test_wrong_arguments_are_explained(self, call: Callable[[pl.LazyFrame], Any], message: str) -> None:
        with pytest.raises(FeatureError, match=message) as caught:
            call(self.ROWS)
        assert caught.value.hint

    def test_a_missing_package_is_explained(self, monkeypatch) -> None:
        monkeypatch.setitem(sys.modules, "sklearn.utils.extmath", None)
        with pytest.raises(FeatureError, match=r"needs scikit-learn.*\n.*\[features\]"):
            f.svd_embeddings(self.ROWS, "g", items="c")


class TestCategories:
    def test_values_may_be_counted_in_train_alone(self) -> None:
        rows, train = rows_of(c=["x", "x", "y", "y", None]), pl.LazyFrame({"c": ["y", "x", "y"]})
        made = f.rare_grouped(rows, "c", min_count=2, counted_in=train).sort(ROW).collect()
        assert made["c_grouped"].to_list() == ["(rare)", "(rare)", "y", "y", None]

    def test_columns_of_a_pivot_may_be_given(self) -> None:
        rows = rows_of(g=[1, 1], c=["x", "y"])
        made = f.top_pivot(rows, "g", column="c", values=["z", "x"])
        assert made.collect().columns == [ROW, "c_z_count_by_g", "c_x_count_by_g"]

    @given(st.lists(st.text(max_size=6), max_size=8))
    @settings(max_examples=60)
    def test_hashes_are_those_of_the_plain_definition(self, texts: list[str]) -> None:
        texts = [t for t in texts if t.isprintable()]
        assert hash_texts(pl.Series(texts, dtype=pl.String)).tolist() == [plain_hash(t) for t in texts]

    def test_crosses_tell_apart_what_differs(self) -> None:
        rows = rows_of(a=["x|", "x", None, "\\0", ""], b=["y", "|y", "", "", None])
        made = rows.select(f.crosses(rows, ["a", "b"])).collect()["a_x_b"]
        assert made.n_unique() == 5


class TestEmbeddings:
    def frame(self) -> pl.DataFrame:
        rng = np.random.default_rng(3)
        users = rng.integers(0, 30, 400)
        items = (users % 2) * 10 + rng.integers(0, 10, 400)
        frame = pl.DataFrame({"user": users, "item": items}).with_row_index(ROW)
        return frame.with_columns(pl.when(pl.col(ROW) == 7).then(None).otherwise("item").alias("item"))

    @pytest.mark.parametrize("weight", ["count", "binary", "log", "tfidf"])
    def test_vectors_give_the_inner_products_of_the_plain_svd(self, weight: str) -> None:
        frame = self.frame()
        made = f.svd_embeddings(frame.lazy(), "user", items="item", n=4, weight=weight).collect().sort(ROW)
        counts = np.zeros((30, 20))
        for user, item in frame.drop_nulls().select("user", "item").rows():
            counts[user, item] += 1
        matrix = {
            "count": counts,
            "binary": np.minimum(counts, 1),
            "log": np.where(counts > 0, 1 + np.log(np.maximum(counts, 1)), 0),
            "tfidf": counts * (np.log(31 / (1 + (counts > 0).sum(axis=0))) + 1),
        }[weight]
        if weight == "tfidf":
            matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
        left, size, _ = np.linalg.svd(matrix)
        best = left[:, :4] * size[:4]
        got = np.zeros((30, 4))
        got[frame.sort(ROW)["user"]] = made.select(pl.exclude(ROW)).to_numpy()
        np.testing.assert_allclose(got @ got.T, best @ best.T, atol=0.02)

    def test_they_are_the_same_every_time_in_any_order(self) -> None:
        frame = self.frame()
        one = f.svd_embeddings(frame.lazy(), "user", items="item").collect().sort(ROW)
        other = f.svd_embeddings(frame.reverse().lazy(), "user", items="item").collect().sort(ROW)
        assert one.equals(other)

    def test_what_has_no_item_is_null_and_what_is_too_small_is_filled_with_zeros(self) -> None:
        rows = rows_of(g=["a", "b", None], item=["x", None, "y"])
        made = f.svd_embeddings(rows, "g", items="item", n=3).sort(ROW).collect()
        assert made["item_svd0_by_g"].null_count() == 1
        assert made["item_svd2_by_g"].to_list() == [0.0, None, 0.0]
        empty = f.text_embeddings(rows_of(c=["", None, "!"]), "c", n=2).collect()
        assert empty["c_svd1"].null_count() == 3

    def test_only_the_most_frequent_items_count(self) -> None:
        rows = rows_of(g=[1, 2, 3, 3], item=["x", "x", "y", "z"])
        made = f.svd_embeddings(rows, "g", items="item", n=1, max_items=2).sort(ROW).collect()
        assert made["item_svd0_by_g"].null_count() == 0
        made = f.svd_embeddings(rows, "g", items="item", n=1, max_items=1).sort(ROW).collect()
        assert made["item_svd0_by_g"].null_count() == 2
