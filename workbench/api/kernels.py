"""`wb.competition(…).kernels`: runs packaged for a code competition, tried locally, pushed and submitted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.api.access import CompetitionAccess, Report, call_context
from workbench.api.runs import Runs
from workbench.core.errors import ConfigError

if TYPE_CHECKING:
    from workbench.core.events import Listener
    from workbench.kernels import BuiltKernel, Machine, PushedKernel, RehearsalResult
    from workbench.submissions import PreparedSubmission

__all__ = ["Kernels"]


@dataclass(frozen=True)
class Kernels:
    """The kernels of a competition's experiments."""

    access: CompetitionAccess

    def build(
        self,
        number: int,
        *,
        python: str | None = None,
        wheels: Path | None = None,
        listen: Listener | None = None,
        report: Report | None = None,
    ) -> BuiltKernel:
        """Package the current finished run of an experiment for a kernel without network.

        Parameters
        ----------
        number : int
        python : str, optional
            The kernel's version of Python, such as "3.12"; by default Kaggle's.
        wheels : Path, optional
            A folder with wheels, which are downloaded otherwise.
        listen, report : callable, optional
            See `call_context`.
        """
        from workbench.kernels import KERNEL_PYTHON, build, check_no_server

        competition = self.access.competition
        check_no_server(competition)
        run = Runs(self.access)[number]
        context = call_context(listen, report=report)
        return build(competition, run, python=python or KERNEL_PYTHON, wheels=wheels, context=context)

    def rehearse(
        self,
        number: int,
        built: BuiltKernel,
        *,
        minutes: float | None = None,
        image: Path | None = None,
        listen: Listener | None = None,
        report: Report | None = None,
    ) -> RehearsalResult:
        """Run a built kernel as Kaggle would, and compare its submission with the run's own.

        Parameters
        ----------
        number : int
        built : BuiltKernel
        minutes : float, optional
            The time limit.
        image : Path, optional
            A folder with packages in the versions of Kaggle's image, where they are imported before the kernel starts.
        listen, report : callable, optional
            See `call_context`.
        """
        from workbench.experiments.notebooks import Limits
        from workbench.kernels import rehearse

        seconds = None if minutes is None else 60 * minutes
        return rehearse(
            self.access.competition,
            Runs(self.access)[number],
            built,
            limits=Limits(seconds=seconds, memory_bytes=self.access.workspace.memory_limit),
            image=image,
            context=call_context(listen, report=report),
        )

    def push(
        self,
        built: BuiltKernel,
        machine: Machine | None = None,
        *,
        listen: Listener | None = None,
        report: Report | None = None,
    ) -> PushedKernel:
        """Upload the changed files of a built kernel, run it on the platform, and download its output."""
        from workbench.kernels import push

        return push(
            self.access.competition,
            built,
            self.access.platform,
            machine,
            context=call_context(listen, report=report),
        )

    def prepare(self, number: int) -> PreparedSubmission:
        """Return the submission of an experiment's pushed kernel, with all blocking issues and warnings.

        `Submissions.send` sends it.

        Raises
        ------
        NotFoundError
            When no pushed version has finished.
        ConfigError
            When the competition has an evaluation server, or the platform has no kernels.
        """
        from workbench.kernels import check_no_server, pushed
        from workbench.submissions import KernelOutput, prepare

        competition = self.access.competition
        check_no_server(competition)
        platform = self.access.platform
        if platform.code is None:
            raise ConfigError(f"the platform {platform.name!r} has no kernels", hint=f"`wb submit {number}`")
        version, newer = pushed(competition.folder / "kernels" / f"{number:03d}", platform.code.owner)
        output = KernelOutput(version.version, version.submission, newer)
        with self.access.submission_channel() as channel:
            return prepare(channel, number, run_id=version.run_id, kernel=output)
