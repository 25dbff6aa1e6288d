"""A sign-in that ends while it is in use: renewed once, and the call made again; or told, with what is kept."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.fetching import FILES, Place, place_in
from tests.kaggle_client import kaggle_at
from tests.wire import REFRESH, SIGNED_IN, TOKEN, USER, Hosted, Server
from workbench.core.errors import LoginError, PlatformError, UnansweredError
from workbench.platforms.kaggle import Kaggle
from workbench.platforms.kaggle.login import HOW_TO_LOG_IN

RENEWED = f"{SIGNED_IN}_1"


pytestmark = pytest.mark.usefixtures("hosted")


@pytest.fixture
def signed_in() -> bool:
    return True


def ends_after(server: Server, calls: int) -> None:
    server.token_calls_left = calls


@pytest.mark.parametrize("calls", range(4))
def test_a_fetch_goes_on_with_a_new_token(place: Place, hosted: Hosted, calls: int) -> None:
    ends_after(place.server, calls)
    place.server.fault("storage", cut_after=50_000)
    place.succeeds()
    assert place.server.bytes_sent == len(hosted.archive)
    # A fetch makes three calls: what it does not need, it does not renew.
    assert place.server.calls.count("GenerateAccessToken") == (calls < 3)
    file = Path(place.environment["HOME"]) / ".kaggle" / "credentials.json"
    assert json.loads(file.read_text())["access_token"] == (RENEWED if calls < 3 else SIGNED_IN)


def test_it_ends_in_the_middle_of_a_download(kaggle: Kaggle, server: Server, tmp_path: Path) -> None:
    kaggle.files("flights")
    server.fault("storage", cut_after=50_000)
    server.fault("storage", status=400, before=lambda: ends_after(server, 0))
    kaggle.download("flights", "train.csv", tmp_path / "train.csv")
    assert (tmp_path / "train.csv").read_bytes() == FILES["train.csv"]
    assert server.calls.count("GenerateAccessToken") == 1


@pytest.mark.parametrize("method", ["StartSubmissionUpload", "CreateSubmission"])
def test_it_ends_while_a_file_is_sent(kaggle: Kaggle, server: Server, hosted: Hosted, method: str) -> None:
    file = Path(__file__)
    server.fault(method, status=401)
    ref = kaggle.submit("flights", file, "m | wb:1")
    assert [s["ref"] for s in hosted.submissions] == [int(ref)]
    assert hosted.submissions[0]["_data"] == file.read_bytes()
    assert server.calls.count("CreateSubmission") == 1 + (method == "CreateSubmission")
    assert server.calls.count("GenerateAccessToken") == 1


@pytest.mark.parametrize("fault", [{"status": 500}, {"lose_answer": True}, {"cut_after": 0}])
def test_what_may_have_arrived_is_not_sent_again(
    kaggle: Kaggle, server: Server, hosted: Hosted, fault: dict[str, object]
) -> None:
    """The first answer is that the login has ended, and of the second nobody knows."""
    server.fault("CreateSubmission", status=401)
    server.fault("CreateSubmission", **fault)
    if fault.get("lose_answer"):
        kaggle.submit("flights", Path(__file__), "m | wb:1")
    else:
        with pytest.raises(UnansweredError):
            kaggle.submit("flights", Path(__file__), "m | wb:1")
    assert server.calls.count("CreateSubmission") == 2
    assert len(hosted.submissions) == bool(fault.get("lose_answer"))


def test_it_ends_again_and_again(kaggle: Kaggle, server: Server) -> None:
    for _ in range(3):
        server.tokens.clear()
        assert kaggle.files("flights")
    assert server.calls.count("GenerateAccessToken") == 3


def test_several_threads_renew_it_once(kaggle: Kaggle, server: Server) -> None:
    kaggle.facts("flights")
    server.tokens.clear()
    at_once = threading.Barrier(6, timeout=120)
    # All of them have been told that it has ended before the first renews it.
    for _ in range(6):
        server.fault("ListSubmissions", status=401, before=at_once.wait)
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda _: kaggle.submissions("flights"), range(6)))
    assert found == [[]] * 6
    assert server.calls.count("GenerateAccessToken") == 1


def test_kernels_and_datasets_too(kaggle: Kaggle, server: Server) -> None:
    assert kaggle.code.dataset("none") is None
    server.tokens.clear()
    assert kaggle.code.kernel("none") is None
    assert server.calls.count("GenerateAccessToken") == 1


def test_a_token_that_can_not_be_renewed(kaggle: Kaggle, server: Server, tmp_path: Path) -> None:
    kaggle.files("flights")
    server.refresh_ok = False
    server.fault("storage", cut_after=60_000)
    server.fault("storage", status=403, before=lambda: ends_after(server, 0))
    with pytest.raises(LoginError, match=r"accepted before, and has expired.*; 0.1 MB are kept") as caught:
        kaggle.download("flights", "train.csv", tmp_path / "train.csv")
    assert "kaggle auth login --force" in caught.value.hint
    assert "what has been downloaded is kept, and the download resumes" in caught.value.hint
    assert server.calls.count("GenerateAccessToken") == 1
    for secret in (REFRESH, SIGNED_IN):
        assert secret not in str(caught.value)
    # Signed in again, the same object goes on.
    server.refresh_ok, server.token_calls_left = True, None
    kaggle.download("flights", "train.csv", tmp_path / "train.csv")
    assert server.ranges[-1] == "bytes=60000-"


def test_a_network_that_goes_while_it_is_renewed(kaggle: Kaggle, server: Server) -> None:
    kaggle.facts("flights")
    server.tokens.clear()
    server.fault("GenerateAccessToken", status=503, times=100)
    with pytest.raises(PlatformError, match="has a problem while renewing the login while listing the files") as caught:
        kaggle.files("flights")
    assert not isinstance(caught.value, LoginError)


def test_a_home_that_can_not_be_written(kaggle: Kaggle, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    from kagglesdk import KaggleCredentials

    def save(self: object, file_path: str = "") -> None:
        raise PermissionError(13, "Permission denied")

    kaggle.facts("flights")
    monkeypatch.setattr(KaggleCredentials, "save", save)
    server.tokens.clear()
    assert kaggle.files("flights")


def test_a_token_without_another_to_renew_it(
    server: Server, hosted: Hosted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with kaggle_at(server, tmp_path / "home", monkeypatch) as kaggle:
        file = tmp_path / "home" / ".kaggle" / "access_token"
        file.write_text(TOKEN)
        assert kaggle.facts("flights")
        server.fault("ListDataFiles", status=401, times=2)
        with pytest.raises(
            LoginError, match="login from .*access_token while listing the files .* has expired"
        ) as caught:
            kaggle.files("flights")
        assert caught.value.hint.startswith(HOW_TO_LOG_IN)
        assert server.calls.count("ListDataFiles") == 1, "there is nothing to try it again with"
        # Another one, put there in the meantime, is taken.
        server.tokens = {"KGAT_another"}
        file.write_text("KGAT_another")
        assert kaggle.files("flights")


def test_a_key_that_was_replaced(
    server: Server, hosted: Hosted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with place_in(tmp_path, server, monkeypatch) as place:
        file = tmp_path / "home" / ".kaggle" / "kaggle.json"

        def replace() -> None:
            server.key = "another-key"
            file.write_text(json.dumps({"username": USER, "key": server.key}))

        server.fault("ListDataFiles", status=401, before=replace)
        place.succeeds()
        assert server.calls.count("ListDataFiles") == 2


def test_waiting_for_a_score_does_not_wait_for_a_login(place: Place, hosted: Hosted) -> None:
    place.succeeds()
    assert place.run("run", "--exp", "1").returncode == 0
    hosted.scored_after = 1000

    def ends() -> None:
        place.server.tokens.clear()
        place.server.refresh_ok = False

    place.server.fault("ListSubmissions", skip=3, before=ends)
    done = place.run("submit", "--exp", "1", "--yes", "--wait", first_poll_s=0.01)
    assert done.returncode == 0, done.stderr
    assert "the login" in done.stderr
    assert "`wb sync` fetches the score" in done.stdout
