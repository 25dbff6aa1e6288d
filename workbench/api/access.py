"""Access to one competition, shared by the parts of its handle: its folder, definition, features and platform."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.core.context import RunContext, text_listener
from workbench.core.errors import ConfigError
from workbench.core.events import Event, Listener, ModelTrained, Progress
from workbench.core.operating_system import require_posix
from workbench.data.workspace import Workspace

if TYPE_CHECKING:
    from workbench.data.competition import Competition
    from workbench.features import Blocks
    from workbench.platforms.protocol import Platform
    from workbench.submissions import SubmissionChannel

__all__ = ["CompetitionAccess", "Report", "call_context"]

Report = Callable[[str], None]


def call_context(
    listen: Listener | None = None,
    *,
    threads: int | None = None,
    report: Report | None = None,
    progress: Callable[[int, int, str], None] | None = None,
    done: Callable[[ModelTrained, int], None] | None = None,
) -> RunContext:
    """Return the context of a call, whose listeners include plain callbacks.

    Parameters
    ----------
    listen : callable, optional
        Called with each event.
    threads : int, optional
    report : callable, optional
        Called with the text of stages and messages.
    progress : callable, optional
        Called with the count, the total and a text of progress with a known total.
    done : callable, optional
        Called with each trained model and the number of models still to be trained.

    Raises
    ------
    UnsupportedError
        On Windows: calls with a context write caches, runs or data.
    """
    require_posix("this call")

    def pass_on(event: Event) -> None:
        if progress is not None and isinstance(event, Progress) and event.total is not None:
            progress(int(event.done), int(event.total), event.text)
        if done is not None and isinstance(event, ModelTrained):
            done(event, event.remaining)

    listeners = [listen, text_listener(report) if report else None, pass_on if progress or done else None]
    return RunContext(tuple(listener for listener in listeners if listener is not None), threads=threads)


@dataclass(frozen=True)
class CompetitionAccess:
    """A competition of a workspace; its files are read when they are first needed.

    Raises
    ------
    NotFoundError
        Where the workspace has no such competition.
    """

    workspace: Workspace
    slug: str

    def __post_init__(self) -> None:
        self.workspace.competition_folder(self.slug)

    @cached_property
    def competition(self) -> Competition:
        """The definition with its paths, as it was when first needed."""
        from workbench.data.competition import load_competition

        return load_competition(self.workspace, self.slug)

    @property
    def folder(self) -> Path:
        """The competition's folder; the definition is not read."""
        return self.workspace.competition_folder(self.slug)

    @property
    def platform(self) -> Platform:
        """The platform that the definition names."""
        from workbench.platforms.protocol import connect

        return connect(self.competition.definition.platform, self.workspace.root)

    @contextmanager
    def submission_channel(self) -> Iterator[SubmissionChannel]:
        """Yield the channel that sends and logs submissions, with the ledger open."""
        from workbench.ledger import Ledger
        from workbench.submissions import SubmissionChannel

        require_posix("submitting")
        competition, platform = self.competition, self.platform
        with Ledger.open(self.workspace.ledger) as ledger:
            yield SubmissionChannel(self.workspace, competition, platform, ledger)

    def blocks(self, report: Report = lambda _: None) -> Blocks:
        """Return the blocks of the features in `features.py`."""
        from workbench.features import Blocks, load_features

        require_posix("building features")
        context = RunContext((text_listener(report),))
        return Blocks(self.competition, load_features(self.competition), context, self.workspace.memory_limit)

    def feature_names(self, names: Sequence[str], exp: int | None) -> list[str]:
        """Return the names, followed by the features of an experiment."""
        from workbench.experiments.spec import read_spec

        return [*names, *(read_spec(self.competition, exp).features if exp is not None else ())]

    def require_rows(self, operation: str) -> None:
        """Raise for an operation on train and test rows if the competition has an interaction log instead.

        Raises
        ------
        ConfigError
            When the task is "recommend".
        """
        if self.competition.definition.interactions is not None:
            raise ConfigError(
                f"{operation} needs train and test rows, but competition {self.slug!r} has an interaction log",
                hint="its experiments have a table [recommend]; `wb show N` lists what each source finds",
            )
