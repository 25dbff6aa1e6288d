"""The folder of a run: its files, its parts during the run, and reading it back."""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any

import numpy as np
import polars as pl

from workbench.core.cache import (
    atomic,
    atomic_folder,
    file_sha256,
    flush_files,
    read_json,
    write_bytes,
    write_json,
    write_text,
)
from workbench.core.errors import DamagedError, NotFoundError
from workbench.core.frames import read_parquet
from workbench.core.html_page import as_table
from workbench.core.printable import printable
from workbench.data.competition import ROW
from workbench.data.workspace import list_run_folders
from workbench.ledger import RunRecord, check_version, is_outside
from workbench.models.records import FULL_DATA, FoldResult, TrainingState

__all__ = [
    "FinishedRun",
    "FoldParts",
    "RunArtifacts",
    "check_files",
    "create_run",
    "end_run",
    "find_run",
    "list_run_folders",
    "read_run",
    "write_run",
]

RUN_FILE = "run.json"
VERSION = 1
"""Of `run.json`: to be raised when older workbenches would misread it. The first files have none."""

FIELDS_IN_NOTE = ("target", "fold", "seed", "rounds", "seconds", "importance", "curve", "suffix", "notes")


@dataclass(frozen=True, repr=False)
class FinishedRun:
    """A finished run; its files are read when they are accessed."""

    record: RunRecord
    folder: Path

    def __repr__(self) -> str:
        return printable(", ".join(f"{name} {text}" for name, text in self._facts().items()))

    def _repr_html_(self) -> str:
        return as_table((), self._facts().items())

    def _facts(self) -> dict[str, str]:
        """Return the run's names and scores as label -> text."""
        record = self.record
        spread = "" if record.cv_std is None else f" (fold SD {record.cv_std:.5f} over {record.cv_folds} folds)"
        facts = {
            "run": record.run_id,
            "experiment": f"{record.exp} {record.title}".rstrip(),
            "kind": record.kind,
            record.metric: "no CV" if record.cv_mean is None else f"{record.cv_mean:.5f}{spread}",
        }
        facts |= {"sample": f"{record.sample:.3g} of the rows"} if record.sample is not None else {}
        facts |= {"time": f"{record.seconds:.1f} s"} if record.seconds is not None else {}
        return facts

    @property
    def oof(self) -> pl.DataFrame:
        """OOF predictions: the row key, the fold, one column per prediction."""
        return _read_parquet(self.folder / "oof.parquet")

    @property
    def test(self) -> pl.DataFrame:
        """Test predictions: the id columns, one column per prediction."""
        return _read_parquet(self.folder / "test.parquet")

    @property
    def oof_array(self) -> np.ndarray[Any, Any]:
        """OOF predictions as a float array (n_train, width); NaN in rows that no fold validates."""
        frame = self.oof.sort(ROW).drop(ROW, "fold")
        return frame.to_numpy()

    @property
    def importance(self) -> pl.DataFrame:
        """Column, mean gain and mean splits over the models, by descending gain."""
        return _read_parquet(self.folder / "importance.parquet")

    @property
    def models(self) -> dict[str, str]:
        """The models of the folds as text, in their library's format, by "t<target>-f<fold>-s<seed>"."""
        return {p.stem: p.read_text("utf-8") for p in sorted((self.folder / "models").glob("t*-f*-s*.*"))}

    @property
    def whole_models(self) -> dict[str, str]:
        """The models of all rows (``refit = true``) as text, by "t<target>-all-s<seed>"."""
        return {p.stem: p.read_text(encoding="utf-8") for p in sorted((self.folder / "models").glob("t*-all-s*.*"))}

    @property
    def model_notes(self) -> list[dict[str, Any]]:
        """Of each model: target, fold (-1: all rows), seed, rounds, seconds, curve by round, notes."""
        return list(read_run(self.folder)[1].get("models", []))

    @property
    def recommender(self) -> dict[str, Any] | None:
        """Of a recommender: the recall of its sources, the score of each list, and its stages; None for other runs."""
        details: dict[str, Any] | None = read_run(self.folder)[1].get("recommend")
        return details

    @property
    def score(self) -> float | None:
        """The CV: the mean over folds."""
        return self.record.cv_mean

    @property
    def submission(self) -> Path | None:
        """The submission file; None for a subsample run."""
        path = self.folder / "submission.csv"
        return path if path.exists() else None


