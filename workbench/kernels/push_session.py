"""What the steps of one push share: the platform, the recorded state, and what is reported."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from workbench.core.context import SILENT, RunContext
from workbench.kernels.layers import PackedFile
from workbench.kernels.push_record import PushRecord
from workbench.platforms.protocol import CodeHost

__all__ = ["CHECKS_AGAIN", "PushSession"]

CHECKS_AGAIN = "`wb kernel push` checks again before it sends anything"
"""The hint when it is not known whether something was created."""


@dataclass
class PushSession:
    """One push of a kernel.

    Attributes
    ----------
    code_host : CodeHost
    folder : Path
        The kernel's folder, with ``pushed.json``.
    record : PushRecord
        The recorded state on the platform.
    pause_s : float
        Between two requests to the platform.
    notes : list of str
        For the user, in the result.
    uploaded : list of PackedFile
        The files that this push has uploaded.
    """

    code_host: CodeHost
    folder: Path
    record: PushRecord
    pause_s: float
    context: RunContext = SILENT
    notes: list[str] = field(default_factory=list)
    uploaded: list[PackedFile] = field(default_factory=list)

    @classmethod
    def open(cls, code_host: CodeHost, folder: Path, pause_s: float, context: RunContext) -> PushSession:
        """Return a session with the record in the folder; an empty one if that is of another account."""
        record, notes = PushRecord.read(folder), []
        if record is not None and record.owner != code_host.owner:
            notes.append(f"earlier pushes were by {record.owner!r}: the state of {code_host.owner!r} is unknown")
            record = None
        return cls(code_host, folder, record or PushRecord(owner=code_host.owner), pause_s, context, notes)

    def write_record(self) -> None:
        """Write the record to the folder."""
        self.record.write(self.folder)

    @property
    def list_pause_s(self) -> float:
        """The pause between two looks at whether something created is listed."""
        return min(self.pause_s, self.code_host.delay_s / 4)
