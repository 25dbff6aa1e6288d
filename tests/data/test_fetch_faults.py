"""`wb fetch` as a command, when things go wrong: the real client, in a process of its own, against the stand-in.

After every fault the same is asked: an explained failure with exit code 1, or a good end; nothing half there; no secret
anywhere; and a fetch without the fault that ends with the right tables.
"""

from __future__ import annotations

import io
import os
import random
import shutil
import signal
import subprocess
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from tests.fetching import FILES, NEW_TRAIN, Place
from tests.needs import skip_unless
from tests.wire import API, TOKEN, USER, Hosted
from workbench.data.competition import read_manifest


def nobody_listens() -> str:
    # A port of the range that the system hands out, closed again.
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{taken.getsockname()[1]}"


def nothing_was_made(place: Place) -> None:
    assert list((place.root / "competitions").iterdir()) == []


# -------------------------------------------------------------------------------------------------------- the network


@pytest.mark.parametrize(
    ("proxy", "endpoint", "says", "do"),
    [
        ("http://{closed}", "", "the proxy refuses or can't be reached", "HTTPS_PROXY"),
        ("http://no-such-host.invalid:3128", "", "the proxy refuses or can't be reached", "HTTPS_PROXY"),
        (None, "http://{closed}", "there is no network", "check the network"),
        (None, "http://no-such-host.invalid", "name of the host does not resolve", "check the network"),
    ],
)
def test_no_network(place: Place, proxy: str | None, endpoint: str, says: str, do: str) -> None:
    closed = nobody_listens()
    proxy = proxy and proxy.format(closed=closed)
    env = {"HTTPS_PROXY": proxy, "https_proxy": proxy}
    place.fails(says=says, do=do, env=env, endpoint=endpoint.format(closed=closed))
    nothing_was_made(place)


def test_a_proxy_that_refuses(place: Place) -> None:
    place.server.refuse_proxy = True
    place.fails(says="the proxy refuses", do="HTTPS_PROXY and NO_PROXY")
    assert set(place.server.calls) == {f"CONNECT {API}"}
    nothing_was_made(place)
    place.server.refuse_proxy = False
    place.succeeds()


def test_the_network_goes_in_mid_download(place: Place) -> None:
    def goes() -> None:
        place.server.refuse_proxy = True

    place.server.fault("storage", cut_after=30_000, before=goes)
    place.server.fault("storage", status=503, times=1000)
    place.fails(says="reached while downloading flights.zip|sends status 503", do="try again|resumes from there")
    place.server.refuse_proxy = False
    place.server.faults.clear()
    place.succeeds()
    assert place.server.bytes_sent == len(place.server.hosted["flights"].archive)


# ------------------------------------------------------------------------------------------------------ the download


@pytest.mark.parametrize("times", [1, 10])
def test_a_cut_goes_on_from_what_arrived(place: Place, hosted: Hosted, times: int) -> None:
    place.server.fault("storage", cut_after=15_000, times=times)
    place.succeeds()
    assert place.server.bytes_sent < len(hosted.archive) + 10_000
    assert len(place.server.ranges) == times + 1
    assert place.server.ranges[-1].startswith("bytes=")
    place.downloads_nothing()


def test_a_download_given_up_goes_on_at_the_next_fetch(place: Place, hosted: Hosted) -> None:
    place.server.fault("storage", cut_after=50_000)
    place.server.fault("storage", cut_after=0, times=1000)
    said = place.fails(
        says="downloading flights.zip of 'flights': the connection broke off", do="the same command resumes from there"
    )
    assert "0.0 MB are kept" in said
    place.server.faults.clear()
    place.succeeds()
    assert place.server.ranges[-1] == "bytes=50000-"
    assert place.server.bytes_sent == len(hosted.archive)


@pytest.mark.slow
def test_a_trickle_arrives(place: Place) -> None:
    # It takes longer in all than an answer may, but something comes all the time.
    place.server.fault("storage", trickle_s=0.02)
    place.succeeds()
    assert place.server.calls.count("storage") == 1


