"""Code competitions: a finished run packed for a kernel without network, rehearsed as Kaggle runs it, and pushed.

In comes a run; out come a dataset with all that it needs (`build`, `wheels`), a rehearsal in a world like Kaggle's
(`rehearse`, `hidden`, `gateway`), and a version of a kernel (`push`).
"""

from workbench.kernels.build import KERNEL_PYTHON, BuiltKernel, build
from workbench.kernels.gateway import check_no_server
from workbench.kernels.push import Machine, Pushed, push, pushed
from workbench.kernels.rehearse import Rehearsed, rehearse

__all__ = [
    "KERNEL_PYTHON",
    "BuiltKernel",
    "Machine",
    "Pushed",
    "Rehearsed",
    "build",
    "check_no_server",
    "push",
    "pushed",
    "rehearse",
]
