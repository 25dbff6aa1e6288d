"""What a study stores beside its trials' points and values: this module alone knows the keys.

Older and newer versions continue each other's studies, and share them in databases: keys and values stay as they are.
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
    """What a study stores of itself and of the processes that work on it.

    Parameters
    ----------
    study : optuna.Study
    """

    def __init__(self, study: Study) -> None:
        self._study = study

    @property
    def key_parts(self) -> dict[str, str] | None:
        """What its trials can be compared by, as `StudyKey.parts`; None of a study that was just created."""
        parts: dict[str, str] | None = self._study.user_attrs.get("parts")
        return parts

    @key_parts.setter
    def key_parts(self, parts: Mapping[str, str]) -> None:
        self._study.set_user_attr("parts", dict(parts))

    def count_opening(self) -> int:
        """Count that the study was opened once more; return how many times it was before."""
        before = int(self._study.user_attrs.get("opened", 0))
        self._study.set_user_attr("opened", before + 1)
        return before

    @property
    def low_fidelity(self) -> LowFidelity | None:
        """How its trials are scored; None until that is decided."""
        content = self._study.user_attrs.get("quick")
        return None if content is None else LowFidelity.of(content)

    @low_fidelity.setter
    def low_fidelity(self, fidelity: LowFidelity) -> None:
        self._study.set_user_attr("quick", fidelity.content())

    @property
    def full_cv_rate(self) -> float | None:
        """The learning rate of full CV where the study chooses it; None until it has."""
        rate = self._study.user_attrs.get("full_rate")
        return None if rate is None else float(rate)

    @full_cv_rate.setter
    def full_cv_rate(self, rate: float) -> None:
        self._study.set_user_attr("full_rate", rate)

    @property
    def n_repeated_folds(self) -> int:
        """How many folds repeated CV has been scored on."""
        return int(self._study.user_attrs.get("second_folds", 0))

    @n_repeated_folds.setter
    def n_repeated_folds(self, n_folds: int) -> None:
        self._study.set_user_attr("second_folds", n_folds)

    def spent_s(self) -> float:
        """Return the seconds that all processes have searched."""
        return sum(float(s) for name, s in self._study.user_attrs.items() if name.startswith("spent_s:"))

    def set_spent(self, worker: str, seconds: float) -> None:
        """Note how long a process has searched."""
        self._study.set_user_attr(f"spent_s:{worker}", round(seconds, 1))

    def promised_memory(self, workers: Sequence[str]) -> list[tuple[int, int]]:
        """Return the process id and the peak in bytes that some of the processes have announced."""
        attributes = self._study.user_attrs
        return [(pid, n_bytes) for pid, n_bytes in filter(None, (attributes.get(f"memory:{w}") for w in workers))]

    def promise_memory(self, worker: str, pid: int, n_bytes: int) -> None:
        """Announce a process's memory at its peak."""
        self._study.set_user_attr(f"memory:{worker}", [pid, n_bytes])


@dataclass(frozen=True)
class FullCV:
    """The full CV of a trial, as far as it came.

    Attributes
    ----------
    scores : tuple of float, or None
        Of each fold; None where it has not finished.
    rounds : tuple of int
        Of each target's models.
    rate : float, or None
        The learning rate, where the study chose it.
    cut : int, or None
        The rounds after which a fold was ended by the time; None where none was.
    seconds : float
    dropped_after : int, or None
        The folds after which it was dropped for being worse than others.
    n_failures : int
    """

    scores: tuple[float, ...] | None
    rounds: tuple[int, ...] = ()
    rate: float | None = None
    cut: int | None = None
    seconds: float = 0.0
    dropped_after: int | None = None
    n_failures: int = 0

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> FullCV:
        """Return what a study has stored."""
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
    """The full CV of a trial, its scores on other folds where they can be compared, and that of rows held out."""

    number: int
    full: FullCV
    repeated: tuple[float, ...] | None
    holdout: float | None


