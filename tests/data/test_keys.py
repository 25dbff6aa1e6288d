"""Ids, users, items and codes keep their spelling, from the files to the submission."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conversion import listening
from workbench import metrics
from workbench.api import library
from workbench.core.errors import DataError
from workbench.data.competition import (
    Competition,
    as_written,
    load_competition,
    read_manifest,
    write_manifest,
)
from workbench.data.ingest import convert
from workbench.data.workspace import create_workspace
from workbench.models.serving import submission_form, write_submission
from workbench.models.target import read_target
from workbench.platforms.interactions import InteractionsSpec
from workbench.rehearsal.grade import grade, read_solution
from workbench.rehearsal.host import read_host
from workbench.rehearsal.spec import LogSpec
from workbench.submissions.findings import file_findings

DEFINITION = """
slug = "c"
task = "regression"
id = "id"
target = "y"
metric = "rmse"
"""

NASTY = [
    ["2025.10", "2025.1", "7"],
    ["303e2", "1E5", "45"],
    ["007", "7", "+7"],
    ["1", "-0", "2"],
    ["0", "+5", "6"],
    ["NA", "None", "nan", "NaN", "-", "1"],
    ["5.", ".5", "0.5"],
    ["1_000", "1,000", "1000"],
    ["true", "False", "TRUE"],
    ["no", "yes", "No"],
    ["2024-1-5", "2024-01-06", "2024-01-07"],
    ["2024-1-5", "2024-10-16", "2024-1-7"],
    ["18446744073709551617", "18446744073709551616", "3"],
    [" 1", "2 ", "3"],
    ["inf", "-inf", "1e400"],
    ["1.0", "2.0", "3.0"],
    ["1.50", "2.25", "3.00"],
    ["0x1F", "1F", "2"],
    ["01/02/2024", "13/02/2024", "03/02/2024"],
    ["20240101", "20240102", "20240103"],
    ["10:30:00", "1:30:00", "9:00:00"],
    ["2024-01-01 00:00:00.5", "2024-01-01 00:00:01", "2024-01-01 00:00:00.25"],
]


def _write(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]], separator: str = ",") -> None:
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=separator, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(out.getvalue().encode()) if path.suffix == ".gz" else out.getvalue().encode())


def _competition(root: Path, ids: Sequence[str], train_ids: Sequence[str] | None = None, **names: str) -> Competition:
    """Make a competition whose test ids are these, the sample's turned round."""
    folder = create_workspace(root).competitions / "c"
    raw = folder / "data" / "raw"
    of_train = train_ids if train_ids is not None else [f"{i}" for i in range(20)]
    _write(raw / "train.csv", ["id", "a", "y"], [(t, i / 4, i * 1.5) for i, t in enumerate(of_train)])
    _write(raw / "test.csv", [names.get("test", "id"), "a"], [(t, i / 4) for i, t in enumerate(ids)])
    _write(raw / "sample_submission.csv", ["id", "y"], [(t, 0) for t in reversed(ids)])
    convert(raw, folder / "data" / "tables", "c")
    more = f'id_in_test = "{names["test"]}"\n' if "test" in names else ""
    (folder / "competition.toml").write_text(DEFINITION + more + names.get("definition", ""), encoding="utf-8")
    return load_competition(create_workspace(root), "c")


def _submitted(competition: Competition) -> tuple[list[str], list[str]]:
    """Return the ids of a submission of zeros to some, and what speaks against it."""
    target = read_target(competition)
    path = competition.folder / "submission.csv"
    write_submission(
        competition, submission_form(competition, target), target, np.arange(float(competition.n_test))[:, None], path
    )
    with path.open(newline="", encoding="utf-8") as file:
        ids = [row[0] for row in csv.reader(file)][1:]
    return ids, [f.message for f in file_findings(competition, path) if f.level == "error"]


@pytest.mark.parametrize("ids", NASTY, ids=lambda ids: ids[0])
@pytest.mark.parametrize("test", ["id", "Id", "code"])
def test_ids_are_written_byte_for_byte(tmp_path: Path, ids: list[str], test: str) -> None:
    competition = _competition(tmp_path, ids, **({} if test == "id" else {"test": test}))
    assert _submitted(competition) == (list(reversed(ids)), [])


