"""A version of a kernel on the platform whose run has ended, and its output files here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from workbench.core.cache import file_sha256
from workbench.core.errors import DamagedError, NotFoundError
from workbench.kernels.push_record import KernelRecord, PushRecord
from workbench.platforms.protocol import KernelVersion

__all__ = ["PushedKernel", "has_digest", "pushed", "pushed_kernel"]


@dataclass(frozen=True)
class PushedKernel:
    """A run of a kernel on the platform.

    Attributes
    ----------
    version : KernelVersion
    run_id : str
        The run whose models the kernel contains.
    status : str
        ``"complete"``, ``"error"`` or ``"cancelled"``.
    failure : str
        The platform's message.
    folder : Path
        Its output files.
    log : Path
        Its printed output.
    uploaded : tuple of str
        The files that were uploaded, by their names in the bundle.
    size : int
        Their total size in bytes.
    notes : tuple of str
    file : str
        The name of the output file that is submitted.
    """

    version: KernelVersion
    run_id: str
    status: str
    failure: str
    folder: Path
    log: Path
    uploaded: tuple[str, ...] = ()
    size: int = 0
    notes: tuple[str, ...] = ()
    file: str = "submission.csv"

    @property
    def submission(self) -> Path:
        """The output file that is submitted."""
        return self.folder / self.file


def pushed(folder: Path, owner: str) -> tuple[PushedKernel, str]:
    """Return the newest version of a kernel whose run finished, and the state of a newer one, if there is one.

    Parameters
    ----------
    folder : Path
        The kernel's folder: ``kernels/012``.
    owner : str
        The account that the kernel belongs to.

    Raises
    ------
    NotFoundError
        When no version has finished.
    DamagedError
        When its output has changed since it was fetched.
    """
    record = PushRecord.read(folder)
    complete = record.complete if record is not None and record.owner == owner else None
    if record is None or complete is None:
        raise NotFoundError(
            f"{owner!r} pushed no version of the kernel in {folder} that finished",
            hint="`wb kernel push` pushes it and waits",
        )
    kernel = pushed_kernel(folder, complete)
    if not has_digest(kernel.submission, complete.sha256):
        raise DamagedError(
            f"{kernel.submission} is not what the kernel wrote", hint="`wb kernel push` fetches it again"
        )
    newest, newer_state = record.newest, ""
    if record.sending is not None or newest is None:
        newer_state = "a later push was interrupted"
    elif newest.push_id != complete.push_id:
        ending = "was not observed to finish" if newest.status is None else f"ended with {newest.status}"
        newer_state = f"version {newest.number} was pushed after it and {ending}"
    return kernel, newer_state


def pushed_kernel(folder: Path, record: KernelRecord) -> PushedKernel:
    """Return a recorded version with the paths of its output, which may not be fetched yet."""
    output_folder = folder / "pushed" / f"v{record.number}"
    return PushedKernel(
        record.version,
        record.run_id,
        record.status or "",
        record.failure,
        output_folder,
        log=output_folder.with_name(f"{output_folder.name}.log"),
        file=record.file,
    )


def has_digest(file: Path, sha256: str | None) -> bool:
    """Tell whether a file exists and has this SHA-256."""
    return file.is_file() and file_sha256(file) == sha256