@pytest.mark.parametrize("on", ["ListDataFiles", "DownloadDataFiles", "storage"])
def test_too_many_calls_are_waited_for(place: Place, on: str) -> None:
    place.server.fault(on, status=429, headers={"Retry-After": "1"})
    place.server.fault(on, status=429, times=2)
    started = time.monotonic()
    place.succeeds()
    assert time.monotonic() - started > 1.0
    assert place.server.calls.count(on) == 4


@pytest.mark.parametrize("on", ["GetCompetition", "storage"])
def test_too_many_calls_for_good(place: Place, on: str) -> None:
    place.server.fault(on, status=429, times=1000)
    place.fails(
        says="limits the rate of calls while looking up|sends status 429", do="wait a few minutes|resumes from there"
    )
    place.server.faults.clear()
    place.succeeds()


def test_bursts_of_errors_are_sat_out(place: Place, hosted: Hosted) -> None:
    for on in ("GetCompetition", "ListDataFiles", "DownloadDataFiles"):
        place.server.fault(on, status=500, times=2, body=b"<html>oops</html>")
        place.server.fault(on, status=503, times=2)
    place.server.fault("storage", status=503, times=3)
    place.server.fault("storage", cut_after=30_000)
    place.server.fault("storage", status=500, times=3, body=b"<html>oops</html>")
    place.succeeds()
    assert place.server.bytes_sent < len(hosted.archive) + 10_000


@pytest.mark.parametrize(
    ("on", "says", "do"),
    [
        (
            "ListDataFiles",
            "has a problem while listing the files for 'flights': it keeps answering 500",
            "nothing is lost; try again",
        ),
        ("DownloadDataFiles", "has a problem while downloading flights.zip", "nothing is lost; try again"),
        ("storage", "sends status 500 while downloading flights.zip", "the same command resumes from there"),
    ],
)
def test_errors_that_do_not_end(place: Place, on: str, says: str, do: str) -> None:
    place.server.fault(on, status=500, times=1000)
    place.fails(says=says, do=do)
    place.server.faults.clear()
    place.succeeds()


PAGE: dict[str, Any] = {
    "status": 200,
    "body": b"<!doctype html><html>Sorry, we are busy</html>",
    "headers": {"Content-Type": "text/html"},
}


@pytest.mark.parametrize(
    ("on", "says"),
    [
        ("GetCompetition", "the response is not what its client expects"),
        ("ListDataFiles", "the response is not what its client expects"),
        ("storage", "a web page in place of the file"),
    ],
)
def test_an_error_page_in_place_of_an_answer(place: Place, on: str, says: str) -> None:
    place.server.fault(on, times=1000, **PAGE)
    place.fails(says=says, do="repeat the command|resumes from there")
    assert not list(place.raw.glob("*.zip"))
    place.server.faults.clear()
    place.succeeds()


def test_an_error_page_once_is_no_more_than_a_delay(place: Place) -> None:
    place.server.fault("storage", **PAGE)
    place.succeeds()


