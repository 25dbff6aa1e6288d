"""What every platform must do; one class, run over each implementation."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from workbench.errors import NotFoundError, PlatformError
from workbench.platforms import Platform


@dataclass(frozen=True)
class Hosted:
    """A platform with one competition that takes three submissions a day, and two files to send."""

    platform: Platform
    slug: str
    near_slug: str
    good: Path
    bad: Path
    daily_limit: int = 3


class PlatformContract:
    """Subclasses give a fixture `hosted`."""

    def test_facts(self, hosted: Hosted) -> None:
        facts = hosted.platform.facts(hosted.slug)
        assert facts.slug == hosted.slug
        assert facts.title
        assert facts.accepts_submissions
        assert facts.deadline is None or facts.deadline.utcoffset() == timedelta(0)

    def test_an_unknown_competition_is_not_found(self, hosted: Hosted) -> None:
        for call in (
            hosted.platform.facts,
            hosted.platform.files,
            hosted.platform.submissions,
            hosted.platform.limits,
            hosted.platform.leaderboard,
        ):
            with pytest.raises(NotFoundError) as caught:
                call(hosted.near_slug)  # type: ignore[operator]
            assert hosted.near_slug in caught.value.message
        with pytest.raises(NotFoundError):
            hosted.platform.submit(hosted.near_slug, hosted.good, "m")

    def test_files_are_listed_by_name_with_their_sizes(self, hosted: Hosted, tmp_path: Path) -> None:
        files = hosted.platform.files(hosted.slug)
        assert [f.name for f in files] == sorted(f.name for f in files)
        for file in files:
            target = tmp_path / "deep" / file.name
            arrived: list[int] = []
            hosted.platform.download(hosted.slug, file.name, target, progress=arrived.append)
            assert target.stat().st_size == file.size_bytes == sum(arrived)
            if file.sha256:
                assert hashlib.sha256(target.read_bytes()).hexdigest() == file.sha256

    def test_a_download_is_whole_or_not_there(self, hosted: Hosted, tmp_path: Path) -> None:
        name = hosted.platform.files(hosted.slug)[0].name
        target = tmp_path / "data.csv"
        target.write_text("old")

        def fail(_: int) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            hosted.platform.download(hosted.slug, name, target, progress=fail)
        assert target.read_text() == "old"
        assert [p.name for p in tmp_path.iterdir() if p.suffix == ".tmp"] == []

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
        assert all(s.submitted_at.utcoffset() == timedelta(0) for s in found)
        assert found[0].file_name == hosted.good.name

    def test_a_bad_file_gets_an_error(self, hosted: Hosted) -> None:
        ref = hosted.platform.submit(hosted.slug, hosted.bad, "bad")
        (found,) = hosted.platform.submissions(hosted.slug)
        assert (found.ref, found.status, found.public_score) == (ref, "error", None)
        assert found.error

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

    def test_nothing_is_printed(self, hosted: Hosted, capfd: pytest.CaptureFixture[str]) -> None:
        hosted.platform.submit(hosted.slug, hosted.good, "m")
        hosted.platform.submissions(hosted.slug)
        captured = capfd.readouterr()
        assert (captured.out, captured.err) == ("", "")