TEXTS = st.lists(
    st.one_of(
        st.text("0123456789.eE+-_, ", min_size=1, max_size=8),
        st.integers(-(2**66), 2**66).map(str),
        st.floats(allow_nan=False).map(repr),
        st.decimals(0, 100, places=2).map(str),
        st.sampled_from([i for ids in NASTY for i in ids]),
        st.dates().map(lambda d: f"{d.year}-{d.month}-{d.day}"),
        st.dates().map(str),
    ).filter(lambda text: text.strip() != ""),
    min_size=2,
    max_size=12,
    unique=True,
)


@pytest.mark.slow
@settings(max_examples=60)
@given(ids=TEXTS, train=TEXTS)
def test_whatever_the_ids_look_like(tmp_path_factory: pytest.TempPathFactory, ids: list[str], train: list[str]) -> None:
    competition = _competition(tmp_path_factory.mktemp("ids"), ids, train)
    assert _submitted(competition) == (list(reversed(ids)), [])


def test_a_value_far_down_makes_text_of_a_key_in_every_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("delimited", "text"):
        monkeypatch.setattr(f"workbench.data.ingest.{module}.HEAD_BYTES", 4096)
    monkeypatch.setattr("workbench.data.ingest.text_format.KEY_HEAD_BYTES", 4096)
    ids = [*map(str, range(5000)), "303e2"]
    competition = _competition(tmp_path, ids, train_ids=list(map(str, range(5000, 5020))))
    types = {n: competition.manifest.tables[n].dtypes["id"] for n in ("train", "test", "sample_submission")}
    assert set(types.values()) == {"String"}
    assert _submitted(competition) == (list(reversed(ids)), [])


@pytest.mark.parametrize("odd", ["+7", "-0", "007", " 7", "7 ", "NA", "7.0"])
def test_what_is_odd_far_down_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, odd: str) -> None:
    monkeypatch.setattr("workbench.data.ingest.delimited.HEAD_BYTES", 4096)
    monkeypatch.setattr("workbench.data.ingest.text_format.KEY_HEAD_BYTES", 4096)
    ids = [*map(str, range(5000)), odd, "5001"]
    assert _submitted(_competition(tmp_path, ids)) == (list(reversed(ids)), [])


def test_keys_that_are_whole_numbers_stay_such(tmp_path: Path) -> None:
    competition = _competition(tmp_path, ["3", "-1", "200"])
    assert {i.dtypes["id"] for i in competition.manifest.tables.values()} == {"Int64"}


def test_ids_that_are_dates_stay_dates_where_all_are_written_alike(tmp_path: Path) -> None:
    competition = _competition(tmp_path, ["2024-1-5", "2024-10-16", "2024-1-7"], train_ids=["2023-1-5", "2023-12-31"])
    assert {i.dtypes["id"] for i in competition.manifest.tables.values()} == {"Date"}
    mixed = _competition(tmp_path / "mixed", ["2024-1-5", "2024-01-06"], train_ids=["2023-1-5", "2023-12-31"])
    assert mixed.manifest.tables["test"].dtypes["id"] == "String"


