"""Run `wb fetch` in a new workspace against the fake server, and check what must hold after each fetch."""

from __future__ import annotations

import os
import random
import re
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from tests.commands import Commands, Ended, Started
from tests.wire import Server
from workbench.data.competition import check_table, read_manifest


def table(rows: range, *, target: bool, shift: int = 0) -> bytes:
    rng = random.Random(rows.start)
    lines = [f"{i},{rng.random():.12f},town {rng.randrange(12)}" + f",{(i + shift) % 3 % 2}" * target for i in rows]
    return ("id,x,town" + ",y" * target + "\n" + "\n".join(lines) + "\n").encode()


def picture(seed: int) -> bytes:
    return random.Random(seed).randbytes(40_000)


FILES = {
    "images/1.png": picture(1),
    "images/2.png": picture(2),
    "sample_submission.csv": b"id,y\n" + b"".join(b"%d,0\n" % i for i in range(9000, 9500)),
    "test.csv": table(range(9000, 9500), target=False),
    "train.csv": table(range(9000), target=True),
}
NEW_TRAIN = table(range(9000), target=True, shift=1)


class Place(Commands):
    """A workspace into which the competition "flights" is fetched."""

    @property
    def folder(self) -> Path:
        return self.root / "competitions" / "flights"

    @property
    def raw(self) -> Path:
        return self.folder / "data" / "raw"

    def start_fetch(self, *arguments: str, **options: Any) -> Started:
        return self.start("fetch", *(arguments or ("flights",)), **options)

    def fetch(self, *arguments: str, **options: Any) -> Ended:
        return self.ended(self.start_fetch(*arguments, **options))

    def fails(self, *arguments: str, says: str, do: str, **options: Any) -> str:
        """Fetch; it must fail with one sentence and a hint, and leave nothing half done."""
        done = self.fetch(*arguments, **options)
        self.explained(done, says=says, do=do)
        self.is_sound()
        return done.stderr

    def explained(self, done: Ended, *, says: str, do: str) -> None:
        assert (done.returncode, done.stdout) == (1, ""), done.stderr
        told = [line for line in done.stderr.splitlines() if not re.match(r"(downloading|converting|unpacking) ", line)]
        told = [line for line in told if not re.match(r"the data of .* changed|the download is damaged", line)]
        assert [line.partition(":")[0] for line in told] == ["error", "hint"][: len(told)], done.stderr
        assert re.search(says, told[0]), done.stderr
        assert re.search(do, " ".join(told)), done.stderr

    def succeeds(self, *arguments: str, files: dict[str, bytes] = FILES, **options: Any) -> str:
        """Fetch; it must succeed, with the tables of `files`."""
        done = self.fetch(*arguments, **options)
        assert done.returncode == 0, done.stderr
        self.is_sound()
        tables = self.folder / "data" / "tables"
        assert {p.stem for p in tables.glob("*.parquet")} == {Path(n).stem for n in files if n.endswith(".csv")}
        for name, data in files.items():
            if name.endswith(".csv"):
                assert_frame_equal(pl.read_parquet(tables / f"{Path(name).stem}.parquet"), pl.read_csv(data))
            else:
                assert (self.raw / name).read_bytes() == data
        assert not [p for p in self.folder.rglob("*") if "partial" in p.name]
        return done.stderr

    def is_sound(self, *, killed: bool = False) -> None:
        """Check that all files are complete; a kill may leave temporary files, which the next fetch removes."""
        left = [p for p in self.root.rglob("*") if p.name.endswith(".tmp")]
        assert killed or not left
        assert all(p.name.startswith(".") for p in left)
        for tables in self.root.rglob("tables"):
            for path in tables.glob("*.parquet"):
                pl.read_parquet(path)
            if (tables / "manifest.json").exists() and not killed:
                for info in read_manifest(tables, slug="flights").tables.values():
                    check_table(tables, info, slug="flights", full=True)
        data = self.folder / "data"
        for written in self.folder.rglob("*.toml"):
            # Between two renames there are no tables in their place, but the plan that the next fetch carries out.
            assert (data / "tables" / "manifest.json").exists() or (
                killed and (data / "incoming" / "swap.json").exists()
            )
            tomllib.loads(written.read_text())

    def downloads_nothing(self, **options: Any) -> None:
        before = self.server.bytes_sent
        assert self.succeeds(**options) == ""
        assert self.server.bytes_sent == before


@contextmanager
def place_in(
    folder: Path, server: Server, monkeypatch: pytest.MonkeyPatch, *, signed_in: bool = False
) -> Iterator[Place]:
    for name in [n for n in os.environ if n.startswith("KAGGLE_")]:
        monkeypatch.delenv(name)
    made = Place(server, folder / "bench", server.environment(folder / "home", signed_in=signed_in))
    (made.root / "competitions").mkdir(parents=True)
    yield made
    made.no_secret_is_told()
