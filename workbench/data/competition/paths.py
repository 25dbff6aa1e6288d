"""Paths of a competition's folder: the only module that knows its layout."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from workbench.core.errors import ConfigError
from workbench.data.workspace import experiment_files, experiment_numbers

__all__ = ["CompetitionPaths"]


@dataclass(frozen=True)
class CompetitionPaths:
    """Where the parts of a competition are, below `folder`; none of the paths need exist."""

    folder: Path

    @property
    def definition(self) -> Path:
        """``competition.toml``."""
        return self.folder / "competition.toml"

    @property
    def features(self) -> Path:
        """``features.py``, the competition's own features."""
        return self.folder / "features.py"

    @property
    def tables(self) -> Path:
        """The folder of the Parquet tables and their manifest."""
        return self.folder / "data" / "tables"

    @property
    def folds(self) -> Path:
        """The folder of the saved folds."""
        return self.folder / "data" / "folds"

    @property
    def row_numbers(self) -> Path:
        """The JSON file that keeps which columns only number the rows."""
        return self.folder / "data" / "row_numbers.json"

    @property
    def parameter_checks(self) -> Path:
        """The JSON file that keeps which parameters a model library accepts."""
        return self.folder / "data" / "parameter_checks.json"

    @property
    def cache(self) -> Path:
        """The folder of the cached features."""
        return self.folder / "cache"

    @property
    def runs(self) -> Path:
        """The folder of the run folders."""
        return self.folder / "runs"

    def study(self, number: int) -> Path:
        """Return the folder of an experiment's study."""
        return self.folder / "studies" / f"{number:03d}"

    def experiment(self, number: int) -> Path:
        """Return the path of an experiment's file.

        Raises
        ------
        ConfigError
            When two files have the number: 12.toml and 012.toml.
        """
        path, *duplicates = experiment_files(self.folder, number)
        if duplicates:
            names = " and ".join(p.name for p in (path, *duplicates))
            raise ConfigError(
                f"experiment {number} has {1 + len(duplicates)} files in {path.parent}: {names}",
                hint=f"keep one as {number:03d}.toml; for another experiment `wb new` gives the next number",
            )
        return path

    def experiment_numbers(self) -> list[int]:
        """Return the numbers of the experiments that have a file, ascending."""
        return experiment_numbers(self.folder)

    def selection(self, name: str) -> Path:
        """Return the path of a feature list."""
        return self.folder / "selections" / f"{name}.toml"

    def selection_names(self) -> list[str]:
        """Return the names of the feature lists that have a file, sorted."""
        return sorted(p.stem for p in (self.folder / "selections").glob("*.toml"))
