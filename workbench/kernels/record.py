"""What is known of a kernel on the platform, kept beside its bundle."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from workbench.core.cache import read_json, write_json
from workbench.core.errors import DamagedError
from workbench.platforms.protocol import KernelVersion

__all__ = ["DatasetRecord", "DatasetSending", "KernelRecord", "KernelSending", "PushRecord", "Upload"]

FILE = "pushed.json"
FORGET = "remove it: the next push looks at the platform and uploads all files again"


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Upload(_Model):
    """A file that was uploaded, and the token by which it becomes part of a dataset."""

    sha256: str
    token: str
    at: float


class DatasetSending(_Model):
    """A version of a dataset that may have been made: what it has, and the number of the one before."""

    before: int
    files: dict[str, str]


class DatasetRecord(_Model):
    """A dataset: its newest version and the digests of that one's files, by name."""

    version: int = 0
    files: dict[str, str] = Field(default_factory=dict)
    uploads: dict[str, Upload] = Field(default_factory=dict)
    sending: DatasetSending | None = None


class KernelSending(_Model):
    """A version of a kernel that may have been made: `push` is in its text."""

    key: str
    push: str
    run_id: str


class KernelRecord(KernelSending):
    """A version of a kernel.

    `status` is None while its run was not seen to end; `file` and `sha256` are of its submission.
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
        """What the platform calls it."""
        return KernelVersion(self.owner, self.name, self.number)


class PushRecord(_Model):
    """All of it, of one owner.

    Attributes
    ----------
    owner : str
        The account. What another one has is not known.
    name : str, optional
        The kernel's name on the platform, once that has made one of its title.
    newest : KernelRecord, optional
        The version that was saved last.
    complete : KernelRecord, optional
        The newest one whose run came to its end and whose output is here.
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
        """Return what is kept in a kernel's folder; None where there is nothing.

        Raises
        ------
        DamagedError
            When it is not what `write` wrote.
        """
        path = folder / FILE
        if not path.exists():
            return None
        try:
            return cls.model_validate(read_json(path))
        except DamagedError as exc:
            raise DamagedError(exc.message, hint=FORGET) from exc
        except ValidationError as exc:
            first = exc.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "all of it"
            raise DamagedError(f"{path} is damaged: {where}: {first['msg'].lower()}", hint=FORGET) from exc

    def write(self, folder: Path) -> None:
        """Keep it, whole or not at all."""
        write_json(folder / FILE, self.model_dump())