def truncated(data: bytes) -> bytes:
    """Cut an archive in the middle, and fill it up to its length."""
    return data[: len(data) // 2].ljust(len(data), b"\0")


def flipped(data: bytes) -> bytes:
    """Flip a bit in the data of the last member, train.csv."""
    return data[:-9000] + bytes([data[-9000] ^ 16]) + data[-8999:]


@pytest.mark.parametrize("damage", [truncated, flipped])
@pytest.mark.parametrize("announced", [True, False])
def test_damage_is_found_and_fetched_again(place: Place, damage: Callable[[bytes], bytes], announced: bool) -> None:
    place.server.send_md5 = announced
    fault = place.server.fault("storage", change=damage, times=1000)
    says = (
        r"had a different checksum \(md5\) than announced"
        if announced
        else "not a complete zip archive|is not complete"
    )
    place.fails(says=says, do="another network" if announced else "fetch it again")
    fault.times = 0
    place.succeeds()
    place.downloads_nothing()


@pytest.mark.parametrize("announced", [True, False])
def test_a_bit_flipped_once_is_fetched_again_by_itself(place: Place, hosted: Hosted, announced: bool) -> None:
    place.server.send_md5 = announced
    place.server.fault("storage", change=flipped)
    place.succeeds()
    assert place.server.bytes_sent == 2 * len(hosted.archive)


def test_an_archive_that_is_damaged_on_the_server_is_told_each_time(place: Place, hosted: Hosted) -> None:
    hosted.archive_bytes = flipped(hosted.archive)
    for _ in range(2):
        place.fails(says="flights.zip: train.csv is not complete", do="fetch it again")
    hosted.replace_files()
    place.succeeds()


def test_data_that_change_in_mid_download(place: Place, hosted: Hosted) -> None:
    place.server.fault("storage", cut_after=30_000)
    place.server.fault("storage", before=lambda: hosted.replace_files(train__csv=NEW_TRAIN))
    new = FILES | {"train.csv": NEW_TRAIN}
    place.succeeds(files=new)
    # What was listed was the old: the next fetch looks at it again.
    place.succeeds(files=new)
    place.downloads_nothing(files=new)


@pytest.mark.parametrize("on", ["GetCompetition", "DownloadDataFiles", "storage"])
def test_an_answer_that_never_comes(place: Place, on: str) -> None:
    # Longer than a command may take in a test: whoever waits for it is late.
    place.server.fault(on, hang_s=1000, times=1000)
    place.fails(
        says="no response came in time",
        do="check the network|resumes from there",
        patience={"answer_s": 0.2, "tries": 2},
    )
    # A question is tried twice more; a download is begun two times, and each is tried so often.
    assert place.server.calls.count(on) == (6 if on == "storage" else 3)
    place.server.faults.clear()
    place.succeeds()


# ------------------------------------------------------------------------------------------------------- the archive


def zipped(*members: tuple[str | zipfile.ZipInfo, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(name, data, zipfile.ZIP_DEFLATED)
    return out.getvalue()


def a_link() -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("images/link.png")
    info.external_attr = 0o120777 << 16
    return info


@pytest.mark.parametrize(
    ("member", "says"),
    [
        (lambda: ("../evil.csv", b"x\n1\n"), "would be written outside"),
        (lambda: ("images/../../../evil.png", b"x"), "would be written outside"),
        (lambda: ("{root}/evil.csv", b"x\n1\n"), "would be written outside"),
        (lambda: (r"C:\evil.csv", b"x\n1\n"), "would be written outside"),
        (lambda: (r"..\evil.png", b"x"), "would be written outside"),
        (lambda: (a_link(), b"/etc/passwd"), "is a link"),
        (lambda: ("images/zeros.png", bytes(70 << 20)), "would inflate from"),
        (lambda: ("zeros.csv", bytes(70 << 20)), "would inflate from"),
    ],
    ids=["up", "far-up", "absolute", "drive", "backslash", "link", "bomb", "bomb-table"],
)
def test_an_archive_that_can_not_be_trusted(
    place: Place, hosted: Hosted, member: Callable[[], tuple[str | zipfile.ZipInfo, bytes]], says: str
) -> None:
    name, data = member()
    if isinstance(name, str):
        name = name.format(root=place.root)
    hosted.archive_bytes = zipped(*FILES.items(), (name, data))
    place.fails(says=says, do="do not trust this archive|by hand|--force")
    assert not [p for p in place.root.parent.rglob("*") if "evil" in p.name or p.is_symlink()]
    assert not (place.folder / "data" / "tables").exists()
    assert not (place.raw / "images").exists()
    hosted.archive_bytes = None
    place.succeeds("flights", "--force")
    place.downloads_nothing()


def test_a_tar_that_leads_outside(place: Place, hosted: Hosted) -> None:
    def tarred(name: str) -> bytes:
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as archive:
            info = tarfile.TarInfo(name)
            info.size = 3
            archive.addfile(info, io.BytesIO(b"png"))
        return out.getvalue()

    hosted.replace_files(images__tar=tarred("../../../evil.png"))
    place.fails(says="images.tar: .*outside", do="do not trust this archive")
    assert not list(place.root.parent.rglob("evil.png"))
    hosted.replace_files(images__tar=tarred("more/3.png"))
    place.succeeds(files=FILES | {"more/3.png": b"png"})


# ------------------------------------------------------------------------------------------------- login, rules, names


@pytest.mark.parametrize(
    "env", [{"KAGGLE_KEY": "KGAT_wrong", "KAGGLE_USERNAME": USER}, {"KAGGLE_API_TOKEN": "KGAT_wrong"}]
)
def test_a_login_that_is_wrong(place: Place, env: dict[str, str]) -> None:
    said = place.fails(says=f"does not accept the login from {'|'.join(env)}", do="kaggle.com/settings", env=env)
    assert "KGAT_wrong" not in said
    nothing_was_made(place)
    place.succeeds()


def test_a_login_that_has_expired(place: Place) -> None:
    place.server.login_ok = False
    place.fails(says="does not accept the login from .*kaggle.json .*wrong or expired", do="settings", plain=True)
    nothing_was_made(place)


def test_no_login(place: Place) -> None:
    (Path(place.environment["HOME"]) / ".kaggle" / "kaggle.json").unlink()
    place.fails(says="no login for Kaggle was found", do="kaggle.com/settings", plain=True)
    assert place.server.calls == []
    nothing_was_made(place)


def test_a_login_that_expires_half_way(place: Place, hosted: Hosted) -> None:
    place.server.fault("storage", cut_after=40_000)
    place.server.fault("storage", status=400)
    place.server.logins_left = 3
    said = place.fails(says="does not accept the login .* while downloading flights.zip", do="kaggle.com/settings")
    assert "it was accepted before, and has expired" in said
    assert "0.0 MB are kept" in said
    assert place.server.bytes_sent == 40_000
    place.server.logins_left = None
    place.succeeds()
    assert place.server.bytes_sent == len(hosted.archive)


def test_a_token_logs_in_and_is_told_to_nobody(place: Place) -> None:
    (Path(place.environment["HOME"]) / ".kaggle" / "kaggle.json").unlink()
    place.succeeds(env={"KAGGLE_API_TOKEN": TOKEN}, plain=True)


def test_rules_that_are_not_accepted(place: Place, hosted: Hosted) -> None:
    hosted.rules_accepted = False
    place.fails(
        says="rules of 'flights' are not accepted",
        do="open https://www.kaggle.com/competitions/flights/rules",
        plain=True,
    )
    hosted.rules_accepted = True
    place.succeeds()


def test_an_unknown_name(place: Place) -> None:
    place.fails("flihgts", says="Kaggle has no competition 'flihgts'", do="did you mean 'flights'", plain=True)
    nothing_was_made(place)


def test_an_unknown_file(place: Place) -> None:
    place.fails("flights", "--only", "tran.csv", says="has no file 'tran.csv'", do="did you mean 'train.csv'")
    assert "storage" not in place.server.calls


# ---------------------------------------------------------------------------------------------------------- two at once


def test_a_data_file_in_place_of_its_address_is_not_taken_apart(place: Place, hosted: Hosted) -> None:
    lines = b'{"a": 1}\n{"a": 2}\n'
    hosted.replace_files(logs__json=lines)
    place.server.fault("DownloadDataFile", status=200, body=lines, headers={"Content-Type": "application/json"})
    done = place.fetch("flights", "--only", "logs.json")
    assert done.returncode == 0, done.stderr
    assert (place.raw / "logs.json").read_bytes() == lines
    assert "storage" not in place.server.calls


def test_two_at_once(place: Place) -> None:
    arrived, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        arrived.set()
        go_on.wait(30)

    place.server.fault("storage", before=hold)
    first = place.start_fetch(patience={"answer_s": 30})
    try:
        assert arrived.wait(30)
        second = place.fetch()
    finally:
        go_on.set()
    place.explained(second, says=f"the data of 'flights' is in use by process {first.pid} on", do="wait for it")
    assert place.ended(first).returncode == 0
    place.downloads_nothing()


# ------------------------------------------------------------------------------------------------- data that are there


def test_data_that_changed(place: Place, hosted: Hosted) -> None:
    place.succeeds()
    old = read_manifest(place.folder / "data" / "tables", slug="flights")
    definition = (place.folder / "competition.toml").read_bytes()
    hosted.replace_files(train__csv=NEW_TRAIN)
    new = FILES | {"train.csv": NEW_TRAIN}
    said = place.succeeds(files=new)
    assert "the data of 'flights' changed on kaggle" in said
    earlier = place.folder / "data" / "earlier" / old.content[:12]
    assert read_manifest(earlier / "tables", slug="flights") == old
    assert (earlier / "raw" / "flights.zip").exists()
    assert_frame_equal(pl.read_parquet(earlier / "tables" / "train.parquet"), pl.read_csv(FILES["train.csv"]))
    assert (place.folder / "competition.toml").read_bytes() == definition
    place.downloads_nothing(files=new)


def test_one_file_of_data_that_changed_brings_all_that_was_there(place: Place, hosted: Hosted) -> None:
    place.succeeds()
    hosted.replace_files(train__csv=NEW_TRAIN)
    new = FILES | {"train.csv": NEW_TRAIN}
    place.succeeds("flights", "--only", "train.csv", files=new)
    place.downloads_nothing(files=new)


def test_new_data_that_do_not_arrive_leave_the_old(place: Place, hosted: Hosted) -> None:
    place.succeeds()
    old_bytes = place.server.bytes_sent
    hosted.replace_files(train__csv=NEW_TRAIN)
    place.server.fault("storage", cut_after=50_000)
    place.server.fault("storage", status=503, times=1000)
    place.fails(says="sends status 503", do="the same command resumes from there")
    assert_frame_equal(
        pl.read_parquet(place.folder / "data" / "tables" / "train.parquet"), pl.read_csv(FILES["train.csv"])
    )
    place.server.faults.clear()
    new = FILES | {"train.csv": NEW_TRAIN}
    place.succeeds(files=new)
    assert place.server.bytes_sent - old_bytes == len(hosted.archive)
    place.downloads_nothing(files=new)


def test_data_that_change_again_before_the_change_was_taken_in(place: Place, hosted: Hosted) -> None:
    place.succeeds()
    hosted.replace_files(train__csv=NEW_TRAIN)
    killed = place.fetch(die=(r"incoming/tables/", 1))
    assert killed.returncode == -signal.SIGKILL
    hosted.replace_files(train__csv=FILES["train.csv"][:-100].rpartition(b"\n")[0] + b"\n")
    new = dict(hosted.files)
    place.succeeds(files=new)
    place.downloads_nothing(files=new)


def test_data_that_change_after_a_first_fetch_that_was_killed(place: Place, hosted: Hosted) -> None:
    assert place.fetch(die=(r"\.manifest\.json", 1)).returncode == -signal.SIGKILL
    assert list((place.folder / "data" / "tables").glob("*.parquet"))
    hosted.replace_files(train__csv=NEW_TRAIN)
    new = FILES | {"train.csv": NEW_TRAIN}
    place.succeeds(files=new)
    place.downloads_nothing(files=new)


def test_data_that_change_between_two_tries_of_the_first_fetch(place: Place, hosted: Hosted) -> None:
    two = ("--only", "sample_submission.csv", "--only", "train.csv")
    place.server.fault("storage", status=503, times=1000, skip=1)
    place.fails("flights", *two, says="sends status 503 while downloading train.csv", do="resumes from there")
    place.server.faults.clear()
    arrived = place.server.bytes_sent
    place.succeeds(
        "flights", "--only", "sample_submission.csv", files={"sample_submission.csv": FILES["sample_submission.csv"]}
    )
    assert place.server.bytes_sent == arrived
    sample = FILES["sample_submission.csv"].replace(b",0\n", b",1\n")
    hosted.replace_files(sample_submission__csv=sample)
    only = {"sample_submission.csv": sample, "train.csv": FILES["train.csv"]}
    place.succeeds("flights", *two, files=only)


def test_one_file_only(place: Place, hosted: Hosted) -> None:
    only = {"train.csv": FILES["train.csv"]}
    place.server.fault("storage", cut_after=20_000)
    place.succeeds("flights", "--only", "train.csv", files=only)
    assert place.server.bytes_sent < len(FILES["train.csv"]) + 10_000
    assert not (place.folder / "competition.toml").exists()
    assert "DownloadDataFiles" not in place.server.calls
    before = place.server.bytes_sent
    place.succeeds("flights", "--only", "train.csv", files=only)
    assert place.server.bytes_sent == before
    place.succeeds("flights", "--only", "train.csv", "--force", files=only)
    assert place.server.bytes_sent == before + len(FILES["train.csv"])
    place.succeeds()
    place.downloads_nothing()


def test_force_brings_everything_again(place: Place, hosted: Hosted) -> None:
    place.succeeds()
    (place.folder / "competition.toml").write_text((place.folder / "competition.toml").read_text() + "# mine\n")
    place.server.fault("storage", status=503, times=1000)
    place.fails("flights", "--force", says="sends status 503", do="resumes from there")
    place.server.faults.clear()
    place.succeeds("flights", "--force")
    assert place.server.bytes_sent == 2 * len(hosted.archive)
    assert (place.folder / "competition.toml").read_text().endswith("# mine\n")


def test_tables_that_were_damaged_are_made_again(place: Place) -> None:
    place.succeeds()
    path = place.folder / "data" / "tables" / "train.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    before = place.server.bytes_sent
    assert "converting train" in place.succeeds()
    assert place.server.bytes_sent == before


def test_an_archive_that_was_damaged_on_the_disk_is_fetched_again(place: Place, hosted: Hosted) -> None:
    place.succeeds()
    path = place.raw / "flights.zip"
    path.write_bytes(flipped(path.read_bytes()))
    place.succeeds()
    assert place.server.bytes_sent == 2 * len(hosted.archive)


# ---------------------------------------------------------------------------------------------------------- a full disk


@pytest.fixture
def disk(place: Place) -> Iterator[Callable[[int], None]]:
    """Put the workspace on a disk of its own; the function sets how many kilobytes it has."""
    mount = shutil.which("mount")
    made = mount and subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place.root)], capture_output=True, check=False
    )
    skip_unless(made and made.returncode == 0, "mounts")
    (place.root / "competitions").mkdir()

    def resize(kilobytes: int) -> None:
        subprocess.run(["mount", "-o", f"remount,size={kilobytes}k", str(place.root)], check=True)

    yield resize
    place.no_secret_is_told()
    subprocess.run(["umount", str(place.root)], check=True)


