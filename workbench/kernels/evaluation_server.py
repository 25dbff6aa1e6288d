"""Competitions whose notebooks are called by an evaluation server, which `wb kernel` does not support."""

from __future__ import annotations

from workbench.core.errors import ConfigError
from workbench.data.competition import Competition
from workbench.data.ingest import evaluation_server_of

__all__ = ["check_no_server"]


def check_no_server(competition: Competition) -> None:
    """Refuse a competition whose notebooks are called by an evaluation server.

    Raises
    ------
    ConfigError
        Names the file that shows the server, and what can be done instead.
    """
    server_file = evaluation_server_of(competition)
    if server_file is None:
        return
    raise ConfigError(
        f"{competition.slug!r} has an evaluation server ({server_file}): when a notebook is submitted, Kaggle runs it "
        "again, and a gateway in another container sends it the hidden test set in batches. The notebook that "
        "`wb kernel build` writes reads test files and starts no server: the rerun would fail and cost a submission",
        hint="train and compare here as usual; for the submission copy the host's demo notebook (on the competition's "
        "Code page), call the models of a run (runs/…/models, as LightGBM's text) in its predict(), and submit it "
        f"there. If it has no such server: [submission] server = false in {competition.folder / 'competition.toml'}",
    )
