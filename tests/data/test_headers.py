"""Headers as people write them: every reader reads the same names, and what is written reads the same."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.api import library
from workbench.core import frames
from workbench.core.errors import DataError
from workbench.core.headers import end_of_header, header_line, header_names
from workbench.data.ingest import read_text_file
from workbench.data.ingest.convert import convert
from workbench.data.workspace import create_workspace
from workbench.models.serving import read_submission
from workbench.rehearsal import LocalPlatform, RehearsalSpec, create
from workbench.rehearsal.submitted_file import read_submitted
from workbench.submissions.findings import file_findings

NAMES = {
    'id,"price ""net"""': ["id", 'price "net"'],
    'id,5" pipe': ["id", '5" pipe'],
    'id,5"" pipe': ["id", '5"" pipe'],
    '"row ""id""","a, b"': ['row "id"', "a, b"],
    '"id","a\nb"': ["id", "a\nb"],
    '"id","a\r\nb"': ["id", "a\r\nb"],
    '"""id""","""y"""': ['"id"', '"y"'],
    " id , y ": [" id ", " y "],
    'id, "y"': ["id", ' "y"'],
    "id,'y'": ["id", "'y'"],
    '"",y': ["", "y"],
    'id,"y;z"': ["id", "y;z"],
}
HEADERS = pytest.mark.parametrize(("header", "names"), NAMES.items(), ids=[repr(h) for h in NAMES])
TEXT = st.text(st.sampled_from("ab,\";\t|\r\n' é가"), max_size=6)


@given(st.lists(TEXT, min_size=1, max_size=5, unique=True), st.sampled_from(",;\t|"))
def test_what_is_written_reads_the_same(names: list[str], separator: str) -> None:
    line = header_line(names, separator)
    assert header_names(line.removesuffix("\n"), separator) == names
    rest = b"1,2\n" * 3
    assert end_of_header(line.encode() + rest, separator) == len(line.encode())
    assert end_of_header(b"\xef\xbb\xbf" + line.encode() + rest, separator) == 3 + len(line.encode())


@settings(max_examples=40)
@given(st.lists(TEXT, min_size=2, max_size=4, unique=True))
def test_every_reader_reads_what_was_written(tmp_path: Path, names: list[str]) -> None:
    path = tmp_path / "a.csv"
    frame = pl.DataFrame({n: ["1", "2"] for n in names}, orient="col")
    frames.write_csv(frame, path)
    assert frames.read_csv(path, infer_schema=False).equals(frame)
    assert read_text_file(path).equals(frame)
    assert read_submission(path, names).equals(frame)
    assert read_submitted(path, names).equals(frame)
    frames.sink_csv(frame.lazy(), path)
    assert read_text_file(path).equals(frame)


@HEADERS
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["", "BOM"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
def test_tables_have_the_names_of_the_header(
    tmp_path: Path, header: str, names: list[str], mark: bytes, end: bytes
) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    content = mark + header.encode() + end + b"".join(b"%d,%d.5" % (i, i) + end for i in range(20))
    (raw / "train.csv").write_bytes(content)
    manifest = convert(raw, tmp_path / "tables", "c")
    assert list(manifest.tables["train"].dtypes) == names
    assert manifest.tables["train"].rows == 20
    assert read_text_file(raw / "train.csv").columns == names
    assert frames.scan_csv(raw / "train.csv").collect_schema().names() == names


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_a_lone_quote_hides_no_separator(tmp_path: Path, separator: str) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    lines = ['id;5" pipe;6" pipe;y', *(f"{i};{i}.5;{i};1" for i in range(20))]
    (raw / "train.csv").write_text("\n".join(lines).replace(";", separator) + "\n")
    manifest = convert(raw, tmp_path / "tables", "c")
    assert list(manifest.tables["train"].dtypes) == ["id", '5" pipe', '6" pipe', "y"]


def test_a_quote_that_is_never_closed_in_a_header_is_said(tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    path.write_text('id,"y\n' + "1,2\n" * 50)
    with pytest.raises(DataError, match="a header with a quote that is opened and never closed"):
        read_text_file(path)


@HEADERS
def test_a_submission_has_the_names_of_the_sample(tmp_path: Path, header: str, names: list[str]) -> None:
    """From `wb rehearse` to the score: what the run writes is what the sample has."""
    workspace = create_workspace(tmp_path / "ws")
    id_name, target = names
    train = tmp_path / "all.csv"
    first = header.rpartition(",")[0] if header != '"row ""id""","a, b"' else '"row ""id"""'
    rows = "".join(f"{i},{i % 7},{(i % 7) * 1.5}\n" for i in range(60))
    train.write_text(f"{first},x,{header[len(first) + 1 :]}\n{rows}", newline="")
    create(workspace.root, "c", RehearsalSpec(train, (target,), "rmse", 0.3, ids=(id_name,)))
    library.fetch("c", where=workspace)
    competition = library.competition("c", where=workspace)
    folder = competition.access.competition.folder
    model = 'features = ["rows"]\n[model]\nn_estimators = 3\nmin_data_in_leaf = 2\nearly_stopping_round = 0\n'
    (folder / "experiments" / "001.toml").write_text(f'title = "t"\n{model}')
    run = competition.run(1)
    sample = read_text_file(workspace.competitions / "c" / "data" / "raw" / "sample_submission.csv")
    sent = run.folder / "submission.csv"
    assert read_text_file(sent).columns == sample.columns == [id_name, target]
    assert [f for f in file_findings(competition.access.competition, sent) if f.level == "error"] == []
    platform = LocalPlatform(workspace.root)
    platform.submit("c", sent, "")
    assert platform.submissions("c")[0].public_score is not None