def kilobytes(*sizes: int) -> int:
    return sum(-(-s // 4096) * 4 for s in sizes)


def test_a_disk_that_fills_up_while_downloading(place: Place, hosted: Hosted, disk: Callable[[int], None]) -> None:
    disk(10_000)
    # It was large enough when it was looked at; then something else is written to it.
    place.server.fault("storage", cut_after=60_000)
    place.server.fault("storage", before=lambda: disk(130))
    place.fails(says="no space left on the disk", do="free some space", plain=True)
    arrived = place.server.bytes_sent
    assert place.server.calls.count("storage") == 2
    disk(10_000)
    place.succeeds()
    assert place.server.ranges[-1] == "bytes=60000-"
    assert place.server.bytes_sent - arrived == len(hosted.archive) - 60_000


def test_a_disk_that_is_too_small_is_seen_before(place: Place, hosted: Hosted, disk: Callable[[int], None]) -> None:
    listed = sum(map(len, FILES.values()))
    disk(listed // 1024 + 100)
    said = place.fails(says="350.1 KB, and about .* more when converted; the disk has .* too little", do="free some")
    assert "--yes" in said
    disk(listed // 1024 // 20 - 5)
    for yes in ((), ("--yes",)):
        place.fails("flights", *yes, says="the disk has .* free: nothing was downloaded", do="free some space")
    assert not [c for c in place.server.calls if c.startswith(("Download", "storage"))]
    disk(10_000)
    place.succeeds()


@pytest.mark.parametrize("packing", ["zip", "tar"])
def test_a_disk_that_fills_up_while_unpacking(
    place: Place, hosted: Hosted, disk: Callable[[int], None], packing: str
) -> None:
    files = dict(FILES)
    if packing == "tar":
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w:gz") as archive:
            for i in range(4):
                info = tarfile.TarInfo(f"more/{i}.txt")
                info.size = 60_000
                archive.addfile(info, io.BytesIO(bytes(60_000)))
        hosted.replace_files(more__tar=out.getvalue())
        hosted.files["more.tar.gz"] = hosted.files.pop("more.tar")
        files |= {f"more/{i}.txt": bytes(60_000) for i in range(4)}
    free = 40 if packing == "zip" else kilobytes(40_000, 40_000, 10_000) + 100
    disk(kilobytes(len(hosted.archive)) + free)
    place.fails("flights", "--yes", says="no space left on the disk|the disk has .* free", do="free some space")
    assert not list(place.raw.rglob("*.txt"))
    arrived = place.server.bytes_sent
    disk(10_000)
    place.succeeds(files=files)
    assert place.server.bytes_sent == arrived


def test_a_disk_that_fills_up_while_converting(place: Place, hosted: Hosted, disk: Callable[[int], None]) -> None:
    disk(kilobytes(len(hosted.archive), 40_000, 40_000) + 60)
    place.fails("flights", "--yes", says=r"can't write .*\.parquet.*no space left on the disk", do="free some space")
    arrived = place.server.bytes_sent
    disk(10_000)
    place.succeeds()
    assert place.server.bytes_sent == arrived


@pytest.mark.parametrize("what", ["downloading", "unpacking", "converting"])
def test_a_file_that_may_not_grow(place: Place, hosted: Hosted, what: str) -> None:
    zeros = bytes(1 << 20)
    files = dict(FILES)
    if what == "unpacking":
        hosted.replace_files(zeros__png=zeros)
        files |= {"zeros.png": zeros}
    if what == "converting":
        # Packed tightly, and of little use to a faster packing.
        hosted.compresslevel = 9
        text = b"id,x,town,y\n" + b"".join(b"%d,0.%d,town,%d\n" % (i, i * i * 7919, i % 2) for i in range(60_000))
        hosted.replace_files(train__csv=text)
        files |= {"train.csv": text}
    limits = {"downloading": 60_000, "unpacking": len(hosted.archive) + 9000, "converting": len(hosted.archive) + 9000}
    said = place.fails(says="the file is too large", do="raise the limit", file_limit=limits[what])
    assert ("converting" in said) == (what == "converting")
    arrived = place.server.bytes_sent
    place.succeeds(files=files)
    if what != "downloading":
        assert place.server.bytes_sent == arrived


# --------------------------------------------------------------------------------------------------------------- killed


@pytest.mark.slow
def test_killed_while_downloading(place: Place, hosted: Hosted) -> None:
    place.server.fault("storage", trickle_s=0.01, times=1000)
    rng = random.Random(1)
    for _ in range(4):
        until = place.server.bytes_sent + rng.randrange(1, 40_000)
        process = place.start_fetch()
        while place.server.bytes_sent < until:
            time.sleep(0.002)
        process.kill()
        assert place.ended(process).returncode == -signal.SIGKILL
        place.is_sound(killed=True)
    place.server.faults.clear()
    place.succeeds()
    # What was on its way when it was killed is sent again, and no more.
    assert place.server.bytes_sent < len(hosted.archive) + 4 * 12_000
    place.downloads_nothing()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "where"),
    [
        ("downloading", r"/raw/(\.flights|\.listing|flights)"),
        ("unpacking", r"/raw/images|\.png|/raw/\.flights\.zip\.[^/]*\.tmp"),
        ("converting", r"/tables/"),
        ("defining", r"competition\.toml|experiments"),
    ],
)
def test_killed_before_a_write(place: Place, what: str, where: str) -> None:
    killed = 0
    for number in random.Random(what).sample(range(1, 11), 3):
        shutil.rmtree(place.folder, ignore_errors=True)
        done = place.fetch(die=(where, number))
        killed += done.returncode == -signal.SIGKILL
        place.is_sound(killed=True)
        arrived = place.server.bytes_sent
        place.succeeds()
        if what != "downloading":
            assert place.server.bytes_sent == arrived
    assert killed >= 2


@pytest.mark.slow
def test_killed_while_converting(place: Place, hosted: Hosted) -> None:
    text = b"id,x,town,y\n" + b"".join(b"%d,%d.5,town,%d\n" % (i, i * i, i % 2) for i in range(400_000))
    hosted.replace_files(train__csv=text)
    rng = random.Random(2)
    for _ in range(3):
        process = place.start_fetch()
        while "converting train" not in process.err.read_text():
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.1))
        process.kill()
        place.ended(process)
        place.is_sound(killed=True)
    arrived = place.server.bytes_sent
    place.succeeds(files=FILES | {"train.csv": text})
    assert place.server.bytes_sent == arrived


