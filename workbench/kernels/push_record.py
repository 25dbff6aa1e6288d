"""The recorded state of a kernel on the platform, next to its bundle."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from workbench.core.cache import read_json, write_json
from workbench.core.errors import DamagedError
from workbench.platforms.protocol import KernelVersion

__all__ = ["DatasetRecord", "DatasetSending", "KernelRecord", "KernelSending", "PushRecord", "Upload"]

FILE_NAME = "pushed.json"
REMOVE_HINT = "remove it: the next push looks at the platform and uploads all files again"


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", populate_by_name=True)


class Upload(_Model):
    """An uploaded file's digest, its token for creating a dataset, and the time (seconds since 1970)."""

    sha256: str
    token: str
    at: float


class DatasetSending(_Model):
    """A version of a dataset that may have been created: the version before it, and the digests of files by name."""

    previous_version: int = Field(validation_alias="before", serialization_alias="before")
    files: dict[str, str]


class DatasetRecord(_Model):
    """A dataset: its newest version, the digests of its files by name, and uploads that are in no version yet."""

    version: int = 0
    files: dict[str, str] = Field(default_factory=dict)
    uploads: dict[str, Upload] = Field(default_factory=dict)
    sending: DatasetSending | None = None


class KernelSending(_Model):
    """A version of a kernel that may have been created.

    Attributes
    ----------
    key : str
        The key of its inputs.
    push_id : str
        Identifies the push; it is also in the notebook's text.
    run_id : str
        The run with the models.
    """

    key: str
    push_id: str = Field(validation_alias="push", serialization_alias="push")
    run_id: str


class KernelRecord(KernelSending):
    """A version of a kernel.

    `status` is None until its run is observed to finish; `file` and `sha256` are the name and digest of its submission.
    """

    owner: str
    name: str
    number: int
    status: str | None = None
    failure: str = ""
    file: str = "submission.csv"
    sha256: str | None = None

    @property
    def version(self) -> KernelVersion:
        """Its identity on the platform."""
        return KernelVersion(self.owner, self.name, self.number)


class PushRecord(_Model):
    """The recorded state of a kernel and its datasets, of one owner.

    Attributes
    ----------
    owner : str
        The account; the state of any other account is unknown.
    name : str, optional
        The kernel's name on the platform, which derives it from the title.
    newest : KernelRecord, optional
        The version that was saved last.
    complete : KernelRecord, optional
        The newest one whose run finished and whose output was fetched.
    """

    format: int = 1
    owner: str
    name: str | None = None
    datasets: dict[str, DatasetRecord] = Field(default_factory=dict)
    sending: KernelSending | None = None
    newest: KernelRecord | None = None
    complete: KernelRecord | None = None

    @classmethod
    def read(cls, folder: Path) -> PushRecord | None:
        """Read the record in a kernel's folder; None where there is none.

        Raises
        ------
        DamagedError
            When it is not what `write` wrote.
        """
        path = folder / FILE_NAME
        if not path.exists():
            return None
        try:
            return cls.model_validate(read_json(path))
        except DamagedError as exc:
            raise DamagedError(exc.message, hint=REMOVE_HINT) from exc
        except ValidationError as exc:
            first_error = exc.errors()[0]
            field_path = ".".join(str(part) for part in first_error["loc"]) or "all of it"
            raise DamagedError(
                f"{path} is damaged: {field_path}: {first_error['msg'].lower()}", hint=REMOVE_HINT
            ) from exc

    def write(self, folder: Path) -> None:
        """Write it to a kernel's folder, atomically."""
        write_json(folder / FILE_NAME, self.model_dump(by_alias=True))