@dataclass(frozen=True)
class RunArtifacts:
    """The results of a runner, before the run's record is finished.

    Attributes
    ----------
    record : RunRecord
        With scores.
    files : dict
        Name -> SHA-256.
    details : dict
        For `run.json`.
    notes : tuple of str
        Messages for the user.
    peak_mb : float
        The peak memory of other processes than this one.
    """

    record: RunRecord
    files: dict[str, str]
    details: dict[str, Any]
    notes: tuple[str, ...] = ()
    peak_mb: float = 0.0


def _read_parquet(path: Path) -> pl.DataFrame:
    try:
        return read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as exc:
        raise DamagedError(f"{path} is missing or damaged", hint="`wb run N --force` runs it again") from exc


@dataclass(frozen=True)
class FoldParts:
    """Finished folds in a run folder: models in ``models/``, and the rest in ``parts/`` until the run is finished.

    The files are flushed to disk only by `flush_models`, as 15 models with early stopping write some 60: they survive
    the end of the process, and what a power failure damages is detected by its digest and trained again.
    """

    folder: Path

    def _model_path(self, name: str, suffix: str) -> Path:
        return self.folder / "models" / f"{name}.{suffix}"

    def _part_path(self, name: str) -> Path:
        return self.folder / "parts" / f"{name}.npz"

    def load(self, target: int, fold: int, seed: int) -> FoldResult | None:
        """Return a finished fold; None where there is none, or its files are damaged."""
        name = _name(target, fold, seed)
        try:
            with self._part_path(name).open("rb") as file, np.load(file) as arrays:
                note = json.loads(arrays["note"].tobytes())
                oof, test = arrays["oof"], arrays["test"]
            model_path, sha256 = self._model_path(name, note["suffix"]), note.pop("model_sha256")
            if sha256 is not None and file_sha256(model_path) != sha256:
                return None
            note["importance"] = {name: (pair[0], pair[1]) for name, pair in note["importance"].items()}
            return FoldResult(oof=oof, test=test, model="" if sha256 is None else model_path.read_text("utf-8"), **note)
        except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile):
            return None

    def save(self, result: FoldResult) -> None:
        """Save a finished fold: the model first, then the part, which has the model's digest."""
        name = _name(result.target, result.fold, result.seed)
        model_path = self._model_path(name, result.suffix)
        model = result.model.encode()
        if model:
            write_bytes(model_path, model, flush=False)
        note = {n: getattr(result, n) for n in FIELDS_IN_NOTE}
        note["model_sha256"] = hashlib.sha256(model).hexdigest() if model else None
        with atomic(self._part_path(name), flush=False) as temporary, temporary.open("wb") as file:
            encoded = np.frombuffer(json.dumps(note).encode(), np.uint8)
            np.savez(file, oof=result.oof, test=result.test, note=encoded)

    def load_training(self, target: int, fold: int, seed: int, stage: int) -> TrainingState | None:
        """Return the state of a fold's training; None where there is none, or its file is damaged."""
        try:
            stored = json.loads(self._training_path(target, fold, seed, stage).read_text("utf-8"))
            state = TrainingState(stored["model"], stored["curves"], stored["seconds"])
            return state if stored["sha256"] == _state_sha256(state) else None
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def save_training(self, target: int, fold: int, seed: int, stage: int, state: TrainingState) -> None:
        """Save the state of a fold's training."""
        stored = {"model": state.model, "curves": state.curves, "seconds": state.seconds}
        text = json.dumps({"sha256": _state_sha256(state), **stored})
        write_text(self._training_path(target, fold, seed, stage), text, flush=False)

    def _training_path(self, target: int, fold: int, seed: int, stage: int) -> Path:
        return self.folder / "parts" / f"{_name(target, fold, seed)}.{stage}.json"

    def flush_models(self) -> None:
        """Flush all models to disk, before the run counts as finished."""
        flush_files(sorted((self.folder / "models").glob("t*-s*.*")))

    def discard(self) -> None:
        """Remove the parts of a finished run."""
        shutil.rmtree(self.folder / "parts", ignore_errors=True)


def _state_sha256(state: TrainingState) -> str:
    digest = hashlib.sha256(json.dumps([state.curves, state.seconds]).encode())
    digest.update(state.model.encode())
    return digest.hexdigest()


def _name(target: int, fold: int, seed: int) -> str:
    return f"t{target}-{'all' if fold == FULL_DATA else f'f{fold}'}-s{seed}"


