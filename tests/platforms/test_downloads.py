"""How much `wb fetch` asks of Kaggle and of the disk: sizes, the archive of all or single files, addresses, pages."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.fetching import FILES, Place
from tests.kaggle_client import SHORT_PATIENCE
from tests.wire import Hosted, Server
from workbench.core.errors import ConfigError, DamagedError, NotFoundError, StorageError
from workbench.data.ingest.space import Approval, Download, check_space
from workbench.platforms.kaggle import Kaggle, data_files
from workbench.platforms.kaggle.connection import pages
from workbench.platforms.kaggle.crc32c import file_crc32c
from workbench.platforms.protocol import RemoteFile

GB = 1 << 30


def downloads(server: Server) -> list[str]:
    return [c for c in server.calls if c.startswith("Download") or c == "storage"]


# ------------------------------------------------------------------------------------------------------------- sizes


def test_a_large_download_is_not_begun_without_a_yes(place: Place, hosted: Hosted) -> None:
    hosted.sizes = {"train.csv": 11 * GB}
    said = place.fails(says="5 files, 11.0 GB, more than 10.0 GB: nothing was downloaded", do="--yes .* --only FILE")
    assert "WB_ASK_ABOVE" in said
    assert downloads(place.server) == []
    done = place.fetch("flights", "--json")
    assert json.loads(done.stdout)["error"]["type"] == "ConfigError"
    assert downloads(place.server) == []
    # What is small of it is taken as it is.
    place.succeeds("flights", "--only", "test.csv", files={"test.csv": FILES["test.csv"]})


def test_a_yes_begins_it(place: Place, hosted: Hosted) -> None:
    hosted.sizes = {"train.csv": 11 * GB}
    place.succeeds("flights", "--yes")
    place.downloads_nothing()


@pytest.mark.parametrize(
    ("arguments", "env", "begins"),
    [
        (("--ask-above", "200KB"), {}, False),
        (("--ask-above", "1MB"), {"WB_ASK_ABOVE": "1KB"}, True),
        ((), {"WB_ASK_ABOVE": "200KB"}, False),
        ((), {"WB_ASK_ABOVE": "1MB"}, True),
    ],
)
def test_the_limit_is_a_setting(place: Place, arguments: tuple[str, ...], env: dict[str, str], begins: bool) -> None:
    if begins:
        place.succeeds("flights", *arguments, env=env)
    else:
        place.fails("flights", *arguments, env=env, says="350.1 KB, more than 200.0 KB", do="--yes")
        assert downloads(place.server) == []


def test_what_is_here_is_not_counted_again(place: Place) -> None:
    place.server.fault("storage", cut_after=170_000)
    place.server.fault("storage", status=503, times=1000)
    place.fails(says="sends status 503", do="resumes from there")
    place.server.faults.clear()
    place.succeeds("flights", "--ask-above", "190KB")


def test_a_disk_that_is_surely_too_small_is_refused_whatever_is_answered(place: Place, hosted: Hosted) -> None:
    hosted.sizes = dict.fromkeys(FILES, 10_000_000 * GB)
    for arguments in ((), ("--yes",), ("--only", "train.csv", "--yes")):
        place.fails(
            *("flights", *arguments), says=r"the disk has .* free: nothing was downloaded", do="free some space"
        )
    assert downloads(place.server) == []


def test_the_size_of_a_download(tmp_path: Path) -> None:
    def of(*files: tuple[str, int | None], archive: bool = False) -> Download:
        all_of_it = RemoteFile("all.zip", None) if archive else None
        return Download.estimate([RemoteFile(n, s) for n, s in files], tmp_path, archive=all_of_it)

    assert of(("a.csv", 1000)) == Download(1, 1000, 600, 1000)
    assert of(("a.parquet", 1000), ("b.png", 500)) == Download(2, 1500, 1000, 1500)
    assert of(("a.csv.gz", 1000), ("b.zip", 500), ("c", None)) == Download(3, 1500, 2500, 1500)
    # Pictures are unpacked beside the archive that they come in; the archive may be much smaller than its files.
    assert of(("a.csv", 1000), ("b.png", 1000), archive=True) == Download(2, 2000, 1600, 100)
    (tmp_path / ".all.zip.partial").write_bytes(bytes(700))
    assert of(("a.csv", 1000), archive=True).size_bytes == 300
    (tmp_path / ".a.csv.partial").write_bytes(bytes(900))
    assert of(("a.csv", 1000), ("b.csv", 50)).size_bytes == 150


def test_who_is_asked(tmp_path: Path) -> None:
    asked: list[str] = []

    def answer(question: str) -> bool:
        asked.append(question)
        return len(asked) > 1

    download = Download(3, 2 * GB, 0, 2 * GB)
    approval = Approval(GB, ask=answer)
    with pytest.raises(ConfigError, match="3 files, 2.0 GB, more than 1.0 GB"):
        check_space(download, tmp_path / "not" / "there", "x", approval=approval, is_local=False)
    check_space(download, tmp_path, "x", approval=approval, is_local=False)
    assert len(asked) == 2
    # A copy on this machine is not asked for, but for the disk.
    check_space(download, tmp_path, "x", approval=approval, is_local=True)
    assert len(asked) == 2
    full = Download(3, GB, 10**9 * GB, 0)
    check_space(full, tmp_path, "x", approval=approval, is_local=True)
    assert "the disk has" in asked[2]
    with pytest.raises(StorageError, match="too little"):
        check_space(full, tmp_path, "x", approval=Approval(), is_local=True)


# ------------------------------------------------------------------------------------- the archive, or file by file

SAME_NAMES = FILES | {"a/part.csv": b"id,z\n1,2\n3,4\n", "b/part.csv": b"id,z\n5,6\n7,8\n"}


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 404},
        {"status": 404, "body": b'{"error": {"code": 404, "message": "Not found"}}'},
        {"status": 429},
        {"status": 429, "headers": {"Retry-After": "1800"}},
    ],
)
def test_without_the_archive_the_files_come_one_by_one(place: Place, hosted: Hosted, fault: dict[str, object]) -> None:
    hosted.replace_files()
    hosted.files |= SAME_NAMES
    place.server.fault("DownloadDataFiles", times=1000, **fault)
    done = place.fetch()
    assert done.returncode == 0, done.stderr
    assert f"it answers {fault['status']}; fetching its 7 files one by one" in done.stderr
    # What is not there is asked for once, and a long wait is not waited for.
    is_tried_again = fault["status"] == 429 and "headers" not in fault
    assert place.server.calls.count("DownloadDataFiles") == (1 + SHORT_PATIENCE.tries if is_tried_again else 1)
    for name, data in SAME_NAMES.items():
        assert (place.raw / name).read_bytes() == data
    assert {p.stem for p in (place.folder / "data" / "tables").glob("*.parquet")} >= {"a_part", "b_part", "train"}
    assert place.server.calls.count("DownloadDataFile") == len(SAME_NAMES)
    assert (place.folder / "competition.toml").exists()
    place.server.faults.clear()
    sent = place.server.bytes_sent
    assert place.fetch().returncode == 0
    assert place.server.bytes_sent == sent


def test_a_storage_without_the_archive(place: Place) -> None:
    place.server.fault("storage", status=404, times=4)
    assert "it answers 404; fetching its 5 files one by one" in place.succeeds()


def test_files_that_come_one_by_one_go_on_where_they_broke_off(place: Place) -> None:
    place.server.fault("DownloadDataFiles", status=404, times=1000)
    place.server.fault("storage", cut_after=10_000, skip=4)
    place.server.fault("storage", status=503, times=1000, skip=4)
    done = place.fetch()
    assert done.returncode == 1
    assert "while downloading train.csv of 'flights'; 0.0 MB are kept" in done.stderr
    sent = place.server.bytes_sent
    place.server.faults.clear()
    place.server.fault("DownloadDataFiles", status=404, times=1000)
    place.succeeds()
    assert place.server.bytes_sent == sum(map(len, FILES.values()))
    assert place.server.bytes_sent - sent == len(FILES["train.csv"]) - 10_000


def test_a_file_that_is_damaged_on_its_way_comes_again(place: Place) -> None:
    place.server.fault("DownloadDataFiles", status=404, times=1000)
    place.server.fault("storage", change=lambda data: data[:-1] + b"7", skip=2)
    place.succeeds()


def test_too_many_calls_for_files_too(place: Place) -> None:
    place.server.fault("DownloadDataFiles", status=404, times=1000)
    place.server.fault("DownloadDataFile", status=429, headers={"Retry-After": "1500"}, times=1000, skip=3)
    done = place.fetch()
    assert (done.returncode, "asks to wait for 25 minutes" in done.stderr) == (1, True), done.stderr
    place.server.faults.clear()
    sent = place.server.bytes_sent
    assert sent == sum(len(FILES[n]) for n in sorted(FILES)[:3])
    place.server.fault("DownloadDataFiles", status=404, times=1000)
    place.succeeds()
    assert place.server.bytes_sent == sum(map(len, FILES.values()))


def test_an_archive_that_has_begun_is_not_given_up_for_a_wait(place: Place, hosted: Hosted) -> None:
    place.server.fault("storage", cut_after=100_000)
    place.server.fault("storage", status=403)
    place.server.fault("DownloadDataFiles", status=429, times=1000, skip=1)
    said = place.fails(
        says="limits the rate of calls while downloading flights.zip .*; 0.1 MB are kept", do="try again"
    )
    assert "one by one" not in said
    place.server.faults.clear()
    place.succeeds()
    assert place.server.bytes_sent == len(hosted.archive)


def test_an_archive_that_is_gone_leaves_nothing_behind(place: Place) -> None:
    place.server.fault("storage", cut_after=100_000)
    place.server.fault("storage", status=503, times=1000)
    place.fails(says="sends status 503", do="resumes from there")
    place.server.faults.clear()
    place.server.fault("DownloadDataFiles", status=404, times=1000)
    place.succeeds()  # which looks for partial files


def shortened(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100].rpartition(b"\n")[0] + b"\n")


def test_the_archive_takes_the_place_of_files_that_came_one_by_one(place: Place) -> None:
    """What was changed on the disk meanwhile does not go before what came."""
    place.server.fault("DownloadDataFiles", status=404, times=1000)
    place.succeeds()
    place.server.faults.clear()
    shortened(place.raw / "train.csv")
    place.succeeds("flights", "--force")
    assert not (place.raw / "train.csv").exists()
    place.downloads_nothing()


def test_files_that_come_one_by_one_take_the_place_of_the_archive(place: Place) -> None:
    place.succeeds()
    shortened(place.raw / "flights.zip")
    place.server.fault("DownloadDataFiles", status=404, times=1000)
    assert "one by one" in place.succeeds()
    assert not (place.raw / "flights.zip").exists()
    place.downloads_nothing()


@pytest.mark.parametrize("name", ["../evil.csv", "/evil.csv", r"..\evil.csv", "a/../../evil.csv", ".listing.json"])
def test_a_name_that_leads_outside_is_refused(place: Place, hosted: Hosted, name: str) -> None:
    hosted.files |= {name: b"id,x\n1,2\n"}
    place.server.fault("DownloadDataFiles", status=404, times=1000)
    done = place.fetch()
    assert done.returncode == 1
    why = "is the name of a file that the workbench itself" if name == ".listing.json" else "would be written outside"
    assert why in done.stderr
    assert "storage" not in place.server.calls
    assert not [p for p in place.root.parent.rglob("*") if "evil" in p.name]


def test_a_file_that_is_called_as_the_archive_is(place: Place, hosted: Hosted) -> None:
    hosted.replace_files()
    hosted.files["flights.zip"] = b"PK\x05\x06" + bytes(18)
    assert place.fetch().returncode == 0
    assert (place.raw / "flights.zip").read_bytes() == hosted.files["flights.zip"]
    assert "DownloadDataFiles" not in place.server.calls


# --------------------------------------------------------------------------------------------------------- addresses

BIG = bytes(range(256)) * 4000


@pytest.mark.parametrize("flips", [1, 2])
def test_without_an_md5_the_other_checksum_counts(server: Server, kaggle: Kaggle, tmp_path: Path, flips: int) -> None:
    data = bytes(range(256)) * 100
    server.host("big", {"big.bin": data})
    server.send_md5, server.send_crc32c = False, True
    server.fault("storage", change=lambda sent: sent[:9] + b"x" + sent[10:], times=flips)
    if flips == 1:
        kaggle.download("big", "big.bin", tmp_path / "big.bin")
        assert (tmp_path / "big.bin").read_bytes() == data
        return
    with pytest.raises(DamagedError, match=r"had a different checksum \(crc32c\) than announced"):
        kaggle.download("big", "big.bin", tmp_path / "big.bin")
    assert not list(tmp_path.glob("*big.bin*"))


@pytest.mark.parametrize("size", [0, 1, 9, 255, 256, 257, 70_001])
def test_crc32c_is_that_of_its_definition(tmp_path: Path, size: int) -> None:
    data = (b"123456789" + bytes(range(256)) * 300)[:size]
    (tmp_path / "data").write_bytes(data)
    assert file_crc32c(tmp_path / "data") == Server.crc32c(data).hex()
    assert size != 9 or file_crc32c(tmp_path / "data") == "e3069283"  # RFC 3720's own example


def fetched(kaggle: Kaggle, folder: Path) -> bytes:
    kaggle.download("big", "big.bin", folder / "big.bin")
    return (folder / "big.bin").read_bytes()


def test_an_address_is_asked_for_once_however_often_the_line_is_cut(
    server: Server, kaggle: Kaggle, tmp_path: Path
) -> None:
    server.host("big", {"big.bin": BIG})
    server.fault("storage", cut_after=20_000, times=30)
    assert fetched(kaggle, tmp_path) == BIG
    assert (server.calls.count("storage"), server.calls.count("DownloadDataFile")) == (31, 1)
    assert server.calls.count("ListDataFiles") == 1


@pytest.mark.parametrize("status", [400, 401, 403, 410])
def test_an_address_that_has_expired_is_asked_for_again(
    server: Server, kaggle: Kaggle, tmp_path: Path, status: int
) -> None:
    server.host("big", {"big.bin": BIG})
    server.fault("storage", cut_after=300_000)
    server.fault("storage", status=status)
    server.fault("storage", cut_after=300_000)
    server.fault("storage", status=503, times=2)
    assert fetched(kaggle, tmp_path) == BIG
    assert server.calls.count("DownloadDataFile") == 2
    assert server.bytes_sent == len(BIG)


def test_an_address_that_is_never_good(server: Server, kaggle: Kaggle, tmp_path: Path) -> None:
    server.host("big", {"big.bin": BIG})
    server.fault("storage", status=403, times=1000)
    with pytest.raises(Exception, match="the storage of Kaggle sends status 403"):
        fetched(kaggle, tmp_path)
    assert server.calls.count("DownloadDataFile") == SHORT_PATIENCE.tries


# ------------------------------------------------------------------------------------------------------------- pages


@pytest.fixture
def many(server: Server) -> Hosted:
    """A competition of 40 pages; train.csv is on page 21, test.csv on page 20."""
    server.page_limit = 20
    files = {f"images/{i:03d}.png": b"x" for i in range(399)} | {"test.csv": FILES["test.csv"]}
    files |= {"train.csv": FILES["train.csv"]} | {f"videos/{i:03d}.mp4": b"x" for i in range(399)}
    return server.host("flights", files)


def test_one_file_is_paged_for_until_it_is_found(place: Place, many: Hosted) -> None:
    place.succeeds("flights", "--only", "train.csv", files={"train.csv": FILES["train.csv"]})
    assert place.server.calls.count("ListDataFiles") == 21
    assert place.server.calls.count("DownloadDataFile") == 1


def test_several_files_are_paged_for_once(place: Place, many: Hosted) -> None:
    only = {n: FILES[n] for n in ("train.csv", "test.csv")}
    place.succeeds("flights", "--only", "train.csv", "--only", "test.csv", "--only", "train.csv", files=only)
    assert place.server.calls.count("ListDataFiles") == 21
    assert place.server.calls.count("DownloadDataFile") == 2
    # A second time no more is read than tells that they are the same.
    place.succeeds("flights", "--only", "test.csv", files=only)
    assert place.server.calls.count("ListDataFiles") == 42
    assert place.server.calls.count("DownloadDataFile") == 2


def test_a_file_far_back_is_asked_for_by_its_name(
    server: Server, kaggle: Kaggle, many: Hosted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_files, "MAX_SEARCHED_PAGES", 5)
    server.packs_on_the_way = True
    listing = kaggle.find("flights", ["train.csv", "images/001.png"])
    assert (server.calls.count("ListDataFiles"), listing.is_complete) == (5, False)
    assert listing.by_name["train.csv"] == RemoteFile("train.csv", len(FILES["train.csv"]))
    kaggle.download("flights", "train.csv", tmp_path / "train.csv")
    assert (tmp_path / "train.csv").read_bytes() == FILES["train.csv"]
    assert server.calls.count("DownloadDataFile") == 1, "the address that told that it is there is used"
    many.packed = ("test.csv",)
    assert kaggle.find("flights", ["test.csv"]).by_name["test.csv"].size_bytes is None
    kaggle.download("flights", "test.csv", tmp_path / "test.csv")
    assert (tmp_path / "test.csv").read_bytes() == FILES["test.csv"]


def test_a_name_that_is_not_there_is_told_without_reading_everything(
    server: Server, kaggle: Kaggle, many: Hosted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_files, "MAX_SEARCHED_PAGES", 22)
    with pytest.raises(NotFoundError, match="has no file 'trian.csv'") as caught:
        kaggle.download("flights", "trian.csv", tmp_path / "a.csv")
    assert "'train.csv'" in caught.value.hint
    assert "of the first 440" in caught.value.hint
    assert (server.calls.count("ListDataFiles"), server.calls.count("DownloadDataFile")) == (22, 1)


def test_many_files_far_back_are_paged_for(
    server: Server, kaggle: Kaggle, many: Hosted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_files, "MAX_SEARCHED_PAGES", 5)
    names = [n for n in many.files if n.startswith("videos")]
    listing = kaggle.find("flights", [*names, "gone.csv"])
    assert set(names) <= listing.by_name.keys()
    assert "gone.csv" not in listing.by_name
    assert server.calls.count("ListDataFiles") <= 40
    assert server.calls.count("DownloadDataFile") <= data_files.MAX_DIRECT_LOOKUPS


def test_a_list_that_goes_in_circles_ends() -> None:
    asked: list[str] = []

    def ask(token: str) -> SimpleNamespace:
        asked.append(token)
        return SimpleNamespace(next_page_token="b" if token == "a" else "a")

    assert len(list(pages(ask))) == 3
    assert asked == ["", "a", "b"]


def test_a_change_of_one_file_is_seen_without_reading_everything(place: Place, many: Hosted) -> None:
    only = {"test.csv": FILES["test.csv"]}
    place.succeeds("flights", "--only", "test.csv", files=only)
    many.replace_files(test__csv=FILES["test.csv"][:-100].rpartition(b"\n")[0] + b"\n")
    place.succeeds("flights", "--only", "test.csv", files={"test.csv": many.files["test.csv"]})
    assert place.server.calls.count("ListDataFiles") == 40
    assert list((place.folder / "data" / "earlier").iterdir())


@pytest.mark.slow
def test_all_of_it_after_some_of_it(place: Place, many: Hosted) -> None:
    """What `--only` did not see is no change of the data."""
    place.succeeds("flights", "--only", "test.csv", files={"test.csv": FILES["test.csv"]})
    many.files["sample_submission.csv"] = FILES["sample_submission.csv"]
    assert "changed" not in place.fetch().stderr
    many.replace_files(train__csv=FILES["train.csv"][:-100].rpartition(b"\n")[0] + b"\n")
    assert "the data of 'flights' changed" in place.fetch().stderr


def test_an_address_is_a_name_for_every_command(place: Place) -> None:
    place.succeeds("https://www.kaggle.com/competitions/flights/overview?rvi=1#rules")
    assert [p.name for p in (place.root / "competitions").iterdir()] == ["flights"]
    for arguments, env in (
        (("-c", "http://kaggle.com/c/flights/"), {}),
        (("-c", "competitions/flights"), {}),
        ((), {"WB_COMPETITION": "https://www.kaggle.com/c/flights/leaderboard"}),
    ):
        done = place.run("submissions", "--offline", "--json", *arguments, env=env)
        assert (done.returncode, json.loads(done.stdout)) == (0, []), done.stderr
    done = place.run("fetch", "https://www.kaggle.com/datasets/someone/flights")
    assert done.returncode == 1
    assert "neither a competition's name nor its address" in done.stderr
