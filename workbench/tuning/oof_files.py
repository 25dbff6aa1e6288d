"""The OOF of a search's best trials, as files beside its study."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from workbench.core.cache import atomic
from workbench.models.lightgbm.fold_scorer import FoldScore, FoldScorer
from workbench.tuning.study import OpenStudy

__all__ = ["OOFFiles"]


class OOFFiles:
    """The OOF of the best trials, those with full scores before the others.

    Parameters
    ----------
    study : OpenStudy
    scorer : FoldScorer
    keep : int
        How many are kept.
    greater_is_better : bool
    """

    def __init__(self, study: OpenStudy, scorer: FoldScorer, keep: int, *, greater_is_better: bool) -> None:
        self.opened, self.scorer, self.keep = study, scorer, keep
        self.greater = greater_is_better
        self.folder = study.folder / "oof"

    def has(self, number: int, value: float) -> bool:
        """Say whether a trial's OOF is there, and is that of this score: it may be of the quick one before it."""
        try:
            with np.load(self._path(number)) as file:
                return math.isclose(float(file["value"]), value, rel_tol=1e-6, abs_tol=1e-9)
        except (OSError, ValueError, KeyError, BadZipFile):
            return False

    @contextmanager
    def saving(
        self,
        number: int,
        scores: Mapping[int, FoldScore],
        full_cv: Callable[[], Mapping[int, float]],
        low_fidelity: Callable[[], Mapping[int, float]],
    ) -> Iterator[None]:
        """Write a trial's OOF where it is complete and among the best; in the block its score is stored.

        The file comes first: a process that is killed between leaves one too many, and loses none. Others that share
        the study, and would take it for a file without a score, wait.

        Parameters
        ----------
        number : int
            The trial.
        scores : mapping
            Fold -> what the trial got.
        full_cv, low_fidelity : callable
            Give the scores of all trials, and of this one, by trial.
        """
        n_folds = self.scorer.problem.folds.n_folds
        if not self.keep or len(scores) < n_folds or any(s.oof is None for s in scores.values()):
            yield
            return
        with self.opened.locked():
            best = self._best(full_cv(), low_fidelity())
            if number in best:
                self._write(number, scores)
            yield
            for path in self.folder.glob("*.npz"):
                if int(path.stem) not in best:
                    path.unlink(missing_ok=True)

    def _best(self, *ranks: Mapping[int, float]) -> set[int]:
        ranked = [n for values in ranks for n in sorted(values, key=values.__getitem__, reverse=self.greater)]
        return set(list(dict.fromkeys(ranked))[: self.keep])

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:05d}.npz"

    def _write(self, number: int, scores: Mapping[int, FoldScore]) -> None:
        """Write ``oof`` (n_train, width), NaN where no fold validates the row, and its ``value``."""
        problem = self.scorer.problem
        oof = np.full((problem.target.n_rows, problem.target.width), np.nan)
        for fold, score in scores.items():
            if score.oof is not None:
                oof[problem.folds.valid_rows(fold)] = score.oof
        value = float(np.mean([s.score for s in scores.values()]))
        self.folder.mkdir(parents=True, exist_ok=True)
        with atomic(self._path(number)) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, oof=oof.astype(np.float32), value=value)
