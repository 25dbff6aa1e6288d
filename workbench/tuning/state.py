"""The user attributes of a study and of its trials; only this module has their keys.

Versions of this package continue each other's studies, and share them in databases: keys and values must not change.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from workbench.models.lightgbm.fold_scorer import FoldScore
from workbench.tuning.plan import LowFidelity

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial, Trial

__all__ = ["CVScores", "FinishedCV", "FullCV", "StudyState", "TrialState", "TrialWriter", "requeue_failed"]


class StudyState:
    """The attributes of a study, and of the processes that work on it.

    Parameters
    ----------
    study : optuna.Study
    """

    def __init__(self, study: Study) -> None:
        self._study = study

    @property
    def key_parts(self) -> dict[str, str] | None:
        """The parts of the study's `StudyKey`; None for a study that was just created."""
        parts: dict[str, str] | None = self._study.user_attrs.get("parts")
        return parts

    @key_parts.setter
    def key_parts(self, parts: Mapping[str, str]) -> None:
        self._study.set_user_attr("parts", dict(parts))

    def count_opening(self) -> int:
        """Count an opening of the study; return how many there were before."""
        n_before = int(self._study.user_attrs.get("opened", 0))
        self._study.set_user_attr("opened", n_before + 1)
        return n_before

    @property
    def low_fidelity(self) -> LowFidelity | None:
        """The fidelity of its trials; None until calibration has chosen it."""
        content = self._study.user_attrs.get("quick")
        return None if content is None else LowFidelity.of(content)

    @low_fidelity.setter
    def low_fidelity(self, fidelity: LowFidelity) -> None:
        self._study.set_user_attr("quick", fidelity.content())

    @property
    def full_cv_rate(self) -> float | None:
        """The learning rate of full CV that the study has chosen; None until it has."""
        learning_rate = self._study.user_attrs.get("full_rate")
        return None if learning_rate is None else float(learning_rate)

    @full_cv_rate.setter
    def full_cv_rate(self, learning_rate: float) -> None:
        self._study.set_user_attr("full_rate", learning_rate)

    @property
    def n_repeated_folds(self) -> int:
        """The number of folds that repeated CV scores."""
        return int(self._study.user_attrs.get("second_folds", 0))

    @n_repeated_folds.setter
    def n_repeated_folds(self, n_folds: int) -> None:
        self._study.set_user_attr("second_folds", n_folds)

    def spent_s(self) -> float:
        """Return the seconds of search of all processes together."""
        return sum(float(s) for name, s in self._study.user_attrs.items() if name.startswith("spent_s:"))

    def set_spent(self, worker: str, seconds: float) -> None:
        """Store the seconds that a process has searched."""
        self._study.set_user_attr(f"spent_s:{worker}", round(seconds, 1))

    def announced_memory(self, workers: Sequence[str]) -> list[tuple[int, int]]:
        """Return the process id and the announced peak memory in bytes of each of the processes that announced one."""
        attributes = self._study.user_attrs
        return [(pid, n_bytes) for pid, n_bytes in filter(None, (attributes.get(f"memory:{w}") for w in workers))]

    def announce_memory(self, worker: str, pid: int, n_bytes: int) -> None:
        """Store the peak memory that a process will use."""
        self._study.set_user_attr(f"memory:{worker}", [pid, n_bytes])


@dataclass(frozen=True)
class FullCV:
    """The full CV of a trial, finished or not.

    Attributes
    ----------
    scores : tuple of float, or None
        Of each fold; None until all folds are scored.
    rounds : tuple of int
        The mean rounds of each target's models.
    learning_rate : float, or None
        The learning rate; None where the study did not choose it.
    rounds_at_time_limit : int, or None
        The fewest rounds after which the time limit ended a fold; None where it ended none.
    seconds : float
        The training time of all folds.
    dropped_after : int, or None
        The number of folds after which a race dropped the trial.
    n_failures : int
        How many times the training failed.
    """

    scores: tuple[float, ...] | None
    rounds: tuple[int, ...] = ()
    learning_rate: float | None = None
    rounds_at_time_limit: int | None = None
    seconds: float = 0.0
    dropped_after: int | None = None
    n_failures: int = 0

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> FullCV:
        """Return the full CV of a stored mapping."""
        scores = content.get("scores")
        return cls(
            None if scores is None else tuple(scores),
            tuple(content.get("rounds", ())),
            content.get("rate"),
            content.get("cut"),
            content.get("seconds", 0.0),
            content.get("dropped_after"),
            content.get("failed", 0),
        )