class CVScores:
    """The scores of a study's best trials beside their low-fidelity ones, by trial number.

    Parameters
    ----------
    study : optuna.Study
    """

    def __init__(self, study: Study) -> None:
        self._study = study

    def full_cv(self, number: int) -> FullCV | None:
        """Return how far a trial's full CV came; None where it was not begun."""
        content = self._study.user_attrs.get(f"full:{number}")
        return None if content is None else FullCV.of(content)

    def finished(self) -> list[FinishedCV]:
        """Return the scores of the trials whose full CV is finished."""
        attributes = self._study.user_attrs
        full = {n: FullCV.of(content) for n, content in _by_number(attributes, "full:") if "scores" in content}
        repeated_cv = {n: _by_fold(content) for n, content in _by_number(attributes, "second:") if content}
        repeated = _of_the_same_folds(repeated_cv)
        return [FinishedCV(n, cv, repeated.get(n), attributes.get(f"held_out:{n}")) for n, cv in full.items()]

    def finish(self, number: int, full: FullCV) -> None:
        """Store a trial's full CV; scores of the model before, which the time had cut short, go."""
        content = {"scores": list(full.scores or ()), "rounds": list(full.rounds), "rate": full.rate}
        self._study.set_user_attr(f"full:{number}", content | {"cut": full.cut, "seconds": full.seconds})

    def forget_later_scores(self, number: int) -> None:
        """Forget repeated CV and holdout score of a trial: they are of another model than its new full CV."""
        if self.repeated_cv(number):
            self._study.set_user_attr(f"second:{number}", {})
        if self.holdout(number) is not None:
            self._study.set_user_attr(f"held_out:{number}", None)

    def drop(self, number: int, n_folds: int) -> None:
        """Note after how many folds a trial was dropped; a score that it had at another rate stays."""
        self._update(f"full:{number}", {"dropped_after": n_folds})

    def count_failure(self, number: int) -> int:
        """Count a failure of a trial's full CV; return how many there were."""
        full = self.full_cv(number)
        n_failures = 1 + (0 if full is None else full.n_failures)
        self._update(f"full:{number}", {"failed": n_failures})
        return n_failures

    def fold_scores(self, number: int, rate: float | None) -> dict[int, FoldScore]:
        """Return the folds of full CV at a learning rate that are scored, without their OOF."""
        scores = {}
        for fold, (score, rounds, seconds, cut, curves) in self._study.user_attrs.get(_folds(number, rate), {}).items():
            curve_of_target = tuple({int(n): float(v) for n, v in curve} for curve in curves)
            scores[int(fold)] = FoldScore(score, tuple(rounds), seconds, None, cut, curve_of_target)
        return scores

    def add_fold(self, number: int, rate: float | None, fold: int, score: FoldScore) -> None:
        """Store the score of a fold, for a race that is interrupted."""
        curves = [list(c.items()) for c in score.curves]
        content = [score.score, list(score.rounds), score.seconds, score.cut, curves]
        self._update(_folds(number, rate), {str(fold): content})

    def repeated_cv(self, number: int) -> dict[int, float]:
        """Return a trial's scores on other folds, by fold."""
        return _by_fold(self._study.user_attrs.get(f"second:{number}", {}))

    def add_repeated_fold(self, number: int, fold: int, score: float) -> None:
        """Store a trial's score on another fold."""
        self._update(f"second:{number}", {str(fold): score})

    def holdout(self, number: int) -> float | None:
        """Return a trial's score of the rows that are held out; None without one."""
        score: float | None = self._study.user_attrs.get(f"held_out:{number}")
        return score

    def set_holdout(self, number: int, score: float) -> None:
        """Store a trial's score of the rows that are held out."""
        self._study.set_user_attr(f"held_out:{number}", score)

    def _update(self, name: str, content: Mapping[str, Any]) -> None:
        self._study.set_user_attr(name, self._study.user_attrs.get(name, {}) | content)


def _by_number(attributes: Mapping[str, Any], prefix: str) -> Iterator[tuple[int, Any]]:
    return ((int(name.removeprefix(prefix)), v) for name, v in attributes.items() if name.startswith(prefix))


