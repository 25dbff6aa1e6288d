"""`wb.competition(…).experiments`: the experiments that have a file, and how the next one is written."""

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
    """A notebook of Kaggle's that has become an experiment.

    Attributes
    ----------
    notebook, experiment : Path
    inputs : list of str
        Other data of Kaggle's that it reads, and that are not here: "datasets/OWNER/SLUG". In the competition's
        ``data/input``, under that name, it finds them.
    """

    notebook: Path
    experiment: Path
    inputs: list[str]


class Experiments(Mapping[int, "ExperimentSpec"]):
    """The experiments that have a file, by number; each is read when it is asked for."""

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
        """Write the next experiment's file, based on `source` (None: the newest), and return its path.

        Where the competition has no `features.py`, one with two examples is written, too. The number is one more than
        the largest that was ever used: see `workbench.data.competition.next_number`.

        Parameters
        ----------
        tuned : bool
            With the parameters that tuning `source` has found.
        report : callable
            Told where it found nothing better.

        Raises
        ------
        NotFoundError
            When it has not been tuned.
        LedgerError
            When the ledger can't be read: without it the number is not known.
        """
        from workbench.data.competition import create_experiment, in_toml
        from workbench.data.inference import write_starter
        from workbench.experiments.capabilities import capabilities_of
        from workbench.experiments.spec import read_spec
        from workbench.experiments.tuned_parameters import as_toml_lines, best_parameters

        competition = self._access.competition
        numbers = competition.paths.experiment_numbers()
        base = source if source is not None else (numbers[-1] if numbers else None)
        quoted = in_toml(title)
        if base is None and tuned:
            raise NotFoundError(
                f"{self._access.slug!r} has no experiment whose tuned parameters could be taken",
                hint="`wb new` writes the first one, `wb tune N` searches its parameters",
            )
        if base is None:
            text = f'title = {quoted}\nfeatures = ["auto"]\n\n[model]\nlearning_rate = 0.05\n'
            if competition.definition.interactions is not None:
                text = f"title = {quoted}\n\n[recommend]\n[recommend.history]\n"
        else:
            spec = read_spec(competition, base)
            listed = "[" + ", ".join(f'"{f}"' for f in spec.features) + "]"
            features = f'"{spec.selection}"' if spec.selection else listed
            text = f"title = {quoted}\nbase = {base}\n"
            text += f"features = {features}\n" if capabilities_of(spec.kind).predicts_rows else ""
            parameters = best_parameters(self._access.workspace, competition, base) if tuned else {}
            if tuned and not as_toml_lines(parameters, without=spec.model):
                remark = f"tuning found nothing better than experiment {base}'s own parameters: this has the same"
                text += f"# {remark}\n"
                report(f"{remark}; `wb tune {base} --minutes 30` searches on")
            # What was found needs no search again.
            text += "tune = false\n" if tuned and spec.tune is not None else ""
            text += f"\n[{spec.kind}]\n{as_toml_lines(parameters, without=spec.model)}"
        path = create_experiment(self._access.workspace, self._access.slug, text)[1]
        write_starter(competition)
        return path

    def new_notebook(self, source: int, *, title: str = "") -> tuple[Path, Path]:
        """Write an experiment out as a notebook, and the next experiment's file, which runs it; return both paths.

        Raises
        ------
        ConfigError
            When it is a notebook already, or has several targets.
        """
        from workbench.experiments.compose import compose
        from workbench.experiments.notebooks import as_text

        competition = self._access.competition

        def text(number: int) -> str:
            return as_text(compose(competition, source, number))

        return self._with_notebook(text, ".ipynb", title or f"{source} as a notebook", head=f"base = {source}\n")

    def _with_notebook(
        self, text: Callable[[int], str], suffix: str, title: str, *, head: str = "", more: str = ""
    ) -> tuple[Path, Path]:
        """Write a notebook, and the next experiment's file, which runs it: `head` above its table, `more` in it.

        `text` gives the notebook's for its number.
        """
        from workbench.data.competition import create_notebook, in_toml
        from workbench.data.inference import write_starter

        quoted = in_toml(title)
        paths = create_notebook(
            self._access.workspace,
            self._access.slug,
            text,
            suffix,
            lambda path: f"title = {quoted}\n{head}\n[notebook]\nfile = {in_toml(path.name)}\n{more}",
        )
        write_starter(self._access.competition)
        return paths

    @property
    def input_folder(self) -> Path:
        """The folder that is ``/kaggle/input`` to adopted notebooks; data beside the competition's are put there."""
        from workbench.experiments.kaggle_inputs import INPUT

        return self._access.folder.joinpath(*INPUT)

    def adopt(
        self, path: Path, *, title: str = "", submission: str = "submission.csv", network: bool = False
    ) -> AdoptedNotebook:
        """Take a notebook that was written for Kaggle, and make it the next experiment.

        It will see its data and no more of this machine: no logins, an empty home, no network.

        Parameters
        ----------
        path : Path
            As it was downloaded; it is copied to the workspace's notebooks.
        submission : str
            The file that it leaves.
        network : bool
            Whether it has the network all the same.
        """
        from workbench.data.competition import in_toml
        from workbench.experiments.kaggle_inputs import not_here
        from workbench.experiments.notebooks import read_notebook

        source = read_notebook(path)
        text, more = path.read_text(encoding="utf-8"), f"submission = {in_toml(submission)}\n"
        more += "network = true\n" if network else ""
        notebook, experiment = self._with_notebook(lambda _: text, path.suffix, title or path.stem, more=more)
        return AdoptedNotebook(notebook, experiment, not_here(self._access.folder, source))
