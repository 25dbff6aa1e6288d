"""Code competitions: a finished run packed for a kernel without network, rehearsed as Kaggle runs it, and pushed.

Input is a run; output is a dataset with everything that it needs (`build`, `wheels`), a rehearsal in a sandbox like
Kaggle's (`rehearse`, `hidden`, `gateway`), and a version of a kernel (`push`).
"""

from workbench.kernels.build import KERNEL_PYTHON, BuiltKernel, build
from workbench.kernels.gateway import check_no_server
from workbench.kernels.push import Machine, PushedKernel, push, pushed
from workbench.kernels.rehearse import RehearsalResult, rehearse

__all__ = [
    "KERNEL_PYTHON",
    "BuiltKernel",
    "Machine",
    "PushedKernel",
    "RehearsalResult",
    "build",
    "check_no_server",
    "push",
    "pushed",
    "rehearse",
]