def _by_fold(content: Mapping[str, float]) -> dict[int, float]:
    return {int(k): float(v) for k, v in content.items()}


def _of_the_same_folds(scores: Mapping[int, Mapping[int, float]]) -> dict[int, tuple[float, ...]]:
    """Return scores on other folds by trial, all of the same folds: of as many as two of the trials have."""
    n_folds = sorted(map(len, scores.values()), reverse=True)[:2]
    return {
        number: tuple(of_fold[k] for k in sorted(of_fold)[-n_folds[-1] :])
        for number, of_fold in scores.items()
        if len(of_fold) >= n_folds[-1]
    }


def _folds(number: int, rate: float | None) -> str:
    return f"folds:{number}" if rate is None else f"folds:{number}@{rate:g}"


class TrialState:
    """What a study stores of one trial.

    Parameters
    ----------
    trial : FrozenTrial
    """

    def __init__(self, trial: FrozenTrial) -> None:
        self._attributes = trial.user_attrs

    @property
    def worker(self) -> str:
        """The process that runs it; empty where an earlier version noted none."""
        return str(self._attributes.get("worker", ""))

    @property
    def heartbeat_at(self) -> datetime | None:
        """When its process last said that it lives."""
        text = self._attributes.get("seen_at")
        return None if text is None else datetime.fromisoformat(text)

    @property
    def is_stopped(self) -> bool:
        """Whether the end of the time, or the user, stopped it: it has not failed."""
        return "stopped" in self._attributes

    @property
    def is_retry(self) -> bool:
        """Whether it repeats one that failed."""
        return "retry_of" in self._attributes

    @property
    def is_duplicate(self) -> bool:
        """Whether its scores are another trial's, of the same point."""
        return "same_as" in self._attributes

    @property
    def rounds(self) -> list[int]:
        """The mean rounds of each fold of the low fidelity, in their order."""
        return list(self._attributes["rounds"])

    @property
    def curves(self) -> Mapping[str, Sequence[Sequence[float]]]:
        """Its learning curves by fold, as `Curves.of_trial` gives them; empty where it was not among the best."""
        curves: Mapping[str, Sequence[Sequence[float]]] = self._attributes.get("curves", {})
        return curves


class TrialWriter:
    """Writes what a study stores of one trial.

    Parameters
    ----------
    study : optuna.Study
    trial : Trial or FrozenTrial
    """

    def __init__(self, study: Study, trial: Trial | FrozenTrial) -> None:
        self._storage, self._trial_id = study._storage, trial._trial_id

    def set_worker(self, worker: str) -> None:
        """Note the process that runs it, and that it lives."""
        self._set("worker", worker)
        self.set_heartbeat()

    def set_heartbeat(self) -> None:
        """Note that its process lives; in UTC, as machines of several time zones may share a study."""
        self._set("seen_at", datetime.now(UTC).isoformat("T", "seconds"))

    def set_stopped(self) -> None:
        """Note that it was stopped, and has not failed."""
        self._set("stopped", value=True)

    def set_failure(self, reason: str) -> None:
        """Note why it failed."""
        self._set("failure", reason)

    def set_duplicate_of(self, number: int) -> None:
        """Note whose scores it has."""
        self._set("same_as", number)

    def set_rounds(self, rounds: Sequence[int]) -> None:
        """Note the mean rounds of each fold."""
        self._set("rounds", list(rounds))

    def set_curves(self, curves: Mapping[str, Any]) -> None:
        """Note its learning curves, for processes that did not train it."""
        self._set("curves", dict(curves))

    def _set(self, name: str, value: Any) -> None:
        self._storage.set_trial_user_attr(self._trial_id, name, value)


def requeue_failed(study: Study, trial: FrozenTrial) -> bool:
    """Queue a failed trial's parameters once more; False where that was the second try, or it had none yet."""
    if TrialState(trial).is_retry or not trial.params:
        return False
    study.enqueue_trial(trial.params, user_attrs={"retry_of": trial.number})
    return True
