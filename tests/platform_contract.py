"""The contract that every platform must fulfil: a test class, with a subclass for each implementation."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from workbench.core.errors import NotFoundError, PlatformError
from workbench.platforms.protocol import Platform


@dataclass(frozen=True)
class Hosted:
    """A platform with one competition, and two files to submit.

    Attributes
    ----------
    near_slug : str
        A misspelled slug, of no competition.
    good, bad : Path
        A file that can be scored, and one that can't.
    daily_limit : int
    facts : mapping
        The expected values of fields of `CompetitionFacts`.
    """

    platform: Platform
    slug: str
    near_slug: str
    good: Path
    bad: Path
    daily_limit: int = 3
    facts: Mapping[str, Any] = field(default_factory=dict)


def every_call(hosted: Hosted, slug: str, folder: Path) -> dict[str, Callable[[], Any]]:
    """Return a call of each method of the protocol for `slug`, by the method's name."""
    platform = hosted.platform
    return {
        "facts": lambda: platform.facts(slug),
        "files": lambda: platform.files(slug),
        "archive": lambda: platform.archive(slug),
        "download": lambda: platform.download(slug, hosted.platform.files(hosted.slug)[0].name, folder / "file"),
        "submit": lambda: platform.submit(slug, hosted.good, "m"),
        "submissions": lambda: platform.submissions(slug),
        "limits": lambda: platform.limits(slug),
        "leaderboard": lambda: platform.leaderboard(slug),
    }


CALLS = ("facts", "files", "archive", "download", "submit", "submissions", "limits", "leaderboard")


def is_utc(moment: datetime | None) -> bool:
    return moment is not None and moment.utcoffset() == timedelta(0)


