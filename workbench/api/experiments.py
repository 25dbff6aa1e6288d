"""`wb.competition(…).experiments`: the experiments' files, and new ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from workbench.api.access import CompetitionAccess, Report
from workbench.core.errors import NotFoundError

if TYPE_CHECKING:
    from workbench.experiments.spec import ExperimentSpec

__all__ = ["AdoptedNotebook", "Experiments"]


class AdoptedNotebook(NamedTuple):
    """A Kaggle notebook that was made an experiment.

    Attributes
    ----------
    notebook, experiment : Path
    inputs : list of str
        Other Kaggle data that the notebook reads and that are missing: "datasets/OWNER/SLUG". It reads them from the
        competition's ``data/input``, under that name.
    """

    notebook: Path
    experiment: Path
    inputs: list[str]


class Experiments(Mapping[int, "ExperimentSpec"]):
    """The experiments that have a file, by number; a file is read when its experiment is accessed."""

    def __init__(self, access: CompetitionAccess) -> None:
        self._access = access

    def __getitem__(self, number: int) -> ExperimentSpec:
        from workbench.experiments.spec import read_spec

        if number not in self._access.competition.paths.experiment_numbers():
            raise KeyError(number)
        return read_spec(self._access.competition, number)

    def __iter__(self) -> Iterator[int]:
        return iter(self._access.competition.paths.experiment_numbers())

    def __len__(self) -> int:
        return len(self._access.competition.paths.experiment_numbers())

    def __repr__(self) -> str:
        return repr(dict(self))

    def new(
        self,
        *,
        source: int | None = None,
        title: str = "",
        tuned: bool = False,
        report: Report = lambda _: None,
    ) -> Path:
        """Write the next experiment's file and return its path.

        Where the competition has no `features.py`, one with two examples is written, too. The number is one more than
        the largest that was ever used: see `workbench.data.competition.next_number`.

        Parameters
        ----------
        source : int, optional
            The base; by default the newest experiment.
        title : str
        tuned : bool
            Use the best parameters of the search on `source`.
        report : callable, optional
            Called with a text if the search found no better parameters.

        Raises
        ------
        NotFoundError
            When `source` was not tuned.
        LedgerError
            When the ledger, which has the largest number, can't be read.
        """
        from workbench.data.competition import create_experiment, in_toml
        from workbench.data.inference import write_starter
        from workbench.experiments.capabilities import capabilities_of
        from workbench.experiments.spec import read_spec
        from workbench.experiments.tuned_parameters import as_toml_lines, best_parameters

        competition = self._access.competition
        numbers = competition.paths.experiment_numbers()
        base = source if source is not None else (numbers[-1] if numbers else None)
        quoted_title = in_toml(title)
        if base is None and tuned:
            raise NotFoundError(
                f"{self._access.slug!r} has no experiment that could have been tuned",
                hint="`wb new` writes the first one, `wb tune N` tunes it",
            )
        if base is None:
            text = f'title = {quoted_title}\nfeatures = ["auto"]\n\n[model]\nlearning_rate = 0.05\n'
            if competition.definition.interactions is not None:
                text = f"title = {quoted_title}\n\n[recommend]\n[recommend.history]\n"
        else:
            spec = read_spec(competition, base)
            names_as_toml = "[" + ", ".join(f'"{f}"' for f in spec.features) + "]"
            features_value = f'"{spec.feature_list}"' if spec.feature_list else names_as_toml
            text = f"title = {quoted_title}\nbase = {base}\n"
            text += f"features = {features_value}\n" if capabilities_of(spec.kind).predicts_rows else ""
            parameters = best_parameters(self._access.workspace, competition, base) if tuned else {}
            if tuned and not as_toml_lines(parameters, without=spec.model):
                remark = f"tuning found no better parameters than those of experiment {base}, which are kept"
                text += f"# {remark}\n"
                report(f"{remark}; `wb tune {base} --minutes 30` continues the search")
            # Tuned parameters need no further search.
            text += "tune = false\n" if tuned and spec.tune is not None else ""
            text += f"\n[{spec.kind}]\n{as_toml_lines(parameters, without=spec.model)}"
        path = create_experiment(self._access.workspace, self._access.slug, text)[1]
        write_starter(competition)
        return path

    def new_notebook(self, source: int, *, title: str = "") -> tuple[Path, Path]:
        """Write an experiment as a notebook, and the next experiment's file, which runs it; return both paths.

        Raises
        ------
        ConfigError
            When the experiment is a notebook already, or has several targets.
        """
        from workbench.experiments.compose import compose
        from workbench.experiments.notebooks import as_text

        competition = self._access.competition

        def text(number: int) -> str:
            return as_text(compose(competition, source, number))

        return self._write_notebook(text, ".ipynb", title or f"{source} as a notebook", head=f"base = {source}\n")

    def _write_notebook(
        self, notebook_text: Callable[[int], str], suffix: str, title: str, *, head: str = "", options: str = ""
    ) -> tuple[Path, Path]:
        """Write a notebook, and the next experiment's file, which runs it; return both paths.

        Parameters
        ----------
        notebook_text : callable
            Returns the notebook for the experiment's number.
        suffix : str
            Of the notebook's file.
        title : str
        head : str
            Lines above the table ``[notebook]``.
        options : str
            Lines within the table.
        """
        from workbench.data.competition import create_notebook, in_toml
        from workbench.data.inference import write_starter

        quoted_title = in_toml(title)
        paths = create_notebook(
            self._access.workspace,
            self._access.slug,
            notebook_text,
            suffix,
            lambda path: f"title = {quoted_title}\n{head}\n[notebook]\nfile = {in_toml(path.name)}\n{options}",
        )
        write_starter(self._access.competition)
        return paths

    @property
    def input_folder(self) -> Path:
        """The folder that adopted notebooks see as ``/kaggle/input``; further data belong there."""
        from workbench.experiments.kaggle_inputs import INPUT_FOLDER

        return self._access.folder.joinpath(*INPUT_FOLDER)

    def adopt(
        self, path: Path, *, title: str = "", submission: str = "submission.csv", network: bool = False
    ) -> AdoptedNotebook:
        """Make a notebook that was written for Kaggle the next experiment.

        It runs in a sandbox with its data: without logins, with an empty home folder, without network.

        Parameters
        ----------
        path : Path
            The notebook; it is copied to the workspace's notebooks.
        title : str
        submission : str
            The submission file that it writes.
        network : bool
            Whether it may use the network.
        """
        from workbench.data.competition import in_toml
        from workbench.experiments.kaggle_inputs import missing_data
        from workbench.experiments.notebooks import read_notebook

        source = read_notebook(path)
        text, options = path.read_text(encoding="utf-8"), f"submission = {in_toml(submission)}\n"
        options += "network = true\n" if network else ""
        notebook, experiment = self._write_notebook(lambda _: text, path.suffix, title or path.stem, options=options)
        return AdoptedNotebook(notebook, experiment, missing_data(self._access.folder, source))
