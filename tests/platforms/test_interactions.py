"""``[interactions]`` of a `competition.toml`, and durations."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.core.errors import ConfigError, NotFoundError
from workbench.data.competition.definition import Definition, read_definition
from workbench.platforms.interactions import (
    InteractionsSpec,
    duration_text,
    invalid_values,
    parse_duration,
    parse_weights,
)

HEAD = """
slug = "journey"
task = "recommend"
id = "household_id"
target = "products"
metric = "recall@20"
"""
LOG = """
[interactions]
user = "household_id"
item = "product_id"
time = "bought_at"
horizon = "28d"
"""
KINDS = LOG + 'kind = "type"\nid = "{user}_{kind}"\nweights = { clicks = 0.1, carts = 0.9 }\n'


@pytest.fixture
def read(tmp_path: Path):
    def made(text: str) -> Definition:
        path = tmp_path / "competition.toml"
        path.write_text(text, encoding="utf-8")
        return read_definition(path, "journey")

    return made


def test_what_is_left_out_has_defaults(read) -> None:
    d = read(HEAD + LOG)
    assert d.interactions == InteractionsSpec("household_id", "product_id", "bought_at", 28 * 86_400)
    assert (d.interactions.cut, d.interactions.unit, d.interactions.id) == ("last", "s", "{user}")
    assert (d.list_length, d.cv.folds) == (20, 5)


def test_everything_is_read(read) -> None:
    more = 'unit = "ms"\ncut = "session"\nfirst = ["clicks"]\nusers = "households"\nitems = "products"\n'
    log = read(HEAD + KINDS.replace("28d", "12h") + more).interactions
    assert log == InteractionsSpec(
        user="household_id",
        item="product_id",
        time="bought_at",
        horizon_s=12 * 3600,
        kind="type",
        unit="ms",
        cut="session",
        id="{user}_{kind}",
        weights={"clicks": 0.1, "carts": 0.9},
        first=("clicks",),
        users="households",
        items="products",
    )
    assert log.columns == ("household_id", "product_id", "bought_at", "type")
    assert (log.predicts_each_type, log.id_of("12", "carts")) == (True, "12_carts")


def test_other_tasks_have_no_log(read) -> None:
    assert read(HEAD.replace("recommend", "regression").replace("recall@20", "rmse")).interactions is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEAD, r"needs a table \[interactions\]\nadd user, item and time"),
        (
            HEAD.replace("recommend", "multiclass") + LOG,
            r"\[interactions\] is for the task recommend, got task = 'multi",
        ),
        (HEAD + LOG.replace("28d", "28 days"), r"interactions.horizon = '28 days' is not a duration\nwrite \"28d\""),
        (HEAD + LOG.replace('"28d"', "28"), "interactions.horizon: .*valid string"),
        (HEAD + LOG.replace("28d", "0d"), "interactions.horizon: 0 s is not a valid horizon"),
        (HEAD + LOG.replace('horizon = "28d"', ""), "'interactions.horizon' is missing"),
        (HEAD + LOG + 'usr = "x"\n', "unknown key 'interactions.usr'.*'user'"),
        (HEAD + LOG.replace("product_id", "household_id"), "interactions.item: 'household_id' is named twice"),
        (HEAD + LOG.replace("product_id", ""), "interactions.item: .*at least 1 character"),
        (HEAD + LOG + 'unit = "sec"\n', "interactions.unit: 'sec' is none of s, ms, us, ns"),
        (HEAD + LOG + 'cut = "sesion"\n', "interactions.cut: 'sesion' is none of last, session\n.*'session'"),
        (HEAD + LOG + 'id = "{usr}"\n', "interactions.id: '{usr}' must contain {user} once"),
        (HEAD + LOG + 'id = "7"\n', "interactions.id: '7' must contain {user} once"),
        (HEAD + LOG + 'id = "{user}_{kind}"\n', "interactions.id: .* no column of types is named\nadd kind"),
        (HEAD + KINDS.replace("weights", "# weights"), "interactions.weights: missing: ids contain the type"),
        (
            HEAD + KINDS.replace('id = "{user}_{kind}"', ""),
            "interactions.weights: they are for ids that contain the type",
        ),
        *(
            (HEAD + KINDS.replace("0.1", weight), f"interactions.weights: clicks = {weight}: expected a number above 0")
            for weight in ("-0.1", "0.0", "inf", "nan")
        ),
        (HEAD + KINDS.replace("0.1", '"x"'), "interactions.weights.clicks: .*valid number"),
        (HEAD + KINDS + 'first = ["click"]\n', "interactions.first: 'click' is not among the types .*\n.*'clicks'"),
        (HEAD.replace('"household_id"', '["a", "b"]') + LOG, "the task recommend needs a single id column, got"),
        (HEAD.replace('"products"', '["a", "b"]') + LOG, "the task recommend needs a single target column, got"),
        (HEAD + 'weight = "w"\n' + LOG, "weight is not for the task recommend"),
        (HEAD + 'id_in_test = "w"\n' + LOG, "id_in_test is not for the task recommend"),
        (
            HEAD + LOG + '[cv]\nscheme = "stratified"\n',
            "recommend is scored by windows of time, or by users\nremove scheme",
        ),
        (
            HEAD + LOG + '[cv]\nscheme = "users"\nwindows = 2\n',
            'cv.windows = 2, but cv.scheme = "users" has a single window',
        ),
        (HEAD + LOG + "[cv]\nwindows = 0\n", "cv.windows: .*greater than or equal to 1"),
        (
            HEAD.replace("recommend", "binary") + '[cv]\nscheme = "users"\n',
            "cv.scheme = 'users' is for the task recommend",
        ),
        (HEAD.replace("recommend", "binary") + "[cv]\nwindows = 2\n", "cv.windows = 2 is for the task recommend"),
        (HEAD.replace("recall@20", "auc") + LOG, "metric = 'auc' does not score lists.*\none of map@K, .*mrr@K"),
    ],
)
def test_what_is_wrong_is_named(read, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=r"(?s)competition\.toml: .*" + message):
        read(text)


def test_a_metric_without_a_length_is_explained(read) -> None:
    with pytest.raises(NotFoundError, match="write recall@K"):
        read(HEAD.replace("recall@20", "recall") + LOG)


@given(st.integers(1, 10**9))
def test_durations_are_read_as_they_are_written(seconds: int) -> None:
    found = parse_duration(duration_text(seconds))
    assert found is not None
    assert found.total_seconds() == seconds


def test_a_duration_is_written_in_the_largest_whole_unit_up_to_days() -> None:
    written = [duration_text(s) for s in (0, 1, 59, 60, 61, 3600, 5400, 86_400, 90_000, 14 * 86_400)]
    assert written == ["0s", "1s", "59s", "1m", "61s", "1h", "90m", "1d", "25h", "14d"]
    read = [parse_duration(text) for text in ("90s", "1.5m", "2h", "1d", "2w", "0s", "s", "1y", "h1")]
    seconds = [None if d is None else d.total_seconds() for d in read]
    assert seconds == [90, 90, 7200, 86_400, 1_209_600, 0, None, None, None]


SPEC = InteractionsSpec("u", "i", "t", 60)
TYPED = replace(SPEC, kind="k", id="{user}_{kind}", weights={"clicks": 0.5, "carts": 1.0}, weight="w")


@pytest.mark.parametrize("spec", [SPEC, TYPED, replace(TYPED, first=("clicks",), horizon_s=1, unit="ns")])
def test_nothing_is_wrong_with_what_fits_together(spec: InteractionsSpec) -> None:
    assert list(invalid_values(spec)) == []


@pytest.mark.parametrize(
    ("spec", "wrong", "hint"),
    [
        (replace(SPEC, item="u"), ["item"], "name another column"),
        (replace(SPEC, time="u"), ["time"], "name another column"),
        (replace(SPEC, kind="u"), ["kind"], "name another column"),
        (replace(SPEC, weight="t"), ["time", "weight"], "name another column"),
        (replace(SPEC, item="x", time="x"), ["item", "time"], "name another column"),
        (replace(SPEC, unit="sec"), ["unit"], ""),
        (replace(SPEC, cut="sesion"), ["cut"], "session"),
        (replace(SPEC, horizon_s=0), ["horizon"], "write a duration"),
        (replace(SPEC, horizon_s=-1), ["horizon"], "write a duration"),
        (replace(SPEC, id=""), ["id"], 'write "{user}"'),
        (replace(SPEC, id="{user}{user}"), ["id"], 'write "{user}"'),
        (replace(TYPED, id="{kind}"), ["id"], 'write "{user}"'),
        (replace(TYPED, id="{user}{kind}{kind}"), ["id"], 'write "{user}"'),
        (replace(TYPED, id="{user}_{kind}_{x}"), ["id"], 'write "{user}"'),
        (replace(TYPED, kind=None), ["id"], 'add kind = "COLUMN"'),
        (replace(TYPED, weights={}), ["weights"], "clicks = 0.1"),
        (replace(SPEC, weights={"clicks": 1.0}), ["weights"], 'id = "{user}_{kind}"'),
        (replace(TYPED, weights={"clicks": 0.0, "carts": 1.0}), ["weights"], "leave out a type"),
        (replace(TYPED, first=("click",)), ["first"], "clicks"),
        (replace(TYPED, first=("carts", "x")), ["first"], ""),
        (replace(SPEC, first=("clicks",)), ["first"], "remove it"),
    ],
)
def test_each_wrong_value_is_told_once_with_what_to_write(spec: InteractionsSpec, wrong: list[str], hint: str) -> None:
    found = list(invalid_values(spec))
    assert [w.key for w in found] == wrong
    assert hint in found[0].hint


def test_an_id_is_written_as_its_pattern_says() -> None:
    assert (SPEC.predicts_each_type, TYPED.predicts_each_type) == (False, True)
    assert (SPEC.id_of("7"), TYPED.id_of("{kind}", "carts")) == ("7", "{kind}_carts")
    assert SPEC.columns == ("u", "i", "t")
    assert TYPED.columns == ("u", "i", "t", "k", "w")


def test_weights_are_read_with_or_without_spaces() -> None:
    assert parse_weights(" clicks = 0.1,carts=2 ") == {"clicks": 0.1, "carts": 2.0}


@pytest.mark.parametrize("text", ["clicks", "clicks=x", "=0.5", "a=1,=2", "a=1,a=2", "a=1,b=2,a=3", "a=1,", ""])
def test_weights_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="every type once, each with a name|could not convert string to float"):
        parse_weights(text)