class FinishedCV(NamedTuple):
    """The finished full CV of a trial, with its repeated CV, where that is comparable, and its holdout score."""

    number: int
    full: FullCV
    repeated: tuple[float, ...] | None
    holdout: float | None


class CVScores:
    """The full CV, repeated CV and holdout scores of a study, by trial number.

    Parameters
    ----------
    study : optuna.Study
    """

    def __init__(self, study: Study) -> None:
        self._study = study

    def full_cv(self, number: int) -> FullCV | None:
        """Return the full CV of a trial, finished or not; None where it has not begun."""
        content = self._study.user_attrs.get(f"full:{number}")
        return None if content is None else FullCV.of(content)

    def finished(self) -> list[FinishedCV]:
        """Return the scores of the trials whose full CV is finished."""
        attributes = self._study.user_attrs
        full = {n: FullCV.of(content) for n, content in _by_number(attributes, "full:") if "scores" in content}
        repeated_by_fold = {n: _by_fold(content) for n, content in _by_number(attributes, "second:") if content}
        repeated = _on_common_folds(repeated_by_fold)
        return [FinishedCV(n, cv, repeated.get(n), attributes.get(f"held_out:{n}")) for n, cv in full.items()]

    def finish(self, number: int, full: FullCV) -> None:
        """Store a trial's finished full CV in place of an earlier one."""
        content = {"scores": list(full.scores or ()), "rounds": list(full.rounds), "rate": full.learning_rate}
        self._study.set_user_attr(
            f"full:{number}", content | {"cut": full.rounds_at_time_limit, "seconds": full.seconds}
        )

    def forget_later_scores(self, number: int) -> None:
        """Remove the repeated CV and the holdout score of a trial; they belong to its earlier full CV."""
        if self.repeated_cv(number):
            self._study.set_user_attr(f"second:{number}", {})
        if self.holdout(number) is not None:
            self._study.set_user_attr(f"held_out:{number}", None)

    def drop(self, number: int, n_folds: int) -> None:
        """Store after how many folds a race dropped a trial; its full CV at another rate is kept."""
        self._update(f"full:{number}", {"dropped_after": n_folds})

    def count_failure(self, number: int) -> int:
        """Count a failure of a trial's full CV; return how many there are now."""
        full = self.full_cv(number)
        n_failures = 1 + (0 if full is None else full.n_failures)
        self._update(f"full:{number}", {"failed": n_failures})
        return n_failures

    def fold_scores(self, number: int, learning_rate: float | None) -> dict[int, FoldScore]:
        """Return the stored fold scores of full CV at a learning rate, by fold; they have no OOF."""
        scores = {}
        stored_scores = self._study.user_attrs.get(_folds_key(number, learning_rate), {})
        for fold, (score, rounds, seconds, rounds_at_time_limit, curves) in stored_scores.items():
            target_curves = tuple({int(n): float(v) for n, v in curve} for curve in curves)
            scores[int(fold)] = FoldScore(score, tuple(rounds), seconds, None, rounds_at_time_limit, target_curves)
        return scores

    def add_fold(self, number: int, learning_rate: float | None, fold: int, score: FoldScore) -> None:
        """Store the score of a fold, so that an interrupted race can be continued."""
        curves = [list(c.items()) for c in score.curves]
        content = [score.score, list(score.rounds), score.seconds, score.rounds_at_time_limit, curves]
        self._update(_folds_key(number, learning_rate), {str(fold): content})

    def repeated_cv(self, number: int) -> dict[int, float]:
        """Return a trial's scores of repeated CV, by fold."""
        return _by_fold(self._study.user_attrs.get(f"second:{number}", {}))

    def add_repeated_fold(self, number: int, fold: int, score: float) -> None:
        """Store a trial's score of a fold of repeated CV."""
        self._update(f"second:{number}", {str(fold): score})

    def holdout(self, number: int) -> float | None:
        """Return a trial's holdout score; None without one."""
        score: float | None = self._study.user_attrs.get(f"held_out:{number}")
        return score

    def set_holdout(self, number: int, score: float) -> None:
        """Store a trial's holdout score."""
        self._study.set_user_attr(f"held_out:{number}", score)

    def _update(self, name: str, content: Mapping[str, Any]) -> None:
        self._study.set_user_attr(name, self._study.user_attrs.get(name, {}) | content)


def _by_number(attributes: Mapping[str, Any], prefix: str) -> Iterator[tuple[int, Any]]:
    """Yield the number of a trial, and the value, of each attribute called ``<prefix><number>``."""
    return ((int(name.removeprefix(prefix)), v) for name, v in attributes.items() if name.startswith(prefix))


