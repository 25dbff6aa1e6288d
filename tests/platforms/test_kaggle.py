"""The Kaggle platform: the real client against the stand-in on the wire."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.kaggle_client import SHORT_PATIENCE, expects_no_answer
from tests.platform_contract import Hosted, PlatformContract
from tests.wire import KEY, SIGNATURE, TOKEN, USER, Server
from tests.wire import Hosted as WireHosted
from workbench.core.errors import (
    ConfigError,
    DamagedError,
    NotFoundError,
    PlatformError,
    UnansweredError,
    WorkbenchError,
)
from workbench.platforms.kaggle import Kaggle, login_state
from workbench.platforms.kaggle.login import find_credential
from workbench.platforms.protocol import KernelSource, KernelVersion, SubmissionLimits, competition_slug
from workbench.submissions.findings import platform_findings

FILES = {
    "data/extra file.csv": b"a,b\n1,2\n",
    "sample_submission.csv": b"id,y\n3,0\n",
    "train.csv": b"id,x,y\n1,2,0\n2,3,1\n",
}


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
    assert fetched(Kaggle(patience=SHORT_PATIENCE), tmp_path) == BIG
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


def test_an_object_that_is_another_each_time_is_given_up(big: Server, kaggle: Kaggle, tmp_path: Path) -> None:
    for i in range(40):
        changed = {"big.bin": BIG[i:] + BIG[:i]}
        cut = 300_000 + 1_000 * (i % 2)
        big.fault("storage", cut_after=cut, before=partial(big.hosted["big"].files.update, changed))
    with pytest.raises(PlatformError, match="while downloading big.bin of 'big'"):
        fetched(kaggle, tmp_path)
    assert big.calls.count("storage") <= 3 * SHORT_PATIENCE.tries


@expects_no_answer
def test_an_answer_that_never_comes(big: Server, kaggle: Kaggle, tmp_path: Path) -> None:
    big.fault("storage", hang_s=30)
    big.fault("GetCompetition", hang_s=30, times=1)
    assert fetched(kaggle, tmp_path) == BIG
    big.fault("GetCompetition", hang_s=30, times=100)
    with pytest.raises(PlatformError, match="no response came in time"):
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
    assert "it takes precedence over KAGGLE_USERNAME and KAGGLE_KEY" in str(caught.value)
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
    hasty = Kaggle(patience=replace(SHORT_PATIENCE, login_s=0.5))
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
        Kaggle(patience=SHORT_PATIENCE).facts("flights")
    from kagglesdk import kaggle_env

    for address, reason in (("http://no-such-host.invalid", "does not resolve"), ("http://127.0.0.1:9", "no network")):
        for name in ("HTTPS_PROXY", "https_proxy"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.PROD, address)
        with pytest.raises(PlatformError, match=reason):
            Kaggle(patience=SHORT_PATIENCE).facts("flights")


def test_a_certificate_that_is_not_trusted(server: Server, kaggle: Kaggle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    with pytest.raises(PlatformError, match="certificate") as caught:
        kaggle.facts("flights")
    assert "REQUESTS_CA_BUNDLE" in caught.value.hint


@pytest.mark.parametrize("body", [b"<html>hello</html>", b"{", b"[]", b'{"deadline": 7}'])
def test_an_answer_that_is_none(server: Server, kaggle: Kaggle, body: bytes) -> None:
    server.fault("GetCompetition", status=200, body=body, times=100)
    with pytest.raises(PlatformError, match="while looking up"):
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


@expects_no_answer
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
        made = Kaggle(patience=SHORT_PATIENCE)
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
    assert found(KAGGLE_USERNAME="u") == "incomplete; KAGGLE_USERNAME; KAGGLE_USERNAME has no key"
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
        "it takes precedence over ~/.kaggle/credentials.json"
    )
    key.chmod(0o600)
    assert found(KAGGLE_KEY="x").startswith("key; KAGGLE_KEY and ~/.kaggle/kaggle.json")
    token = tmp_path / ".kaggle" / "access_token"
    token.write_text("t")
    token.chmod(0o600)
    assert found().startswith("token; ~/.kaggle/access_token; it takes precedence over ~/.kaggle/kaggle.json")
    assert found(KAGGLE_API_TOKEN=str(token)).startswith("token; the file that KAGGLE_API_TOKEN names")
    token.unlink()
    assert "not this one" in found(KAGGLE_TOKEN="t")
    key.write_text("{")
    assert "is not JSON" in found()


# ------------------------------------------------------------------------------------------------- words of refusal

PARTICIPATE = "Permission 'competitions.participate' was denied"


@pytest.mark.parametrize("status", [403, 404])
def test_only_the_refusal_of_the_competition_itself_means_that_there_is_none(
    server: Server, kaggle: Kaggle, tmp_path: Path, status: int
) -> None:
    server.host("flights", FILES)
    server.unknown_status = status
    (tmp_path / "a.csv").write_text("id\n")
    for call in (
        lambda: kaggle.facts("flihgts"),
        lambda: kaggle.files("flihgts"),
        lambda: kaggle.submissions("flihgts"),
        lambda: kaggle.download("flihgts", "flihgts.zip", tmp_path / "a.zip"),
        lambda: kaggle.submit("flihgts", tmp_path / "a.csv", "m"),
    ):
        with pytest.raises(NotFoundError, match="Kaggle has no competition 'flihgts'") as caught:
            call()
        assert "'flights'" in caught.value.hint
        if status == 403:
            assert "or none that this login may see" in caught.value.message
            assert "“Permission 'competitions.get' was denied”" in caught.value.message
        else:
            assert "“Competition not found”" in caught.value.message


def test_one_that_is_there_and_not_joined(server: Server, kaggle: Kaggle) -> None:
    server.host("flights", FILES, entered=False, title="Late flights")
    with pytest.raises(
        PlatformError, match="the rules of 'flights' are not accepted: Kaggle says “Permission"
    ) as caught:
        kaggle.submissions("flights")
    assert not isinstance(caught.value, NotFoundError)
    assert f"“{PARTICIPATE}”" in caught.value.message
    assert "/competitions/flights/rules" in caught.value.hint
    assert "is 'flights' “Late flights” not the competition that you mean?" in caught.value.hint


def test_where_it_is_not_known_both_are_said(server: Server, kaggle: Kaggle) -> None:
    server.fault("GetCompetition", status=503, times=100)
    with pytest.raises(PlatformError, match="are not accepted, or no competition has that name") as caught:
        kaggle.submissions("flihgts")
    assert f"“{PARTICIPATE}”" in caught.value.message
    assert "the name is mistyped" in caught.value.hint


def refused(message: str, status: int = 403) -> dict[str, Any]:
    return {"status": status, "body": json.dumps({"error": {"code": status, "message": message}}).encode(), "times": 9}


def test_a_refusal_of_something_of_a_competition_is_no_word_on_the_competition(server: Server, kaggle: Kaggle) -> None:
    server.host("flights", FILES)
    for status in (403, 404):
        server.faults.clear()
        server.fault("ListDataFiles", **refused("The files are being moved", status))
        with pytest.raises(WorkbenchError, match="“The files are being moved”") as caught:
            kaggle.files("flights")
        assert "no competition" not in str(caught.value)


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("You can't\r\n do\tthat", "“You can't do that”"),
        ("\x1b[31mred\x1b[0m \x1b]0;title\x07\x07text\x00", "“red text”"),
        ("\u202ethgir\u200b \udc80", "“thgir”"),
        ("x" * 1000, "“" + "x" * 300 + "…”"),
        ("", "status 403"),
    ],
)
def test_the_platforms_words_are_a_quotation(server: Server, kaggle: Kaggle, said: str, shown: str) -> None:
    server.host("flights", FILES)
    server.fault("ListSubmissions", **refused(said))
    with pytest.raises(PlatformError) as caught:
        kaggle.submissions("flights")
    assert caught.value.message == f"Kaggle refused listing the submissions for 'flights': {shown}"


def test_datasets_and_kernels_are_refused_in_quotation_marks_too(
    server: Server, kaggle: Kaggle, tmp_path: Path
) -> None:
    server.host("flights", FILES)
    with pytest.raises(PlatformError, match="“Permission 'kernels.get' was denied”") as caught:
        kaggle.code.submit_kernel("flights", KernelVersion(USER, "none", 1), "submission.csv", "m")
    assert "for what does not exist" in caught.value.hint
    server.kernel_error = "Maximum \x1b[1mbatch\x1b[0m GPU session count of 2 reached."
    source = KernelSource("A kernel", "{}", (), "flights", "", "original", 60.0)
    with pytest.raises(
        PlatformError, match="refused pushing the kernel 'a': “Maximum batch GPU session count of 2 reached.”"
    ):
        kaggle.code.save_kernel("a", source)
    server.datasets["a"] = [{}]
    with pytest.raises(PlatformError, match="refused making the dataset 'a': “The requested title is already in use"):
        kaggle.code.put_dataset("a", [], is_new=True, notes="")


def test_a_reason_for_an_error_can_not_write_to_the_terminal(server: Server, kaggle: Kaggle, tmp_path: Path) -> None:
    server.host("flights", FILES, score=lambda _: "Row 7:\x1b[2J\n bad", title="Late\x1b[5m flights")
    (tmp_path / "a.csv").write_text("id\n")
    kaggle.submit("flights", tmp_path / "a.csv", "m")
    assert kaggle.submissions("flights")[0].error == "Row 7: bad"
    assert kaggle.facts("flights").title == "Late flights"


# ------------------------------------------------------------------------------------------------ addresses for names


@pytest.mark.parametrize(
    "text",
    [
        "titanic",
        " titanic\n",
        "titanic/",
        "https://www.kaggle.com/competitions/titanic",
        "https://www.kaggle.com/c/titanic",
        "http://kaggle.com/c/titanic/",
        "HTTPS://WWW.KAGGLE.COM/competitions/titanic/overview/evaluation",
        "https://www.kaggle.com/competitions/titanic/data?select=train.csv",
        "https://www.kaggle.com/competitions/titanic?rvi=1#rules",
        "https://www.kaggle.com/competitions/titanic/leaderboard#",
        "www.kaggle.com/c/titanic/submissions",
        "kaggle.com/competitions/titanic",
        "//www.kaggle.com/competitions/titanic",
        "/c/titanic",
        "/competitions/titanic/overview",
        "c/titanic",
        "competitions/titanic",
        "./competitions/titanic/",
        "/home/c/bench/competitions/titanic/",
        "<https://www.kaggle.com/competitions/titanic>",
        '"https://www.kaggle.com/c/titanic"',
        "https://www.kaggle.com/competitions/titanic.",
        "titanic?rvi=1",
    ],
)
def test_an_address_is_a_name(text: str) -> None:
    assert competition_slug(text) == "titanic"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "..",
        "../titanic",
        "https://www.kaggle.com",
        "https://www.kaggle.com/competitions",
        "https://www.kaggle.com/c/",
        "https://www.kaggle.com/datasets/someone/titanic",
        "https://www.kaggle.com/t/0123456789abcdef",
        "https://www.kaggle.com/code/someone/competitions",
        "https://example.com/competitions/titanic",
        r"..\titanic",
        "a/b",
    ],
)
def test_what_is_no_address_of_a_competition_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="neither a competition's name nor its address"):
        competition_slug(text)


# ------------------------------------------------------------------------------------ the board, medals and the limits

PUBLIC, PRIVATE = [("a", 0.9), ("b", 0.8), ("c", 0.7)], [("b", 0.85), ("c", 0.75), ("a", 0.65)]
OVER = datetime.now(UTC) - timedelta(days=3)


def test_the_board_says_which_it_is(server: Server, kaggle: Kaggle, tmp_path: Path) -> None:
    hosted = server.host("flights", FILES, leaderboard=PUBLIC, score=lambda _: (0.95, 0.9))
    (tmp_path / "a.csv").write_text("id\n")
    kaggle.submit("flights", tmp_path / "a.csv", "m")
    board = kaggle.leaderboard("flights")
    assert (board.scope, board.entries, board.private) == ("public", tuple(PUBLIC), None)
    assert (board.public.rank, board.public.medal) == (1, "bronze")
    assert server.calls.count("GetLeaderboard") == 1
    # Over, and the private scores are not out yet.
    hosted.deadline = OVER
    board = kaggle.leaderboard("flights")
    assert (board.scope, board.public.rank, board.private) == ("public", 1, None)
    # They are out: what comes is the private board, and the rank is of it.
    hosted.private_leaderboard = PRIVATE
    board = kaggle.leaderboard("flights")
    assert (board.scope, board.entries, board.public) == ("private", tuple(PRIVATE), None)
    assert (board.private.rank, board.private.medal) == (1, "bronze")


def test_a_private_board_without_a_public_one(server: Server, kaggle: Kaggle) -> None:
    server.host("flights", FILES, private_leaderboard=PRIVATE, deadline=OVER)
    board = kaggle.leaderboard("flights")
    assert (board.scope, board.entries) == ("private", tuple(PRIVATE))


def test_before_the_deadline_the_public_board_is_asked_for(server: Server, kaggle: Kaggle) -> None:
    server.host("flights", FILES, leaderboard=PUBLIC, private_leaderboard=PRIVATE)
    assert kaggle.leaderboard("flights").entries == tuple(PUBLIC)


def test_no_medals_where_there_are_no_points(server: Server, kaggle: Kaggle, tmp_path: Path) -> None:
    server.host("flights", FILES, leaderboard=PUBLIC, awards_points=False, score=lambda _: (0.95, 0.9))
    (tmp_path / "a.csv").write_text("id\n")
    kaggle.submit("flights", tmp_path / "a.csv", "m")
    standing = kaggle.leaderboard("flights").public
    assert (standing.rank, standing.teams, standing.medal) == (1, 3, None)


def test_what_is_left_in_all_is_not_what_is_left_today(server: Server, kaggle: Kaggle, tmp_path: Path) -> None:
    server.host("flights", FILES, daily_limit=5, total_limit=2)
    (tmp_path / "a.csv").write_text("id\n")
    assert kaggle.limits("flights") == SubmissionLimits(5, 2, limited_by_total=True)
    for _ in range(2):
        kaggle.submit("flights", tmp_path / "a.csv", "m")
    (finding,) = platform_findings(kaggle.facts("flights"), kaggle.limits("flights"))
    assert (finding.code, finding.level) == ("total_limit", "error")
    assert "another day brings no more" in finding.message
    server.host("other", FILES, daily_limit=0, total_limit=100)
    (finding,) = platform_findings(kaggle.facts("other"), kaggle.limits("other"))
    assert (finding.code, "today's submissions are used up" in finding.message) == ("daily_limit", True)