def create_run(folder: Path, record: RunRecord, details: dict[str, Any]) -> None:
    """Create a run's folder with its `run.json` in one step.

    So a run folder without `run.json` is not a new run: it may be a copy that is not complete yet.
    """
    with atomic_folder(folder) as temporary:
        write_run(temporary, record, details)


def write_run(folder: Path, record: RunRecord, details: dict[str, Any]) -> None:
    """Write `run.json`: the record, as in the ledger, and details that only the folder has."""
    write_json(folder / RUN_FILE, {"version": VERSION, "record": record.to_dict(), **details})


def end_run(folder: Path, record: RunRecord) -> RunRecord:
    """Write the record of a failed or interrupted run, unless the run is finished; return the folder's record."""
    on_disk, details = read_run(folder)
    if on_disk.status == "finished":
        return on_disk
    write_run(folder, record, details)
    return record


def read_run(folder: Path) -> tuple[RunRecord, dict[str, Any]]:
    """Read `run.json`.

    Raises
    ------
    DamagedError
        When it is missing or invalid.
    NewerError
        When a newer workbench wrote it.
    """
    path = folder / RUN_FILE
    try:
        data = read_json(path)
        check_version(data.pop("version", 1), VERSION, path)
        record = RunRecord.from_dict(data.pop("record"))
        _check_details(data)
    except (FileNotFoundError, NotADirectoryError) as exc:
        hint = f"if nothing is still copying it there, remove {folder} and run the experiment again"
        raise DamagedError(f"{path} is missing", hint=hint) from exc
    except (DamagedError, KeyError, AttributeError, TypeError) as exc:
        raise DamagedError(f"{path} is damaged: {exc}", hint=f"remove {folder} and run the experiment again") from exc
    if record.run_id != folder.name:
        # A copy, perhaps of an earlier state, must not be taken for the run.
        raise DamagedError(
            f"{path} is the record of the run {record.run_id}: its folder was copied or renamed",
            hint=f"move it out of {folder.parent}, or back to {record.run_id}",
        )
    return record, data


TYPE_BY_DETAIL: dict[str, type | tuple[type, ...]] = {
    "spec": dict,
    "files": dict,
    "source": (dict, NoneType),
    "positive": dict,
    "models": list,
}


def _check_details(details: dict[str, Any]) -> None:
    """Raise for invalid details: a run may come from another person, and its files are read and packaged."""
    for name, kind in TYPE_BY_DETAIL.items():
        if name in details and not isinstance(details[name], kind):
            raise DamagedError(f"{name!r} is {type(details[name]).__name__}")
    source = details.get("source") or {}
    for files in (details.get("files", {}), source.get("files", {})):
        for name, digest in files.items():
            if not isinstance(digest, str):
                raise DamagedError(f"the digest of file {name!r} is {digest!r}")
            if is_outside("file", name):
                raise DamagedError(f"the file {name!r} is outside of the run's folder")


def check_files(folder: Path, record: RunRecord, details: dict[str, Any]) -> FinishedRun:
    """Return a finished run after checking the digests of its files.

    Raises
    ------
    NotFoundError
        When the run is not finished.
    DamagedError
        When a file is missing or its bytes differ.
    """
    if record.status != "finished":
        raise NotFoundError(f"run {record.run_id} is {record.status}", hint=f"`wb run {record.exp}` finishes it")
    for name, sha256 in details.get("files", {}).items():
        path = folder / name
        problem = "is missing" if not path.exists() else "was changed" if file_sha256(path) != sha256 else ""
        if problem:
            raise DamagedError(
                f"run {record.run_id} is damaged: {path} {problem}",
                hint=f"`wb run {record.exp} --force` runs it again",
            )
    return FinishedRun(record, folder)


def find_run(
    runs: Path, number: int, key: str, *, greater_is_better: bool
) -> tuple[Path, RunRecord, dict[str, Any]] | None:
    """Return the folder, the record and the details of the experiment's newest run with this key; None without one.

    The direction of the metric is compared, too: for a custom metric function it is not a part of the key.
    """
    for folder in reversed(list_run_folders(runs, number)):
        if not folder.name.endswith(key[:8]) or not (folder / RUN_FILE).exists():
            continue
        record, details = read_run(folder)
        if record.key == key and record.greater_is_better == greater_is_better:
            return folder, record, details
    return None