class PlatformContract:
    """Subclasses define a fixture `hosted`."""

    def test_facts(self, hosted: Hosted) -> None:
        facts = hosted.platform.facts(hosted.slug)
        assert facts.slug == hosted.slug
        assert facts.title
        assert facts.accepts_submissions
        assert facts.deadline is None or is_utc(facts.deadline)
        assert {name: getattr(facts, name) for name in hosted.facts} == dict(hosted.facts)

    def test_it_has_a_name(self, hosted: Hosted) -> None:
        assert hosted.platform.name

    @pytest.mark.parametrize("call", CALLS)
    def test_an_unknown_competition_is_not_found(self, hosted: Hosted, tmp_path: Path, call: str) -> None:
        with pytest.raises(NotFoundError, match=repr(hosted.near_slug)) as caught:
            every_call(hosted, hosted.near_slug, tmp_path)[call]()
        assert repr(hosted.slug) in caught.value.hint
        assert not (tmp_path / "file").exists()

    def test_files_are_listed_by_name_with_their_sizes(self, hosted: Hosted, tmp_path: Path) -> None:
        files = hosted.platform.files(hosted.slug)
        assert files
        assert [f.name for f in files] == sorted(f.name for f in files)
        assert all(f.modified_at is None or is_utc(f.modified_at) for f in files)
        for file in files:
            target = tmp_path / "deep" / file.name
            arrived: list[int] = []
            hosted.platform.download(hosted.slug, file.name, target, progress=arrived.append)
            assert target.stat().st_size == file.size_bytes == sum(arrived)
            if file.sha256:
                assert hashlib.sha256(target.read_bytes()).hexdigest() == file.sha256
            if file.md5:
                assert hashlib.md5(target.read_bytes()).hexdigest() == file.md5
            assert [p.name for p in target.parent.iterdir() if p.name.startswith(".")] == []

    @pytest.mark.parametrize("before", [None, "old"])
    @pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
    def test_a_download_is_whole_or_not_there(
        self, hosted: Hosted, tmp_path: Path, error: type[BaseException], before: str | None
    ) -> None:
        name = hosted.platform.files(hosted.slug)[0].name
        folder = tmp_path / "fresh"
        folder.mkdir()
        if before:
            (folder / "data.csv").write_text(before)

        def fail(_: int) -> None:
            raise error

        with pytest.raises(error):
            hosted.platform.download(hosted.slug, name, folder / "data.csv", progress=fail)
        visible = {p.name: p.read_text() for p in folder.iterdir() if not p.name.startswith(".")}
        assert visible == ({"data.csv": before} if before else {})
        hosted.platform.download(hosted.slug, name, folder / "data.csv")
        assert [p.name for p in folder.iterdir()] == ["data.csv"]
        assert (folder / "data.csv").stat().st_size == hosted.platform.files(hosted.slug)[0].size_bytes

    def test_a_download_replaces_what_was_there(self, hosted: Hosted, tmp_path: Path) -> None:
        file = hosted.platform.files(hosted.slug)[0]
        (tmp_path / "data.csv").write_text("old")
        hosted.platform.download(hosted.slug, file.name, tmp_path / "data.csv")
        assert (tmp_path / "data.csv").stat().st_size == file.size_bytes

    def test_the_archive_holds_every_file(self, hosted: Hosted, tmp_path: Path) -> None:
        archive = hosted.platform.archive(hosted.slug)
        if archive is None:
            return
        hosted.platform.download(hosted.slug, archive.name, tmp_path / "all.zip")
        with zipfile.ZipFile(tmp_path / "all.zip") as opened:
            assert sorted(opened.namelist()) == [f.name for f in hosted.platform.files(hosted.slug)]

    def test_an_unknown_file_is_not_found(self, hosted: Hosted, tmp_path: Path) -> None:
        with pytest.raises(NotFoundError, match="trian.csv"):
            hosted.platform.download(hosted.slug, "trian.csv", tmp_path / "a.csv")
        assert not (tmp_path / "a.csv").exists()

    def test_a_good_file_is_scored(self, hosted: Hosted) -> None:
        first = hosted.platform.submit(hosted.slug, hosted.good, "first")
        second = hosted.platform.submit(hosted.slug, hosted.good, "second")
        found = hosted.platform.submissions(hosted.slug)
        assert [s.ref for s in found] == [second, first]
        assert [s.message for s in found] == ["second", "first"]
        assert all(s.status == "complete" and s.public_score is not None for s in found)
        assert all(is_utc(s.submitted_at) for s in found)
        assert found[0].submitted_at >= found[1].submitted_at
        assert found[0].file_name == hosted.good.name

    def test_it_says_when_a_submission_is_about_to_be_made(self, hosted: Hosted) -> None:
        """What is raised then goes on, and none is made."""

        def fail() -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            hosted.platform.submit(hosted.slug, hosted.good, "m", before_create=fail)
        assert hosted.platform.submissions(hosted.slug) == []
        seen: list[int] = []
        hosted.platform.submit(
            hosted.slug,
            hosted.good,
            "m",
            before_create=lambda: seen.append(len(hosted.platform.submissions(hosted.slug))),
        )
        assert seen == [0]
        assert len(hosted.platform.submissions(hosted.slug)) == 1

    def test_before_the_first_submission(self, hosted: Hosted) -> None:
        assert hosted.platform.submissions(hosted.slug) == []
        limits = hosted.platform.limits(hosted.slug)
        assert (limits.per_day, limits.remaining_today) == (hosted.daily_limit, hosted.daily_limit)
        assert hosted.platform.leaderboard(hosted.slug).public is None

    def test_a_bad_file_gets_an_error(self, hosted: Hosted) -> None:
        ref = hosted.platform.submit(hosted.slug, hosted.bad, "bad")
        (found,) = hosted.platform.submissions(hosted.slug)
        assert (found.ref, found.status, found.public_score) == (ref, "error", None)
        assert found.error
        assert found.private_score is None
        assert is_utc(found.submitted_at)

    def test_the_daily_limit_holds(self, hosted: Hosted) -> None:
        assert hosted.platform.limits(hosted.slug).per_day == hosted.daily_limit
        for left in reversed(range(hosted.daily_limit)):
            hosted.platform.submit(hosted.slug, hosted.good, "m")
            assert hosted.platform.limits(hosted.slug).remaining_today == left
        with pytest.raises(PlatformError):
            hosted.platform.submit(hosted.slug, hosted.good, "m")
        assert len(hosted.platform.submissions(hosted.slug)) == hosted.daily_limit

    def test_the_leaderboard_is_best_first(self, hosted: Hosted) -> None:
        hosted.platform.submit(hosted.slug, hosted.good, "m")
        board = hosted.platform.leaderboard(hosted.slug)
        scores = [score for _, score in board.entries]
        better = hosted.platform.facts(hosted.slug).greater_is_better
        assert scores == sorted(scores, reverse=bool(better))

    @pytest.mark.parametrize("call", CALLS)
    def test_nothing_is_printed(
        self, hosted: Hosted, tmp_path: Path, capfd: pytest.CaptureFixture[str], call: str
    ) -> None:
        every_call(hosted, hosted.slug, tmp_path)[call]()
        hosted.platform.submit(hosted.slug, hosted.bad, "m")
        captured = capfd.readouterr()
        assert (captured.out, captured.err) == ("", "")
