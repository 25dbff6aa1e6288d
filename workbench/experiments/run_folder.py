"""A run's folder: what is in it, how it grows fold by fold, and how it is read back."""

from __future__ import annotations

import json
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any

import numpy as np
import polars as pl

from workbench.core.cache import atomic, atomic_folder, file_sha256, read_json, write_json, write_text
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
"""Of `run.json`: to be raised when this workbench would read it wrongly. The first files had none."""

NOTED = ("target", "fold", "seed", "rounds", "seconds", "importance", "curve", "suffix", "notes")


@dataclass(frozen=True, repr=False)
class FinishedRun:
    """A finished run, read from its folder on demand."""

    record: RunRecord
    folder: Path

    def __repr__(self) -> str:
        return printable(", ".join(f"{name} {text}" for name, text in self._facts().items()))

    def _repr_html_(self) -> str:
        return as_table((), self._facts().items())

    def _facts(self) -> dict[str, str]:
        """Return what names the run, and its scores, in words."""
        r = self.record
        spread = "" if r.cv_std is None else f" (fold SD {r.cv_std:.5f} over {r.cv_folds} folds)"
        facts = {"run": r.run_id, "experiment": f"{r.exp} {r.title}".rstrip(), "kind": r.kind}
        facts |= {r.metric: "no CV" if r.cv_mean is None else f"{r.cv_mean:.5f}{spread}"}
        facts |= {"sample": f"{r.sample:.3g} of the rows"} if r.sample is not None else {}
        facts |= {"time": f"{r.seconds:.1f} s"} if r.seconds is not None else {}
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
        """OOF predictions as a float array (n_train, width); NaN where no fold validates the row."""
        frame = self.oof.sort(ROW).drop(ROW, "fold")
        return frame.to_numpy()

    @property
    def importance(self) -> pl.DataFrame:
        """Column, mean gain and mean splits over the models, falling."""
        return _read_parquet(self.folder / "importance.parquet")

    @property
    def models(self) -> dict[str, str]:
        """Each model as text, in its library's format, by "t<target>-f<fold>-s<seed>", where it has one."""
        return {p.stem: p.read_text("utf-8") for p in sorted((self.folder / "models").glob("t*-f*-s*.*"))}

    @property
    def whole_models(self) -> dict[str, str]:
        """The models of all rows (``refit = true``) as text, by "t<target>-all-s<seed>"."""
        return {p.stem: p.read_text() for p in sorted((self.folder / "models").glob("t*-all-s*.*"))}

    @property
    def model_notes(self) -> list[dict[str, Any]]:
        """What is known of each model: target, fold (-1: all rows), seed, rounds, seconds, curve by round, notes."""
        return list(read_run(self.folder)[1].get("models", []))

    @property
    def recommender(self) -> dict[str, Any] | None:
        """Of a recommender what its sources find, the score of each list, and the stages; None for other runs."""
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
    """What a run produced, before its record is closed: the scored record, files by SHA-256, details and notes."""

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
    """Finished folds in a run folder: ``models/`` for good, ``parts/`` until the run is whole."""

    folder: Path

    def _model(self, name: str, suffix: str) -> Path:
        return self.folder / "models" / f"{name}.{suffix}"

    def _part(self, name: str) -> Path:
        return self.folder / "parts" / f"{name}.npz"

    def load(self, target: int, fold: int, seed: int) -> FoldResult | None:
        """Return a finished fold; None where there is none, or its files are not what was written."""
        name = _name(target, fold, seed)
        try:
            with self._part(name).open("rb") as file, np.load(file) as arrays:
                note = json.loads(arrays["note"].tobytes())
                oof, test = arrays["oof"], arrays["test"]
            model, sha256 = self._model(name, note["suffix"]), note.pop("model_sha256")
            if sha256 is not None and file_sha256(model) != sha256:
                return None
            note["importance"] = {name: (pair[0], pair[1]) for name, pair in note["importance"].items()}
            return FoldResult(oof=oof, test=test, model="" if sha256 is None else model.read_text("utf-8"), **note)
        except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile):
            return None

    def save(self, result: FoldResult) -> None:
        """Keep a finished fold: the model first, then the part that vouches for it."""
        name = _name(result.target, result.fold, result.seed)
        model = self._model(name, result.suffix)
        if result.model:
            write_text(model, result.model)
        note = {n: getattr(result, n) for n in NOTED}
        note["model_sha256"] = file_sha256(model) if result.model else None
        with atomic(self._part(name)) as temporary, temporary.open("wb") as file:
            encoded = np.frombuffer(json.dumps(note).encode(), np.uint8)
            np.savez(file, oof=result.oof, test=result.test, note=encoded)

    def load_training(self, target: int, fold: int, seed: int, stage: int) -> TrainingState | None:
        """Return how far a fold's training was; None where nothing was kept, or not what was written."""
        try:
            stored = json.loads(self._training(target, fold, seed, stage).read_text("utf-8"))
            return TrainingState(stored["model"], stored["curves"], stored["seconds"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def save_training(self, target: int, fold: int, seed: int, stage: int, state: TrainingState) -> None:
        """Keep how far a fold's training is."""
        stored = {"model": state.model, "curves": state.curves, "seconds": state.seconds}
        write_text(self._training(target, fold, seed, stage), json.dumps(stored))

    def _training(self, target: int, fold: int, seed: int, stage: int) -> Path:
        return self.folder / "parts" / f"{_name(target, fold, seed)}.{stage}.json"

    def discard(self) -> None:
        """Remove the parts of a run that is whole."""
        shutil.rmtree(self.folder / "parts", ignore_errors=True)


def _name(target: int, fold: int, seed: int) -> str:
    return f"t{target}-{'all' if fold == FULL_DATA else f'f{fold}'}-s{seed}"


def create_run(folder: Path, record: RunRecord, details: dict[str, Any]) -> None:
    """Make a run's folder, which has its `run.json` as soon as it has its name.

    A folder of that name without one is none of ours, then: it may be a copy that is still arriving.
    """
    with atomic_folder(folder) as temporary:
        write_run(temporary, record, details)


def write_run(folder: Path, record: RunRecord, details: dict[str, Any]) -> None:
    """Write `run.json`: the record, as the ledger has it, and the details that only the folder keeps."""
    write_json(folder / RUN_FILE, {"version": VERSION, "record": record.to_dict(), **details})


def end_run(folder: Path, ended: RunRecord) -> RunRecord:
    """Write how a run ended that is not finished; return what its folder says then: finished, it stays so."""
    on_disk, details = read_run(folder)
    if on_disk.status == "finished":
        return on_disk
    write_run(folder, ended, details)
    return ended


def read_run(folder: Path) -> tuple[RunRecord, dict[str, Any]]:
    """Read `run.json`.

    Raises
    ------
    DamagedError
        When it is missing or not what `write_run` wrote.
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
        # A backup, perhaps of an earlier state: it must not stand for the run.
        raise DamagedError(
            f"{path} is the record of the run {record.run_id}: its folder was copied or renamed",
            hint=f"move it out of {folder.parent}, or back to {record.run_id}",
        )
    return record, data


DETAILS: dict[str, type | tuple[type, ...]] = {
    "spec": dict,
    "files": dict,
    "source": (dict, NoneType),
    "positive": dict,
    "models": list,
}


def _check_details(details: dict[str, Any]) -> None:
    """Refuse what `write_run` does not write: a run may come from somebody else, and its files are read and packed."""
    for name, kind in DETAILS.items():
        if name in details and not isinstance(details[name], kind):
            raise DamagedError(f"{name!r} is {type(details[name]).__name__}")
    source = details.get("source") or {}
    for files in (details.get("files", {}), source.get("files", {})):
        for name, digest in files.items():
            if not isinstance(digest, str):
                raise DamagedError(f"of the file {name!r} it says {digest!r}")
            if is_outside("file", name):
                raise DamagedError(f"the file {name!r} would lie outside of the run's folder")


def check_files(folder: Path, record: RunRecord, details: dict[str, Any]) -> FinishedRun:
    """Return a finished run after checking that its files are those that were written.

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
        state = "missing" if not path.exists() else "not what was written" if file_sha256(path) != sha256 else ""
        if state:
            raise DamagedError(
                f"run {record.run_id} is damaged: {path} is {state}",
                hint=f"`wb run {record.exp} --force` runs it again",
            )
    return FinishedRun(record, folder)


def find_run(
    runs: Path, number: int, key: str, *, greater_is_better: bool
) -> tuple[Path, RunRecord, dict[str, Any]] | None:
    """Return the newest run of the experiment with this key, if there is one.

    The direction of a function of the competition's own stands beside the key: it decides when training stops.
    """
    for folder in reversed(list_run_folders(runs, number)):
        if not folder.name.endswith(key[:8]) or not (folder / RUN_FILE).exists():
            continue
        record, details = read_run(folder)
        if record.key == key and record.greater_is_better == greater_is_better:
            return folder, record, details
    return None