@pytest.mark.slow
def test_killed_while_the_new_takes_the_place_of_the_old(place: Place, hosted: Hosted) -> None:
    place.succeeds()
    kept = place.root.parent / "kept"
    shutil.copytree(place.folder, kept)
    old = read_manifest(place.folder / "data" / "tables", slug="flights").content[:12]
    hosted.replace_files(train__csv=NEW_TRAIN)
    new = FILES | {"train.csv": NEW_TRAIN}
    killed = 0
    for number in random.Random(3).sample(range(1, 12), 5):
        shutil.rmtree(place.folder)
        shutil.copytree(kept, place.folder)
        done = place.fetch(die=(r"swap\.json|/earlier|rename .*/incoming/(raw|tables)$", number))
        killed += done.returncode == -signal.SIGKILL
        place.is_sound(killed=True)
        arrived = place.server.bytes_sent
        place.succeeds(files=new)
        assert place.server.bytes_sent == arrived
        train = pl.read_parquet(place.folder / "data" / "earlier" / old / "tables" / "train.parquet")
        assert_frame_equal(train, pl.read_csv(FILES["train.csv"]))
    assert killed >= 3


def test_ctrl_c_in_a_download_ends_the_command_with_130(place: Place) -> None:
    started: list[Any] = []

    def interrupt() -> None:
        os.kill(started[0].pid, signal.SIGINT)
        time.sleep(0.5)

    place.server.fault("storage", before=interrupt)
    started.append(place.start_fetch())
    done = place.ended(started[0])
    assert done.returncode == 130, done.stderr
    assert "Traceback" not in done.stderr
    assert "to continue: wb fetch" in done.stderr
    place.server.faults.clear()
    place.succeeds()
