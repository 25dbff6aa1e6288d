"""The OOF predictions of a search's best trials, as files next to its study."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from workbench.core.cache import atomic
from workbench.models.lightgbm.fold_scorer import FoldScore, FoldScorer
from workbench.tuning.study import StudySession

__all__ = ["OOFFiles"]


class OOFFiles:
    """The OOF files of the best trials; those with full CV rank before the others.

    Parameters
    ----------
    session : StudySession
    scorer : FoldScorer
    n_trials : int
        The number of trials whose OOF are kept.
    greater_is_better : bool
    """

    def __init__(self, session: StudySession, scorer: FoldScorer, n_trials: int, *, greater_is_better: bool) -> None:
        self._session, self._scorer, self._n_trials = session, scorer, n_trials
        self._greater_is_better = greater_is_better
        self._folder = session.folder / "oof"

    def has(self, number: int, value: float) -> bool:
        """Return whether a trial's OOF file has this score: an older file may have the low-fidelity one."""
        try:
            with np.load(self._path(number)) as file:
                return math.isclose(float(file["value"]), value, rel_tol=1e-6, abs_tol=1e-9)
        except (OSError, ValueError, KeyError, BadZipFile):
            return False

    @contextmanager
    def saving(
        self,
        number: int,
        fold_scores: Mapping[int, FoldScore],
        full_cv_values: Callable[[], Mapping[int, float]],
        low_fidelity_values: Callable[[], Mapping[int, float]],
    ) -> Iterator[None]:
        """Write a trial's OOF if they are complete and it is among the best; within the block its score is stored.

        The file comes first: a process that is killed in between leaves an extra file, and loses none. The study's
        lock is held, so that no other process removes the file as one without a score.

        Parameters
        ----------
        number : int
            The trial.
        fold_scores : mapping
            Fold -> score.
        full_cv_values, low_fidelity_values : callable
            Return the scores of all trials, this one included, by trial.
        """
        n_folds = self._scorer.problem.folds.n_folds
        if not self._n_trials or len(fold_scores) < n_folds or any(s.oof is None for s in fold_scores.values()):
            yield
            return
        with self._session.locked():
            best = self._best(full_cv_values(), low_fidelity_values())
            if number in best:
                self._write(number, fold_scores)
            yield
            for path in self._folder.glob("*.npz"):
                if int(path.stem) not in best:
                    path.unlink(missing_ok=True)

    def _best(self, *rankings: Mapping[int, float]) -> set[int]:
        """Return the trials whose OOF are kept: the best of the first ranking, then of the next."""
        ranked = [
            n for values in rankings for n in sorted(values, key=values.__getitem__, reverse=self._greater_is_better)
        ]
        return set(list(dict.fromkeys(ranked))[: self._n_trials])

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:05d}.npz"

    def _write(self, number: int, fold_scores: Mapping[int, FoldScore]) -> None:
        """Write ``oof`` (n_train, width), NaN in rows that no fold validates, and the mean score as ``value``."""
        problem = self._scorer.problem
        oof = np.full((problem.target.n_rows, problem.target.width), np.nan)
        for fold, score in fold_scores.items():
            if score.oof is not None:
                oof[problem.folds.valid_rows(fold)] = score.oof
        value = float(np.mean([s.score for s in fold_scores.values()]))
        self._folder.mkdir(parents=True, exist_ok=True)
        with atomic(self._path(number)) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, oof=oof.astype(np.float32), value=value)