def _by_fold(content: Mapping[str, float]) -> dict[int, float]:
    """Return a mapping of JSON, whose keys are strings, as fold -> score."""
    return {int(fold): float(score) for fold, score in content.items()}


def _on_common_folds(scores: Mapping[int, Mapping[int, float]]) -> dict[int, tuple[float, ...]]:
    """Return repeated CV by trial, restricted to the same folds: to as many as two of the trials have.

    Trials with fewer folds are excluded. The last folds are scored first, so two trials with n folds have the last n.
    """
    n_common_folds = sorted(map(len, scores.values()), reverse=True)[:2][-1] if scores else 0
    return {
        number: tuple(score_by_fold[k] for k in sorted(score_by_fold)[-n_common_folds:])
        for number, score_by_fold in scores.items()
        if len(score_by_fold) >= n_common_folds
    }


def _folds_key(number: int, learning_rate: float | None) -> str:
    """Return the attribute with the fold scores of a trial's full CV at a learning rate."""
    return f"folds:{number}" if learning_rate is None else f"folds:{number}@{learning_rate:g}"


class TrialState:
    """The attributes of a trial.

    Parameters
    ----------
    trial : FrozenTrial
    """

    def __init__(self, trial: FrozenTrial) -> None:
        self._attributes = trial.user_attrs

    @property
    def worker(self) -> str:
        """The process that runs it; empty for trials of earlier versions."""
        return str(self._attributes.get("worker", ""))

    @property
    def heartbeat_at(self) -> datetime | None:
        """When its process last wrote a heartbeat; None for trials of earlier versions."""
        text = self._attributes.get("seen_at")
        return None if text is None else datetime.fromisoformat(text)

    @property
    def is_stopped(self) -> bool:
        """Whether the end of the time, or the user, stopped it: its state is FAIL, though it has not failed."""
        return "stopped" in self._attributes

    @property
    def is_retry(self) -> bool:
        """Whether it repeats a failed trial."""
        return "retry_of" in self._attributes

    @property
    def is_duplicate(self) -> bool:
        """Whether its scores are copied from another trial of the same point."""
        return "same_as" in self._attributes

    @property
    def rounds(self) -> list[int]:
        """The mean rounds of each low-fidelity fold, in the order of `LowFidelity.folds`."""
        return list(self._attributes["rounds"])

    @property
    def curves(self) -> Mapping[str, Sequence[Sequence[float]]]:
        """Its learning curves by fold, see `Curves.of_trial`; empty where it was not among the best."""
        curves: Mapping[str, Sequence[Sequence[float]]] = self._attributes.get("curves", {})
        return curves


class TrialWriter:
    """Writes the attributes of a trial.

    Parameters
    ----------
    study : optuna.Study
    trial : Trial or FrozenTrial
    """

    def __init__(self, study: Study, trial: Trial | FrozenTrial) -> None:
        self._storage, self._trial_id = study._storage, trial._trial_id

    def set_worker(self, worker: str) -> None:
        """Store the process that runs it, with a first heartbeat."""
        self._set("worker", worker)
        self.set_heartbeat()

    def set_heartbeat(self) -> None:
        """Store the current time, in UTC: machines in several time zones may share a study."""
        self._set("seen_at", datetime.now(UTC).isoformat("T", "seconds"))

    def set_stopped(self) -> None:
        """Mark it as stopped, as opposed to failed."""
        self._set("stopped", value=True)

    def set_failure(self, reason: str) -> None:
        """Store why it failed."""
        self._set("failure", reason)

    def set_duplicate_of(self, number: int) -> None:
        """Store the trial that its scores are copied from."""
        self._set("same_as", number)

    def set_rounds(self, rounds: Sequence[int]) -> None:
        """Store the mean rounds of each fold."""
        self._set("rounds", list(rounds))

    def set_curves(self, curves: Mapping[str, Any]) -> None:
        """Store its learning curves for the study's other processes."""
        self._set("curves", dict(curves))

    def _set(self, name: str, value: Any) -> None:
        self._storage.set_trial_user_attr(self._trial_id, name, value)


def requeue_failed(study: Study, trial: FrozenTrial) -> bool:
    """Queue the parameters of a failed trial once more; return False after a retry, or if it had no parameters yet."""
    if TrialState(trial).is_retry or not trial.params:
        return False
    study.enqueue_trial(trial.params, user_attrs={"retry_of": trial.number})
    return True
