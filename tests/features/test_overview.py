"""`wb features` and `wb cache`: what is listed, drawn and pruned."""

from __future__ import annotations

import json
import time
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from workbench.cli.app import wb
from workbench.core.errors import ConfigError, FeatureError, NotFoundError
from workbench.core.memory import used_bytes
from workbench.features import FeatureSummary, as_mermaid, as_svg

HEAD = "import polars as pl\nfrom workbench.features import ROW, feature, target_mean\n\n"
GRAPH = """
@feature
def ratio(rows):
    return rows.select(ROW, ratio=pl.col("x") / 2)

@feature
def towns_ratio(rows, towns, ratio):
    return ratio.select(ROW, half=pl.col("ratio") / 2)

te_town = target_mean("town")
"""


@pytest.fixture
def made(small, monkeypatch) -> Any:
    made = small()
    (made.folder / "features.py").write_text(HEAD + GRAPH)
    monkeypatch.chdir(made.folder)
    return made


def command(capsys: Any, *arguments: str) -> str:
    wb.main(list(arguments), standalone_mode=False)
    return str(capsys.readouterr().out)


class TestFeatures:
    def test_nothing_is_built_to_list_them(self, made, capsys) -> None:
        lines = command(capsys, "features").splitlines()
        assert [line.split()[0] for line in lines] == ["feature", "ratio", "towns_ratio", "te_town", "auto"]
        assert lines[2].split()[1:] == ["rows,", "towns,", "ratio", "not", "built"]
        assert not list(made.folder.rglob("*.parquet.tmp"))
        assert not (made.folder / "cache").exists()

    def test_what_is_built_has_its_columns_and_cost(self, made, capsys) -> None:
        listed = json.loads(command(capsys, "features", "towns_ratio", "--build", "--json"))
        assert [f["name"] for f in listed] == ["towns_ratio"]
        f = listed[0]
        assert f["cached"]
        assert f["columns"] == {"half": "Float64"}
        assert f["reads"] == ["rows", "towns", "ratio"]
        assert f["size_bytes"] > 100
        assert f["seconds"] > 0
        assert used_bytes() / 2**21 < f["peak_rss_mb"] < used_bytes() / 2**20 + 1000
        # What it reads was built on the way; what comes with the workbench was not asked for.
        cached = {f["name"]: f["cached"] for f in json.loads(command(capsys, "features", "--json"))}
        assert cached == {"ratio": True, "towns_ratio": True, "te_town": False, "auto": False}
        assert "half" in command(capsys, "features")

    def test_the_graph_is_printed_and_drawn(self, made, capsys) -> None:
        text = command(capsys, "features", "--graph").strip().splitlines()
        assert text[0] == "flowchart LR"
        label = dict(
            line.split("[", 1) if "[" in line else line.split("{", 1) for line in text[1:] if "-->" not in line
        )
        name = {k.strip(): v.strip('[](){}"') for k, v in label.items()}
        edges = {tuple(name[n.strip()] for n in line.split("-->")) for line in text if "-->" in line}
        assert edges == {
            ("rows", "ratio"),
            ("rows", "towns_ratio"),
            ("towns", "towns_ratio"),
            ("ratio", "towns_ratio"),
            ("rows", "te_town"),
        }
        svg = ET.parse(made.folder / "features.svg").getroot()
        space = {"s": "http://www.w3.org/2000/svg"}
        assert {t.text for t in svg.findall(".//s:text", space)} == set(name.values())
        assert len([p for p in svg.findall(".//s:path", space) if p.get("marker-end")]) == len(edges)
        boxes = {g.find("s:text", space).text: g.find("s:rect", space) for g in svg.findall(".//s:g", space)}
        right = {n: float(b.get("x")) + float(b.get("width")) for n, b in boxes.items()}
        assert all(right[a] < float(boxes[b].get("x")) for a, b in edges)

    def test_a_feature_named_as_the_table_that_it_reads(self) -> None:
        both = [FeatureSummary("towns", "feature", ("rows", "towns"), "features.py, line 1")]
        assert '"towns (table)"' in as_mermaid(both)
        assert "towns (table)" in as_svg(both)
        assert as_svg([]).startswith("<svg")

    @pytest.mark.parametrize(
        ("code", "error", "message"),
        [
            ("@feature\ndef a(b):\n    pass\n\n@feature\ndef b(a):\n    pass\n", FeatureError, "a -> b -> a"),
            (
                "@feature\ndef a(b):\n    pass\n\n@feature\ndef b(tows):\n    pass\n",
                NotFoundError,
                r"'b' \(features.py, line 8\) reads 'tows', which is neither .* a -> b -> tows",
            ),
            (
                "@feature\ndef towns(rows):\n    pass\n\n@feature\ndef b(towns):\n    pass\n",
                FeatureError,
                "both a table",
            ),
            ("@feature\ndef a(rows):\n    pass\n\n@feature\ndef a(rows):\n    pass\n", FeatureError, "lines 5, 9"),
            ("@feature\ndef rows(towns):\n    pass\n", FeatureError, "can't be called 'rows'"),
        ],
        ids=["circle", "unknown", "table_and_feature", "twice", "rows"],
    )
    def test_what_is_wrong_with_the_names_is_said(self, made, code: str, error: type, message: str) -> None:
        (made.folder / "features.py").write_text(HEAD + code)
        with pytest.raises(error, match=message):
            wb.main(["features"], standalone_mode=False)


