"""Code competitions: a finished run packed for a kernel without network, rehearsed as Kaggle runs it, and pushed."""

from workbench.kernels.build import KERNEL_PYTHON, BuiltKernel, build
from workbench.kernels.push import Machine, Pushed, push, pushed
from workbench.kernels.rehearse import Rehearsed, rehearse

__all__ = ["KERNEL_PYTHON", "BuiltKernel", "Machine", "Pushed", "Rehearsed", "build", "push", "pushed", "rehearse"]