def test_measurements_with_fixed_decimals_stay_numbers(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    rows = [(i, f"{i * 0.35:.2f}", f"{i / 8:.1f}", f"{i:.3e}", f"{i}e-3", f"{i * 1.1:.2f}") for i in range(1, 60)]
    header = ["id", "price", "body_mass_index", "exact", "small", "heat_index"]
    _write(raw / "train.csv", [*header, "y"], [(*r, 1) for r in rows])
    _write(raw / "test.csv", header, rows)
    _write(raw / "sample_submission.csv", ["id", "y"], [(r[0], 0) for r in rows])
    dtypes = convert(raw, tmp_path / "tables", "c").tables["train"].dtypes
    assert [dtypes[c] for c in header] == ["Int64", *["Float64"] * 5]


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("section", ["10.1", "10.10", "10.2"]),
        ("model", ["303e2", "45", "12E5"]),
        ("icd_code", ["250.00", "250.1", "401.9"]),
        ("version", ["1.10", "1.9", "2.0"]),
    ],
)
def test_codes_that_look_like_numbers_are_text_in_every_table(tmp_path: Path, column: str, values: list[str]) -> None:
    raw = tmp_path / "raw"
    rows = [(i, values[i % len(values)], i / 2) for i in range(30)]
    _write(raw / "train.csv", ["id", column, "y"], rows)
    _write(raw / "test.csv", ["id", column], [r[:2] for r in rows])
    _write(raw / "sample_submission.csv", ["id", "y"], [(r[0], 0) for r in rows])
    tables = tmp_path / "tables"
    manifest = convert(raw, tables, "c")
    assert {manifest.tables[t].dtypes[column] for t in ("train", "test")} == {"String"}
    assert pl.read_parquet(tables / "train.parquet")[column].to_list() == [r[1] for r in rows]


