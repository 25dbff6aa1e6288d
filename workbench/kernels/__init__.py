"""Code competitions: a finished run packed for a kernel without network, rehearsed as Kaggle runs it, and pushed."""

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