class TestCache:
    def test_what_no_feature_uses_is_marked_and_pruned(self, made, capsys) -> None:
        command(capsys, "features", "--build")
        (made.folder / "features.py").write_text(HEAD + GRAPH.replace('pl.col("x") / 2', 'pl.col("x") / 3'))
        text = command(capsys, "cache")
        assert text.count("of older code") == 2
        assert "2 blocks" in text
        command(capsys, "features", "ratio", "--build")
        held = json.loads(command(capsys, "cache", "--prune", "--json"))
        assert [b["what"] for b in held["blocks"]] == ["ratio"]
        assert sorted(b["what"] for b in held["removed"]) == ["ratio", "towns_ratio"]
        assert len(list((made.folder / "cache").glob("*.parquet"))) == 1
        assert json.loads(command(capsys, "features", "ratio", "--json"))[0]["cached"]

    def test_the_least_recently_used_go_first(self, made, capsys) -> None:
        command(capsys, "features", "--build")
        time.sleep(0.02)  # Linux dates files by a clock that ticks every four milliseconds
        made.open.feature("ratio")
        held = json.loads(command(capsys, "cache", "--json"))
        assert [b["what"] for b in held["blocks"]] == ["ratio", "towns_ratio"]
        left = json.loads(
            command(capsys, "cache", "--prune", "--limit", str(held["blocks"][0]["size_bytes"]), "--json")
        )
        assert [b["what"] for b in left["blocks"]] == ["ratio"]

    def test_the_standing_limit_is_the_environments(self, made, capsys, monkeypatch) -> None:
        monkeypatch.setenv("WB_CACHE_LIMIT", "1KB")
        command(capsys, "features", "--build")
        held = json.loads(command(capsys, "cache", "--json"))
        assert held["limit_bytes"] == 1024
        assert [b["what"] for b in held["blocks"]] == ["towns_ratio"]
        monkeypatch.setenv("WB_CACHE_LIMIT", "some")
        with pytest.raises(ConfigError, match="WB_CACHE_LIMIT: 'some' is not an amount of memory"):
            wb.main(["cache"], standalone_mode=False)

    def test_a_limit_without_prune_is_refused(self, made) -> None:
        with pytest.raises(Exception, match="requires --prune"):
            wb.main(["cache", "--limit", "1GB"], standalone_mode=False)

    def test_damaged_notes_and_an_empty_cache_are_shown(self, made, capsys) -> None:
        assert "0 blocks" in command(capsys, "cache")
        command(capsys, "features", "--build")
        for note in (made.folder / "cache").glob("*.json"):
            note.write_text("{")
        assert "2 blocks" in command(capsys, "cache")
        assert "not built" in command(capsys, "features")
        command(capsys, "cache", "--prune")
        assert "0 blocks" in command(capsys, "cache")