def test_amounts_written_by_hand_are_no_codes_as_a_target(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    _write(raw / "train.csv", ["id", "y"], [(i, ("1.5", "1.50", "2.25")[i % 3]) for i in range(30)])
    _write(raw / "test.csv", ["id", "a"], [(i, i) for i in range(30)])
    _write(raw / "sample_submission.csv", ["id", "y"], [(i, 0) for i in range(30)])
    assert convert(raw, tmp_path / "tables", "c").tables["train"].dtypes["y"] == "Float64"


def test_amounts_written_by_hand_are_no_codes_as_a_feature(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    names = ["price", "unit_price", "AvgPrice", "rating_2"]
    rows = [(i, *[("10.5", "10.50", "9.25", "3")[i % 4]] * len(names)) for i in range(40)]
    _write(raw / "train.csv", ["id", *names, "y"], [(*r, 1) for r in rows])
    _write(raw / "test.csv", ["id", *names], rows)
    _write(raw / "sample_submission.csv", ["id", "y"], [(r[0], 0) for r in rows])
    dtypes = convert(raw, tmp_path / "tables", "c").tables["train"].dtypes
    assert {dtypes[c] for c in names} == {"Float64"}


def test_whole_codes_of_all_64_bits_stay_numbers(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    tweets = [1_212_092_628_029_698_048 + i * 7_919 for i in range(30)]
    _write(raw / "train.csv", ["id", "tweet_id", "y"], [(i, t, 1) for i, t in enumerate(tweets)])
    _write(raw / "test.csv", ["id", "tweet_id"], list(enumerate(tweets)))
    _write(raw / "sample_submission.csv", ["id", "y"], [(i, 0) for i in range(30)])
    tables = tmp_path / "tables"
    assert convert(raw, tables, "c").tables["train"].dtypes["tweet_id"] == "Int64"
    assert pl.read_parquet(tables / "train.parquet")["tweet_id"].to_list() == tweets


@pytest.mark.parametrize("form", ["lines", "document", "tsv", "gz", "parquet", "hive"])
def test_every_reader_keeps_users_and_items(tmp_path: Path, form: str) -> None:
    raw, tables = tmp_path / "raw", tmp_path / "tables"
    users, items = ["10.10", "10.1", "303"], ["1e5", "0123", "123"]
    rows = [(u, i, 1_700_000_000 + n) for n, (u, i) in enumerate(zip(users * 4, items * 4, strict=True))]
    _write(raw / "sample_submission.csv", ["user", "items"], [(u, "1e5 0123 123") for u in users])
    wanted: list[tuple[object, ...]] = [r[:2] for r in rows]
    if form == "lines":
        # Users are numbers there, and items texts.
        lines = [f'{{"user": {u}, "item": "{i}", "ts": {t}}}' for u, i, t in rows]
        (raw / "train.jsonl").write_text("\n".join(lines), encoding="utf-8")
    elif form == "document":
        document = ", ".join(f'{{"user": {u}, "item": "{i}", "ts": {t}}}' for u, i, t in rows)
        (raw / "train.json").write_text(f"[{document}]", encoding="utf-8")
    elif form == "parquet":
        pl.DataFrame(rows, schema=["user", "item", "ts"], orient="row").write_parquet(raw / "train.parquet")
    elif form == "hive":
        for user in users:
            _write(raw / "train" / f"user={user}" / "a.csv", ["item", "ts"], [r[1:] for r in rows if r[0] == user])
        wanted = [(u, i) for u in sorted(users) for v, i, _ in rows if v == u]
    else:
        _write(
            raw / f"train.{'tsv' if form == 'tsv' else 'csv.gz'}",
            ["user", "item", "ts"],
            rows,
            "\t" * (form == "tsv") or ",",
        )
    convert(raw, tables, "c")
    found = pl.read_parquet(tables / "train.parquet").select(pl.col("user", "item").cast(pl.String)).rows()
    assert (sorted(found) if form == "hive" else found) == (sorted(wanted) if form == "hive" else wanted)  # type: ignore[type-var]


def test_numbers_in_json_are_text_where_another_file_has_the_key_as_text(tmp_path: Path) -> None:
    raw, tables = tmp_path / "raw", tmp_path / "tables"
    events = [{"session": s, "events": [{"aid": a, "ts": 1, "note": '"aid": 5'}]} for s, a in ((1, 7), (2, 8))]
    _write(raw / "items.csv", ["aid", "name"], [("07", "a"), ("7", "b"), ("8", "c")])
    _write(raw / "sample_submission.csv", ["session", "labels"], [("1", "7 8"), ("2", "8 07")])
    (raw / "train.jsonl").write_text("\n".join(map(json.dumps, events)), encoding="utf-8")
    convert(raw, tables, "c")
    frame = pl.read_parquet(tables / "train.parquet")
    assert frame["session"].dtype == pl.Int64
    assert frame["events"].to_list() == [
        [{"aid": f"{e['events'][0]['aid']}", "ts": 1, "note": '"aid": 5'}] for e in events
    ]  # type: ignore[index]


def test_test_may_have_an_id_as_another_type_than_the_sample(tmp_path: Path) -> None:
    competition = _competition(tmp_path, ["1", "2", "3"])
    raw = competition.folder / "data" / "raw"
    (raw / "test.csv").unlink()
    pl.DataFrame({"id": [3.0, 1.0, 2.0], "a": [1, 2, 3]}).write_parquet(raw / "test.parquet")
    convert(raw, competition.paths.tables, "c")
    competition = load_competition(create_workspace(tmp_path), "c")
    assert _submitted(competition) == (["3", "2", "1"], [])


# ------------------------------------------------------------------------------------------- before something is sent


def test_the_check_reads_the_sample_as_it_was_downloaded(tmp_path: Path) -> None:
    competition = _competition(tmp_path, ["2025.10", "2025.01", "303e2"])
    path = tmp_path / "sent.csv"
    _write(path, ["id", "y"], [("303e2", 1.0), ("2025.01", 2.0), ("2025.1", 3.0)])
    (finding,) = [f for f in file_findings(competition, path) if f.level == "error"]
    assert "2025.1 where the sample has 2025.10" in finding.message
    (competition.folder / "data" / "raw" / "sample_submission.csv").unlink()
    assert [f.message for f in file_findings(competition, path) if f.level == "error"] == [finding.message]


def test_a_header_with_quotes_in_it_is_read_as_the_sample_s(tmp_path: Path) -> None:
    folder = create_workspace(tmp_path).competitions / "c"
    raw = folder / "data" / "raw"
    name = 'price "net"'
    _write(raw / "train.csv", ["id", "a", name], [(i, i, i) for i in range(20)])
    _write(raw / "test.csv", ["id", "a"], [(i, i) for i in range(3)])
    _write(raw / "sample_submission.csv", ["id", name], [(i, 0) for i in range(3)])
    convert(raw, folder / "data" / "tables", "c")
    definition = DEFINITION.replace('target = "y"', f"target = '{name}'")
    (folder / "competition.toml").write_text(definition, encoding="utf-8")
    assert _submitted(load_competition(create_workspace(tmp_path), "c")) == (["0", "1", "2"], [])


# ------------------------------------------------------------------------------------------------------ fetched before


def _as_before(competition: Competition, dtype: pl.DataType) -> Competition:
    """Make the tables what a version made that knew no keys."""
    tables = competition.paths.tables
    manifest = read_manifest(tables, slug="c")
    infos = {}
    for name, info in manifest.tables.items():
        path = tables / f"{name}.parquet"
        pl.read_parquet(path).with_columns(pl.col("id").cast(dtype)).write_parquet(path)
        from workbench.core.cache import file_sha256

        stat = path.stat()
        infos[name] = replace(
            info,
            keys=None,
            dtypes=info.dtypes | {"id": str(dtype)},
            sha256=file_sha256(path),
            size_bytes=stat.st_size,
            mtime_ns=stat.st_mtime_ns,
        )
    write_manifest(tables, replace(manifest, tables=infos))
    path = tables / "manifest.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    for entry in data["tables"].values():
        del entry["keys"]
    path.write_text(json.dumps(data), encoding="utf-8")
    return load_competition(create_workspace(competition.folder.parent.parent), "c")


def test_tables_of_before_are_recognised_where_it_matters(tmp_path: Path) -> None:
    competition = _as_before(_competition(tmp_path, ["2025.10", "2025.01", "303e2"], ["1", "2"]), pl.Float64())
    with pytest.raises(DataError, match="converted by an earlier version") as caught:
        competition.ids.test_frame()
    assert "wb fetch c --force" in caught.value.hint
    # What is there is converted again also without --force.
    convert(competition.folder / "data" / "raw", competition.paths.tables, "c")
    again = load_competition(create_workspace(tmp_path), "c")
    assert _submitted(again) == (["303e2", "2025.01", "2025.10"], [])


def test_tables_of_before_whose_keys_are_whole_numbers_stay_as_they_are(tmp_path: Path) -> None:
    competition = _as_before(_competition(tmp_path, ["3", "1", "2"]), pl.Int64())
    content = competition.manifest.content
    assert _submitted(competition) == (["2", "1", "3"], [])
    convert(competition.folder / "data" / "raw", competition.paths.tables, "c")
    assert read_manifest(competition.paths.tables, slug="c").content == content
    assert "keys" in asdict(competition.manifest.tables["test"])


def test_a_template_has_its_columns_as_they_are_written(tmp_path: Path) -> None:
    folder = create_workspace(tmp_path).competitions / "c"
    raw = folder / "data" / "raw"
    shops, days = ["10.10", "10.1", "20.5"], ["2024-01-01", "2024-01-02"]
    pairs = [(s, d) for s in shops for d in days]
    _write(raw / "train.csv", ["Shop", "Day", "y"], [(s, d, 1) for s, d in pairs])
    _write(raw / "test.csv", ["Shop", "Day"], pairs)
    _write(raw / "sample_submission.csv", ["Id", "y"], [(f"{s}_{d}", 0) for s, d in pairs])
    manifest = convert(raw, folder / "data" / "tables", "c")
    assert (manifest.tables["test"].dtypes["Shop"], manifest.tables["test"].dtypes["Day"]) == ("String", "Date")
    test = pl.read_parquet(folder / "data" / "tables" / "test.parquet")
    assert as_written(test, manifest.tables["test"].spelled).rows() == pairs


def test_what_is_text_for_its_spelling_is_said(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    rows = [(f"2025.{i % 12 + 1:02d}{i}", ("10.1", "10.10")[i % 2], i / 2) for i in range(30)]
    _write(raw / "train.csv", ["id", "section", "y"], rows)
    _write(raw / "test.csv", ["id", "section"], [r[:2] for r in rows])
    _write(raw / "sample_submission.csv", ["id", "y"], [(r[0], 0) for r in rows])
    said: list[str] = []
    manifest = convert(raw, tmp_path / "tables", "c", context=listening(said))
    assert any("'section' is a code, left as text" in line for line in said)
    assert manifest.tables["train"].codes == ["section"]
    assert manifest.tables["test"].keys == ["id"]


def test_several_ids_keep_theirs_each(tmp_path: Path) -> None:
    folder = create_workspace(tmp_path).competitions / "c"
    raw = folder / "data" / "raw"
    pairs = [(shop, day) for shop in ("1.10", "1.1", "07") for day in ("2024-1-5", "2024-11-6")]
    _write(raw / "train.csv", ["shop", "day", "a", "y"], [(*p, 1, 2) for p in pairs])
    _write(raw / "test.csv", ["shop", "day", "a"], [(*p, 1) for p in pairs])
    _write(raw / "sample_submission.csv", ["shop", "day", "y"], [(*p, 0) for p in reversed(pairs)])
    manifest = convert(raw, folder / "data" / "tables", "c")
    assert [manifest.tables["test"].dtypes[c] for c in ("shop", "day")] == ["String", "Date"]
    (folder / "competition.toml").write_text(DEFINITION.replace('id = "id"', 'id = ["shop", "day"]'), encoding="utf-8")
    competition = load_competition(create_workspace(tmp_path), "c")
    assert _submitted(competition)[1] == []
    with (folder / "submission.csv").open(newline="", encoding="utf-8") as file:
        assert [tuple(row[:2]) for row in csv.reader(file)][1:] == list(reversed(pairs))


def test_tables_of_before_are_named_where_their_ids_would_be_refused(tmp_path: Path) -> None:
    competition = _as_before(_competition(tmp_path, ["2025.10", "2025.01", "303e2"], ["1", "2"]), pl.Float64())
    path = tmp_path / "sent.csv"
    # What such a version wrote, from the ids as it had them.
    _write(path, ["id", "y"], [("30300.0", 1.0), ("2025.01", 2.0), ("2025.1", 3.0)])
    (finding,) = [f for f in file_findings(competition, path) if f.level == "error"]
    assert finding.message.startswith("2 ids are spelled differently from the sample")
    assert "wb fetch c --force" in finding.message


def test_users_and_items_come_back_as_the_log_has_them(tmp_path: Path) -> None:
    users, items = [*NASTY[0], *NASTY[1], "007", "NA", "+5"], ["0123", "123", "10.10", "10.1", "1e5", "None", "7", "-0"]
    rows = [
        (u, items[(n + k) % len(items)], 1_700_000_000 + 86_400 * k) for k in range(30) for n, u in enumerate(users)
    ]
    rows += [(u, items[n % len(items)], 1_700_000_000 + 86_400 * 40) for n, u in enumerate(users)]
    _write(tmp_path / "log.csv", ["user", "item", "ts"], rows)
    _write(tmp_path / "items.csv", ["item", "shelf"], [(i, n) for n, i in enumerate(items)])
    workspace = create_workspace(tmp_path / "ws")
    log = InteractionsSpec(user="user", item="item", time="ts", horizon_s=5 * 86_400)
    library.rehearse(
        "shop", LogSpec(tmp_path / "log.csv", log, "recall@8", tables=(tmp_path / "items.csv",)), where=workspace
    )
    library.fetch("shop", where=workspace)
    shop = library.competition("shop", where=workspace)
    run = shop.run(1)
    sample = workspace.competitions / "shop" / "rehearsal" / "files" / "sample_submission.csv"
    sent = run.folder / "submission.csv"
    assert [line.split(",")[0] for line in sent.read_text(encoding="utf-8").splitlines()] == [
        line.split(",")[0] for line in sample.read_text(encoding="utf-8").splitlines()
    ]
    assert not [f for f in file_findings(shop.access.competition, sent) if f.level == "error"]
    host = read_host(workspace.competitions / "shop" / "rehearsal")
    folder = workspace.competitions / "shop" / "rehearsal"
    assert grade(sent, read_solution(folder, host), host, metrics.get("recall@8")).public == 1.0
