"""The Kaggle platform: the real client against the stand-in on the wire."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.platform_contract import Hosted, PlatformContract
from tests.wire import KEY, SIGNATURE, TOKEN, USER, Server, served
from tests.wire import Hosted as WireHosted
from workbench.errors import DamagedError, PlatformError, UnansweredError, WorkbenchError
from workbench.kaggle_platform import Kaggle, Patience, login_state
from workbench.kaggle_platform.login import find_credential

QUICK = Patience(
    login_s=10, connect_s=2, answer_s=1.0, tries=4, backoff_s=0.01, backoff_max_s=0.05, retry_after_max_s=1
)
FILES = {
    "data/extra file.csv": b"a,b\n1,2\n",
    "sample_submission.csv": b"id,y\n3,0\n",
    "train.csv": b"id,x,y\n1,2,0\n2,3,1\n",
}


@pytest.fixture
def server() -> Iterator[Server]:
    with served() as running:
        yield running


@pytest.fixture
def kaggle(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kaggle]:
    for name in ("KAGGLE_API_TOKEN", "KAGGLE_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for key, value in server.environment(tmp_path / "home").items():
        monkeypatch.setenv(key, value)
    monkeypatch.setenv("KAGGLE_USERNAME", USER)
    monkeypatch.setenv("KAGGLE_KEY", KEY)
    platform = Kaggle(patience=QUICK, listing_delay_s=0.3)
    yield platform
    platform.close()


class TestContract(PlatformContract):
    @pytest.fixture
    def hosted(self, server: Server, kaggle: Kaggle, tmp_path: Path) -> Hosted:
        server.host(
            "flights",
            FILES,
            title="Flights",
            daily_limit=3,
            score=lambda data: (0.75, 0.7) if b"good" in data else "Submission must have 1 column",
        )
        good, bad = tmp_path / "good.csv", tmp_path / "bad.csv"
        good.write_text("id,y\n3,good\n")
        bad.write_text("id,y\n3,no\n")
        return Hosted(
            kaggle,
            "flights",
            "flihgts",
            good,
            bad,
            daily_limit=3,
            facts={"title": "Flights", "greater_is_better": True},
        )


def test_every_page_is_read(server: Server, kaggle: Kaggle, tmp_path: Path) -> None:
    hosted = server.host("many", {f"images/{i:04d}.png": b"x" for i in range(450)}, daily_limit=1000)
    hosted.leaderboard = [(f"team {i}", 1 - i / 1000) for i in range(500)]
    file = tmp_path / "a.csv"
    file.write_text("id\n")
    for i in range(3):
        kaggle.submit("many", file, f"m{i}")
    hosted.submissions *= 90
    assert len(kaggle.files("many")) == 450
    assert len(kaggle.submissions("many")) == 270
    board = kaggle.leaderboard("many")
    assert len(board.entries) == 500
    assert board.public is not None
    assert (board.public.rank, board.public.teams) == (501, 501)


def test_facts_in_the_platforms_words(server: Server, kaggle: Kaggle) -> None:
    server.host("code", FILES, kernels_only=True, metric="Custom 7")
    facts = kaggle.facts("code")
    assert (facts.metric, facts.greater_is_better, facts.kind, facts.accepts_submissions) == (
        "Custom 7",
        None,
        "notebook",
        True,
    )


def test_a_packed_single_file_is_unpacked(server: Server, kaggle: Kaggle, tmp_path: Path) -> None:
    server.host("flights", FILES, packed=("train.csv", "data/extra file.csv"))
    for name in ("train.csv", "data/extra file.csv"):
        kaggle.download("flights", name, tmp_path / "t.csv")
        assert (tmp_path / "t.csv").read_bytes() == FILES[name]


def test_a_json_file_is_not_taken_apart(server: Server, kaggle: Kaggle, tmp_path: Path) -> None:
    lines = b'{"a": 1}\n{"a": 2}\n'
    server.host("logs", {"test.json": lines})
    kaggle.download("logs", "test.json", tmp_path / "t.json")
    assert (tmp_path / "t.json").read_bytes() == lines


# ------------------------------------------------------------------------------------------------ faults: downloads

BIG = bytes(range(256)) * 4000


@pytest.fixture
def big(server: Server) -> Server:
    server.host("big", {"big.bin": BIG})
    return server


def fetched(kaggle: Kaggle, folder: Path) -> bytes:
    arrived: list[int] = []
    kaggle.download("big", "big.bin", folder / "big.bin", progress=arrived.append)
    assert sum(arrived) == len(BIG)
    assert [p.name for p in folder.iterdir() if p.name.startswith(".big")] == []
    return (folder / "big.bin").read_bytes()


@pytest.mark.parametrize("times", [1, 10])
def test_a_cut_goes_on_from_what_arrived(big: Server, kaggle: Kaggle, tmp_path: Path, times: int) -> None:
    big.fault("storage", cut_after=50_000, times=times)
    assert fetched(kaggle, tmp_path) == BIG
    assert big.bytes_sent < len(BIG) + 20_000, "what had arrived was fetched again"
    assert big.ranges[-1].startswith("bytes=")


def test_a_cut_before_the_first_byte(big: Server, kaggle: Kaggle, tmp_path: Path) -> None:
    big.fault("storage", cut_after=0, times=2)
    assert fetched(kaggle, tmp_path) == BIG


def test_a_later_call_goes_on(big: Server, kaggle: Kaggle, tmp_path: Path) -> None:
    big.fault("storage", cut_after=300_000)
    big.fault("storage", status=403, times=1000)
    with pytest.raises(PlatformError, match=r"status 403 while downloading big.bin of 'big'; 0.3 MB are kept"):
        fetched(kaggle, tmp_path)
    assert not (tmp_path / "big.bin").exists()
    big.faults.clear()
    before = big.bytes_sent
    assert fetched(Kaggle(patience=QUICK), tmp_path) == BIG
    assert big.bytes_sent - before == len(BIG) - 300_000


def test_a_trickle_arrives(big: Server, kaggle: Kaggle, tmp_path: Path) -> None:
    big.fault("storage", trickle_s=0.001)
    assert fetched(kaggle, tmp_path) == BIG


@pytest.mark.parametrize("status", [429, 500, 503])
@pytest.mark.parametrize("on", ["storage", "DownloadDataFile", "ListDataFiles"])
@pytest.mark.parametrize("headers", [{}, {"Retry-After": "1"}])
def test_bursts_are_sat_out(
    big: Server, kaggle: Kaggle, tmp_path: Path, on: str, status: int, headers: dict[str, str]
) -> None:
    big.fault(on, status=status, times=1 if headers else 4, headers=headers)
    assert fetched(kaggle, tmp_path) == BIG


def test_a_storage_that_stays_ill_is_named(big: Server, kaggle: Kaggle, tmp_path: Path) -> None:
    big.fault("storage", status=503, times=1000)
    with pytest.raises(PlatformError, match="status 503 while downloading big.bin"):
        fetched(kaggle, tmp_path)


def test_a_503_on_a_resume_keeps_what_arrived(big: Server, kaggle: Kaggle, tmp_path: Path) -> None:
    big.fault("storage", cut_after=400_000)
    big.fault("storage", status=503, body=b"<html>busy</html>", times=3)
    assert fetched(kaggle, tmp_path) == BIG
    assert big.bytes_sent < len(BIG) + 20_000


def test_an_error_page_is_not_the_file(big: Server, kaggle: Kaggle, tmp_path: Path) -> None:
    page = big.fault("storage", status=200, body=b"<html>sorry</html>", headers={"Content-Type": "text/html"})
    assert fetched(kaggle, tmp_path) == BIG
    (tmp_path / "big.bin").unlink()
    page.times = 1000
    with pytest.raises(PlatformError, match="a web page in place of the file"):
        fetched(kaggle, tmp_path)
    assert not (tmp_path / "big.bin").exists()


def flipped(data: bytes) -> bytes:
    return data[:1000] + bytes([data[1000] ^ 8]) + data[1001:]


def test_flipped_bits_are_found_and_fetched_again(big: Server, kaggle: Kaggle, tmp_path: Path) -> None:
    flips = big.fault("storage", change=flipped)
    assert fetched(kaggle, tmp_path) == BIG
    (tmp_path / "big.bin").unlink()
    flips.times = 1000
    with pytest.raises(DamagedError, match="md5"):
        fetched(kaggle, tmp_path)
    assert not (tmp_path / "big.bin").exists()


def test_an_object_that_changes_in_mid_download_is_fetched_whole(big: Server, kaggle: Kaggle, tmp_path: Path) -> None:
    new = BIG[::-1]
    big.fault("storage", cut_after=300_000)
    big.fault("storage", before=lambda: big.hosted["big"].files.update({"big.bin": new}))
    assert fetched(kaggle, tmp_path) == new


def test_an_answer_that_never_comes(big: Server, kaggle: Kaggle, tmp_path: Path) -> None:
    big.fault("storage", hang_s=30)
    big.fault("GetCompetition", hang_s=30, times=1)
    assert fetched(kaggle, tmp_path) == BIG
    big.fault("GetCompetition", hang_s=30, times=100)
    with pytest.raises(PlatformError, match="no answer came in time"):
        kaggle.facts("other")


# ----------------------------------------------------------------------------------------------------- faults: calls


def test_a_lost_answer_to_each_question_is_asked_again(server: Server, kaggle: Kaggle, tmp_path: Path) -> None:
    server.host("flights", FILES, leaderboard=[("a", 0.9)])
    for on in (
        "GetCompetition",
        "ListDataFiles",
        "DownloadDataFile",
        "ListSubmissions",
        "GetSubmissionLimits",
        "GetLeaderboard",
    ):
        server.fault(on, lose_answer=True)
    assert kaggle.facts("flights").title
    assert len(kaggle.files("flights")) == 3
    kaggle.download("flights", "train.csv", tmp_path / "t.csv")
    assert kaggle.submissions("flights") == []
    assert kaggle.limits("flights").remaining_today == 5
    assert kaggle.leaderboard("flights").entries == (("a", 0.9),)


def test_rules_that_are_not_accepted(server: Server, kaggle: Kaggle, tmp_path: Path) -> None:
    server.host("flights", FILES, rules_accepted=False, entered=False)
    (tmp_path / "a.csv").write_text("id\n")
    for call in (
        lambda: kaggle.download("flights", "train.csv", tmp_path / "t.csv"),
        lambda: kaggle.download("flights", "flights.zip", tmp_path / "t.zip"),
        lambda: kaggle.submissions("flights"),
        lambda: kaggle.submit("flights", tmp_path / "a.csv", "m"),
    ):
        with pytest.raises(PlatformError, match="rules of 'flights' are not accepted") as caught:
            call()
        assert "https://www.kaggle.com/competitions/flights/rules" in caught.value.hint
    assert kaggle.limits("flights").remaining_today is None


def test_a_login_that_is_wrong_or_expires_half_way(server: Server, kaggle: Kaggle) -> None:
    server.host("flights", FILES)
    server.logins_left = 1
    kaggle.facts("flights")
    with pytest.raises(
        PlatformError, match="does not accept the login from KAGGLE_USERNAME and KAGGLE_KEY while listing"
    ) as caught:
        kaggle.files("flights")
    assert "kaggle.com/settings" in caught.value.hint
    state = kaggle.login()
    assert not state.ok
    server.logins_left = None
    assert kaggle.login().ok
    assert KEY not in state.detail + kaggle.login().detail + str(caught.value)


def test_a_bad_token_beats_a_good_key_and_is_named(
    server: Server, kaggle: Kaggle, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.host("flights", FILES)
    monkeypatch.setenv("KAGGLE_API_TOKEN", "KGAT_wrong")
    with pytest.raises(PlatformError, match="login from KAGGLE_API_TOKEN") as caught:
        kaggle.facts("flights")
    assert "it goes before KAGGLE_USERNAME and KAGGLE_KEY" in str(caught.value)
    assert "KGAT_wrong" not in str(caught.value)


@pytest.mark.parametrize("variable", ["KAGGLE_API_TOKEN", "KAGGLE_TOKEN"])
def test_a_good_token_logs_in(
    server: Server, kaggle: Kaggle, monkeypatch: pytest.MonkeyPatch, variable: str, tmp_path: Path
) -> None:
    server.host("flights", FILES)
    monkeypatch.delenv("KAGGLE_KEY")
    monkeypatch.setenv(variable, TOKEN)
    assert kaggle.facts("flights").slug == "flights"
    assert variable in kaggle.login().detail
    assert TOKEN not in kaggle.login().detail


def test_a_login_that_hangs(server: Server, kaggle: Kaggle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAGGLE_API_TOKEN", TOKEN)
    server.fault("IntrospectToken", hang_s=30, times=10)
    hasty = Kaggle(patience=replace(QUICK, login_s=0.5))
    with pytest.raises(PlatformError, match="did not answer within 0 s while logging in"):
        hasty.facts("flights")


def test_no_login(server: Server, kaggle: Kaggle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("KAGGLE_KEY")
    monkeypatch.delenv("KAGGLE_USERNAME")
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path / "none"))
    assert find_credential({}, tmp_path / "empty") is None
    assert login_state(lambda: None).ok is True


def test_the_network(server: Server, kaggle: Kaggle, monkeypatch: pytest.MonkeyPatch) -> None:
    server.refuse_proxy = True
    with pytest.raises(PlatformError, match="the proxy refuses") as caught:
        kaggle.facts("flights")
    assert "HTTPS_PROXY" in caught.value.hint
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    with pytest.raises(PlatformError, match="the proxy refuses or can't be reached"):
        Kaggle(patience=QUICK).facts("flights")
    from kagglesdk import kaggle_env

    for address, reason in (("http://no-such-host.invalid", "does not resolve"), ("http://127.0.0.1:9", "no network")):
        for name in ("HTTPS_PROXY", "https_proxy"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.PROD, address)
        with pytest.raises(PlatformError, match=reason):
            Kaggle(patience=QUICK).facts("flights")


def test_a_certificate_that_is_not_trusted(server: Server, kaggle: Kaggle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    with pytest.raises(PlatformError, match="certificate") as caught:
        kaggle.facts("flights")
    assert "REQUESTS_CA_BUNDLE" in caught.value.hint


@pytest.mark.parametrize("body", [b"<html>hello</html>", b"{", b"[]", b'{"deadline": 7}'])
def test_an_answer_that_is_none(server: Server, kaggle: Kaggle, body: bytes) -> None:
    server.fault("GetCompetition", status=200, body=body, times=100)
    with pytest.raises(PlatformError, match="while looking it up"):
        kaggle.facts("flights")


# ------------------------------------------------------------------------------------------------ faults: submitting


@pytest.fixture
def ready(server: Server, tmp_path: Path) -> tuple[Path, WireHosted]:
    file = tmp_path / "sub.csv"
    file.write_bytes(b"id,y\n" + b"1,0.5\n" * 40_000)
    return file, server.host("flights", FILES)


def received(hosted: WireHosted) -> list[bytes]:
    return [s["_data"] for s in hosted.submissions]


@pytest.mark.parametrize(
    "fault",
    [
        {"on": "upload", "cut_after": 10_000},
        {"on": "upload", "cut_after": 10_000, "times": 3},
        {"on": "upload", "status": 503},
        {"on": "upload", "status": 500},
        {"on": "upload", "status": 404, "times": 2},
        {"on": "upload", "lose_answer": True},
        {"on": "StartSubmissionUpload", "status": 503, "times": 3},
        {"on": "StartSubmissionUpload", "lose_answer": True},
        {"on": "CreateSubmission", "lose_answer": True},
    ],
)
def test_a_fault_while_submitting_is_survived_and_nothing_is_sent_twice(
    server: Server, kaggle: Kaggle, ready: tuple[Path, WireHosted], fault: dict[str, Any]
) -> None:
    file, hosted = ready
    server.fault(**fault)
    ref = kaggle.submit("flights", file, "m | wb:1")
    assert received(hosted) == [file.read_bytes()]
    assert ref == str(hosted.submissions[0]["ref"])


@pytest.mark.parametrize(
    "fault",
    [
        {"cut_after": 0},
        {"status": 500},
        {"hang_s": 30},
        {"status": 200, "body": b'{"ref": 0, "message": "Could not submit to competition"}'},
    ],
)
def test_a_submission_that_may_not_have_arrived_is_not_sent_again(
    server: Server, kaggle: Kaggle, ready: tuple[Path, WireHosted], fault: dict[str, Any]
) -> None:
    file, hosted = ready
    server.fault("CreateSubmission", **fault)
    with pytest.raises(UnansweredError, match="not in the list of submissions"):
        kaggle.submit("flights", file, "m | wb:1")
    assert received(hosted) == []
    assert server.calls.count("CreateSubmission") == 1


def test_a_lost_answer_and_a_list_that_can_not_be_read(
    server: Server, kaggle: Kaggle, ready: tuple[Path, WireHosted]
) -> None:
    server.fault("CreateSubmission", lose_answer=True)
    server.fault("ListSubmissions", status=500, times=1000)
    with pytest.raises(UnansweredError, match="can't be read either"):
        kaggle.submit("flights", ready[0], "m")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"disabled": True}, "closed"),
        ({"kernels_only": True}, "Notebooks"),
        ({"daily_limit": 0}, "daily Submission allowance"),
    ],
)
def test_a_refusal_in_the_platforms_words(
    server: Server, kaggle: Kaggle, ready: tuple[Path, WireHosted], options: dict[str, Any], words: str
) -> None:
    for key, value in options.items():
        setattr(ready[1], key, value)
    with pytest.raises(PlatformError, match=words) as caught:
        kaggle.submit("flights", ready[0], "m")
    assert not isinstance(caught.value, UnansweredError)


def test_scoring_that_takes_its_time(server: Server, kaggle: Kaggle, ready: tuple[Path, WireHosted]) -> None:
    ready[1].scored_after = 2
    ready[1].private_shown = True
    kaggle.submit("flights", ready[0], "m")
    assert [kaggle.submissions("flights")[0].status for _ in range(3)] == ["pending", "complete", "complete"]
    assert kaggle.submissions("flights")[0].private_score == 0.4
    assert kaggle.submissions("flights")[0].submitted_by == USER


def test_secrets_appear_nowhere(
    server: Server, kaggle: Kaggle, tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    server.host("flights", FILES)
    texts = []
    for on, fault in (
        ("storage", {"cut_after": 0}),
        ("storage", {"status": 500}),
        ("GetCompetition", {"cut_after": 0}),
        ("CreateSubmission", {"status": 401}),
    ):
        server.faults.clear()
        server.fault(on, times=1000, **fault)
        made = Kaggle(patience=QUICK)
        (tmp_path / "a.csv").write_text("id\n")
        for call in (
            partial(made.download, "flights", "train.csv", tmp_path / "t"),
            partial(made.submit, "flights", tmp_path / "a.csv", "m"),
        ):
            try:
                call()
            except WorkbenchError as exc:
                texts.append(str(exc))
    written = [
        p.read_bytes().decode(errors="replace") for p in tmp_path.rglob("*") if p.is_file() and ".kaggle/" not in str(p)
    ]
    seen = "\n".join([*texts, *written, caplog.text, *capfd.readouterr()])
    assert len(texts) >= 3
    assert KEY not in seen
    assert SIGNATURE not in seen


# --------------------------------------------------------------------------------------------------------- credentials


def test_which_credential_is_in_use(tmp_path: Path) -> None:
    def found(**environ: str) -> str:
        credential = find_credential(environ, tmp_path)
        return (
            ""
            if credential is None
            else "; ".join(
                (credential.kind, credential.source.replace(str(tmp_path), "~"), *credential.problems)
            ).replace(str(tmp_path), "~")
        )

    assert found() == ""
    assert found(KAGGLE_USERNAME="u") == "incomplete; KAGGLE_USERNAME; KAGGLE_USERNAME gives no key"
    (tmp_path / ".kaggle").mkdir()
    browser = tmp_path / ".kaggle" / "credentials.json"
    browser.write_text("{}")
    browser.chmod(0o600)
    assert found() == "browser sign-in; ~/.kaggle/credentials.json"
    key = tmp_path / ".kaggle" / "kaggle.json"
    key.write_text('{"username": "u", "key": "k"}')
    key.chmod(0o644)
    assert found() == (
        "key; ~/.kaggle/kaggle.json; ~/.kaggle/kaggle.json can be read by other users: chmod 600 ~/.kaggle/kaggle.json; "
        "it goes before ~/.kaggle/credentials.json"
    )
    key.chmod(0o600)
    assert found(KAGGLE_KEY="x").startswith("key; KAGGLE_KEY and ~/.kaggle/kaggle.json")
    token = tmp_path / ".kaggle" / "access_token"
    token.write_text("t")
    token.chmod(0o600)
    assert found().startswith("token; ~/.kaggle/access_token; it goes before ~/.kaggle/kaggle.json")
    assert found(KAGGLE_API_TOKEN=str(token)).startswith("token; the file that KAGGLE_API_TOKEN names")
    token.unlink()
    assert "stray" in found(KAGGLE_TOKEN="t")
    key.write_text("{")
    assert "is not JSON" in found()
