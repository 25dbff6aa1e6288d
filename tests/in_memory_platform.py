"""A platform in memory, for tests of how files and names are processed after the download."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench.data.competition import Competition, load_competition
from workbench.data.ingest import fetch
from workbench.data.workspace import create_workspace
from workbench.platforms.protocol import CompetitionFacts, Listing, Progress, RemoteFile

SLUG = "evil"


@dataclass
class InMemoryPlatform:
    """A platform with the given data files, by name."""

    offered: dict[str, bytes]
    title: str = "A competition"
    description: str | None = None
    metric: str = "auc"
    name: str = "rehearsal"
    is_local: bool = True
    listing_delay_s: float = 0.0
    code: None = None
    said: list[str] = field(default_factory=list)

    def facts(self, slug: str) -> CompetitionFacts:
        return CompetitionFacts(slug=slug, title=self.title, metric=self.metric, description=self.description)

    def files(self, slug: str) -> list[RemoteFile]:
        return [RemoteFile(n, len(d)) for n, d in sorted(self.offered.items())]

    def find(self, slug: str, names: Collection[str]) -> Listing:
        return Listing(tuple(self.files(slug)))

    def archive(self, slug: str) -> None:
        return None

    def download(self, slug: str, name: str, destination: Path, *, progress: Progress | None = None) -> None:
        destination.parent.mkdir(parents=True, exist_ok=True)
        destination.write_bytes(self.offered[name])

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)


def fetched(root: Path, files: dict[str, bytes], **facts: Any) -> Competition:
    """Fetch files into the folder "workspace" below `root`; `facts` are further fields of the platform."""
    workspace = create_workspace(root / "workspace")
    fetch(workspace, SLUG, InMemoryPlatform(files, **facts))  # type: ignore[arg-type]
    return load_competition(workspace, SLUG)
